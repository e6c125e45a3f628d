"""Run the command `order-lifecycle` as `python -m order_lifecycle`."""

from order_lifecycle.cli.app import main

main()
