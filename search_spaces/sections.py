"""The sections of a study file and their defaults, as pydantic models that forbid unknown keys."""

from pathlib import PurePath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Whole = Annotated[int, Field(ge=1, strict=True)]


class Section(BaseModel):
    """A part of a study file: frozen, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _names(raw: Any) -> Any:
    names = [raw] if isinstance(raw, str) else raw
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"expected a name or a list of names, got {raw!r}")
    if len(set(names)) < len(names):
        raise ValueError(f"expected different names, got {raw!r}")
    return raw


def _seeds(raw: Any) -> Any:
    seeds = [raw] if not isinstance(raw, list) else raw
    if not all(isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed < 2**63 for seed in seeds):
        raise ValueError(f"expected a number of seeds or a list of whole numbers from 0, got {raw!r}")
    return raw


class Data(Section):
    """Which images, and how their views are made; `augmentation: null` is the data set's own preset.

    One of: `dataset`, names of known data sets; `imagefolder`, a folder with train/CLASS/*.jpg and test/CLASS/*.jpg,
    resized to `image_size`; `npz`, a file of arrays. `root` is where known data sets lie or are downloaded to.
    """

    dataset: Annotated[str | list[str] | None, BeforeValidator(_names)] = None
    imagefolder: Annotated[str, Field(min_length=1)] | None = None
    npz: Annotated[str, Field(min_length=1)] | None = None
    root: Annotated[str, Field(min_length=1)] = "data"
    download: Annotated[bool, Field(strict=True)] = False
    image_size: Annotated[int, Field(ge=8, strict=True)] | None = None
    augmentation: str | None = None

    @model_validator(mode="after")
    def _one_source(self) -> "Data":
        given = [key for key in ("dataset", "imagefolder", "npz") if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(f"expected one of dataset, imagefolder and npz, got {' and '.join(given) or 'none'}")
        if self.image_size is not None and self.imagefolder is None:
            raise ValueError(f"image_size is a setting of imagefolder; remove it, got {self.image_size}")
        return self

    @property
    def datasets(self) -> tuple[str, ...]:
        """The names, whether one or several were given; files and folders go by their own name."""
        path = self.imagefolder or self.npz
        if path is not None:
            return (PurePath(path).stem,)
        return (self.dataset,) if isinstance(self.dataset, str) else tuple(self.dataset or ())


class Model(Section):
    """Encoder and projector; `projector` lists the widths of its layers, the embedding's last."""

    encoder: str = "mlp"
    projector: Annotated[list[Annotated[int, Field(ge=2, strict=True)]], Field(min_length=1)] = [128, 32]
    projector_batch_norm: Annotated[bool, Field(strict=True)] = False


class Training(Section):
    """How long and how a trial trains; exactly one of epochs, updates and images is fixed.

    `momentum` is that of SGD and LARS, 0.9 unless given. In bfloat16 and float16 the network runs under autocast:
    weights, similarities and logarithms stay in float32. `channels_last` lays images out as convolutions on a GPU
    like them, and `compile` compiles the step: both are faster and neither changes what is computed. `micro_batch`
    is how many images are embedded at once, the whole batch unless given; `tile` how many anchors a loss takes at
    once, as many as suit its batch unless given. Both save memory.
    """

    epochs: Whole | None = None
    updates: Whole | None = None
    images: Whole | None = None
    optimizer: Literal["sgd", "adamw", "lars"] = "sgd"
    learning_rate: Positive = 0.1
    learning_rate_scaling: Literal["none", "linear", "sqrt"] = "none"
    momentum: Annotated[float, Field(ge=0, lt=1)] | None = None
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    clip_norm: Positive | None = None
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_epochs: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    precision: Literal["float32", "float64", "bfloat16", "float16"] = "float32"
    micro_batch: Whole | None = None
    tile: Whole | None = None
    channels_last: Annotated[bool, Field(strict=True)] | None = None
    compile: Annotated[bool, Field(strict=True)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_length(cls, raw: Any) -> Any:
        lengths = ("epochs", "updates", "images")
        if isinstance(raw, dict):
            given = [key for key in lengths if raw.get(key) is not None]
            if len(given) > 1:
                raise ValueError(f"expected one of epochs, updates and images, got {' and '.join(given)}")
            if not given:
                return {**raw, "epochs": 20}
        return raw

    @model_validator(mode="after")
    def _warmup_ends(self) -> "Training":
        if self.epochs is not None and self.warmup_epochs > self.epochs:
            raise ValueError(f"expected warmup_epochs of at most the {self.epochs} epochs, got {self.warmup_epochs:g}")
        return self

    @model_validator(mode="before")
    @classmethod
    def _momentum_of_sgd(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        if raw.get("optimizer", "sgd") in ("sgd", "lars"):
            return {"momentum": 0.9, **raw}
        if raw.get("momentum") is not None:
            raise ValueError(f"momentum is a setting of sgd and lars; remove it, got {raw['momentum']!r}")
        return raw


class Evaluation(Section):
    """What is measured: probes, on up to `images` test images, and every so many epochs if `every` is set.

    `keep` stores the weights of trained encoders: of each family's best configuration or of all.
    """

    probes: list[Literal["linear", "knn", "linear_sgd", "retrieval"]] = ["linear", "knn"]
    every: Whole | None = None
    keep: Literal["none", "best", "all"] = "none"
    images: Annotated[int, Field(ge=2, strict=True)] = 10_000


class Design(Section):
    """How configurations are chosen from the axes.

    Of every combination (`grid`), from points that are known beforehand (`sobol`, `random`), or one after another by
    what the ones before have scored (`tpe`, `gp`). `scheduler: asha` ends trials of the latter early where others do
    better after as many epochs.
    """

    kind: Literal["grid", "sobol", "random", "tpe", "gp"] = "grid"
    configurations: Whole | None = None
    seed: Annotated[int, Field(ge=0, strict=True)] = 0
    scheduler: Literal["asha"] | None = None

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
    gpus_per_pack: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0
    trial_timeout: Positive | None = None
    checkpoint_minutes: Positive = 10

    @model_validator(mode="after")
    def _whole_gpus_above_one(self) -> "Resources":
        if self.gpus_per_pack > 1 and not self.gpus_per_pack.is_integer():
            raise ValueError(f"gpus_per_pack: expected a share of one GPU or whole GPUs, got {self.gpus_per_pack:g}")
        return self


class Pack(Section):
    """How many trials are at most stored as one unit, and whether their steps are computed as one or in a loop.

    `fuse: auto` does what is faster for the encoder, the batch size and the device.
    """

    size: Whole = 32
    fuse: Literal["auto", "always", "never"] = "auto"


LOWER_IS_BETTER = ("final_loss", "alignment", "uniformity", "wasserstein", "mean_norm")
"""Outcomes, without the prefix of their space, of which less is better."""


class Analysis(Section):
    """What the report asks of the results; `direction` follows from the outcome unless given."""

    outcome: str = "linear_top1"
    direction: Literal["maximize", "minimize"] = "maximize"
    floor: Annotated[float, Field(allow_inf_nan=False)] | None = None
    reference: str | None = None
    tolerances: Annotated[list[Positive], Field(min_length=1)] = [0.005, 0.01, 0.02]
    equivalence: Positive | None = None

    @model_validator(mode="before")
    @classmethod
    def _direction_of_the_outcome(cls, raw: Any) -> Any:
        if isinstance(raw, dict) and raw.get("direction") is None:
            outcome = str(raw.get("outcome", "linear_top1")).removeprefix("h_").removeprefix("z_")
            return {**raw, "direction": "minimize" if outcome in LOWER_IS_BETTER else "maximize"}
        return raw


class StudyFile(Section):
    """The whole file; axes and families are read further by `search_spaces.study`."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)]
    data: Data
    model: Model = Model()
    training: Training = Training(epochs=20)
    evaluation: Evaluation = Evaluation()
    design: Design = Design()
    seeds: Annotated[int | list[int], BeforeValidator(_seeds)] = 5
    axes: dict[str, Any] = {}
    families: dict[str, Any]
    resources: Resources = Resources()
    pack: Pack = Pack()
    analysis: Analysis = Analysis()
