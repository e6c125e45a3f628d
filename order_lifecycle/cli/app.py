"""The command line: `order-lifecycle …` and `python -m order_lifecycle …`.

Exit status: 0; 1 when the system says no (an unknown order, too late, no server) or when standard
output cannot be written; 2 for bad input; 130 after Ctrl-C.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress

import typer

from order_lifecycle import streams
from order_lifecycle.cli.answers import describe_write_error
from order_lifecycle.cli.commands import all_orders, one_order, processes
from order_lifecycle.cli.errors import (
    AnswerNotWrittenError,
    CommandError,
    CommandInterruptedError,
)
from order_lifecycle.domain import BadInputError
from order_lifecycle.settings import NoServerError
from order_lifecycle.visible import visible_lines

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A real order on a real Temporal server: "
    "start it, approve it, change its address, cancel it, look at it.",
    epilog="Begin with `order-lifecycle demo`, or with `order-lifecycle up` and, in a second "
    "terminal, `order-lifecycle worker all`.",
)

COMMANDS: dict[str, Callable[..., None]] = {
    "start": one_order.start,
    "approve": one_order.approve,
    "update-address": one_order.update_address,
    "cancel": one_order.cancel,
    "status": one_order.status,
    "list": all_orders.list_orders,
    "tables": all_orders.tables,
    "audit": all_orders.audit,
    "repair": one_order.repair,
    "up": processes.up,
    "worker": processes.worker,
    "demo": processes.demo,
    "doctor": processes.doctor,
}
for name, command in COMMANDS.items():
    app.command(name)(command)


def main() -> None:
    """The entry point. No traceback for what a user can mend."""
    streams.prepare()
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
            streams.discard_output()
            status = _say(error, 1)
        except (CommandError, NoServerError) as error:
            status = _say(error, 1)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads has read enough, as `head` has
        streams.discard_output()
        return 1
    except streams.UnwritableError as error:
        streams.discard_output()
        return _say(describe_write_error(error), 1)
    return status


def _say(what: object, status: int) -> int:
    """Write one line to standard error, and return `status`."""
    with suppress(OSError):  # it is the last place where something can be said
        print(visible_lines(str(what)), file=sys.stderr, flush=True)
    return status
