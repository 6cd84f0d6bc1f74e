"""What is swept, over which range, and why."""

from search_spaces.axes import Axis, StudyError
from search_spaces.study import Family, Study, load_study, parse_study, shipped_studies

__all__ = ["Axis", "Family", "Study", "StudyError", "load_study", "parse_study", "shipped_studies"]
