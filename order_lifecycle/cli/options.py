"""The arguments and options that several commands have."""

from typing import Annotated

import typer

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
