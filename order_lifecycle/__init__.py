"""A real order on a real Temporal server and a real PostgreSQL: see README.md and notebooks/."""

import os
import sys

from order_lifecycle.isolated import arrange_search_path

# A process of ours, and not a notebook or a test that imports us: Python has this in place of the
# program's name while it looks for the module of `python -m order_lifecycle…`, or the name of our
# command.
if os.path.basename(sys.argv[0] if sys.argv else "") in ("-m", "order-lifecycle"):
    arrange_search_path()
