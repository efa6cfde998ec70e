"""A policy, and what it would do on recorded traffic, as a person reads it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from secondlook.tables import print_table

if TYPE_CHECKING:
    from router.policy import Policy

DRY_RUN_COLUMNS = (
    "questions",
    "policy",
    "audited",
    "threshold",
    "second looks",
    "degraded",
    "agreement",
    "at least",
    "target",
    "certified",
    "accurate/s",
    "replica hours/million",
)


def describe_policy(policy: "Policy", stream: TextIO) -> None:
    """Say what a policy asks for, and which certificates it brings."""
    print(f"valid: policy {policy.version}", file=stream)
    for route in ("the rest", *policy.routes):
        rule = policy if route == "the rest" else policy.rule(route)
        if rule.target_agreement is None:
            aim = f"second look below a margin of {rule.threshold}"
        else:
            aim = f"agreement of {rule.target_agreement:.2%} with {rule.confidence:.0%} confidence"
        print(f"  {route}: {aim}; without the accurate tier: {rule.degraded}", file=stream)
    for one in policy.certificates:
        looks = "always" if one.threshold is None else f"below {one.threshold}"
        print(
            f"  certificate {one.id} for {one.group}: second look {looks}, agreement at least "
            f"{one.agreement_bound:.2%} in {one.count} questions ({one.source}, {one.created_at})",
            file=stream,
        )
    if policy.target_agreement is not None and not policy.certificates:
        print("  no certificate: every item takes a second look until `secondlook calibrate` has run", file=stream)


def describe_dry_run(report: Mapping[str, Any], stream: TextIO) -> None:
    """Print both policies side by side, group by group."""
    rows: list[Sequence[str]] = []
    for current, proposed in zip(report["current"], report["proposed"], strict=True):
        rows += [_row(current, "current"), _row(proposed, "proposed")]
    versions = report["versions"]
    print(f"current {versions['current']}, proposed {versions['proposed']}", file=stream)
    if rows:
        print_table(DRY_RUN_COLUMNS, rows, stream)
    else:
        print("no audit record of the present models: nothing to replay", file=stream)
    lost = sum(report["lost"].values())
    print(f"{report['records']} records over {report['seconds']:.0f} s, {lost} audits lost", file=stream)
    if report["from_other_models"]:
        print(f"{report['from_other_models']} records are of other models and were left out", file=stream)
    verdict = "every target is certified" if report["certified"] else "NOT certified: a target has no certificate"
    print(f"{verdict}. Agreement is with the accurate tier, on traffic like these records; not accuracy.", file=stream)


def _row(replay: Mapping[str, Any], name: str) -> Sequence[str]:
    hours = replay["replica_hours_per_million"]
    target = replay["target_agreement"]
    certified = {True: "yes", False: "no", None: "-"}[replay["is_certified"]]
    return (
        replay["group"],
        name,
        str(replay["items"]),
        "always" if replay["threshold"] is None else f"{replay['threshold']:g}",
        f"{replay['escalation_share']:.1%}",
        f"{replay['degraded_share']:.1%}",
        f"{replay['agreement']:.2%}",
        f"{replay['agreement_bound']:.2%}",
        "-" if target is None else f"{target:.2%}",
        certified,
        f"{replay['accurate_items_per_s']:.1f}",
        "-" if hours is None else f"{hours:.2f}",
    )
