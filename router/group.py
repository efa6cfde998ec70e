"""Groups: questions that are alike enough for one certificate to speak of them all."""

from router.policy import RouteName

# By the bit length of the count less one: 1, 2, 3-4, 5-8 and so on.
_BUCKETS = ("1", "2", "3-4", "5-8", "9-16", "17-32", "33-64", "65-128", "129-256", "257+")


def group_of(route: RouteName, candidates: int, *, has_threshold: bool) -> str:
    """Name the group of a question that `route` was asked.

    How often two tiers differ depends on how many candidates there are to choose from, and a choice is another thing
    than saying of each text whether it matches.

    Args:
        route: The question's route.
        candidates: Texts that it compares with, at least one.
        has_threshold: Whether it says of each whether it matches, rather than which is best.
    """
    bucket = _BUCKETS[min((candidates - 1).bit_length(), len(_BUCKETS) - 1)]
    return f"{route}:threshold/{bucket}" if has_threshold else f"{route}/{bucket}"
