"""What commands share: their arguments, and how they print."""

from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

FolderArgument = Annotated[str, typer.Argument(metavar="DIR", help="the results of a study: a folder or a URI")]
TrialArgument = Annotated[
    str, typer.Argument(metavar="TRIAL_ID", help="a planned trial: its id, or the first digits that no other has")
]


def progress() -> Progress:
    """A bar on a terminal, which goes when it is full; elsewhere nothing. Lines are printed above it."""
    console = Console()
    return Progress(console=console, transient=True, disable=not console.is_terminal)


def show(table: Table) -> None:
    """Print a table on stdout, as wide as the terminal or, piped, as the table needs."""
    # What stands in brackets is a name of the user's, not a style.
    console = Console(markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console.width = 10_000
    console.print(table)
