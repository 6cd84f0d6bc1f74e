"""The `robustness` command."""

from robustness.cli.application import app, main

__all__ = ["app", "main"]
