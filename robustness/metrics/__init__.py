"""Metrics of one trained encoder, on splits and views that no hyperparameter changes."""

from robustness.metrics.collapse import embedding_collapse, representation_collapse
from robustness.metrics.geometry import alignment, uniformity, uniformity_optimum, wasserstein
from robustness.metrics.outcomes import PROBES, Labelled, measure, measured_columns
from robustness.metrics.probes import LinearProbe, knn_top1, linear_probe
from robustness.metrics.spectrum import spectral_metrics, spectrum

__all__ = [
    "PROBES",
    "Labelled",
    "LinearProbe",
    "alignment",
    "embedding_collapse",
    "knn_top1",
    "linear_probe",
    "measure",
    "measured_columns",
    "representation_collapse",
    "spectral_metrics",
    "spectrum",
    "uniformity",
    "uniformity_optimum",
    "wasserstein",
]
