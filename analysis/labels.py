"""How columns and numbers are written for a reader: accuracies in percent, everything else as it is."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MISSING = "\u2013"
PLUS_MINUS = "\u00b1"

_ACCURACIES = {
    "linear_top1": "linear probe accuracy",
    "linear_top1_validation": "linear probe validation accuracy",
    "linear_sgd_top1": "linear probe (SGD) accuracy",
    "knn_top1": "nearest-neighbour accuracy",
    "retrieval_top1": "retrieval accuracy",
    "retrieval_noise_top1": "retrieval accuracy under noise",
    "retrieval_blur_top1": "retrieval accuracy under blur",
    "retrieval_contrast_top1": "retrieval accuracy at low contrast",
    "retrieval_brightness_top1": "retrieval accuracy of bright images",
    "retrieval_pixelate_top1": "retrieval accuracy of pixelated images",
    "retrieval_corrupted_top1": "retrieval accuracy under corruptions",
    "retrieval_cifar_c_top1": "retrieval accuracy on CIFAR-C",
    "z_linear_top1": "linear probe accuracy of embeddings",
    "z_knn_top1": "nearest-neighbour accuracy of embeddings",
}
_SPACES = {"h_": "representations", "z_": "embeddings"}

_NO_TEXT = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
"""Control characters, separators of lines, what turns the direction of other text, halves of characters."""

_RIGHT_TO_LEFT = "\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff"
_TURNED = re.compile(f"[{_RIGHT_TO_LEFT}](?:[{_RIGHT_TO_LEFT} ]*[{_RIGHT_TO_LEFT}])?")


@dataclass(frozen=True)
class Quantity:
    """An outcome as it is shown.

    Args:
        column: its name in the tables.
        label: its name in words, in lower case.
        unit: what stands behind the number, empty where it has none.
        difference_unit: what stands behind a difference of two such numbers.
        factor: shown number divided by stored number.
        digits: digits after the point.
    """

    column: str
    label: str
    unit: str = ""
    difference_unit: str = ""
    factor: float = 1.0
    digits: int = 3

    @property
    def title(self) -> str:
        """The label with its unit, as an axis carries it."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    def number(self, value: float | None) -> str:
        """The number without its unit, a dash where there is none."""
        if value is None or math.isnan(value):
            return MISSING
        return f"{value * self.factor:z.{self.digits}f}"

    def text(self, value: float | None) -> str:
        """The number with its unit."""
        return _with_unit(self.number(value), self.unit)

    def difference(self, value: float | None) -> str:
        """A difference of two such numbers with its unit."""
        return _with_unit(self.number(value), self.difference_unit)


def share(value: float | None) -> str:
    """A share 0..1 in whole percent, a dash where there is none; only 0 is 0 % and only 1 is 100 %."""
    if value is None or math.isnan(value):
        return MISSING
    if 0 < value < 0.005:
        return "<1 %"
    return ">99 %" if 0.995 < value < 1 else f"{value * 100:.0f} %"


def quantity(column: str) -> Quantity:
    """How an outcome column is shown."""
    if column in _ACCURACIES:
        return Quantity(column, _ACCURACIES[column], "%", "percentage points", factor=100.0, digits=1)
    if column == "failed":
        return Quantity(column, "failed trials", "%", "percentage points", factor=100.0, digits=0)
    digits = 1 if "rank" in column else 3
    prefix = column[:2]
    if prefix in _SPACES:
        return Quantity(column, f"{words(column[2:])} of {_SPACES[prefix]}", digits=digits)
    return Quantity(column, words(column), digits=digits)


def words(name: str) -> str:
    """A column's name in words."""
    return visible(name).replace("_", " ")


def level(value: Any) -> str:
    """A value of an axis: three significant digits for numbers that are not whole."""
    if isinstance(value, str):
        return visible(value)
    return f"{value:.0f}" if float(value).is_integer() and abs(value) < 1e6 else f"{value:.3g}"


def setting(values: Mapping[str, Any]) -> str:
    """The values of some axes: `batch size 64, temperature 0.316`."""
    return ", ".join(f"{words(name)} {level(value)}" for name, value in values.items())


LONGEST = 28
"""Letters of a label that fits above a panel of the page."""


def visible(text: str) -> str:
    """A text on one line that does nothing to a terminal or to its neighbours: other characters as `\\x1b`."""
    return _NO_TEXT.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def isolated(text: str) -> str:
    """A visible text whose words from right to left do not turn the numbers and words beside them."""
    return _TURNED.sub("\u2068\\g<0>\u2069", visible(text))


def on_page(value: Any) -> Any:
    """What a template puts out: text visible and isolated, markup and numbers as they are."""
    return isolated(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def short(label: str, *, longest: int = LONGEST) -> str:
    """A label that fits above a panel; a longer one ends in an ellipsis."""
    label = visible(label)
    return label if len(label) <= longest else label[: longest - 1] + "\u2026"


def listed(names: list[str]) -> str:
    """`a`, `a and b`, or `a, b and c`."""
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)


def shortened(names: list[str], *, most: int = 6) -> str:
    """The same for a sentence: of more names than `most` the first four, `and 30 others`."""
    return listed(names if len(names) <= most else [*names[:4], f"{len(names) - 4} others"])


def counted(count: int, noun: str) -> str:
    """`1 trial`, `2 trials`, `1,050 trials`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _with_unit(number: str, unit: str) -> str:
    if number == MISSING or not unit:
        return number
    return f"{number} {unit}"
