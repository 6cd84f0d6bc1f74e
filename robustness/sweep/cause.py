"""Why a worker died, in words."""

_KNOWN = {
    "memory usage threshold": "its machine ran out of memory",
    "node has died": "its machine is gone",
    "received a SIGTERM": "its machine told it to end",
    "connection error code": "its process was killed or crashed, for which too little memory is the usual reason",
}
"""What Ray says, and what that means."""


def cause_of(text: str) -> str:
    """The cause of the last death that Tune noted down, in one line.

    Args:
        text: of Tune's error file, which begins each failure with a line `Failure # 1 (occurred at ...)`.
    """
    last = text.rpartition("\nFailure # ")[2] if "\nFailure # " in text else text
    for words, meaning in _KNOWN.items():
        if words in last:
            return meaning
    lines = [line.strip() for line in last.strip().splitlines()]
    return lines[-1][:300] if lines else "it is not known why"
