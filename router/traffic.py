"""The class of traffic that a request says it belongs to. Pure."""

from tiers.messages import TrafficClass

TRAFFIC_CLASSES: dict[str, TrafficClass] = {"live": "live", "warm-up": "warm_up"}


def traffic_class(header: str | None) -> TrafficClass:
    """Read `X-Traffic-Class`; who says nothing is live.

    Raises:
        ValueError: The header names no class.
    """
    if header is None:
        return "live"
    try:
        return TRAFFIC_CLASSES[header]
    except KeyError:
        raise ValueError(header) from None
