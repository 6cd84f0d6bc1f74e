"""The quickstart's trials in plain Ray Tune: one configuration per Tune trial, as its users write it.

A function trainable on one CPU with actors that are reused; a `Dataset` of PIL images with torchvision's transforms
and a `DataLoader`; losses in a few lines of torch; scikit-learn for the probes. Network, initial weights, optimiser,
schedule, splits and probes are those of the quickstart. What differs: shuffles and augmentations are drawn from
torch's global generator; images have 8 bits; torchvision rounds shifts to whole pixels; nothing is measured before
the end, and of the end only the two accuracies. The loader has no processes of its own: every CPU has a trial.
"""

import os
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Read by ray when it is imported, and its token, which closes the local cluster to other users, once a process.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))

import pandas as pd
import plain_torch
import ray
import torch
import torch.nn.functional as F
from PIL import Image
from ray import tune
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from robustness.data.datasets import Split, Splits, digits
from robustness.seeds import derive
from robustness.trial import Trial
from search_spaces.datasets import DATASETS

STRENGTHS = (1e-1, 1e-2, 1e-3, 1e-4)
NEIGHBOURS = 5
MEAN, DEVIATION = DATASETS["digits"].mean, DATASETS["digits"].deviation
_OBJECT_STORE_BYTES = 256 * 2**20


def kcl_log(u: Tensor, v: Tensor, *, bandwidth: float, gamma: float) -> Tensor:
    """`plain_torch.kcl_gaussian` with the logarithmic kernel."""
    return _kernel_loss(u, v, lambda r: torch.log1p(bandwidth * r) / -2, gamma)


def kcl_imq(u: Tensor, v: Tensor, *, kernel_scale: float, gamma: float) -> Tensor:
    """`plain_torch.kcl_gaussian` with the inverse multiquadric kernel."""
    return _kernel_loss(u, v, lambda r: (1 + r / kernel_scale**2).rsqrt(), gamma)


LOSSES: Mapping[str, Callable[..., Tensor]] = {
    "info_nce": plain_torch.info_nce,
    "nt_xent": plain_torch.nt_xent,
    "dcl": plain_torch.dcl,
    "dhel": plain_torch.dhel,
    "kcl_gaussian": plain_torch.kcl_gaussian,
    "kcl_log": kcl_log,
    "kcl_imq": kcl_imq,
}


class TwoViews(Dataset[tuple[Tensor, Tensor]]):
    """Two random views of every image: shape (1, 8, 8) each, standardised."""

    def __init__(self, images: Tensor) -> None:
        self.images = [Image.fromarray(image) for image in (255 * images.squeeze(1)).round().byte().numpy()]
        self.transform = transforms.Compose(
            [
                transforms.RandomAffine(
                    15,
                    translate=(0.15, 0.15),
                    scale=(0.75, 1.25),
                    interpolation=transforms.InterpolationMode.BILINEAR,
                ),
                transforms.ToTensor(),
                transforms.RandomErasing(p=0.5, scale=(0.05, 0.2), value=0),
                transforms.Normalize(MEAN, DEVIATION),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.transform(self.images[index]), self.transform(self.images[index])


class Encoder(nn.Module):
    """The quickstart's encoder and projector, for standardised images."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU())
        self.projector = nn.Sequential(nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 32))

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings, shape (n, 32)."""
        return self.projector(self.encoder(images))


def initial_encoder(seed: int) -> Encoder:
    """With the initial weights of our trials of this seed."""
    torch.manual_seed(derive(seed, "weights", "mlp", (128, 32)))
    return Encoder()


def fit(trial: Trial, images: Tensor) -> Encoder:
    """Train the encoder and the projector of one trial."""
    training = trial.training
    assert training is not None
    model, loss = initial_encoder(trial.seed), LOSSES[trial.loss]
    torch.manual_seed(trial.seed)
    loader = DataLoader(TwoViews(images), batch_size=training["batch_size"], shuffle=True, drop_last=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=training["learning_rate"], momentum=training["momentum"])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=training["epochs"] * len(loader))
    for _ in range(training["epochs"]):
        for first, second in loader:
            u, v = model(torch.cat([first, second])).chunk(2)
            optimizer.zero_grad()
            loss(u, v, **trial.hyperparameters).backward()
            optimizer.step()
            schedule.step()
    return model


def probe(model: Encoder, splits: Splits) -> dict[str, float]:
    """Accuracies of a linear classifier, its strength chosen on the validation split, and of nearest neighbours."""
    parts = (splits.fit, splits.validation, splits.test)
    (fit_x, fit_y), (validation_x, validation_y), (test_x, test_y) = (_features(model, part) for part in parts)
    scaler = StandardScaler().fit(fit_x)
    scaled = scaler.transform(fit_x)
    classifiers = [LogisticRegression(C=1 / (s * len(fit_x)), max_iter=1000).fit(scaled, fit_y) for s in STRENGTHS]
    best = max(classifiers, key=lambda each: each.score(scaler.transform(validation_x), validation_y))
    neighbours = KNeighborsClassifier(NEIGHBOURS, metric="cosine").fit(fit_x, fit_y)
    return {
        "linear_top1": best.score(scaler.transform(test_x), test_y),
        "knn_top1": neighbours.score(test_x, test_y),
    }


def train(config: dict[str, Any], *, splits: Splits) -> None:
    """What Ray Tune runs: one trial. Reports its accuracies, and when it started and finished."""
    started = time.time()
    accuracies = probe(fit(Trial.from_json(config["trial"]), splits.train), splits)
    tune.report({**accuracies, "started": started, "finished": time.time()})


def sweep_with_tune(trials: Sequence[str]) -> pd.DataFrame:
    """Run trials, each given as its JSON, on all CPUs of this machine.

    Returns:
        A row a trial: trial_id, linear_top1, knn_top1 (shares), started, finished (seconds since 1970).

    Raises:
        RuntimeError: a trial failed.
    """
    with _local_ray(), tempfile.TemporaryDirectory() as scratch:
        tuner = tune.Tuner(
            tune.with_resources(tune.with_parameters(train, splits=digits()), {"cpu": 1}),
            param_space={"trial": tune.grid_search(list(trials))},
            tune_config=tune.TuneConfig(reuse_actors=True),
            run_config=tune.RunConfig(name="plain", storage_path=scratch, verbose=0),
        )
        results = tuner.fit()
        if results.errors:
            raise RuntimeError(f"a trial of plain Ray Tune failed: {str(results.errors[0]).strip().splitlines()[-1]}")
        return pd.DataFrame([_row(result) for result in results])


def _row(result: tune.Result) -> dict[str, str | float]:
    reported = {name: result.metrics[name] for name in ("linear_top1", "knn_top1", "started", "finished")}
    return {"trial_id": Trial.from_json(result.config["trial"]).trial_id, **reported}


@contextmanager
def _local_ray() -> Iterator[None]:
    """Ray on this machine; workers import this module by its name."""
    before = dict(os.environ)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    try:
        ray.init(
            address="local",
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            object_store_memory=_OBJECT_STORE_BYTES,
        )
        yield
    finally:
        ray.shutdown()
        os.environ.clear()
        os.environ.update(before)


@torch.no_grad()
def _features(model: Encoder, split: Split) -> tuple[Any, Any]:
    standardised = transforms.functional.normalize(split.images, list(MEAN), list(DEVIATION))
    return model.encoder(standardised).numpy(), split.labels.numpy()


def _kernel_loss(u: Tensor, v: Tensor, kernel: Callable[[Tensor], Tensor], gamma: float) -> Tensor:
    u, v = F.normalize(u, dim=1), F.normalize(v, dim=1)
    energies = [_mean_off_diagonal(kernel(2 - 2 * w @ w.T)) for w in (u, v)]
    return gamma * (energies[0] + energies[1]) / 2 - kernel((u - v).square().sum(1)).mean()


def _mean_off_diagonal(matrix: Tensor) -> Tensor:
    return (matrix.sum() - matrix.diagonal().sum()) / (len(matrix) * (len(matrix) - 1))
