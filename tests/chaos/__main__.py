"""Run hundreds of orders while workers are killed and servers are stopped.

The exit status is 1 if an order was lost, was charged twice, did not end, or violates an invariant.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from order_lifecycle.stack import process
from tests.chaos.plan import make_plan
from tests.chaos.run import chaos


def main() -> int:
    options = _options()
    plan = make_plan(
        options.seed,
        options.orders,
        options.seconds,
        options.kill_every,
        options.postgres_every,
        options.temporal_every,
        options.workers,
    )
    print(
        f"seed {plan.seed}: {len(plan.customers)} orders and {len(plan.blows)} blows in {plan.seconds:g} s", flush=True
    )
    with tempfile.TemporaryDirectory(prefix="order-lifecycle-chaos-") as folder:
        home = Path(folder, "home")
        outcome = process.run(chaos(plan, home, lambda line: print(line, flush=True), options.workers))
    print(outcome.as_text())
    return 1 if outcome.violations else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )

    def option(name: str, kind: type, default: float, text: str) -> None:
        parser.add_argument(name, type=kind, default=default, metavar="N", help=text)

    option("--orders", int, 250, "how many orders")
    option("--seconds", float, 110.0, "for how long orders come in and things break; then the orders end in peace")
    option("--seed", int, 1, "decides what the orders are, what is asked of them, and what breaks when")
    option("--workers", int, 2, "of each of the two kinds")
    option("--kill-every", float, 3.0, "seconds between two workers that are killed")
    option("--postgres-every", float, 15.0, "seconds between two stops of PostgreSQL")
    option("--temporal-every", float, 20.0, "seconds between two stops of the Temporal server")
    options = parser.parse_args()
    if any(value <= 0 for name, value in vars(options).items() if name != "seed"):
        parser.error("only the seed may be 0 or less")
    return options


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # all that was started is stopped by now
        sys.exit(130)
