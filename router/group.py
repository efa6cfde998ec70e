"""Groups: questions that are alike enough for one certificate to speak of them all."""

from router.policy import RouteName
from tiers.messages import Modality

# By the bit length of the count less one: 1, 2, 3-4, 5-8 and so on.
_BUCKETS = ("1", "2", "3-4", "5-8", "9-16", "17-32", "33-64", "65-128", "129-256", "257+")


def group_of(route: RouteName, candidates: int, *, has_threshold: bool, among: Modality = "text") -> str:
    """Name the group of a question that `route` was asked.

    How often two tiers differ depends on how many candidates there are to choose from and on what they are, and a
    choice is another thing than saying of each whether it matches.

    Args:
        route: The question's route.
        candidates: What it compares with, at least one.
        has_threshold: Whether it says of each whether it matches, rather than which is best.
        among: What the candidates are; of a single pair it makes no difference.
    """
    bucket = _BUCKETS[min((candidates - 1).bit_length(), len(_BUCKETS) - 1)]
    kind = ":threshold" if has_threshold else ":images" if among == "image" else ""
    return f"{route}{kind}/{bucket}"
