"""The command line, `order-lifecycle …`. It starts in `app.py`; this file imports nothing."""
