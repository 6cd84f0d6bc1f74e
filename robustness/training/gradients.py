"""How far mini-batch gradients of an encoder are from that of the full batch: in the mean, and around it."""

import copy
import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from robustness.data import Splits, as_floats, two_views
from robustness.models import Network
from robustness.seeds import derive
from robustness.training.member import Member

GRADIENT_IMAGES = 1024
"""At most so many training images are the full batch; results depend on it, as on the two numbers below."""

MEAN_IMAGES = 2**16
"""Mini-batches of the mean have so many images together."""

VARIANCE_BATCHES = 128
"""Mini-batches whose own gradients are taken."""

_PAIRS_AT_ONCE = 2**22

Embeddings = Float[Tensor, "2 n dim"]
Gradient = Float[Tensor, "weights"]
Batches = Int[Tensor, "batches size"]


def gradient_outcomes(member: Member, splits: Splits) -> dict[str, float]:
    """Norm of the full batch's gradient, squared bias and variance of mini-batches', for the weights as they are.

    With g the gradient of the loss of n images as one batch, g_k those of batches of B of them, drawn independently at
    random whatever the batch policy, m the mean of K of them and v the variance of one,

        gradient_variance     = v / |g|^2
        gradient_squared_bias = (|m - g|^2 - v / K) / |g|^2

    where v / K is what chance adds to |m - g|^2. Their sum is the expectation of |g_k - g|^2 / |g|^2. The mean needs no
    gradient of its own for each batch: the loss reaches the weights through embeddings alone, whose gradients are added
    up first. The network is as in evaluation: batch normalisation uses its running statistics. All families see the
    same views and the same batches.

    Args:
        member: with a loss; its network is left as it is.

    Returns:
        gradient_norm, gradient_squared_bias and gradient_variance; the last two are relative, lower is better. They
        are NaN where the full batch's gradient is 0, and where a batch has as many images as the full one but there
        are more to train on: nothing is left to compare with. The bias is without bias itself, so that chance may
        put it below 0.
    """
    trial = member.trial
    assert trial.training is not None
    size = int(trial.training["batch_size"])
    network = copy.deepcopy(member.network).requires_grad_().eval()
    device = next(network.parameters()).device
    images = as_floats(splits.train[: max(GRADIENT_IMAGES, size)].to(device), member.dtype)
    views = torch.stack(two_views(images, trial.data["augmentation"], seed=derive(trial.seed, "gradient")))
    everything = torch.arange(len(images), device=device)[None]
    full = _mean_gradient(member, network, views, everything)
    norm = full.norm().item()
    if not norm > 0:
        return {"gradient_norm": norm, "gradient_squared_bias": math.nan, "gradient_variance": math.nan}
    if size >= len(images):
        apart = 0.0 if len(images) == len(splits.train) else math.nan
        return {"gradient_norm": norm, "gradient_squared_bias": apart, "gradient_variance": apart}
    generator = torch.Generator().manual_seed(derive(trial.seed, "gradient batches", size))
    batches = _drawn(MEAN_IMAGES // size, len(images), size, generator).to(device)
    mean = _mean_gradient(member, network, views, batches)
    some = batches[:VARIANCE_BATCHES]
    first = torch.arange(size, device=device)[None]
    spread = [(_mean_gradient(member, network, views[:, one], first) - mean).square().sum().item() for one in some]
    variance = math.fsum(spread) / len(spread)
    return {
        "gradient_norm": norm,
        "gradient_squared_bias": ((mean - full).square().sum().item() - variance / len(batches)) / norm**2,
        "gradient_variance": variance / norm**2,
    }


def _drawn(count: int, num_images: int, size: int, generator: torch.Generator) -> Batches:
    """Random batches of different images, some at once: sorting keys of all images is faster than one after another."""
    parts = torch.split(torch.arange(count), max(1, _PAIRS_AT_ONCE // num_images))
    return torch.cat([torch.rand(len(part), num_images, generator=generator).topk(size).indices for part in parts])


def _mean_gradient(member: Member, network: Network, views: Float[Tensor, "2 n *image"], batches: Batches) -> Gradient:
    """The mean of the gradients of the loss of each batch with respect to all weights, in one vector of float64.

    Where the trial has micro-batches, only one of them at a time has a graph, as in its updates.
    """
    parts = torch.split(views, int((member.trial.training or {}).get("micro_batch") or views.shape[1]), dim=1)
    with torch.set_grad_enabled(len(parts) == 1):
        embedded = [_embeddings(network, part) for part in parts]
    points = torch.cat(embedded, dim=1).detach().double().requires_grad_()
    for some in torch.split(batches, max(1, _PAIRS_AT_ONCE // batches.shape[1] ** 2)):
        member.loss(points[0][some], points[1][some]).sum().backward()  # type: ignore[no-untyped-call]
    assert points.grad is not None
    network.zero_grad()
    gradients = torch.split(points.grad / len(batches), parts[0].shape[1], dim=1)
    for part, embeddings, gradient in zip(parts, embedded, gradients, strict=True):
        again = embeddings if embeddings.requires_grad else _embeddings(network, part)
        again.backward(gradient.to(again.dtype))  # type: ignore[no-untyped-call]
    found = [weights.grad for weights in network.parameters() if weights.grad is not None]
    return torch.cat([gradient.flatten() for gradient in found]).double()


def _embeddings(network: Network, views: Float[Tensor, "2 n *image"]) -> Embeddings:
    return torch.stack([network(view)[1] for view in views])
