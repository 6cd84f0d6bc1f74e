"""Metrics of one trained encoder, on splits and views that no hyperparameter changes."""

from robustness.metrics.collapse import embedding_collapse, representation_collapse
from robustness.metrics.free import FREE_OUTCOMES, cross_polytope, cross_polytope_distance, simplex, simplex_distance
from robustness.metrics.geometry import alignment, uniformity, uniformity_optimum, wasserstein
from robustness.metrics.lidar import lidar
from robustness.metrics.linear import LinearProbe, linear_probe, linear_sgd_top1
from robustness.metrics.neighbours import knn_top1, retrieval_top1
from robustness.metrics.outcomes import AT_THE_END, PROBES, WITHOUT_IMAGES, Labelled, measure, measured_columns
from robustness.metrics.spectrum import alpha_req, spectral_metrics, spectrum

__all__ = [
    "AT_THE_END",
    "FREE_OUTCOMES",
    "PROBES",
    "WITHOUT_IMAGES",
    "Labelled",
    "LinearProbe",
    "alignment",
    "alpha_req",
    "cross_polytope",
    "cross_polytope_distance",
    "embedding_collapse",
    "knn_top1",
    "lidar",
    "linear_probe",
    "linear_sgd_top1",
    "measure",
    "measured_columns",
    "representation_collapse",
    "retrieval_top1",
    "simplex",
    "simplex_distance",
    "spectral_metrics",
    "spectrum",
    "uniformity",
    "uniformity_optimum",
    "wasserstein",
]
