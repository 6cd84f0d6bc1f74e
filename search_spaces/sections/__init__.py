"""The sections of a study file and their defaults, as pydantic models that forbid unknown keys."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from search_spaces.sections.conduct import LOWER_IS_BETTER, Analysis, Design, Pack, Resources
from search_spaces.sections.content import Data, Evaluation, Model, Training
from search_spaces.sections.section import Section

__all__ = [
    "LOWER_IS_BETTER",
    "Analysis",
    "Data",
    "Design",
    "Evaluation",
    "Model",
    "Pack",
    "Resources",
    "Section",
    "StudyFile",
    "Training",
]


def _seeds(raw: Any) -> Any:
    seeds = [raw] if not isinstance(raw, list) else raw
    if not all(isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed < 2**63 for seed in seeds):
        raise ValueError(f"expected a number of seeds or a list of whole numbers from 0, got {raw!r}")
    return raw


class StudyFile(Section):
    """The whole file; axes and families are read further by `search_spaces.study`."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)]
    """Letters, digits and `_-.`; results go to results/NAME."""
    data: Data
    """Which images, and how their views are made."""
    model: Model = Model()
    """Encoder and projector."""
    training: Training = Training(epochs=20)
    """How long and how a trial trains."""
    evaluation: Evaluation = Evaluation()
    """What is measured of it."""
    design: Design = Design()
    """How configurations are chosen from the axes."""
    seeds: Annotated[int | list[int], BeforeValidator(_seeds)] = 5
    """How many, or which: every configuration runs at each."""
    axes: dict[str, Any] = Field(default={})
    """Axes that all families share which have them."""
    families: dict[str, Any]
    """The losses, each `default` or a mapping of its own axes."""
    resources: Resources = Resources()
    """What a worker takes from the machine or cluster."""
    pack: Pack = Pack()
    """Trials that are trained and stored together."""
    analysis: Analysis = Analysis()
    """What the report asks of the results."""
