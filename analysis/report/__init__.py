"""One self-contained page about a study or several, with its figures and tables as files beside it."""

from analysis.report.page import is_current, write, write_all, write_table

__all__ = ["is_current", "write", "write_all", "write_table"]
