"""What one router's API stands on."""

from collections.abc import Sequence
from dataclasses import dataclass

from cache.two_level import EmbeddingCache
from router.access import Access
from router.breaker import CircuitBreaker
from router.cascade import Cascade
from router.config import LimitsConfig
from router.embedder import Embedder
from router.policy_admin import PolicyAdmin
from router.policy_in_force import PolicyInForce
from router.readiness import Readiness
from router.tenants import Readers


@dataclass(slots=True)
class Service:
    """What the API stands on. `policy` is one reference, swapped as a whole."""

    cascade: Cascade
    cache: EmbeddingCache
    fast: Embedder
    accurate: Embedder
    readers: Readers
    limits: LimitsConfig
    readiness: Readiness
    policy: PolicyInForce
    deadline_s: float
    max_in_flight: int
    cache_breakers: Sequence[CircuitBreaker] = ()
    """One before each Redis server, in the order of `cache.url`."""
    policy_admin: PolicyAdmin | None = None
    """What operators ask of the policy; None where the router keeps no journal."""
    access: Access | None = None
    """Who may ask; None where everybody may, and no page of another origin."""
