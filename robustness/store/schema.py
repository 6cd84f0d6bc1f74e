"""The columns of plan, trials and history: one explicit schema, the same in every file."""

import pyarrow as pa

SCHEMA_VERSION = 3
"""Raised whenever columns are added, which rows of earlier versions lack: null. None is ever taken away or renamed.

2: `finished_at` in history, which tells of which run of a trial its rows are.
3: retrieval under corruptions, bias and variance of mini-batch gradients, distances of free embeddings.
"""

_text, _whole, _real, _vector = pa.string(), pa.int64(), pa.float64(), pa.list_(pa.float64())

HYPERPARAMETER_COLUMNS = (
    "temperature", "bandwidth", "gamma", "kernel_scale", "kernel_order", "epsilon", "margin", "slope",
    "exponent", "power", "bias", "weight", "scale", "redundancy_weight", "invariance_weight",
    "variance_weight", "covariance_weight",
)  # fmt: skip
"""Hyperparameters of every built-in loss, by their names in the losses' signatures."""

_GEOMETRY = (
    "alignment", "uniformity", "wasserstein", "effective_rank", "effective_rank_centered", "rankme",
    "participation_ratio", "stable_rank", "numerical_rank", "released_rank", "alpha_req", "lidar",
    "mean_norm", "total_variance",
)  # fmt: skip

_identity = [(name, _text) for name in ("trial_id", "pack_id", "study", "design", "family", "loss")]
_axes = [
    ("seed", _whole), ("batch_size", _whole), ("projector_dim", _whole), ("batch_policy", _text),
    ("learning_rate", _real), ("weight_decay", _real),
    *((name, _real) for name in HYPERPARAMETER_COLUMNS), ("extra_hyperparameters", _text),
]  # fmt: skip
_where = [("dataset", _text), ("encoder", _text)]
_done = [("epochs", _real), ("updates", _whole), ("images", _whole)]
_scalar_outcomes = [
    *((name, _real) for name in (
        "linear_top1", "linear_top1_validation", "knn_top1", "retrieval_top1", "linear_sgd_top1",
        "z_linear_top1", "z_knn_top1",
        "retrieval_noise_top1", "retrieval_blur_top1", "retrieval_contrast_top1", "retrieval_brightness_top1",
        "retrieval_pixelate_top1", "retrieval_corrupted_top1", "retrieval_cifar_c_top1",
        "gradient_norm", "gradient_squared_bias", "gradient_variance",
        "simplex_distance", "cross_polytope_distance", "full_loss_gap",
    )),
    ("collapse", _text), ("h_collapse", _text), ("final_loss", _real),
    *((f"{space}_{name}", _real) for space in "hz" for name in _GEOMETRY),
]  # fmt: skip
_vectors = [
    ("h_spectrum", _vector), ("z_spectrum", _vector), ("retrieval_severities", _vector), ("inner_products", _vector),
]  # fmt: skip
_cost = [
    ("train_seconds", _real), ("evaluate_seconds", _real), ("selection_seconds", _real),
    ("images_per_second", _real), ("peak_memory_bytes", _whole), ("device", _text), ("threads", _whole),
    ("slice_size", _whole), ("fused", pa.bool_()),
]  # fmt: skip
_provenance = [
    ("code_version", _text), ("protocol_version", _whole), ("torch_version", _text),
    ("finished_at", pa.timestamp("us", tz="UTC")),
]  # fmt: skip

OUTCOMES = tuple(name for name, _ in [*_scalar_outcomes, *_vectors])
"""Columns that hold what was measured: null unless the status is ok."""

NUMERIC_OUTCOMES = tuple(name for name, kind in _scalar_outcomes if kind == _real)
"""Outcomes that a study may name under `analysis.outcome`."""

PLAN_SCHEMA = pa.schema([*_identity, *_axes, *_where, ("trial", _text)])
"""A row a planned trial; `trial` is the canonical JSON whose hash is the trial_id."""

TRIALS_SCHEMA = pa.schema(
    [*_identity, ("status", _text), ("error", _text), *_axes, *_where, *_done, *_scalar_outcomes, *_vectors,
     *_cost, *_provenance]
)  # fmt: skip
"""A row a finished trial."""

HISTORY_SCHEMA = pa.schema(
    [*_identity, ("seed", _whole), ("batch_size", _whole), ("dataset", _text), ("epoch", _real),
     *_done[1:], *_scalar_outcomes, _provenance[-1]]
)  # fmt: skip
"""A row a trial and evaluated epoch; `final_loss` is the mean loss over that epoch, `finished_at` the trial's."""
