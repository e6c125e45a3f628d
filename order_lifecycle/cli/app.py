"""The command line: `order-lifecycle …` and `python -m order_lifecycle …`.

Exit status:
- 0: the command did what you asked.
- 1: the system refused (an unknown order, too late, no server), or standard output cannot be
  written.
- 2: the input was not valid.
- 130: you pressed Ctrl-C.
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
    help="Start an order on a real Temporal server, approve it, change its address, cancel it, "
    "and look at it.",
    epilog="Start with `order-lifecycle demo`. Or run `order-lifecycle up`, and "
    "`order-lifecycle worker all` in a second terminal.",
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
    """Run the command line, and exit with its status.

    An error that the user can fix prints one line, without a traceback.
    """
    streams.prepare()
    sys.exit(_status())


def _status() -> int:
    """Run the command, print its error if it has one, and return the exit status."""
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
    except BrokenPipeError:  # the reader of the pipe has ended, as `head` does
        streams.discard_output()
        return 1
    except streams.UnwritableError as error:
        streams.discard_output()
        return _say(describe_write_error(error), 1)
    return status


def _say(what: object, status: int) -> int:
    """Write one line to standard error, and return `status`."""
    with suppress(OSError):  # if standard error fails too, only the status is left
        print(visible_lines(str(what)), file=sys.stderr, flush=True)
    return status
