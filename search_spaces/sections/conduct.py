"""How a study is run and read: design, resources, packs and analysis."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from search_spaces.sections.section import Positive, Section, Whole


class Design(Section):
    """How configurations are chosen from the axes.

    Of every combination (`grid`), from points that are known beforehand (`sobol`, `random`), or one after another by
    what the ones before have scored (`tpe`, `gp`).
    """

    kind: Literal["grid", "sobol", "random", "tpe", "gp"] = "grid"
    """grid: every combination of levels; sobol, random: scattered points; tpe, gp: Optuna chooses each next point."""
    configurations: Whole | None = None
    """Points a family; not for a grid, whose levels say it."""
    seed: Annotated[int, Field(ge=0, strict=True)] = 0
    """Of the points."""
    scheduler: Literal["asha"] | None = None
    """asha ends trials of tpe and gp designs early where others do better after as many epochs."""

    @property
    def adaptive(self) -> bool:
        """Whether a configuration depends on what others have scored."""
        return self.kind in ("tpe", "gp")

    @model_validator(mode="after")
    def _all_but_grids_have_a_size(self) -> "Design":
        if self.kind == "grid" and self.configurations is not None:
            raise ValueError("a grid takes its size from the levels; remove 'configurations'")
        if self.kind != "grid" and self.configurations is None:
            raise ValueError(f"a {self.kind} design needs 'configurations', the number of points per family")
        if self.scheduler is not None and not self.adaptive:
            rule = f"scheduler is a setting of tpe and gp designs, and this one is {self.kind}"
            raise ValueError(f"{rule}; remove it, got {self.scheduler!r}")
        return self


class Resources(Section):
    """What one worker takes from the machine or cluster, and how long a trial may take.

    `trial_timeout` is in seconds. The trials of a pack share their time: a pack may take as much as its trials
    together, and where it takes longer, each of them runs alone.
    """

    cpus_per_pack: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1
    """Cores of a worker."""
    gpus_per_pack: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0
    """GPUs of a worker: a share of one, or whole ones."""
    trial_timeout: Positive | None = None
    """Seconds that a trial may take; as long as it needs unless given."""
    checkpoint_minutes: Positive = 10
    """How often a running pack is saved, so that a worker that is killed goes on from there."""

    @model_validator(mode="after")
    def _whole_gpus_above_one(self) -> "Resources":
        if self.gpus_per_pack > 1 and not self.gpus_per_pack.is_integer():
            raise ValueError(f"gpus_per_pack: expected a share of one GPU or whole GPUs, got {self.gpus_per_pack:g}")
        return self


class Pack(Section):
    """How many trials are at most stored as one unit, and whether their steps are computed as one or in a loop."""

    size: Whole = 32
    """At most so many trials are trained together and stored as one file."""
    fuse: Literal["auto", "always", "never"] = "auto"
    """Whether the trials of a pack are one batched computation; auto: where encoder, batch and device favour it."""


LOWER_IS_BETTER = (
    "final_loss", "alignment", "uniformity", "wasserstein", "mean_norm", "gradient_squared_bias", "gradient_variance",
    "simplex_distance", "cross_polytope_distance", "full_loss_gap",
)  # fmt: skip
"""Outcomes, without the prefix of their space, of which less is better."""


class Analysis(Section):
    """What the report asks of the results; `direction` follows from the outcome unless given."""

    outcome: str = "linear_top1"
    """The column of `trials` that the report is about."""
    direction: Literal["maximize", "minimize"] = "maximize"
    """Which outcomes are better; follows from the outcome unless given."""
    floor: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """What a failed trial counts as; for accuracies chance, else the worst outcome, unless given."""
    reference: str | None = None
    """The family that all others are compared with; none unless given."""
    tolerances: Annotated[list[Positive], Field(min_length=1)] = Field(default=[0.005, 0.01, 0.02])
    """How far below the best is nearly as good, in the outcome's unit."""
    equivalence: Positive | None = None
    """Differences below this are of no interest; the middle tolerance unless given."""

    @model_validator(mode="before")
    @classmethod
    def _direction_of_the_outcome(cls, raw: Any) -> Any:
        if isinstance(raw, dict) and raw.get("direction") is None:
            outcome = str(raw.get("outcome", "linear_top1")).removeprefix("h_").removeprefix("z_")
            return {**raw, "direction": "minimize" if outcome in LOWER_IS_BETTER else "maximize"}
        return raw
