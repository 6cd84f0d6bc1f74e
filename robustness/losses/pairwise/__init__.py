"""The pairwise engine: a family is a rule on a tile of anchors, evaluated dense or in memory linear in the batch."""

from robustness.losses.pairwise.anchors import Anchors
from robustness.losses.pairwise.evaluation import evaluate
from robustness.losses.pairwise.loss import PairwiseLoss

__all__ = ["Anchors", "PairwiseLoss", "evaluate"]
