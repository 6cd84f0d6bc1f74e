"""All commands, and how a mistake ends."""

import errno
import sys

import typer

from robustness.cli import exports, jobs, live, results, studies, theory

INTERRUPTED = 130
MISTAKES = (
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENOSPC, errno.EDQUOT,
)  # fmt: skip
"""System errors that a path or a full disk causes, and no fault of the program."""

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="How much does a contrastive loss depend on its hyperparameters, and when do its embeddings collapse?",
)

for _command in (
    studies.run,
    studies.sweep,
    jobs.submit,
    studies.plan,
    studies.studies,
    studies.schema,
    results.status,
    results.report,
    results.trial,
    results.embed,
    exports.export,
    results.verify,
    results.compact,
    live.watch,
    theory.theory,
):
    app.command()(_command)


def main() -> None:
    """Run the command; a user's mistake is one line on stderr and exit code 2."""
    try:
        code = app(standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except typer.TyperException as error:
        if str(error):
            _complain(f"{_said(error)}; see {_asked()} --help")
        code = 2
    except (ValueError, OSError) as error:
        if not _is_mistake(error):
            raise
        _complain(" ".join(str(error).split()))
        code = 2
    if code == INTERRUPTED:
        _complain("interrupted; what was stored stays, the same command continues")
    sys.exit(code or 0)


def _said(error: typer.TyperException) -> str:
    """With the name of the option or argument, where Typer itself has refused its value."""
    return error.format_message().rstrip(".") if getattr(error, "param", None) is not None else str(error)


def _asked() -> str:
    """The command whose help says more: `robustness report`, which has options of two kinds; else all of them."""
    return "robustness report" if sys.argv[1:2] == ["report"] else "robustness"


def _is_mistake(error: Exception) -> bool:
    """Whether a user caused it: our own one-line errors, and files that can't be written."""
    from analysis.table import TableError
    from robustness.store import StoreError
    from search_spaces import StudyError

    if isinstance(error, OSError):
        return error.errno in MISTAKES
    if isinstance(error, StudyError | StoreError | TableError):
        return True
    from robustness.data import DataError

    return isinstance(error, DataError)


def _complain(line: str) -> None:
    from analysis.labels import visible

    print(visible(line), file=sys.stderr)
