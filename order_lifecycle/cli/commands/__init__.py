"""The commands, one function each. `order_lifecycle.cli.app` lists them."""
