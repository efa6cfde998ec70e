"""What every scenario is given."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.figures import Findings


@dataclass(frozen=True, slots=True)
class Options:
    """How long and how hard to measure, and a folder for what has to lie on disk meanwhile."""

    folder: Path
    rounds: int = 5
    seconds: float = 5.0
    connections: int = 16
    replicas: int = 1
    pause_s: float = 10.0
    soak_s: float = 600.0
    flood_s: float = 30.0
    peers: Path = Path(".peers")


Scenario = Callable[[Options], Findings]


def say(text: str) -> None:
    """Tell whoever watches what is going on; figures go elsewhere."""
    sys.stderr.write(f"bench: {text}\n")
    sys.stderr.flush()
