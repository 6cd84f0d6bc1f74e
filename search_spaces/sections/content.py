"""What a trial is made of: data, model, training and evaluation."""

from pathlib import PurePath
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from search_spaces.datasets import MOST_PAIRS, PAIRS, pairs_name
from search_spaces.sections.section import Positive, Section, Whole


def _names(raw: Any) -> Any:
    names = [raw] if isinstance(raw, str) else raw
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"expected a name or a list of names, got {raw!r}")
    if len(set(names)) < len(names):
        raise ValueError(f"expected different names, got {raw!r}")
    return raw


def _numbers_of_pairs(raw: Any) -> Any:
    sizes = raw if isinstance(raw, list) else [raw]
    whole = [size for size in sizes if isinstance(size, int) and not isinstance(size, bool)]
    if (
        not sizes
        or len(whole) < len(sizes)
        or min(whole) < 2
        or max(whole) > MOST_PAIRS
        or len(set(whole)) < len(whole)
    ):
        raise ValueError(f"expected a number of pairs from 2 to {MOST_PAIRS}, or a list of different ones, got {raw!r}")
    return raw


class Data(Section):
    """Which images, one of `dataset`, `imagefolder` and `npz`, and how their views are made."""

    dataset: Annotated[str | list[str] | None, BeforeValidator(_names)] = None
    """A known data set, or a list of them: then every configuration runs on each."""
    num_pairs: Annotated[int | list[int] | None, BeforeValidator(_numbers_of_pairs)] = None
    """Of `dataset: pairs`: how many pairs of free embeddings, or a list: each is a data set, named pairs_8."""
    imagefolder: Annotated[str, Field(min_length=1)] | None = None
    """A folder of your own with train/CLASS/*.jpg and test/CLASS/*.jpg (or val/CLASS/*.jpg)."""
    npz: Annotated[str, Field(min_length=1)] | None = None
    """A file of your own with the arrays train_images, train_labels, test_images and test_labels."""
    root: Annotated[str, Field(min_length=1)] = "data"
    """Where known data sets lie or are downloaded to."""
    download: Annotated[bool, Field(strict=True)] = False
    """Whether a known data set that is not there is fetched."""
    image_size: Annotated[int, Field(ge=8, strict=True)] | None = None
    """Of `imagefolder`: images are resized to this many pixels a side."""
    augmentation: str | None = None
    """cifar, stl, imagenet, crop_flip, affine or affine_erasing; the data set's own unless given."""

    @model_validator(mode="after")
    def _one_source(self) -> "Data":
        given = [key for key in ("dataset", "imagefolder", "npz") if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(f"expected one of dataset, imagefolder and npz, got {' and '.join(given) or 'none'}")
        if self.image_size is not None and self.imagefolder is None:
            raise ValueError(f"image_size is a setting of imagefolder; remove it, got {self.image_size}")
        if (self.num_pairs is not None) != (self.dataset == PAIRS):
            rule = "expected dataset: pairs and num_pairs together, for embeddings that are optimised directly"
            raise ValueError(f"{rule}, got dataset {self.dataset!r} and num_pairs {self.num_pairs!r}")
        return self

    @property
    def datasets(self) -> tuple[str, ...]:
        """The names, whether one or several were given; files and folders go by their own name."""
        path = self.imagefolder or self.npz
        if path is not None:
            return (PurePath(path).stem,)
        if self.num_pairs is not None:
            sizes = self.num_pairs if isinstance(self.num_pairs, list) else [self.num_pairs]
            return tuple(pairs_name(size) for size in sizes)
        return (self.dataset,) if isinstance(self.dataset, str) else tuple(self.dataset or ())


class Model(Section):
    """The encoder, whose representations are measured, and the projector, whose embeddings the loss sees."""

    encoder: str = "mlp"
    """mlp, convnet_small, convnet, deep_linear, relu_two_layer, table, or resnet18 and other models of torchvision."""
    projector: Annotated[list[Annotated[int, Field(ge=2, strict=True)]], Field(min_length=1)] = Field(default=[128, 32])
    """The widths of the projector's layers, the embedding's last."""
    projector_batch_norm: Annotated[bool, Field(strict=True)] = False
    """Whether batch normalisation follows the hidden layers of the projector."""


class Training(Section):
    """How long and how a trial trains; one of epochs, updates and images is fixed."""

    epochs: Whole | None = None
    """Passes over the training images; 20 where no length is given."""
    updates: Whole | None = None
    """Optimiser steps, in place of epochs."""
    images: Whole | None = None
    """Images seen, in place of epochs."""
    optimizer: Literal["sgd", "adamw", "lars"] = "sgd"
    """What updates the weights."""
    learning_rate: Positive = 0.1
    """At the end of the warm-up, before scaling."""
    learning_rate_scaling: Literal["none", "linear", "sqrt"] = "none"
    """With the batch size, relative to a batch of 256."""
    momentum: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Of SGD and LARS; 0.9 there unless given."""
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Of the optimiser."""
    clip_norm: Positive | None = None
    """The longest gradient, over all weights; not clipped unless given."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """Of the learning rate after the warm-up."""
    warmup_epochs: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Over which the learning rate rises from 0."""
    precision: Literal["float32", "float64", "bfloat16", "float16"] = "float32"
    """In bfloat16 and float16 the network runs under autocast; weights, similarities and logarithms stay in float32."""
    micro_batch: Whole | None = None
    """How many images are embedded at once, to save memory; the whole batch unless given, and its exact gradient."""
    tile: Whole | None = None
    """How many anchors a loss takes at once, to save memory; as many as suit the batch unless given."""
    channels_last: Annotated[bool, Field(strict=True)] | None = None
    """Lays images out as convolutions on a GPU like them; changes speed only."""
    compile: Annotated[bool, Field(strict=True)] | None = None
    """Compiles the step; changes speed only."""

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
    """What is measured, when, and whose weights are kept."""

    probes: list[Literal["linear", "knn", "linear_sgd", "retrieval", "corruptions", "cifar_c", "gradient"]] = Field(
        default=["linear", "knn"]
    )
    """What is measured besides geometry: accuracies, retrieval (also under corruptions), gradients of mini-batches."""
    every: Whole | None = None
    """Also measure after every so many epochs, into `history`; only at the end unless given."""
    keep: Literal["none", "best", "all"] = "none"
    """Whose trained weights are stored: nobody's, those of each family's best configuration, or all."""
    images: Annotated[int, Field(ge=2, strict=True)] = 10_000
    """At most so many test images are measured on."""
