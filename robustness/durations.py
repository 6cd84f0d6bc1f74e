"""Seconds in words."""


def duration(seconds: float | None) -> str:
    """`48 s`, `12 min`, `3 h 20 min`; `?` when unknown."""
    if seconds is None:
        return "?"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
