"""The command that follows a sweep in a browser."""

from datetime import timedelta
from typing import Annotated

import typer

from robustness.cli.terminal import FolderArgument

DAY = 86_400


def watch(
    folder: FolderArgument,
    host: Annotated[str, typer.Option("--host", help="where to listen: an address of this machine")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="0: any that is free")] = 0,
    every: Annotated[int, typer.Option("--every", metavar="SECONDS", help="a new report at most so often")] = 60,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="listen where other machines reach it; nothing is encrypted")
    ] = False,
) -> None:
    """Serve a page that follows a sweep: how it stands, and the report as results land; reads only. Ctrl-C ends it."""
    from robustness.store import open_folder
    from robustness.watch import AddressError, listen, serve

    if not 1 <= every <= DAY:
        raise typer.BadParameter(f"--every: expected 1 to {DAY} seconds, got {every}")
    try:
        listening = listen(host, port, insecure=insecure)
    except AddressError as error:
        raise typer.BadParameter(str(error)) from None
    serve(
        open_folder(folder),
        listening,
        every=timedelta(seconds=every),
        any_host=insecure,
        on_ready=lambda url: print(f"watch: {url}", flush=True),
    )
