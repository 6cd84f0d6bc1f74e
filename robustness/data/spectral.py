"""Batches of images that are hard to tell apart, by spectral clustering of their embeddings."""

import math

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.manifold import spectral_embedding
from torch import Tensor

from robustness.data.policies import Batches, generator_of
from robustness.seeds import derive


def spectral_batches(
    first: Float[Tensor, "n dim"],
    second: Float[Tensor, "n dim"],
    *,
    batch_size: int,
    temperature: float,
    seed: int,
    epoch: int,
) -> Batches:
    """A partition that puts images together that are hard to tell apart: a minimal balanced cut of their pair weights.

    With u, v the unit embeddings of two views, s their products over the temperature, the pair weight

        w(k, l) = sum over both orders of log(1 + (B - 1) e^(s(u_k, v_l) - s(u_k, v_k)))
                                        + log(1 + (B - 1) e^(s(v_k, u_l) - s(v_k, u_k)))

    bounds the loss of a batch from below, L >= sum_(k<l) w(k, l) / (B (B - 1)), with equality at B = 2. The graph with
    these weights is embedded by its normalised Laplacian and clustered by k-means; a linear assignment gives each
    cluster exactly B images. The last partial batch, of the images that fit least, is dropped.

    Args:
        first, second: embeddings of two views of the same images; normalised here.

    Returns:
        Batches in a random order.

    Source:
        Cho et al., Mini-Batch Optimization of Contrastive Loss, 2023, arXiv:2307.05906, section 5.
    """
    weights = pair_weights(first, second, batch_size=batch_size, temperature=temperature)
    num_images = len(first)
    steps = num_images // batch_size
    state = derive(seed, "spectral", batch_size, epoch) % 2**32
    labels = _balanced_clusters(weights.cpu().numpy(), steps, batch_size, state)
    batches = torch.from_numpy(labels)
    return batches[torch.randperm(steps, generator=generator_of(seed, "blocks", batch_size, epoch))]


def pair_weights(
    first: Float[Tensor, "n dim"], second: Float[Tensor, "n dim"], *, batch_size: int, temperature: float
) -> Float[Tensor, "n n"]:
    """w(k, l) of `spectral_batches`, in logarithms, so that no temperature overflows; 0 on the diagonal."""
    u, v = (torch.nn.functional.normalize(view.double(), dim=1) for view in (first, second))
    similarity = u @ v.T / temperature
    shift = math.log(batch_size - 1)
    one_way = torch.nn.functional.softplus(shift + similarity - similarity.diagonal()[:, None])
    other_way = torch.nn.functional.softplus(shift + similarity.T - similarity.diagonal()[:, None])
    total = one_way + other_way
    return (total + total.T).fill_diagonal_(0.0)


def _balanced_clusters(weights: NDArray[np.float64], clusters: int, size: int, state: int) -> NDArray[np.int64]:
    """(clusters, size) numbers of the images."""
    if clusters == 1:
        return np.argsort(-weights.sum(axis=1), kind="stable")[:size][None, :]
    places = spectral_embedding(
        weights, n_components=clusters, norm_laplacian=True, random_state=state, drop_first=False, eigen_solver="arpack"
    )
    centres = KMeans(clusters, n_init=10, random_state=state).fit(places).cluster_centers_
    distances = ((places[:, None, :] - centres[None, :, :]) ** 2).sum(axis=-1)
    images, seats = linear_sum_assignment(np.repeat(distances, size, axis=1))
    taken = np.empty(clusters * size, dtype=np.int64)
    taken[seats] = images
    return taken.reshape(clusters, size)
