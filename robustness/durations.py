"""Seconds in words."""


def duration(seconds: float | None) -> str:
    """`48 s`, `12 min`, `3 h 20 min`, `2 d 4 h`; `?` when unknown."""
    if seconds is None:
        return "?"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours = round(minutes / 60)
    return f"{minutes // 60} h {minutes % 60} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"
