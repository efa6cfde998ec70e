"""How long the fault tests go on: briefly with all others, at length with `make chaos`."""

import os

import pytest

IS_LONG = os.environ.get("SECONDLOOK_CHAOS") == "long"
"""Whether faults are repeated, and load goes on for longer."""
again_and_again = pytest.mark.parametrize("attempt", range(5 if IS_LONG else 1))
"""Makes a test's fault several times at length, once in brief."""
CALM_S = 5.0 if IS_LONG else 1.5
"""Seconds of load before a fault, and after it has been overcome."""


def report(text: str) -> None:
    """Say what was measured; pytest shows it with -s."""
    print(f"\n  measured: {text}", flush=True)  # noqa: T201 - a test's own line
