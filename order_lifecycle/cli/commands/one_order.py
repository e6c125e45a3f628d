"""The commands for one order: start it, approve, redirect or cancel it, look at it."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, suppress
from typing import Annotated, Any

import typer

from order_lifecycle.cli.answers import write_answer
from order_lifecycle.cli.calls import answer_from, run
from order_lifecycle.cli.database import recent_events, store_for_reading
from order_lifecycle.cli.errors import CommandError
from order_lifecycle.cli.options import AddressJson, AsJson, AsSignal, OrderId
from order_lifecycle.cli.text_options import STANDARD_INPUT, read_text_option
from order_lifecycle.domain import (
    BadInputError,
    UpdateResult,
    parse_address,
    parse_order,
    parse_order_id,
    parse_reason,
)
from order_lifecycle.settings import Settings


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
    order = parse_order(
        order_id, payment_id, read_text_option("items", items), read_text_option("address", address)
    )

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
        write_answer(answer, as_json, text, done="the start")

    run(main())


def approve(order_id: OrderId, signal: AsSignal = False, as_json: AsJson = False) -> None:
    """Approve an order that waits for its review."""
    send_request(order_id, "approve", "approve_order", [], signal, as_json)


def update_address(
    order_id: OrderId, address: AddressJson, signal: AsSignal = False, as_json: AsJson = False
) -> None:
    """Send an order elsewhere. Refused once the carrier has it."""
    parse_order_id(order_id)  # before standard input is waited for
    goes_to = parse_address(read_text_option("address", address))
    send_request(order_id, "change_address", "update_address", [goes_to], signal, as_json)


def cancel(
    order_id: OrderId,
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "cancelled by the customer",
    signal: AsSignal = False,
    as_json: AsJson = False,
) -> None:
    """Cancel an order, and give back what was charged. Refused once the carrier has it."""
    send_request(order_id, "cancel", "cancel_order", [parse_reason(reason)], signal, as_json)


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
        from order_lifecycle.cli.report import fetch_report
        from order_lifecycle.client import connect

        client = await connect()
        before = None
        with ExitStack() as to_close:
            store = None
            with suppress(CommandError):  # `status` works without
                store = to_close.enter_context(store_for_reading())
            while True:
                report = await answer_from(fetch_report(client, order_id), order_id)
                report.events = recent_events(store, order_id) if store else []
                if report != before:
                    write_answer(report.model_dump(mode="json"), as_json, report.as_text())
                    before = report
                if not watch or report.ended:
                    return
                await asyncio.sleep(0.3)  # between two looks

    run(main())


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
        write_answer(
            end.model_dump(mode="json"), as_json, f"repaired order {order_id}: it is {end.state}"
        )

    run(main())


def send_request(
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
            write_answer(sent, as_json, f"sent {signal_name} to order {order_id}", done=done)
            return
        result = await answer_from(
            handle.execute_update(update, args=arguments, result_type=UpdateResult), order_id
        )
        text = f"order {order_id}: {result.message}"
        write_answer(result.model_dump(mode="json"), as_json, text, done=done)

    run(main())
