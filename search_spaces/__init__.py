"""What is swept, over which range, and why."""

from search_spaces.axes import Axis, StudyError
from search_spaces.dimensions import Choice, Continuous, Integer
from search_spaces.hyperparameters import Hyperparameter, Space
from search_spaces.study import Family, Study, load_study, parse_study, shipped_studies

__all__ = [
    "Axis",
    "Choice",
    "Continuous",
    "Family",
    "Hyperparameter",
    "Integer",
    "Space",
    "Study",
    "StudyError",
    "load_study",
    "parse_study",
    "shipped_studies",
]
