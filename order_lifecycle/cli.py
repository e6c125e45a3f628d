"""The command line: `order-lifecycle …` and `python -m order_lifecycle …`.

Exit status: 0; 1 when the system says no (an unknown order, too late, no server); 2 for bad input.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from order_lifecycle import isolated, process
from order_lifecycle.domain import (
    Address,
    BadInput,
    OrderState,
    Verdict,
    parse_address,
    parse_order,
    parse_order_id,
    parse_reason,
)
from order_lifecycle.settings import NoServer, Settings, no_database, usable_home

if TYPE_CHECKING:
    from order_lifecycle.db.store import Store

T = TypeVar("T")

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A real order on a real Temporal server: "
    "start it, approve it, change its address, cancel it, look at it.",
    epilog="Begin with `order-lifecycle demo`, or with `order-lifecycle up` and, in a second "
    "terminal, `order-lifecycle worker all`.",
)

OrderId = Annotated[
    str, typer.Argument(help="The order's name, for example abc-001.", show_default=False)
]
AddressJson = Annotated[
    str,
    typer.Option(
        "--address",
        help='JSON: {"address": …, "city": …, "state": …, "zipcode": …}',
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON.")]
AsSignal = Annotated[
    bool, typer.Option("--signal", help="Send a signal, which carries no answer, not an Update.")
]


class No(Exception):
    """The system says no. The message is what the user reads."""


# --- the original's commands ---------------------------------------------------------------------


@app.command()
def start(
    order_id: OrderId,
    payment_id: Annotated[
        str, typer.Argument(help="The idempotency key of its payment.", show_default=False)
    ],
    items: Annotated[
        str, typer.Option(help='JSON: [{"name": …, "qty": …, "price": …}, …]', show_default=False)
    ],
    address: AddressJson,
    approve: Annotated[
        bool, typer.Option("--approve", help="Approve it, too, in the same round trip.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Start an order. It then waits for `approve`."""
    order = parse_order(order_id, payment_id, items, address)

    async def main() -> None:
        from temporalio.exceptions import WorkflowAlreadyStartedError

        from order_lifecycle.client import connect, start_order

        settings = Settings().resolved()
        try:
            client = await connect(settings)
            started = start_order(client, order, settings.policy(), approve)
            handle = await answer_from(started, order_id)
        except WorkflowAlreadyStartedError:
            raise No(
                f"order {order_id} exists already: `order-lifecycle status {order_id}`"
            ) from None
        ui = settings.temporal_ui_url
        link = f"{ui}/namespaces/{client.namespace}/workflows/{handle.id}"
        answer = {"order_id": order_id, "workflow_id": handle.id, "ui": link if ui else None}
        done = "started and approved" if approve else "started"
        tell(answer, as_json, f"{done} order {order_id}" + (f": {link}" if ui else ""))

    run(main())


@app.command()
def approve(order_id: OrderId, signal: AsSignal = False, as_json: AsJson = False) -> None:
    """Approve an order that waits for its review."""
    say_to(order_id, "approve", "approve_order", [], signal, as_json)


@app.command()
def update_address(
    order_id: OrderId, address: AddressJson, signal: AsSignal = False, as_json: AsJson = False
) -> None:
    """Send an order elsewhere. Refused once the carrier has it."""
    say_to(order_id, "change_address", "update_address", [parse_address(address)], signal, as_json)


@app.command()
def cancel(
    order_id: OrderId,
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "cancelled by the customer",
    signal: AsSignal = False,
    as_json: AsJson = False,
) -> None:
    """Cancel an order, and give back what was charged. Refused once the carrier has it."""
    say_to(order_id, "cancel", "cancel_order", [parse_reason(reason)], signal, as_json)


@app.command()
def status(
    order_id: OrderId,
    watch: Annotated[
        bool, typer.Option("--watch", help="Follow the order until it has ended.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show where an order is, what it waits for, what failed last, and its latest events."""
    parse_order_id(order_id)

    async def main() -> None:
        from order_lifecycle.client import connect
        from order_lifecycle.report import look_at

        client = await connect()
        before = None
        with ExitStack() as to_close:
            store = None
            with suppress(No):  # `status` works without
                store = to_close.enter_context(store_for_reading())
            while True:
                report = await answer_from(look_at(client, order_id), order_id)
                report.events = recent_events(store, order_id) if store else []
                if report != before:
                    tell(report.model_dump(mode="json"), as_json, report.as_text())
                    before = report
                if not watch or report.ended:
                    return
                await asyncio.sleep(0.3)  # between two looks

    run(main())


def recent_events(store: Store, order_id: str, count: int = 5) -> list[str]:
    """The order's latest events; none where the database cannot be read."""
    from sqlalchemy.exc import DBAPIError

    try:
        events = store.rows("events", order_id)[-count:]
    except DBAPIError:
        return []
    return [
        f"{event['ts']:%H:%M:%S}  {event['type']}  {_cell(event['payload_json'])}".rstrip()
        for event in events
    ]


def say_to(
    order_id: str, update: str, signal_name: str, arguments: list[Any], signal: bool, as_json: bool
) -> None:
    """Send an Update and tell its answer, or send the signal of the same meaning."""
    parse_order_id(order_id)

    async def main() -> None:
        from order_lifecycle.client import connect, workflow_id

        handle = (await connect()).get_workflow_handle(workflow_id(order_id))
        if signal:
            await answer_from(handle.signal(signal_name, args=arguments), order_id)
            sent = {"order_id": order_id, "signal": signal_name}
            tell(sent, as_json, f"sent {signal_name} to order {order_id}")
            return
        verdict = await answer_from(
            handle.execute_update(update, args=arguments, result_type=Verdict), order_id
        )
        tell(verdict.model_dump(mode="json"), as_json, f"order {order_id}: {verdict.message}")

    run(main())


async def answer_from(call: Coroutine[Any, Any, T], order_id: str) -> T:
    """The order's answer. Raises No if it says no, is not there or has ended, or nobody works."""
    from temporalio.client import (
        WorkflowUpdateFailedError,
        WorkflowUpdateRPCTimeoutOrCancelledError,
    )
    from temporalio.service import RPCError, RPCStatusCode

    from order_lifecycle.client import workflow_id

    try:
        async with asyncio.timeout(ANSWER_WITHIN.total_seconds()):
            return await call
    except WorkflowUpdateFailedError as error:
        raise No(getattr(error.cause, "message", str(error.cause))) from None
    except (TimeoutError, WorkflowUpdateRPCTimeoutOrCancelledError):
        raise No(
            f"order {order_id} did not answer within {ANSWER_WITHIN.total_seconds():g} s: "
            "is a worker running? `order-lifecycle worker all` starts both. "
            f"What was asked may still be done: `order-lifecycle status {order_id}` shows it"
        ) from None
    except RPCError as error:
        # A namespace that is not there is NOT_FOUND too, and says so. (The workflow is named as
        # well, and an order may be called anything.)
        said = error.message.replace(workflow_id(order_id), "").lower()
        if error.status is not RPCStatusCode.NOT_FOUND or "namespace" in said:
            raise
        if "completed" in said:
            raise No(
                f"too late: order {order_id} has ended, see `order-lifecycle status {order_id}`"
            ) from None
        raise No(
            f"there is no order {order_id}: `order-lifecycle list` shows those that there are"
        ) from None


ANSWER_WITHIN = timedelta(seconds=10)


# --- looking at everything -----------------------------------------------------------------------


# What an order only passes on the way, in the database: Temporal is told of where it comes to rest.
NEVER_LISTED = {
    OrderState.VALIDATED: f"one that is valid is {OrderState.AWAITING_REVIEW} at once",
    OrderState.PACKED: f"one that is being shipped is listed as {OrderState.CHARGED} "
    "until the carrier has it",
}


@app.command(name="list")
def list_orders(
    state: Annotated[OrderState | None, typer.Option(help="Only orders in this state.")] = None,
    limit: Annotated[
        int,
        typer.Option(
            min=1, help="At most so many: first those that run, then those that ended last."
        ),
    ] = 50,
    as_json: AsJson = False,
) -> None:
    """List the orders, as Temporal knows them."""
    if state in NEVER_LISTED:
        raise BadInput(f"--state: no order is listed as {state}; {NEVER_LISTED[state]}")

    async def main() -> None:
        from order_lifecycle.client import connect
        from order_lifecycle.report import list_orders

        found = await list_orders(await connect(), state, limit)
        rows = [row.model_dump(mode="json") for row in found]
        title = "orders" + (f" that are {state}" if state else "")
        tell(rows, as_json, lambda: show_table(title, rows))

    run(main())


class Table(StrEnum):
    ORDERS = "orders"
    PAYMENTS = "payments"
    EVENTS = "events"


@app.command()
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
    if as_json:
        tell(found, as_json, "")
    else:
        for name, rows in found.items():
            show_table(name, rows)


@app.command(
    help="Check every order in the database against the invariants. "
    "Exit status 1 if one is violated."
)
def audit(as_json: AsJson = False) -> None:
    from sqlalchemy.exc import OperationalError
    from temporalio.service import RPCError

    from order_lifecycle.client import connect
    from order_lifecycle.db.audit import INVARIANTS, Violation, count_by_state
    from order_lifecycle.db.audit import audit as audit_database
    from order_lifecycle.db.trouble import trouble
    from order_lifecycle.report import compare_with_temporal

    async def main() -> None:
        not_asked: dict[int, str] = {}  # and why not
        with store_for_reading() as store:
            counts = count_by_state(store.engine)
            violations: list[Violation] = audit_database(store.engine)
            try:
                violations += await compare_with_temporal(await connect(), store.standings)
            except (NoServer, BadInput, RPCError) as error:
                not_asked[7] = str(error)
            except OperationalError as error:
                not_asked[7] = f"the database {trouble(error)}"
        of = {n: sum(violation.invariant == n for violation in violations) for n in INVARIANTS}
        by_state = ", ".join(f"{n} {state}" for state, n in counts.items())
        lines = [f"{sum(counts.values())} orders: {by_state}"]
        lines += [
            f"{of[n]:>6} violations of {n}: {meaning}"
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
        tell(answer, as_json, "\n".join(lines))
        if 7 in not_asked:
            raise No(f"7, {INVARIANTS[7]}, could not be asked: {not_asked[7]}")
        if violations:
            raise typer.Exit(1)

    run(main())


@contextmanager
def store_for_reading() -> Iterator[Store]:
    """The store that the settings name. Raises No if they name none, or if it cannot be read."""
    from sqlalchemy.exc import OperationalError, ProgrammingError

    from order_lifecycle.db.store import Store, connect
    from order_lifecycle.db.trouble import trouble

    settings = Settings().resolved()
    if settings.database_url is None:
        raise No(no_database(settings.order_lifecycle_home))
    engine = connect(settings.database_url.get_secret_value())
    try:
        yield Store(engine)
    except (OperationalError, ProgrammingError) as error:
        raise No(f"the database {trouble(error)}") from None
    finally:
        engine.dispose()


def show_table(title: str, rows: Sequence[dict[str, Any]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable(title=f"{title} ({len(rows)})", title_justify="left", box=box.SIMPLE_HEAD)
    # An event's `step` is its type with a number, so it says nothing new to a reader.
    columns = [column for column in (rows[0] if rows else ()) if column != "step"]
    for column in columns:
        long = column in ("items", "address_json", "payload_json")
        shown.add_column(column, overflow="fold", no_wrap=not long)
    for row in rows:
        # As Text, in which [brackets] and :colons: are what they are.
        shown.add_row(*(Text(_cell(row[column])) for column in columns))
    Console().print(shown)


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        # JSONB keeps no order of the keys; an address reads better in its own.
        fields = list(Address.model_fields)
        keys = sorted(value, key=lambda key: fields.index(key) if key in fields else -1)
        return ", ".join(_cell(value[key]) for key in keys if key != "run_id")
    if isinstance(value, list):
        return "; ".join(_cell(part) for part in value)
    if isinstance(value, datetime):
        return value.strftime("%H:%M:%S.%f")[:-3]
    return "" if value is None else str(value)


# --- running things ------------------------------------------------------------------------------

PORT: dict[str, Any] = {"min": 1, "max": 65535}


@app.command(
    help="Start Temporal and PostgreSQL; Ctrl-C stops them. "
    "What TEMPORAL_HOST or DATABASE_URL names is not started."
)
def up(
    home: Annotated[
        Path | None, typer.Option(help="Where the data is kept.  [default: .order-lifecycle]")
    ] = None,
    ephemeral: Annotated[bool, typer.Option("--ephemeral", help="Keep nothing.")] = False,
    port: Annotated[
        int | None, typer.Option(**PORT, help="Temporal's port.  [default: 7233, or a free one]")
    ] = None,
    ui_port: Annotated[
        int | None, typer.Option(**PORT, help="The Web UI's port.  [default: 8233, or a free one]")
    ] = None,
    ui_path: Annotated[
        str | None,
        typer.Option(
            help="The path under which a proxy shows the Web UI; {port} stands for its port."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the addresses as one line of JSON.")
    ] = False,
    lifeline: Annotated[
        bool, typer.Option("--lifeline", help="Stop when standard input ends.")
    ] = False,
) -> None:
    from order_lifecycle.stack.supervisor import up

    if ephemeral and home is not None:
        raise BadInput("--home keeps data and --ephemeral does not: choose one")
    try:
        home = home and usable_home(home)
    except ValueError as error:
        raise BadInput(f"--home: {error}") from None
    settings = Settings()
    where = None if ephemeral else home or settings.order_lifecycle_home
    raise typer.Exit(
        up(
            where,
            temporal_port=port,
            ui_port=ui_port,
            ui_path=ui_path,
            as_json=as_json,
            lifeline=lifeline,
            settings=settings,
        )
    )


class WorkerName(StrEnum):
    ORDER = "order"
    SHIPPING = "shipping"
    ALL = "all"


@app.command()
def worker(
    name: Annotated[WorkerName, typer.Argument(help="Which one.", show_default=False)],
) -> None:
    """Run a worker until Ctrl-C; `all` runs both, each in a process of its own."""
    import subprocess

    if name is WorkerName.ALL and Settings().metrics_address:
        raise BadInput(
            "METRICS_ADDRESS: two workers cannot serve their metrics at one address. Start "
            "`order-lifecycle worker order` and `order-lifecycle worker shipping`, "
            "each with a METRICS_ADDRESS of its own"
        )
    kinds = ["order", "shipping"] if name is WorkerName.ALL else [name.value]
    children = [
        subprocess.Popen(
            isolated.command(f"order_lifecycle.workers.{kind}_worker", "--lifeline"),
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        for kind in kinds
    ]

    async def until_asked() -> None:
        stop = process.stop_requests()
        while not stop.is_set() and all(child.poll() is None for child in children):
            try:
                await asyncio.wait_for(stop.wait(), 0.2)
            except TimeoutError:
                continue

    asyncio.run(until_asked())
    for child in children:
        child.terminate()
    # One that this reached before it could listen has ended by it, and nothing is wrong.
    statuses = [0 if (status := child.wait()) == -signal.SIGTERM else status for child in children]
    raise typer.Exit(max(1 if status < 0 else status for status in statuses))


@app.command()
def demo() -> None:
    """Run one order in the terminal, from nothing to shipped, and show what it left behind."""
    from order_lifecycle.demo import demo
    from order_lifecycle.lab.waiting import LabError

    try:
        run(demo(show_table))
    except TimeoutError:
        raise No("the order was not shipped in time: is this machine busy?") from None
    except LabError as error:  # with the last words of what did not start
        raise No(str(error)) from None


@app.command(
    help="Look at everything that is needed: what is reachable, which versions, what is missing, "
    "and what to do."
)
def doctor(as_json: AsJson = False) -> None:
    from order_lifecycle.doctor import examine

    async def main() -> None:
        found = await examine()
        tell(
            [finding.model_dump() for finding in found],
            as_json,
            "\n".join(map(str, found)),
        )
        if not all(finding.ok for finding in found):
            raise typer.Exit(1)

    run(main())


# --- how a command ends --------------------------------------------------------------------------


def run(command: Coroutine[Any, Any, None]) -> None:
    """Raises No if Temporal does: no such namespace, no permission, the connection is lost."""
    from temporalio.service import RPCError

    try:
        process.run(command)
    except RPCError as error:
        raise No(f"Temporal says no: {error.message}") from None


def tell(answer: Any, as_json: bool, text: str | Callable[[], object]) -> None:
    if as_json:
        print(json.dumps(answer, default=str, ensure_ascii=False))
    elif isinstance(text, str):
        print(text)
    else:
        text()


def main() -> None:
    """The entry point. No traceback for what a user can mend."""
    try:
        app()
    except BadInput as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except (No, NoServer) as error:
        print(error, file=sys.stderr)
        sys.exit(1)
