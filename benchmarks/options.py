"""Types of command-line options."""

import argparse
from collections.abc import Callable


def whole_number(*, at_least: int) -> Callable[[str], int]:
    """A type for argparse that refuses smaller numbers in one line."""

    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < at_least:
            raise argparse.ArgumentTypeError(f"expected a whole number of at least {at_least}, got {text}")
        return int(text)

    return parse
