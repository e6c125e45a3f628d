"""The commands for all orders: list, tables, audit."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

import typer

from order_lifecycle.cli.answers import show_table, write_answer
from order_lifecycle.cli.calls import run
from order_lifecycle.cli.database import store_for_reading
from order_lifecycle.cli.errors import CommandError
from order_lifecycle.cli.options import AsJson
from order_lifecycle.domain import BadInputError, OrderState, parse_order_id
from order_lifecycle.settings import NoServerError

# Only the database has these states. The workflow does not report them to Temporal, because an
# order leaves them soon.
NEVER_LISTED = {
    OrderState.VALIDATED: f"a valid order is {OrderState.AWAITING_REVIEW} at once",
    OrderState.PACKED: f"an order is listed as {OrderState.CHARGED} until the carrier has it",
}


def list_orders(
    state: Annotated[OrderState | None, typer.Option(help="Only orders in this state.")] = None,
    limit: Annotated[
        int,
        typer.Option(
            min=1, help="At most this many. Running orders come first, then those that ended last."
        ),
    ] = 50,
    as_json: AsJson = False,
) -> None:
    """List the orders that Temporal has."""
    if state in NEVER_LISTED:
        raise BadInputError(f"--state: no order is listed as {state}; {NEVER_LISTED[state]}")

    async def main() -> None:
        from order_lifecycle.cli.report import list_orders
        from order_lifecycle.client import connect

        found = await list_orders(await connect(), state, limit)
        title = "orders" + (f" that are {state}" if state else "")
        rows = [row.model_dump() for row in found]
        as_data = [row.model_dump(mode="json") for row in found]
        write_answer(as_data, as_json, lambda: show_table(title, rows))

    run(main())


class Table(StrEnum):
    """A table that `tables` can show."""

    ORDERS = "orders"
    PAYMENTS = "payments"
    EVENTS = "events"


def tables(
    order_id: Annotated[
        str | None, typer.Argument(help="Only the rows of this order.", show_default=False)
    ] = None,
    table: Annotated[
        list[Table] | None, typer.Option(help="Only this table.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the rows of the database: orders, payments, events."""
    if order_id is not None:
        parse_order_id(order_id)
    with store_for_reading() as store:
        found = {name.value: store.rows(name, order_id) for name in table or Table}

    def show() -> None:
        for name, rows in found.items():
            show_table(name, rows)

    write_answer(found, as_json, show)


def audit(as_json: AsJson = False) -> None:
    """Check every order against the invariants.

    The exit status is 1 if an order violates one, or if Temporal does not answer.
    """
    from sqlalchemy.exc import OperationalError
    from temporalio.service import RPCError

    from order_lifecycle.client import connect
    from order_lifecycle.db.audit import INVARIANTS, Violation, count_by_state
    from order_lifecycle.db.audit import audit as audit_database
    from order_lifecycle.db.errors import describe
    from order_lifecycle.reconciliation import compare_with_temporal

    async def main() -> None:
        not_asked: dict[int, str] = {}  # invariants that were not checked, and why
        with store_for_reading() as store:
            counts = count_by_state(store.engine)
            violations: list[Violation] = audit_database(store.engine)
            try:
                violations += await compare_with_temporal(await connect(), store.order_states)
            except (NoServerError, BadInputError, RPCError) as error:
                not_asked[7] = str(error)
            except OperationalError as error:
                not_asked[7] = describe(error)
        counted = {n: sum(violation.invariant == n for violation in violations) for n in INVARIANTS}
        by_state = ", ".join(f"{n} {state}" for state, n in counts.items())
        lines = [f"{sum(counts.values())} orders: {by_state}"]
        lines += [
            f"{counted[n]:>6} violations of {n}: {meaning}"
            for n, meaning in INVARIANTS.items()
            if n not in not_asked
        ]
        lines += [
            f"order {violation.order_id}, {violation.invariant}: {violation.detail}"
            for violation in violations
        ]
        answer = {
            "orders": counts,
            "violations": [asdict(violation) for violation in violations],
            "not_asked": not_asked,
        }
        write_answer(answer, as_json, "\n".join(lines))
        if 7 in not_asked:
            raise CommandError(
                f"invariant 7 ({INVARIANTS[7]}) could not be checked: {not_asked[7]}"
            )
        if violations:
            raise typer.Exit(1)

    run(main())
