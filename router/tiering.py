"""What an answer says of who decided: the `tiering` object and the headers. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from router.errors import ApiError
from router.outcome import Decision

TIMED_STAGES = ("cache", "queue", "fast", "accurate", "total")


def tiering(decision: Decision, policy_version: str, *, is_turned: bool = False) -> dict[str, Any]:
    """The object of one decided item.

    Args:
        decision: What was decided.
        policy_version: Under which policy.
        is_turned: Whether it was decided about a text with images as candidates. `image` is then a hit where every
            image was.
    """
    image_hit, hits, misses = decision.image_hit, decision.text_hits, decision.text_misses
    if is_turned:
        image_hit, hits, misses = misses == 0, int(image_hit), int(not image_hit)
    return {
        "tier": decision.tier,
        "confidence": decision.verdict.confidence,
        "margin": decision.verdict.margin,
        "escalated": decision.escalated,
        "degraded": decision.degraded,
        "cache": {"image": "hit" if image_hit else "miss", "texts": {"hit": hits, "miss": misses}},
        "policy": policy_version,
    }


def headers(decisions: Sequence[Decision | ApiError], timings_ms: Mapping[str, float]) -> dict[str, str]:
    """`Server-Timing`, the tiers that decided, and why answers are degraded, if any are."""
    named = {"server-timing": server_timing(timings_ms)}
    tiers, reasons = _tiers_and_reasons([one for one in decisions if isinstance(one, Decision)])
    if tiers:
        named["x-tier"] = tiers
    if reasons:
        named["x-degraded"] = reasons
    return named


def _tiers_and_reasons(decided: Sequence[Decision]) -> tuple[str, str]:
    if len(decided) == 1:
        return decided[0].tier, decided[0].degraded or ""
    tiers = sorted({decision.tier for decision in decided})
    reasons = sorted({decision.degraded for decision in decided if decision.degraded})
    return ",".join(tiers), ",".join(reasons)


def server_timing(timings_ms: Mapping[str, float]) -> str:
    """The Server-Timing header: milliseconds of each stage that took place."""
    return ", ".join([f"{stage};dur={timings_ms[stage]:.2f}" for stage in TIMED_STAGES if stage in timings_ms])
