"""`secondlook policy`: check a policy, see what it would change, try it on recorded traffic, apply it, roll it back."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from secondlook.commands.status import DEFAULT_URL
from secondlook.errors import SecondlookError

SUMMARY = "check, compare, try, apply and roll back policies"
Answer = Mapping[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    commands = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, (run_action, summary) in ACTIONS.items():
        action = commands.add_parser(name, help=summary, description=summary)
        action.add_argument("--json", action="store_true", help="print one JSON object")
        if name != "check":
            action.add_argument("--url", default=DEFAULT_URL, metavar="U", help="the service (default: %(default)s)")
        if name in ("check", "diff", "dry-run", "apply"):
            action.add_argument("file", type=Path, help="a policy's own file, or a deployment file")
        if name == "apply":
            action.add_argument("--allow-roll", action="store_true", help="replace replicas where a change needs it")
        if name == "rollback":
            action.add_argument("--to", metavar="VERSION", help="a version of the history (default: the one before)")
        if name in ("apply", "rollback"):
            action.add_argument("--note", default="", help="what the history is to say of it")
        if name == "dry-run":
            action.add_argument("--records", type=int, default=50_000, help="newest audit records to replay")
        action.set_defaults(run_action=run_action)


def run(options: argparse.Namespace) -> int:
    """Run one action."""
    run_action: Callable[[argparse.Namespace], int] = options.run_action
    return run_action(options)


def check(options: argparse.Namespace) -> int:
    """Validate a file; exit code 1 where it is not valid."""
    from secondlook.policy_report import describe_policy  # noqa: PLC0415

    policy = _load(options.file)
    _say(options, {"valid": True, "version": policy.version}, lambda: describe_policy(policy, sys.stdout))
    return 0


def diff(options: argparse.Namespace) -> int:
    """Say what applying a file would change, and how."""
    plan = _ask(options, {"op": "plan", **_request(options.file)})
    _say(options, plan, lambda: _print_plan(plan))
    return 0


def apply(options: argparse.Namespace) -> int:
    """Put a file in force: say what changes and how, then do it."""
    request = {**_request(options.file), "note": options.note, "allow_roll": options.allow_roll}
    plan = _ask(options, {"op": "plan", **request})
    if not options.json:
        _print_plan(plan)
    if plan["rolls"] and not options.allow_roll:
        raise SecondlookError(f"nothing was applied: {', '.join(plan['rolls'])} would replace replicas; --allow-roll")
    if not plan["rolls"] and not plan["in_place"]:
        _say(options, {**plan, "applied": False}, lambda: print("nothing to apply"))
        return 0
    done = _ask(options, {"op": "apply", **request})
    _say(options, {**done, "applied": True}, lambda: _print_done(done))
    return 0


def rollback(options: argparse.Namespace) -> int:
    """Put the policy in force that was before the present one, or a version of the history."""
    entries = _history(options)
    target = _rollback_target(entries, options.to)
    request = {"op": "apply", "action": "rollback", "policy": target["policy"], "note": options.note}
    done = _ask(options, request)
    _say(options, {**done, "applied": True}, lambda: _print_done(done))
    return 0


def history(options: argparse.Namespace) -> int:
    """List what was applied, newest first."""
    from secondlook.tables import print_table  # noqa: PLC0415

    entries = _history(options)
    rows = [(one["at"], one["action"], one["version"], one["note"]) for one in entries]
    _say(options, {"data": entries}, lambda: print_table(("when (UTC)", "by", "version", "note"), rows, sys.stdout))
    return 0


def dry_run(options: argparse.Namespace) -> int:
    """Replay recorded traffic under a file's policy; exit code 1 where its target is not certified."""
    from secondlook.policy_report import describe_dry_run  # noqa: PLC0415

    body = {"policy": _load(options.file).model_dump(mode="json"), "records": options.records}
    report = _fetch(options, "POST", "/admin/policy/dry-run", body, expects="proposed")
    _say(options, report, lambda: describe_dry_run(report, sys.stdout))
    return 0 if report["certified"] else 1


ACTIONS: dict[str, tuple[Callable[[argparse.Namespace], int], str]] = {
    "check": (check, "validate a policy file"),
    "diff": (diff, "say what applying a file would change, and whether in place"),
    "dry-run": (dry_run, "replay recorded traffic under a policy; exit code 1 where its target is not certified"),
    "apply": (apply, "put a policy in force"),
    "history": (history, "list the policies that were applied"),
    "rollback": (rollback, "put an earlier policy in force again"),
}


def _load(file: Path) -> Any:
    """A file's policy; of a deployment file all else is checked as well, because `apply` takes all of it."""
    from router.errors import ConfigInvalid  # noqa: PLC0415 - the models take half a second to build
    from router.policy_file import is_deployment, load_policy  # noqa: PLC0415
    from router.yaml_file import read_yaml  # noqa: PLC0415
    from secondlook.deployment_file import load  # noqa: PLC0415
    from secondlook.errors import ConfigRefused  # noqa: PLC0415

    try:
        return load(file).policy if is_deployment(read_yaml(file)) else load_policy(file)
    except ConfigInvalid as error:
        raise ConfigRefused(str(error)) from error


def _request(file: Path) -> dict[str, Any]:
    """What the launcher is to be asked for: a policy alone, or a deployment file's whole configuration."""
    from router.policy_file import is_deployment  # noqa: PLC0415
    from router.yaml_file import read_yaml  # noqa: PLC0415
    from secondlook.deployment_file import load  # noqa: PLC0415

    policy = _load(file)
    if is_deployment(read_yaml(file)):
        return {"config": load(file).model_dump(mode="json")}
    return {"policy": policy.model_dump(mode="json")}


def _rollback_target(entries: list[Answer], wanted: str | None) -> Answer:
    if not entries:
        raise SecondlookError("the history is empty")
    present = entries[0]["version"]
    for entry in entries:
        if entry["version"] == wanted if wanted else entry["version"] != present:
            return entry
    raise SecondlookError(f"the history has no version {wanted}" if wanted else "the history has no other version")


def _history(options: argparse.Namespace) -> list[Answer]:
    entries: list[Answer] = _fetch(options, "GET", "/admin/policy/history", None, expects="data")["data"]
    return entries


def _fetch(options: argparse.Namespace, method: str, path: str, body: Answer | None, expects: str) -> Answer:
    from secondlook.similarity import connect, fetch  # noqa: PLC0415 - --help does not need httpx

    with connect(options.url, is_admin=True) as client:
        return fetch(client, method, path, expects=expects, json=body)


def _ask(options: argparse.Namespace, request: Answer) -> Answer:
    from urllib.parse import urlsplit  # noqa: PLC0415

    from secondlook.control_socket import ask  # noqa: PLC0415
    from secondlook.errors import ChangeFailed  # noqa: PLC0415

    try:
        address = urlsplit(options.url)
        host, port = address.hostname, address.port or (443 if address.scheme == "https" else 80)
    except ValueError as error:
        raise SecondlookError(f"not a URL: {options.url}") from error
    if address.scheme not in ("http", "https") or not host:
        raise SecondlookError(f"not an http(s) URL: {options.url}")
    answer = ask(host, port, request)
    if "error" in answer:
        raise ChangeFailed(str(answer["error"]))
    return answer


def _say(options: argparse.Namespace, answer: Answer, tell: Callable[[], object]) -> None:
    if options.json:
        print(json.dumps(answer, indent=2))
    else:
        tell()


def _print_plan(plan: Answer) -> None:
    if plan["rolls"]:
        print(f"replaces replicas: {', '.join(plan['rolls'])}")
    if plan["in_place"]:
        print(f"in place, without replacing a replica: {', '.join(plan['in_place'])}")
    print(f"policy would be {plan['version']}")


def _print_done(done: Answer) -> None:
    print(f"policy {done['version']} is in force on every replica, after {done['in_force_after_s']} s")
