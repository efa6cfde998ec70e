"""`secondlook status`: how a running service is doing, as one of its routers sees it."""

import argparse
import json
import sys
from collections.abc import Mapping
from typing import Any

SUMMARY = "say how a running service is doing"
DEFAULT_URL = "http://127.0.0.1:8000"
TIER_COLUMNS = (
    "tier",
    "breaker",
    "waiting",
    "limit: images",
    "texts",
    "sent",
    "refused",
    "shed",
    "late",
    "lost",
    "model",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--url", default=DEFAULT_URL, metavar="U", help="where the service is (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print the service's answer as it is")


def run(options: argparse.Namespace) -> int:
    """Ask and print."""
    from secondlook.similarity import connect, fetch  # noqa: PLC0415 - --help does not need httpx

    with connect(options.url, is_admin=True) as client:
        status = fetch(client, "GET", "/admin/status", expects="tiers")
    if options.json:
        print(json.dumps(status, indent=2))
    else:
        _print(status)
    return 0


def _print(status: Mapping[str, Any]) -> None:
    from secondlook.tables import print_table  # noqa: PLC0415

    print_table(TIER_COLUMNS, [_tier_row(name, tier) for name, tier in status["tiers"].items()], sys.stdout)
    print(cache_line(status["cache"]))
    policy = status["policy"]
    print(f"policy {policy['version']}: {_aim(policy)}, {status['requests']['in_flight']} in flight")
    for certificate in status.get("certificates", ()):
        print(certificate_line(certificate))


def _aim(policy: Mapping[str, Any]) -> str:
    if policy["target_agreement"] is None:
        return f"threshold {policy['threshold']}"
    return f"target {policy['target_agreement']:.2%} with {policy['confidence']:.0%} confidence"


def certificate_line(certificate: Mapping[str, Any]) -> str:
    """Say in one line whether a certificate counts, and what the audit has seen of it."""
    threshold, audit = certificate["threshold"], certificate["audit"]
    looks = "always" if threshold is None else f"below {threshold:g}"
    effect = f"second look {looks}" if certificate["standing"] == "holds" else "every item takes a second look"
    line = f"certificate {certificate['id']} for {certificate['group']}: {certificate['standing']}, {effect}"
    if audit is None:
        return f"{line}; not audited yet"
    return (
        f"{line}; {audit['audits']} audits, of late {audit['recent_agreement']:.2%} agree "
        f"(at least {audit['recent_agreement_bound']:.2%})"
    )


def _tier_row(name: str, tier: Mapping[str, Any]) -> tuple[str, ...]:
    limits = tier["limits"]
    counts = [tier[field] for field in ("items", "refused", "shed", "timed_out", "unreachable")]
    figures = (tier["held_items"], limits["image"], limits["text"], *counts)
    return (name, tier["breaker"], *map(str, figures), tier["model"] or "(not up)")


def cache_line(cache: Mapping[str, Any]) -> str:
    """Say in one line what the cache knew, and what keeps it from its servers."""
    hits, misses = cache["l1_hits"] + cache["shared_hits"], cache["misses"]
    share = f"{hits / (hits + misses):.1%}" if hits + misses else "none asked for"
    line = f"cache: {share} found ({cache['l1_hits']} in the process, {cache['shared_hits']} shared, {misses} not)"
    return line + "".join(f"; server {at} {state}" for at, state in enumerate(cache["breakers"]) if state != "closed")
