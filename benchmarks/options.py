"""Command-line options that benchmarks share, and their types."""

import argparse
from collections.abc import Callable
from pathlib import Path


def whole_number(*, at_least: int) -> Callable[[str], int]:
    """A type for argparse that refuses smaller numbers in one line."""

    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < at_least:
            raise argparse.ArgumentTypeError(f"expected a whole number of at least {at_least}, got {text}")
        return int(text)

    return parse


def with_targets(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The parser with `--acceptance` and `--json`."""
    parser.add_argument(
        "--acceptance", action="store_true", help="compare with the targets; exit code 1 if one is missed"
    )
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser
