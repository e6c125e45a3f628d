"""python -m order_lifecycle: the same as the command `order-lifecycle`."""

from order_lifecycle.cli import main

main()
