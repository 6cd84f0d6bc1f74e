"""Results for other tools."""

from robustness.export.optuna_studies import Exported, to_optuna
from robustness.export.tables import to_csv

__all__ = ["Exported", "to_csv", "to_optuna"]
