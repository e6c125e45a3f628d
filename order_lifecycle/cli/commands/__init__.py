"""The commands, a function each. `order_lifecycle.cli.app` lists them."""
