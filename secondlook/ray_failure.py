"""Find in Ray's account of a failure the one line that a person can act on."""

import re

_EXCEPTION = re.compile(
    r"^\s*(?:[A-Za-z_][\w.]*\.)?([A-Z]\w*(?:Error|Exception|Invalid|Failed|Missing|Unavailable))\s*:\s*(.+)$"
)
_NOISE = ("ray.", "RayTaskError", "RuntimeError: Failed to start")
MAX_CHARS = 400


def reason_of(message: str) -> str:
    """The last exception named in `message`, which may hold tracebacks, in one line."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    named = [line for line in lines if _EXCEPTION.match(line) and not line.startswith(_NOISE)]
    reason = (named or lines or ["no reason given"])[-1]
    return reason if len(reason) <= MAX_CHARS else f"{reason[:MAX_CHARS]}..."
