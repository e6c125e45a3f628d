"""The command line: `order-lifecycle …`, from `app.py`. Importing this package loads nothing."""
