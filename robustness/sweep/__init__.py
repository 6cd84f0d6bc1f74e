"""Plan minus store = todo -> Ray Tune -> store. The only package that imports ray."""

from robustness.sweep.driver import Summary, sweep

__all__ = ["Summary", "sweep"]
