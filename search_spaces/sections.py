"""The sections of a study file and their defaults, as pydantic models that forbid unknown keys."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Whole = Annotated[int, Field(ge=1, strict=True)]


class Section(BaseModel):
    """A part of a study file: frozen, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(Section):
    """Which images, and how their views are made; `augmentation: null` is the data set's own preset."""

    dataset: str | list[str]
    augmentation: str | None = None

    @property
    def datasets(self) -> tuple[str, ...]:
        """The names, whether one or several were given."""
        return (self.dataset,) if isinstance(self.dataset, str) else tuple(self.dataset)


class Model(Section):
    """Encoder and projector; `projector` lists the widths of its layers, the embedding's last."""

    encoder: str = "mlp"
    projector: Annotated[list[Whole], Field(min_length=1)] = [128, 32]
    projector_batch_norm: Annotated[bool, Field(strict=True)] = False


class Training(Section):
    """How long and how a trial trains; exactly one of epochs, updates and images is fixed."""

    epochs: Whole | None = None
    updates: Whole | None = None
    images: Whole | None = None
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: Positive = 0.1
    learning_rate_scaling: Literal["none", "linear", "sqrt"] = "none"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    clip_norm: Positive | None = None
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_epochs: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    precision: Literal["float32", "float64"] = "float32"

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


class Evaluation(Section):
    """What is measured: probes, on up to `images` test images, and every so many epochs if `every` is set."""

    probes: list[Literal["linear", "knn"]] = ["linear", "knn"]
    every: Whole | None = None
    images: Annotated[int, Field(ge=2, strict=True)] = 10_000


class Design(Section):
    """How configurations are chosen from the axes."""

    kind: Literal["grid", "sobol", "random"] = "grid"
    configurations: Whole | None = None
    seed: Annotated[int, Field(ge=0, strict=True)] = 0

    @model_validator(mode="after")
    def _scattered_designs_have_a_size(self) -> "Design":
        if self.kind == "grid" and self.configurations is not None:
            raise ValueError("a grid takes its size from the levels; remove 'configurations'")
        if self.kind != "grid" and self.configurations is None:
            raise ValueError(f"a {self.kind} design needs 'configurations', the number of points per family")
        return self


class Resources(Section):
    """What one worker takes from the machine or cluster."""

    cpus_per_pack: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1
    gpus_per_pack: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0


class Pack(Section):
    """How many trials are at most stored, and trained side by side, as one unit."""

    size: Whole = 32


class Analysis(Section):
    """What the report asks of the results; `reference` is the family that others are compared with."""

    outcome: str = "linear_top1"
    direction: Literal["maximize", "minimize"] = "maximize"
    floor: float | None = None
    reference: str | None = None
    tolerances: Annotated[list[Positive], Field(min_length=1)] = [0.005, 0.01, 0.02]
    equivalence: Positive | None = None


class StudyFile(Section):
    """The whole file; axes and families are read further by `search_spaces.study`."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)]
    data: Data
    model: Model = Model()
    training: Training = Training(epochs=20)
    evaluation: Evaluation = Evaluation()
    design: Design = Design()
    seeds: Annotated[int, Field(strict=True)] | list[Annotated[int, Field(ge=0, strict=True)]] = 5
    axes: dict[str, Any] = {}
    families: dict[str, Any]
    resources: Resources = Resources()
    pack: Pack = Pack()
    analysis: Analysis = Analysis()
