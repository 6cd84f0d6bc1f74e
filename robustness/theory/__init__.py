"""The papers' statements as programs that measure whether they hold."""

from collections.abc import Mapping

from robustness.theory import batches, encoders, networks, optima, pair_weights, sampling, speed
from robustness.theory.statement import Measurement, Statement
from robustness.theory.verdicts import failed, run

_CHO = "Cho et al., Mini-Batch Optimization of Contrastive Loss, 2023, arXiv:2307.05906"
_KOROMILAS = "Koromilas et al., Bridging Mini-Batch and Asymptotic Analysis, ICML 2024, arXiv:2405.18045"
_TIAN = "Tian, Understanding Deep Contrastive Learning via Coordinate-wise Optimization, NeurIPS 2022, arXiv:2201.12680"
_LEE = "Lee et al., ICML 2025, arXiv:2506.09781"

STATEMENTS: Mapping[str, Statement] = {
    "T1": Statement("The full batch has the regular simplex as its optimum, d >= N - 1.", _CHO, batches.full_batch),
    "T2": Statement(
        "The mean over all batches of a size is another function with the same optimum.", _CHO, batches.all_batches
    ),
    "T3": Statement(
        "One fixed partition has another optimum, with a lower loss of its own and a higher full loss.",
        _CHO, batches.fixed_batches,
    ),
    "T4": Statement(
        "The simplex is the optimum of some of all batches if, and only if, every pair is in equally many of them.",
        f"ours, after {_CHO}", batches.balanced_blocks,
    ),
    "T5": Statement(
        "The cross-polytope is the optimum where N = 2 d, the ring on a circle.", _CHO, batches.cross_polytopes
    ),
    "T6": Statement(
        "At N = 8 and one update a batch, ordered and spectral batches need fewer epochs than shuffled and full "
        "ones; not where the full batch has as many updates and rows stay on the sphere, and not at N = 64.",
        _CHO, speed.policies,
    ),
    "T7": Statement(
        "The simplex minimises InfoNCE, its variants and kernel losses for M <= d + 1.", _KOROMILAS, optima.minima
    ),
    "T8": Statement(
        "The expectation of kernel losses and of their gradient does not depend on the batch size; InfoNCE's does.",
        _KOROMILAS, sampling.batch_sizes,
    ),
    "T9": Statement(
        "Kernels that fall with the squared distance and are strictly convex in it spread points as a simplex; for -r "
        "any centred set is as good, and -r^1.5 prefers antipodal clusters.",
        _KOROMILAS, optima.kernels,
    ),
    "T10": Statement(
        "All InfoNCE variants tend to one limit as the batch grows; their bias is known to the first order.",
        _KOROMILAS, sampling.asymptotics,
    ),
    "T11": Statement("In dhel and kernel losses no view repels the other.", _KOROMILAS, sampling.decoupling),
    "T12": Statement(
        "Where psi falls the simplex is no optimum; where it is convex but not strictly, the simplex is one of many.",
        _KOROMILAS, optima.off_conditions,
    ),
    "T13": Statement(
        "The gradient of any (phi, psi) loss is that of an energy whose pair weights are held fixed.",
        _TIAN, pair_weights.coordinates,
    ),
    "T14": Statement(
        "The energy is half the trace of the contrastive covariance; a pair-weighted loss's gradient is the energy's "
        "with weights held fixed.",
        _TIAN, pair_weights.covariances,
    ),
    "T15": Statement(
        "Softmax weights minimise the energy less their entropy; square weights are a projection on the simplex.",
        _TIAN, pair_weights.best_weights,
    ),
    "T16": Statement(
        "With fixed weights a deep linear network is principal component analysis.", _TIAN, networks.deep_linear
    ),
    "T17": Statement(
        "With equal pair weights, one-hot inputs and norm 1 of each hidden unit, the layer before a ReLU has fixed "
        "points of several directions; a linear one keeps a single one.",
        f"after {_TIAN}", networks.relu,
    ),
    "T18": Statement("The gradient through the pair weights is another one.", _TIAN, pair_weights.stopped_gradient),
    "T19": Statement(
        "Positives of n images are at most 1 + 1 / (n - 1) more alike than negatives, on average.",
        _LEE, encoders.similarities,
    ),
}  # fmt: skip
"""Every statement by its number."""

__all__ = ["STATEMENTS", "Measurement", "Statement", "failed", "run"]
