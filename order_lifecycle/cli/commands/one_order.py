"""The commands for one order: start, approve, update-address, cancel, status, repair."""

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
        str, typer.Argument(help="The idempotency key of the payment.", show_default=False)
    ],
    items: Annotated[
        str,
        typer.Option(
            help='JSON: [{"name": …, "qty": …, "price": …}, …]. Or @items.json for a file, or - '
            "for standard input.",
            show_default=False,
        ),
    ],
    address: AddressJson,
    approve: Annotated[
        bool, typer.Option("--approve", help="Approve the order too, in the same request.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Start an order, which then waits until you approve it."""
    if items == address == STANDARD_INPUT:
        raise BadInputError(
            "--items - and --address -: standard input can be read only once. "
            "Put one of them in a file, for example --address @address.json"
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
                f"order {order_id} exists already: `order-lifecycle status {order_id}` shows it"
            ) from None
        ui = settings.temporal_ui_url
        link = f"{ui}/namespaces/{client.namespace}/workflows/{handle.id}"
        answer = {"order_id": order_id, "workflow_id": handle.id, "ui": link if ui else None}
        done = "started and approved" if approve else "started"
        text = f"{done} order {order_id}" + (f": {link}" if ui else "")
        write_answer(answer, as_json, text, done="the start")

    run(main())


def approve(order_id: OrderId, signal: AsSignal = False, as_json: AsJson = False) -> None:
    """Approve an order that waits for a review."""
    send_request(order_id, "approve", "approve_order", [], signal, as_json)


def update_address(
    order_id: OrderId, address: AddressJson, signal: AsSignal = False, as_json: AsJson = False
) -> None:
    """Change the address of an order, until the carrier has the parcel."""
    parse_order_id(order_id)  # before reading standard input, which may take long
    new_address = parse_address(read_text_option("address", address))
    send_request(order_id, "change_address", "update_address", [new_address], signal, as_json)


def cancel(
    order_id: OrderId,
    reason: Annotated[
        str, typer.Option(help="Why. The order's events record it.")
    ] = "cancelled by the customer",
    signal: AsSignal = False,
    as_json: AsJson = False,
) -> None:
    """Cancel an order and refund its charge, until the carrier has the parcel."""
    send_request(order_id, "cancel", "cancel_order", [parse_reason(reason)], signal, as_json)


def status(
    order_id: OrderId,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show each change until the order has ended.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show an order's state, what it waits for, its last failures and its latest events."""
    parse_order_id(order_id)

    async def main() -> None:
        from order_lifecycle.cli.report import fetch_report
        from order_lifecycle.client import connect

        client = await connect()
        before = None
        with ExitStack() as to_close:
            store = None
            with suppress(CommandError):  # `status` works without a database
                store = to_close.enter_context(store_for_reading())
            while True:
                report = await answer_from(fetch_report(client, order_id), order_id)
                report.events = recent_events(store, order_id) if store else []
                if report != before:
                    write_answer(report.model_dump(mode="json"), as_json, report.as_text())
                    before = report
                if not watch or report.ended:
                    return
                await asyncio.sleep(0.3)  # s until the next report

    run(main())


def repair(order_id: OrderId, as_json: AsJson = False) -> None:
    """Cancel and refund an order whose workflow was closed by force or cannot go on.

    `audit` and `status` name such orders.
    This resets the workflow to its first task, and cancels it.
    If the carrier has the parcel, the workflow ships the order instead.
    """
    parse_order_id(order_id)

    async def main() -> None:
        from order_lifecycle.cli.repair import NotRepairedError
        from order_lifecycle.cli.repair import repair as reset_and_cancel
        from order_lifecycle.client import connect

        client = await connect()
        with store_for_reading() as store:
            try:
                result = await reset_and_cancel(client, store, order_id)
            except NotRepairedError as error:
                raise CommandError(str(error)) from None
        if result is None:
            raise CommandError(
                f"order {order_id} was reset and told to cancel, but no worker has ended it yet: "
                "is a worker running? `order-lifecycle worker all` starts both, and "
                f"`order-lifecycle status {order_id}` shows the progress"
            )
        text = f"repaired order {order_id}: it is {result.state}"
        write_answer(result.model_dump(mode="json"), as_json, text)

    run(main())


def send_request(
    order_id: str, update: str, signal_name: str, arguments: list[Any], signal: bool, as_json: bool
) -> None:
    """Send an Update and write its answer, or send the signal that asks for the same.

    Args:
        order_id: The order's ID.
        update: The name of the Update.
        signal_name: The name of the signal.
        arguments: The arguments of either.
        signal: Send the signal.
        as_json: Write the answer in JSON.
    """
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
