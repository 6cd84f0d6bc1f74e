"""Parts of the quickstart study: the work that the benchmarks of sweeps are done on."""

from collections.abc import Sequence
from dataclasses import dataclass

from search_spaces import Study, load_study, parse_study
from search_spaces.families import UNTRAINED

QUICKSTART = load_study("quickstart")
FAMILIES = tuple(label for label in QUICKSTART.families if label != UNTRAINED)
BATCH_SIZES = tuple(int(size) for size in QUICKSTART.axes["batch_size"].levels)
assert QUICKSTART.training.epochs is not None
EPOCHS = QUICKSTART.training.epochs


@dataclass(frozen=True)
class Configuration:
    """A family and the value of the hyperparameter that the quickstart sweeps."""

    family: str
    value: float


def swept(family: str) -> str:
    """The hyperparameter that the quickstart sweeps for a family."""
    return next(name for name, axis in QUICKSTART.families[family].axes.items() if axis.varies)


def configurations(families: Sequence[str]) -> list[Configuration]:
    """Every level of every family, as the quickstart has them."""
    return [
        Configuration(family, float(value))
        for family in families
        for value in QUICKSTART.families[family].axes[swept(family)].levels
    ]


def part_of_quickstart(
    chosen: Sequence[Configuration],
    *,
    batch_sizes: Sequence[int],
    seeds: Sequence[int],
    epochs: int,
    pack_size: int = QUICKSTART.pack.size,
) -> Study:
    """The quickstart with these configurations at these batch sizes and seeds only.

    Raises:
        StudyError: a value that a study must not have, in one line.
    """
    raw = QUICKSTART.written()
    written = raw["families"]
    families = {
        label: {**written[label], swept(label): {"values": [each.value for each in chosen if each.family == label]}}
        for label in dict.fromkeys(each.family for each in chosen)
    }
    return parse_study(
        {
            **raw,
            "families": families,
            "axes": {"batch_size": {"values": list(batch_sizes)}},
            "seeds": list(seeds),
            "training": {**raw["training"], "epochs": epochs},
            "pack": {**raw["pack"], "size": pack_size},
            "analysis": {"outcome": QUICKSTART.analysis.outcome},
        },
        "quickstart",
    )
