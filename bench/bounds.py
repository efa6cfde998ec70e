"""What a service can be held to: figures of its parts, each measured alone, put together."""

import statistics
from collections.abc import Mapping, Sequence

RELATIVE_OVERHEAD = 1.15


def reachable_rate(ceiling_per_s: float, prepare_cpu_s: float, cores: int) -> float:
    """Items/s of a model once its inputs have to be prepared on the same cores.

    An item takes `1 / ceiling_per_s` seconds of all cores in the encoder and `prepare_cpu_s` seconds of one of them
    before it, so `1 / (1 / ceiling_per_s + prepare_cpu_s / cores)` items a second are what is left.
    """
    return 1 / (1 / ceiling_per_s + prepare_cpu_s / cores)


def best_batch(rounds: Sequence[Mapping[str, float]]) -> str:
    """Return the size of batch with the most items/s, by the median of rounds that have each size's rate."""
    return max(rounds[0], key=lambda size: statistics.median(rates[size] for rates in rounds))


def reachable_latency_ms(alone_ms: float, empty_ms: float) -> float:
    """Milliseconds for one item over HTTP: in the process with 15 % on top, and an empty request of its size."""
    return alone_ms * RELATIVE_OVERHEAD + empty_ms


def reachable_share(good: int, poisoned: int, allowance: float) -> float:
    """Share of the undisturbed rate that is left to good requests when poisoned ones take their part of the work."""
    return 1 - poisoned / (good + poisoned) - allowance
