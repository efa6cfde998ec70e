"""What operators ask a router: its policy, its tiers, its cache."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from cache.two_level import EmbeddingCache
from router.breaker import CircuitBreaker
from router.embedder import Embedder
from router.policy_in_force import PolicyInForce


def service_status(
    policy: PolicyInForce, tiers: Mapping[str, Embedder], cache: Mapping[str, Any], in_flight: int
) -> dict[str, Any]:
    """The body of /admin/status: facts of the router replica that answers."""
    return {
        "policy": {"version": policy.version, **policy.policy.model_dump(mode="json", exclude={"certificates"})},
        "requests": {"in_flight": in_flight},
        "tiers": {name: _tier_status(embedder) for name, embedder in tiers.items()},
        "cache": cache,
    }


def cache_status(cache: EmbeddingCache, breakers: Sequence[CircuitBreaker], now: float) -> dict[str, Any]:
    """The cache's counters, and the state of the breaker before each of its servers."""
    return {**asdict(cache.counts()), "breakers": [breaker.state(now).value for breaker in breakers]}


def _tier_status(embedder: Embedder) -> dict[str, Any]:
    calls = embedder.calls
    return {
        "model": embedder.model_id,
        "breaker": calls.breaker.state(time.monotonic()).value,
        "held_items": calls.admission.held,
        "limits": dict(calls.admission.limits),
        "image_ms": calls.image_ms,
        "single_flight_joins": embedder.joins,
        **asdict(calls.counts),
    }
