"""What the best possible cache would have hit: the mark that a real one is held against."""

from collections.abc import Hashable, Sequence


def unbounded_hits(accesses: Sequence[Hashable]) -> int:
    """Hits of a cache without bounds: everything but the first access to each thing."""
    return len(accesses) - len(set(accesses))


def popular_hits(accesses: Sequence[int], capacity: int) -> int:
    """Hits of a cache that knows in advance which things are popular and keeps only those.

    Things are numbered by popularity, 0 the most popular. No cache that learns from its traffic does better
    when accesses are independent.
    """
    seen: set[int] = set()
    hits = 0
    for thing in accesses:
        if thing < capacity:
            hits += thing in seen
            seen.add(thing)
    return hits
