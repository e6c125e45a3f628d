"""Arguments and options that several commands share."""

from typing import Annotated

import typer

OrderId = Annotated[
    str, typer.Argument(help="The order's ID, for example abc-001.", show_default=False)
]
AddressJson = Annotated[
    str,
    typer.Option(
        "--address",
        help='JSON: {"address": …, "city": …}. "state", "zipcode" and "country" (two letters, such '
        "as US) are optional. Or @address.json for a file, or - for standard input.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON.")]
AsSignal = Annotated[
    bool,
    typer.Option("--signal", help="Send a signal, which returns no answer, instead of an Update."),
]
