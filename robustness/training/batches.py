"""The batches of a slice: which images meet in them, in two views each."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from robustness.data import as_floats, two_views
from robustness.data.policies import CANDIDATES_PER_BATCH, CHOOSING, Batches, epoch_batches, ordered_batches
from robustness.plan import batch_policy, num_updates, steps_per_epoch
from robustness.seeds import derive
from robustness.training.features import features
from robustness.training.member import Member, precision

Embeddings = Float[Tensor, "n dim"]

AUGMENTED_IMAGES = 512
"""Images of small batches that are augmented at once; results depend on it."""

SPECTRAL_IMAGES = 1024
"""Images that are clustered at once, drawn anew in each epoch; results depend on it."""

_EMBEDDED_IMAGES = 1024
_SCORED_NUMBERS = 2**24


class Feed:
    """What a slice is trained on, update by update.

    Args:
        members: of the slice; one alone where its policy chooses by embeddings.
        images: of the training split.
        device: where views are made.
    """

    def __init__(self, members: Sequence[Member], images: Tensor, device: torch.device) -> None:
        self.member, self.images, self.device = members[0], images, device
        trial = self.member.trial
        assert trial.training is not None
        self.trial, self.policy, self.batch_size = trial, batch_policy(trial), int(trial.training["batch_size"])
        self.chosen: tuple[int, Batches] | None = None
        self.seconds = 0.0
        assert len(members) == 1 or self.policy not in CHOOSING

    def views(self, *, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Two views of every batch from update `first` on.

        They depend on the seed, the batch size and the update, and where the policy chooses, on the weights at the
        beginning of the epoch; on nothing else. Small batches are augmented several at once, always the same ones.
        """
        steps, total = steps_per_epoch(self.trial), num_updates(self.trial)
        # Augmented in the precision of the trial: float32 differs between devices by 1e-7 from the first batch on.
        dtype = torch.float64 if precision(self.trial) is torch.float64 else torch.float32
        for epoch in range(first // steps, -(-total // steps)):
            batches = self.of_epoch(epoch)
            size = batches.shape[1]
            together = max(1, AUGMENTED_IMAGES // size)
            begin, end = max(first - epoch * steps, 0), min(steps, total - epoch * steps)
            for block in range(begin - begin % together, end, together):
                seed = derive(self.trial.seed, "augment", self.batch_size, epoch, block)
                pair = self._views_of(batches[block : block + together].flatten(), dtype, seed=seed)
                pairs = [torch.split(view, size) for view in pair]
                yield from list(zip(*pairs, strict=True))[max(begin - block, 0) : end - block]

    def of_epoch(self, epoch: int) -> Batches:
        """Indices of the epoch's batches, chosen once where they are chosen."""
        if self.policy not in CHOOSING:
            return self._by_chance(self.policy, epoch)
        if self.chosen is None or self.chosen[0] != epoch:
            started = time.perf_counter()
            self.chosen = epoch, self._choose(epoch)
            self.seconds += time.perf_counter() - started
        return self.chosen[1]

    def state_dict(self) -> dict[str, Any]:
        """What was chosen with weights that are gone, and what choosing took."""
        return {"chosen": self.chosen, "seconds": self.seconds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on as the feed whose `state_dict` this is."""
        self.chosen, self.seconds = state["chosen"], state["seconds"]
        if self.chosen is not None:
            self.chosen = self.chosen[0], self.chosen[1].cpu()

    def _by_chance(self, policy: str, epoch: int) -> Batches:
        return epoch_batches(policy, len(self.images), batch_size=self.batch_size, seed=self.trial.seed, epoch=epoch)

    def _choose(self, epoch: int) -> Batches:
        first, second = self._embeddings(epoch)
        if not bool(first.isfinite().all() and second.isfinite().all()):
            # The trial has diverged, which shows when the epoch closes.
            return self._by_chance("shuffled", epoch)
        choose: Callable[[Embeddings, Embeddings, int], Batches]
        choose = self._hardest if self.policy == "ordered" else self._hard_to_tell_apart
        return choose(first, second, epoch).cpu()

    def _hardest(self, first: Embeddings, second: Embeddings, epoch: int) -> Batches:
        steps = steps_per_epoch(self.trial)
        at_once = max(1, _SCORED_NUMBERS // (self.batch_size * max(self.batch_size, first.shape[1])))

        def loss(batches: Batches) -> Tensor:
            parts = torch.split(batches.to(first.device), at_once)
            return torch.cat([self.member.loss(first[part], second[part]) for part in parts])

        with torch.no_grad():
            return ordered_batches(
                len(first), loss,
                batch_size=self.batch_size, candidates=CANDIDATES_PER_BATCH * steps, chosen=steps,
                seed=self.trial.seed, epoch=epoch,
            )  # fmt: skip

    def _hard_to_tell_apart(self, first: Embeddings, second: Embeddings, epoch: int) -> Batches:
        # scikit-learn takes a second to import.
        from robustness.data.spectral import spectral_batches

        whole = epoch_batches(
            "shuffled", len(first),
            batch_size=len(first) // self.batch_size * self.batch_size, seed=self.trial.seed, epoch=epoch,
        )[0]  # fmt: skip
        together = max(1, SPECTRAL_IMAGES // self.batch_size) * self.batch_size
        temperature = self.member.hyperparameters.get("temperature", 1.0)
        return torch.cat([
            part[
                spectral_batches(
                    first[part.to(first.device)], second[part.to(first.device)],
                    batch_size=self.batch_size, temperature=temperature,
                    seed=derive(self.trial.seed, "chunk", number), epoch=epoch,
                )
            ]
            for number, part in enumerate(torch.split(whole, together))
        ])  # fmt: skip

    def _embeddings(self, epoch: int) -> tuple[Embeddings, Embeddings]:
        """Of two views of every training image that no update sees, by the weights as they are."""
        dtype = self.member.dtype
        found = []
        for number, part in enumerate(torch.split(torch.arange(len(self.images)), _EMBEDDED_IMAGES)):
            seed = derive(self.trial.seed, "choose", self.batch_size, epoch, number)
            views = self._views_of(part, dtype, seed=seed)
            found.append([features(self.member.network, view, dtype)[1] for view in views])
        first, second = (torch.cat(parts) for parts in zip(*found, strict=True))
        return first, second

    def _views_of(self, indices: Tensor, dtype: torch.dtype, *, seed: int) -> tuple[Tensor, Tensor]:
        batch = as_floats(self.images[indices.to(self.images.device)].to(self.device), dtype)
        return two_views(batch, self.trial.data["augmentation"], seed=seed)
