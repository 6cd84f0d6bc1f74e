"""Adaptive designs: samplers suggest configurations one after another, Ray Tune trains them, the plan grows."""

from robustness.sweep.adaptive.tuning import launch

__all__ = ["launch"]
