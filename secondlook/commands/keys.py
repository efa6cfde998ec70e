"""`secondlook keys`: make API keys, list them, revoke them, in a file that routers read again when it changes."""

import argparse
import json
import re
import secrets
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from router.access_config import KeyEntry

SUMMARY = "make, list and revoke API keys"
COLUMNS = ("id", "tenant", "role", "expires (UTC)", "state")
_SPAN = re.compile(r"([1-9][0-9]{0,5})([hd])")
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    new = actions.add_parser("new", help="make a key and print it, once; the file gets its hash")
    new.add_argument("--tenant", required=True, metavar="T", help="whose key it is")
    new.add_argument("--admin", action="store_true", help="an operator's, who may use /admin as well")
    new.add_argument("--expires", type=expiry, metavar="WHEN", help="90d, 12h or an ISO 8601 time (default: never)")
    new.add_argument("--id", type=_name, metavar="ID", help="what it is spoken of by (default: by chance)")
    listed = actions.add_parser("list", help="list the keys of a file; the keys themselves are nowhere")
    listed.add_argument("--json", action="store_true", help="print one JSON object")
    revoke = actions.add_parser("revoke", help="remove a key from a file")
    revoke.add_argument("id", metavar="ID", help="the key's id, as `list` shows it")
    for action, run_action in ((new, _new), (listed, _list), (revoke, _revoke)):
        action.add_argument("--file", type=Path, required=True, metavar="F", help="the file of keys")
        action.set_defaults(run_action=run_action)


def run(options: argparse.Namespace) -> int:
    """Run one action."""
    run_action: Callable[[argparse.Namespace], int] = options.run_action
    return run_action(options)


def expiry(text: str) -> datetime:
    """Parse a span from now, or a time."""
    span = _SPAN.fullmatch(text)
    try:
        time = datetime.now(UTC) + int(span[1]) * _UNITS[span[2]] if span else datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        raise argparse.ArgumentTypeError(f"not 90d, 12h or an ISO 8601 time: {text}") from error
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).replace(microsecond=0)


def _new(options: argparse.Namespace) -> int:
    from pydantic import ValidationError  # noqa: PLC0415 - --help does not need them

    from router.access_config import KeyEntry  # noqa: PLC0415
    from router.api_keys import hash_key, new_key  # noqa: PLC0415
    from secondlook.errors import KeysRefused  # noqa: PLC0415
    from secondlook.key_store import add_key  # noqa: PLC0415

    key = new_key()
    try:
        entry = KeyEntry(
            id=options.id or f"k-{secrets.token_hex(4)}",
            hash=hash_key(key),
            tenant=options.tenant,
            role="admin" if options.admin else "user",
            expires_at=options.expires,
        )
    except ValidationError as error:
        raise KeysRefused(f"--{error.errors()[0]['loc'][0]}: letters, digits, dots, dashes, up to 64") from error
    add_key(options.file, entry)
    print(key)
    print(f"{entry.id} of {entry.tenant} ({entry.role}): this is the only time that it is shown", file=sys.stderr)
    return 0


def _list(options: argparse.Namespace) -> int:
    from secondlook.key_store import read_store  # noqa: PLC0415
    from secondlook.tables import print_table  # noqa: PLC0415

    entries = read_store(options.file)
    if options.json:
        keys = [entry.model_dump(mode="json", exclude={"hash"}) for entry in entries]
        print(json.dumps({"keys": keys}, indent=2))
    else:
        print_table(COLUMNS, [_row(entry, datetime.now(UTC)) for entry in entries], sys.stdout)
    return 0


def _revoke(options: argparse.Namespace) -> int:
    from secondlook.key_store import remove_key  # noqa: PLC0415

    entry = remove_key(options.file, options.id)
    print(f"revoked {entry.id} of {entry.tenant}: routers that read this file refuse it within seconds")
    return 0


def _row(entry: "KeyEntry", now: datetime) -> tuple[str, ...]:
    until = entry.expires_at
    state = "expired" if until is not None and until <= now else "valid"
    when = "never" if until is None else until.astimezone(UTC).isoformat(sep=" ", timespec="minutes")[:16]
    return entry.id, entry.tenant, entry.role, when, state


def _name(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("empty")
    return text
