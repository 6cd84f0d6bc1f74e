"""The command that measures whether the papers' statements hold."""

from io import BytesIO
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from robustness.cli.terminal import progress, show

if TYPE_CHECKING:
    import pandas as pd


def theory(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="one statement, such as T4; all of them unless given")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="also write every measurement, as Parquet")
    ] = None,
) -> int:
    """Measure whether the papers' statements hold, each as a program, and say so; about a minute and a half in all."""
    if out is not None:
        _check_writable(out)
    from analysis.labels import counted, listed
    from robustness.store import write_bytes
    from robustness.theory import STATEMENTS, failed, run

    chosen = {name.upper(): STATEMENTS[name.upper()]} if name is not None and _check(name) else dict(STATEMENTS)
    with progress() as bar:
        task = bar.add_task(next(iter(chosen)), total=len(chosen))
        measured = run(chosen, on_done=lambda done: bar.update(task, advance=1, description=done))
    show(_summary(measured) if name is None else _measurements(measured))
    unsound = failed(measured)
    if name is None and unsound:
        show(_measurements(measured[~measured["holds"]]))
    if out is not None:
        content = BytesIO()
        measured.to_parquet(content, index=False)
        write_bytes(out, content.getvalue(), replace=True)
    seconds = measured.drop_duplicates("statement")["seconds"].sum()
    verdict = f"{listed(unsound)} {'does' if len(unsound) == 1 else 'do'} not hold" if unsound else "all hold"
    counts = f"{counted(len(chosen), 'statement')}, {counted(len(measured), 'measurement')}"
    print(f"{counts} in {seconds:.0f} s: {verdict}")
    return int(bool(unsound))


def _check(name: str) -> bool:
    from robustness.theory import STATEMENTS
    from search_spaces.axes import suggestion

    if name.upper() not in STATEMENTS:
        raise typer.BadParameter(f"{name}: no statement of this name{suggestion(name.upper(), list(STATEMENTS))}")
    return True


def _check_writable(file: Path) -> None:
    """Before minutes of computing."""
    if not file.parent.is_dir():
        raise typer.BadParameter(f"--out: {file.parent}: no such folder")
    if file.is_dir():
        raise typer.BadParameter(f"--out: {file}: expected a file, got a folder")
    try:
        with TemporaryFile(dir=file.parent):
            pass
    except OSError as error:
        raise typer.BadParameter(f"--out: {file.parent}: can't write here: {error.strerror}") from None


def _summary(measured: "pd.DataFrame") -> Table:
    """A line a statement, with the first of its measurements."""
    from robustness.theory.verdicts import bounds

    table = Table("", "statement", "source", "first measured", "must be", "verdict")
    for name, rows in measured.groupby("statement", sort=False):
        first = rows.iloc[0]
        source = first["source"].rpartition("arXiv:")[2]
        verdict = f"holds: {len(rows)}" if rows["holds"].all() else f"does not: {(~rows['holds']).sum()} of {len(rows)}"
        quantity = f"{first['quantity']}: {first['measured']:.9g}"
        table.add_row(str(name), first["claim"], source, quantity, bounds(first), verdict)
    return table


def _measurements(measured: "pd.DataFrame") -> Table:
    from robustness.theory.verdicts import bounds

    table = Table("", "measured", "", "must be", "verdict")
    for _, row in measured.iterrows():
        verdict = "holds" if row["holds"] else "does not hold"
        table.add_row(row["statement"], row["quantity"], f"{row['measured']:.9g}", bounds(row), verdict)
    return table
