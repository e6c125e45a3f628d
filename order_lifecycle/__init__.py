"""Run orders on a real Temporal server and a real PostgreSQL: see README.md and notebooks/."""

import os
import sys

from order_lifecycle.isolated import arrange_search_path

# Change sys.path only in our own processes, not in a notebook or a test that imports this package.
# While Python looks for the module of `python -m order_lifecycle…`, sys.argv[0] is "-m".
if os.path.basename(sys.argv[0] if sys.argv else "") in ("-m", "order-lifecycle"):
    arrange_search_path()
