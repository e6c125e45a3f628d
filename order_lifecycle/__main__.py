"""python -m order_lifecycle: the same as the command `order-lifecycle`."""

from order_lifecycle.cli.app import main

main()
