"""Members of a slice in lockstep: every update on the same views, in a loop or as one batched computation."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from itertools import groupby
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from robustness.losses.installed import find_loss
from robustness.losses.mixture import Family, is_small, line_of, mixture
from robustness.losses.pairwise.loss import PairwiseLoss
from robustness.plan import images_per_update
from robustness.seeds import derive
from robustness.training.gradient_cache import backward_in_micro_batches
from robustness.training.member import Member
from robustness.training.optimizers import MemberOptimizer
from robustness.training.stacked import Stacked, as_it_lies

Images = Float[Tensor, "n channels height width"]
PerMember = Float[Tensor, "members"]
T = TypeVar("T")

_HALF = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class Lockstep(ABC):
    """The members of a slice and what trains them.

    Args:
        members: they agree on all settings of training but the learning rate and weight decay.
        device: where their networks are.
    """

    fused: bool
    optimizers: list[MemberOptimizer]

    def __init__(self, members: Sequence[Member], device: torch.device) -> None:
        training = members[0].trial.training
        assert training is not None
        self.members = members
        self.training = training
        self.device = device
        self.loss_sums = torch.zeros(len(members), dtype=torch.float64, device=_doubles(device))
        self.losses_summed = 0
        self.updates = 0

    def update(self, views: tuple[Images, Images]) -> None:
        """One step of every member on one batch; no synchronisation with the device."""
        if self.training.get("channels_last"):
            first, second = (view.contiguous(memory_format=torch.channels_last) for view in views)
            views = first, second
        self._step(views)
        self.updates += 1
        self.losses_summed += 1
        for member in self.members:
            member.updates += member.status == "ok"

    @abstractmethod
    def _step(self, views: tuple[Images, Images]) -> None:
        """Gradients, an optimiser step, and the losses added to `loss_sums`."""

    def close_epoch(self) -> None:
        """Tell every member its mean loss since the last call."""
        means = (self.loss_sums / max(self.losses_summed, 1)).tolist()
        for member, mean in zip(self.members, means, strict=True):
            if member.status == "ok":
                member.close_epoch(mean)
        self.loss_sums.zero_()
        self.losses_summed = 0

    def _seed_layers(self) -> None:
        """Random layers draw the same for every member, whoever shares the slice and wherever it was interrupted."""
        seed = derive(self.members[0].trial.seed, "layers", self.updates)
        # torch.manual_seed writes down the call stack for a GPU that may come: half a millisecond.
        torch.default_generator.manual_seed(seed)
        if self.device.type != "cpu":
            torch.get_device_module(self.device).manual_seed(seed)

    @property
    def micro_batch(self) -> int:
        """Images that are embedded at once."""
        size = self.training.get("micro_batch")
        return images_per_update(self.members[0].trial) if size is None else int(size)

    def autocast(self) -> AbstractContextManager[Any]:
        """The network's forward pass in half precision, if the study says so."""
        half = _HALF.get(self.training.get("precision", "float32"))
        return torch.autocast(self.device.type, dtype=half or torch.bfloat16, enabled=half is not None)

    def state_dict(self) -> dict[str, Any]:
        """All that later updates depend on, and what is known of the members so far."""
        return {
            "members": [member.state_dict() for member in self.members],
            "weights": self._weights(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "loss_sums": self.loss_sums,
            "losses_summed": self.losses_summed,
            "updates": self.updates,
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on, bit by bit, as the slice whose `state_dict` this is."""
        for member, kept in zip(self.members, state["members"], strict=True):
            member.load_state_dict(kept)
        for weights, kept in zip(self._weights(), state["weights"], strict=True):
            weights.copy_(kept)
        for optimizer, kept in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        self.loss_sums.copy_(state["loss_sums"])
        self.losses_summed, self.updates = state["losses_summed"], state["updates"]

    @abstractmethod
    def _weights(self) -> list[Tensor]:
        """Weights and running statistics, as they lie in memory."""


class Looped(Lockstep):
    """One member after another: right where a member's step fills the processor by itself."""

    fused = False

    def __init__(self, members: Sequence[Member], device: torch.device) -> None:
        super().__init__(members, device)
        self.optimizers = [
            MemberOptimizer(
                member.trial.training or {}, list(member.network.parameters()), member.learning_rates, stacked=False
            )
            for member in members
        ]
        compiled = self.training.get("compile")
        self.networks = [torch.compile(each.network) if compiled else each.network for each in members]

    def _step(self, views: tuple[Images, Images]) -> None:
        for place, member in enumerate(self.members):
            if member.status != "ok":
                continue
            try:
                self.loss_sums[place] += self._one_step(place, views)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:
                member.fail("error", f"{type(error).__name__}: {error}")

    def _one_step(self, place: int, views: tuple[Images, Images]) -> Tensor:
        member, network, optimizer = self.members[place], self.networks[place], self.optimizers[place]
        self._seed_layers()
        member.network.train()
        member.network.zero_grad()

        def embed(images: Images) -> Tensor:
            with self.autocast():
                embeddings: Tensor = network(images)[1]
            return embeddings

        value = backward_in_micro_batches(
            member.network, views, member.loss, embed=embed, micro_batch=self.micro_batch, scale=optimizer.scaler.scale
        )
        optimizer.step(self.updates)
        return value

    def _weights(self) -> list[Tensor]:
        return [weights for member in self.members for weights in member.network.state_dict().values()]


class Fused(Lockstep):
    """All members in one batched forward and backward pass: right where a single member's step is mostly overhead.

    An exception says nothing about whose fault it was: then the slice is trained in a loop.
    """

    fused = True

    def __init__(self, members: Sequence[Member], device: torch.device) -> None:
        super().__init__(members, device)
        self.network = Stacked([member.network for member in members])
        self.embed = torch.compile(self.network) if self.training.get("compile") else self.network
        self.losses = [_GroupLoss(rows, members[rows], device) for rows in _loss_runs(members)]
        alone = self.training["optimizer"] == "lars" or self.training.get("precision") == "float16"
        settings = runs(members, _step_settings)
        self.rows = [slice(place, place + 1) for place in range(len(members))] if alone else settings
        self.optimizers = []
        for rows in self.rows:
            first = members[rows.start]
            place = rows.start if alone else rows
            stacked = [as_it_lies(weights).detach()[place] for weights in self.network.parameters()]
            self.optimizers.append(
                MemberOptimizer(first.trial.training or {}, stacked, first.learning_rates, stacked=not alone)
            )

    def _step(self, views: tuple[Images, Images]) -> None:
        self._seed_layers()
        self.network.zero_grad()
        losses = backward_in_micro_batches(
            self.network, views, self._loss, embed=self._embed, micro_batch=self.micro_batch, scale=self._scaled
        )
        for rows, optimizer in zip(self.rows, self.optimizers, strict=True):
            for part, weights in zip(optimizer.parameters, self.network.parameters(), strict=True):
                assert weights.grad is not None
                part.grad = as_it_lies(weights.grad)[rows if optimizer.stacked else rows.start]
            optimizer.step(self.updates)
        self.loss_sums += losses

    def _embed(self, images: Images) -> Tensor:
        with self.autocast():
            embeddings: Tensor = self.embed(images)
        return embeddings

    def _loss(self, first: Tensor, second: Tensor) -> PerMember:
        views = first.movedim(1, 0), second.movedim(1, 0)
        return torch.cat([loss(*views) for loss in self.losses])

    def _scaled(self, losses: PerMember) -> Tensor:
        if self.training.get("precision") != "float16":
            return losses
        return torch.stack([each.scaler.scale(loss) for each, loss in zip(self.optimizers, losses, strict=True)])

    def _weights(self) -> list[Tensor]:
        return [weights.detach() for weights in (*self.network.parameters(), *self.network.buffers())]


class _GroupLoss:
    """The losses of neighbouring members, of one family or of several that are evaluated as one."""

    def __init__(self, rows: slice, members: Sequence[Member], device: torch.device) -> None:
        training = members[0].trial.training or {}
        families = runs(members, _family_name)
        self.rows = rows
        self.compute: Callable[[Tensor, Tensor], PerMember]
        if len(families) == 1:
            loss = find_loss(members[0].trial.loss)
            self.compute = partial(loss.compute, tile=training.get("tile"), **_hyperparameters(members, device))
        else:
            mixed = [_family(members[family], device) for family in families]
            self.compute = mixture(mixed, num_images=images_per_update(members[0].trial))

    def __call__(self, first: Tensor, second: Tensor) -> PerMember:
        return self.compute(first[self.rows], second[self.rows])


def runs(items: Sequence[T], key: Callable[[T], Any]) -> list[slice]:
    """Neighbours of equal key."""
    ends, end = [], 0
    for _, group in groupby(items, key):
        start, end = end, end + len(list(group))
        ends.append(slice(start, end))
    return ends


def _loss_runs(members: Sequence[Member]) -> list[slice]:
    """Neighbours of one family, or of several that can be evaluated as one."""
    training = members[0].trial.training or {}
    together = [_family_name(member) for member in members]
    for rows in runs(members, _line) if training.get("tile") is None else []:
        line, size = _line(members[rows][0]), len(members[rows])
        if line is not None and is_small(size, num_images=images_per_update(members[0].trial)):
            together[rows] = [line] * size
    return runs(together, lambda name: name)


def _family_name(member: Member) -> str:
    return member.trial.loss


def _line(member: Member) -> str | None:
    return line_of(find_loss(member.trial.loss).formula)


def _family(members: Sequence[Member], device: torch.device) -> Family:
    formula = find_loss(members[0].trial.loss).formula
    assert isinstance(formula, PairwiseLoss)
    return Family(formula, _hyperparameters(members, device))


def _hyperparameters(members: Sequence[Member], device: torch.device) -> dict[str, Tensor]:
    first = members[0]
    return {
        name: torch.tensor([member.hyperparameters[name] for member in members], dtype=first.dtype, device=device)
        for name in first.hyperparameters
    }


def _step_settings(member: Member) -> Any:
    training = member.trial.training or {}
    return training["learning_rate"], training["weight_decay"]


def _doubles(device: torch.device) -> torch.device:
    """Where sums in float64 are kept: MPS has none."""
    return torch.device("cpu") if device.type == "mps" else device
