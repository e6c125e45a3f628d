"""The command line: `order-lifecycle …` and `python -m order_lifecycle …`.

Exit status: 0; 1 when the system says no (an unknown order, too late, no server) or when standard
output cannot be written; 2 for bad input; 130 after Ctrl-C.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from order_lifecycle import isolated
from order_lifecycle.cli import output
from order_lifecycle.cli.text_options import STANDARD_INPUT, given
from order_lifecycle.domain import (
    BadInputError,
    OrderState,
    UpdateResult,
    parse_address,
    parse_order,
    parse_order_id,
    parse_reason,
)
from order_lifecycle.settings import NoServerError, Settings, no_database, usable_home
from order_lifecycle.stack import process
from order_lifecycle.visible import visible_lines

if TYPE_CHECKING:
    from temporalio.service import RPCError

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
        help='JSON: {"address": …, "city": …}, and if there is one "state", "zipcode", "country" '
        "(two letters, such as US). Or a file, @address.json, or - for standard input.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON.")]
AsSignal = Annotated[
    bool, typer.Option("--signal", help="Send a signal, which carries no answer, not an Update.")
]


class CommandError(Exception):
    """The system says no. The message is what the user reads."""


class CommandInterruptedError(CommandError):
    """Ctrl-C came while an answer was awaited."""


class AnswerNotWrittenError(CommandError):
    """Standard output does not take the answer. The message says what was done all the same."""


# --- the original's commands ---------------------------------------------------------------------


@app.command()
def start(
    order_id: OrderId,
    payment_id: Annotated[
        str, typer.Argument(help="The idempotency key of its payment.", show_default=False)
    ],
    items: Annotated[
        str,
        typer.Option(
            help='JSON: [{"name": …, "qty": …, "price": …}, …]. Or a file, @items.json, or - for '
            "standard input.",
            show_default=False,
        ),
    ],
    address: AddressJson,
    approve: Annotated[
        bool, typer.Option("--approve", help="Approve it, too, in the same round trip.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Start an order. It then waits for `approve`."""
    if items == address == STANDARD_INPUT:
        raise BadInputError(
            "--items - and --address -: standard input can be read only once. "
            "Write one of them into a file, and name it: --address @address.json"
        )
    order = parse_order(order_id, payment_id, given("items", items), given("address", address))

    async def main() -> None:
        from temporalio.exceptions import WorkflowAlreadyStartedError

        from order_lifecycle.client import connect, start_order

        settings = Settings().resolved()
        try:
            client = await connect(settings)
            started = start_order(client, order, settings.policy(), approve)
            handle = await answer_from(started, order_id)
        except WorkflowAlreadyStartedError:
            raise CommandError(
                f"order {order_id} exists already: `order-lifecycle status {order_id}`"
            ) from None
        ui = settings.temporal_ui_url
        link = f"{ui}/namespaces/{client.namespace}/workflows/{handle.id}"
        answer = {"order_id": order_id, "workflow_id": handle.id, "ui": link if ui else None}
        done = "started and approved" if approve else "started"
        text = f"{done} order {order_id}" + (f": {link}" if ui else "")
        tell(answer, as_json, text, done="the start")

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
    parse_order_id(order_id)  # before standard input is waited for
    goes_to = parse_address(given("address", address))
    say_to(order_id, "change_address", "update_address", [goes_to], signal, as_json)


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
        from order_lifecycle.cli.report import look_at
        from order_lifecycle.client import connect

        client = await connect()
        before = None
        with ExitStack() as to_close:
            store = None
            with suppress(CommandError):  # `status` works without
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
        f"{event['ts']:%H:%M:%S}  {event['type']}  {output.cell(event['payload_json'])}".rstrip()
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
        done = f"the {'update-address' if update == 'change_address' else update}"
        if signal:
            await answer_from(handle.signal(signal_name, args=arguments), order_id)
            sent = {"order_id": order_id, "signal": signal_name}
            tell(sent, as_json, f"sent {signal_name} to order {order_id}", done=done)
            return
        result = await answer_from(
            handle.execute_update(update, args=arguments, result_type=UpdateResult), order_id
        )
        text = f"order {order_id}: {result.message}"
        tell(result.model_dump(mode="json"), as_json, text, done=done)

    run(main())


async def answer_from(call: Coroutine[Any, Any, T], order_id: str) -> T:
    """Return the order's answer.

    Raises CommandError if the order refuses, is not there or has ended, or if no worker answers in
    time, and CommandInterruptedError after Ctrl-C.
    """
    from temporalio.client import (
        WorkflowUpdateFailedError,
        WorkflowUpdateRPCTimeoutOrCancelledError,
    )
    from temporalio.service import RPCError

    may_still_happen = (
        f"What was asked may still be done: `order-lifecycle status {order_id}` shows it"
    )
    try:
        async with asyncio.timeout(ANSWER_WITHIN.total_seconds()):
            return await call
    except WorkflowUpdateFailedError as error:
        if getattr(error.cause, "type", None) == "AcceptedUpdateCompletedWorkflow":
            raise _too_late(order_id) from None
        raise CommandError(getattr(error.cause, "message", str(error.cause))) from None
    except (TimeoutError, WorkflowUpdateRPCTimeoutOrCancelledError, asyncio.CancelledError):
        # The SDK reports a cancelled call as one that timed out.
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise CommandInterruptedError(
                f"interrupted while order {order_id} was to answer. {may_still_happen}"
            ) from None
        raise CommandError(
            f"order {order_id} did not answer within {ANSWER_WITHIN.total_seconds():g} s: "
            f"is a worker running? `order-lifecycle worker all` starts both. {may_still_happen}"
        ) from None
    except RPCError as error:
        raise await _said_no(error, order_id) from None


async def _said_no(error: RPCError, order_id: str) -> Exception:
    """Return what to raise for `error`.

    The server has several answers to a request that meets the end of an order, and some are those
    to an order that never was. So the order itself is looked up.
    """
    from temporalio.service import RPCError, RPCStatusCode

    from order_lifecycle.cli.report import trouble_of, way_out
    from order_lifecycle.client import connect, workflow_id

    # A namespace that is not there is NOT_FOUND too, and says so. (The workflow is named as well,
    # and an order may be called anything.)
    said = error.message.replace(workflow_id(order_id), "").lower()
    if error.status is RPCStatusCode.INVALID_ARGUMENT and "signal events" in said:
        return CommandError(
            f"order {order_id} was sent so many signals that Temporal takes no more. "
            "Leave out --signal: an Update is still answered"
        )
    met_the_end = (
        RPCStatusCode.NOT_FOUND,
        RPCStatusCode.ABORTED,
        RPCStatusCode.FAILED_PRECONDITION,
    )
    is_closing = "workflow is closing" in said  # RESOURCE_EXHAUSTED, for a moment
    if "namespace" in said or not (is_closing or error.status in met_the_end):
        return error
    try:
        description = await (await connect()).get_workflow_handle(workflow_id(order_id)).describe()
    except RPCError as missing:
        if missing.status is not RPCStatusCode.NOT_FOUND:
            return missing
        return CommandError(
            f"there is no order {order_id}: `order-lifecycle list` shows those that there are"
        )
    if description.close_time is not None:
        trouble = trouble_of(description)
        return (
            CommandError(f"too late: {trouble}; {way_out(order_id)}")
            if trouble
            else _too_late(order_id)
        )
    return CommandError(
        f"order {order_id} did not take the request: {error.message}. Send it again"
    )


def _too_late(order_id: str) -> CommandError:
    return CommandError(
        f"too late: order {order_id} has ended, see `order-lifecycle status {order_id}`"
    )


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
        raise BadInputError(f"--state: no order is listed as {state}; {NEVER_LISTED[state]}")

    async def main() -> None:
        from order_lifecycle.cli.report import list_orders
        from order_lifecycle.client import connect

        found = await list_orders(await connect(), state, limit)
        title = "orders" + (f" that are {state}" if state else "")
        rows = [row.model_dump() for row in found]
        as_data = [row.model_dump(mode="json") for row in found]
        tell(as_data, as_json, lambda: show_table(title, rows))

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

    def show() -> None:
        for name, rows in found.items():
            show_table(name, rows)

    tell(found, as_json, show)


@app.command(
    help="Check every order in the database against the invariants. "
    "Exit status 1 if one is violated."
)
def audit(as_json: AsJson = False) -> None:
    from sqlalchemy.exc import OperationalError
    from temporalio.service import RPCError

    from order_lifecycle.cli.report import compare_with_temporal
    from order_lifecycle.client import connect
    from order_lifecycle.db.audit import INVARIANTS, Violation, count_by_state
    from order_lifecycle.db.audit import audit as audit_database
    from order_lifecycle.db.errors import describe

    async def main() -> None:
        not_asked: dict[int, str] = {}  # and why not
        with store_for_reading() as store:
            counts = count_by_state(store.engine)
            violations: list[Violation] = audit_database(store.engine)
            try:
                violations += await compare_with_temporal(await connect(), store.order_states)
            except (NoServerError, BadInputError, RPCError) as error:
                not_asked[7] = str(error)
            except OperationalError as error:
                not_asked[7] = describe(error)
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
            raise CommandError(f"7, {INVARIANTS[7]}, could not be asked: {not_asked[7]}")
        if violations:
            raise typer.Exit(1)

    run(main())


@app.command()
def repair(order_id: OrderId, as_json: AsJson = False) -> None:
    """Cancel and refund an order whose workflow was closed by force or cannot go on.

    `audit` and `status` say of which orders that is true. The workflow is reset to its first task.
    An order whose parcel the carrier has is shipped instead.
    """
    parse_order_id(order_id)

    async def main() -> None:
        from order_lifecycle.cli.repair import NotRepairedError
        from order_lifecycle.cli.repair import repair as reset_and_cancel
        from order_lifecycle.client import connect

        client = await connect()
        with store_for_reading() as store:
            try:
                end = await reset_and_cancel(client, store, order_id)
            except NotRepairedError as error:
                raise CommandError(str(error)) from None
        if end is None:
            raise CommandError(
                f"order {order_id} is reset and asked to cancel, but no worker has ended it yet: "
                "`order-lifecycle worker all` starts both, and "
                f"`order-lifecycle status {order_id}` shows how it goes on"
            )
        tell(end.model_dump(mode="json"), as_json, f"repaired order {order_id}: it is {end.state}")

    run(main())


@contextmanager
def store_for_reading() -> Iterator[Store]:
    """The store that the settings name. Raises CommandError if they name none, or if it cannot be
    read."""
    from sqlalchemy.exc import OperationalError, ProgrammingError

    from order_lifecycle.db.errors import describe
    from order_lifecycle.db.store import Store, connect

    settings = Settings().resolved()
    if settings.database_url is None:
        raise CommandError(no_database(settings.order_lifecycle_home))
    engine = connect(settings.database_url.get_secret_value())
    try:
        yield Store(engine)
    except (OperationalError, ProgrammingError) as error:
        raise CommandError(describe(error)) from None
    finally:
        engine.dispose()


def show_table(title: str, rows: Sequence[dict[str, Any]]) -> None:
    """Show rows to a reader. Raises output.UnwritableError."""
    output.write(output.table(title, rows, output.width()) + "\n")


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
        raise BadInputError("--home keeps data and --ephemeral does not: choose one")
    try:
        home = home and usable_home(home)
    except ValueError as error:
        raise BadInputError(f"--home: {error}") from None
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
        raise BadInputError(
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
    from order_lifecycle.cli.demo import demo
    from order_lifecycle.lab.waiting import LabError

    try:
        run(demo(show_table))
    except TimeoutError:
        raise CommandError("the order was not shipped in time: is this machine busy?") from None
    except LabError as error:  # with the last words of what did not start
        raise CommandError(str(error)) from None


@app.command(
    help="Look at everything that is needed: what is reachable, which versions, what is missing, "
    "and what to do."
)
def doctor(as_json: AsJson = False) -> None:
    from order_lifecycle.cli.doctor import examine

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
    """Raises CommandError if Temporal does: no such namespace, no permission, the connection is
    lost."""
    from temporalio.service import RPCError

    _say_nothing_of_retries()
    try:
        process.run(command)
    except RPCError as error:
        raise CommandError(_of_temporal(error.message)) from None
    except NoServerError as error:
        full = _full_disk()
        raise CommandError(f"{full}. So {error}") if full else error from None
    except KeyboardInterrupt:
        raise CommandInterruptedError("interrupted") from None


def _say_nothing_of_retries() -> None:
    """Keep the warnings of the SDK's core off the terminal: the command's own answer says what went
    wrong, in the end."""
    from temporalio.runtime import LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter

    errors = TelemetryFilter(core_level="ERROR", other_level="ERROR")
    with suppress(RuntimeError):  # in a notebook's kernel, where a client was made before
        Runtime.set_default(
            Runtime(telemetry=TelemetryConfig(logging=LoggingConfig(filter=errors)))
        )


def _of_temporal(message: str) -> str:
    """Say why Temporal says no. A server that cannot write its data names no cause itself."""
    full = _full_disk()
    return (
        f"Temporal cannot write its data ({message}): {full}"
        if full
        else f"Temporal says no: {message}"
    )


def _full_disk() -> str | None:
    """Return the sentence for a full disk, if the data of our own servers is on one."""
    from order_lifecycle.settings import STACK_FILE
    from order_lifecycle.stack.home import disk_is_full, full_disk_message

    told = Settings()
    home = told.order_lifecycle_home
    ours = told.temporal_host is None and (home / STACK_FILE).exists()
    return full_disk_message(home) if ours and disk_is_full(home) else None


def tell(answer: Any, as_json: bool, text: str | Callable[[], object], *, done: str = "") -> None:
    """Write the answer. `done`: what has changed the order, even if nobody can read the answer.

    Raises AnswerNotWrittenError if standard output does not take it.
    """
    try:
        if as_json:
            output.write_json(answer)
        elif isinstance(text, str):
            output.write(text)
        else:
            text()
    except output.UnwritableError as error:
        if not done:
            raise
        raise AnswerNotWrittenError(f"{done} was done ({text}), but {_unwritten(error)}") from None


def _unwritten(error: output.UnwritableError) -> str:
    return f"standard output cannot be written: {error.strerror or error}"


def main() -> None:
    """The entry point. No traceback for what a user can mend."""
    output.prepare()
    sys.exit(_status())


def _status() -> int:
    """Run the command and return the exit status."""
    try:
        try:
            app()
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BadInputError as error:
            status = _say(error, 2)
        except CommandInterruptedError as error:
            status = _say(error, 130)
        except AnswerNotWrittenError as error:
            output.let_go()
            status = _say(error, 1)
        except (CommandError, NoServerError) as error:
            status = _say(error, 1)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads has read enough, as `head` has
        output.let_go()
        return 1
    except output.UnwritableError as error:
        output.let_go()
        return _say(_unwritten(error), 1)
    return status


def _say(what: object, status: int) -> int:
    """Write one line to standard error, and return `status`."""
    with suppress(OSError):  # it is the last place where something can be said
        print(visible_lines(str(what)), file=sys.stderr, flush=True)
    return status
