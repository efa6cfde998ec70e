"""Split a deployment file into what Serve changes in place and what it replaces replicas for.

The builder's arguments are part of an application's version: whatever stands in them, a change of it replaces every
replica. So what Serve can change in place is kept out of them and given as overrides of the deployments.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from router.config import AppArgs
    from tiers.config import AutoscalingConfig

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Rollout:
    """A builder's arguments without what can be changed in place, and that, as overrides per deployment."""

    args: Document
    deployments: tuple[Document, ...]


def split(args: "AppArgs") -> Rollout:
    """Split one configuration; two that differ in nothing but `deployments` are applied in place."""
    tiers = {"Fast": args.tiers.fast, "Accurate": args.tiers.accurate}
    overrides: list[Document] = [
        {
            "name": name,
            "max_ongoing_requests": tier.max_ongoing_requests,
            "max_queued_requests": tier.max_queued_requests,
            "graceful_shutdown_timeout_s": tier.graceful_shutdown_s,
            "health_check_period_s": tier.health.period_s,
            "health_check_timeout_s": tier.health.timeout_s,
            "autoscaling_config": _autoscaling(tier.autoscaling),
        }
        for name, tier in tiers.items()
    ]
    router: Document = {
        "name": "Router",
        "user_config": args.policy.model_dump(mode="json"),
        "max_ongoing_requests": args.router.max_ongoing_requests,
        "autoscaling_config": _autoscaling(args.router.autoscaling),
    }
    document = args.model_dump(mode="json")
    del document["policy"]
    _forget(document["router"], "max_ongoing_requests")
    for tier in document["tiers"].values():
        _forget(tier, "max_ongoing_requests", "max_queued_requests", "graceful_shutdown_s")
        _forget(tier["health"], "period_s", "timeout_s")
    return Rollout(document, (*overrides, router))


def changed_keys(before: Mapping[str, Any], after: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Yield the dotted keys in which two documents differ."""
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key), after.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from changed_keys(old, new, f"{path}{key}.")
        elif old != new:
            yield f"{path}{key}"


def _autoscaling(scaling: "AutoscalingConfig") -> Document:
    from tiers.scaling import autoscaling_fields  # noqa: PLC0415 - it imports Ray, whose environment has to be set

    return autoscaling_fields(scaling)


def _forget(document: Document, *keys: str) -> None:
    """Drop what is given as an override, and scaling but for what Serve can't change in place."""
    for key in keys:
        del document[key]
    if "autoscaling" in document:
        document["autoscaling"] = {"max_replicas_per_node": document["autoscaling"]["max_replicas_per_node"]}
