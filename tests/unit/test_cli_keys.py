"""`secondlook keys`, the environment's key in other commands, and what `serve` refuses."""

import json
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from router.access_config import AccessConfig
from router.api_keys import hash_key
from router.keys_file import read_keys
from secondlook import cli
from secondlook.commands.keys import expiry
from secondlook.deployment import Deployment
from secondlook.deployment_file import DEFAULT_CONFIG, load
from secondlook.errors import ConfigRefused
from secondlook.exposure import check_exposure, is_loopback
from tests.deployment_files import write_deployment_file
from tests.keys import ADMIN, USER, entry

BOTH = ("SECONDLOOK_API_KEY", "SECONDLOOK_ADMIN_KEY")


@pytest.fixture(autouse=True)
def _no_keys_of_who_runs_this(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in BOTH:
        monkeypatch.delenv(variable, raising=False)


def new(file: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Make a key and return what was printed of it."""
    assert cli.main(["keys", "new", "--file", str(file), *arguments]) == 0
    return capsys.readouterr().out.strip()


def test_new_key_is_printed_once_and_kept_as_a_hash(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody but its owner can read the file, which has everything but the key."""
    file = tmp_path / "keys.yaml"

    key = new(file, capsys, "--tenant", "acme", "--admin", "--expires", "90d", "--id", "ops")

    (kept,) = read_keys(file)
    assert (kept.id, kept.tenant, kept.role, kept.hash) == ("ops", "acme", "admin", hash_key(key))
    assert kept.expires_at is not None
    assert abs(kept.expires_at - datetime.now(UTC) - timedelta(days=90)) < timedelta(minutes=1)
    assert key not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_keys_are_listed_and_revoked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table, or JSON, of everything but keys and hashes; the file's mode and its quotas stay."""
    file = tmp_path / "keys.yaml"
    new(file, capsys, "--tenant", "acme", "--id", "old", "--expires", "2020-01-01")
    new(file, capsys, "--tenant", "zeta", "--id", "other")
    file.write_text(file.read_text().replace("tenant: zeta", "tenant: zeta\n  quota: {requests_per_s: 5}"))
    file.chmod(0o644)

    assert cli.main(["keys", "list", "--file", str(file)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert cli.main(["keys", "revoke", "old", "--file", str(file)]) == 0
    capsys.readouterr()
    assert cli.main(["keys", "list", "--file", str(file), "--json"]) == 0
    (left,) = json.loads(capsys.readouterr().out)["keys"]

    assert [(row[0], row[-1]) for row in rows[1:]] == [("old", "expired"), ("other", "valid")]
    assert (left["id"], left["quota"]["requests_per_s"]) == ("other", 5)
    assert "hash" not in left
    assert stat.S_IMODE(file.stat().st_mode) == 0o644


@pytest.mark.parametrize(
    "arguments",
    [
        ["revoke", "none"],
        ["new", "--tenant", "acme", "--id", "taken"],
        ["new", "--tenant", "a b"],
        ["new", "--tenant", "acme", "--id", "a b"],
    ],
)
def test_what_can_not_be_done_fails_and_changes_nothing(
    tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1 and a reason; no key is printed."""
    file = tmp_path / "keys.yaml"
    new(file, capsys, "--tenant", "acme", "--id", "taken")
    before = file.read_bytes()

    assert cli.main(["keys", *arguments, "--file", str(file)]) == 1

    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("secondlook: ")
    assert file.read_bytes() == before


@pytest.mark.parametrize("text", ["0d", "90", "soon", "-1d", "9999999d"])
def test_expiry_that_is_none_is_wrong_use(text: str, tmp_path: Path) -> None:
    """Exit code 2."""
    with pytest.raises(SystemExit) as ending:
        cli.main(["keys", "new", "--tenant", "a", "--expires", text, "--file", str(tmp_path / "f")])
    assert ending.value.code == 2


def test_expiry_is_a_span_or_a_time() -> None:
    """UTC where nothing else is said."""
    assert expiry("2030-05-01") == datetime(2030, 5, 1, tzinfo=UTC)
    assert expiry("2030-05-01T10:00+02:00") == datetime(2030, 5, 1, 8, tzinfo=UTC)
    assert abs(expiry("12h") - datetime.now(UTC) - timedelta(hours=12)) < timedelta(minutes=1)


@contextmanager
def listening() -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    """A server that refuses everything; yields its URL, and the paths and keys that came."""
    came: list[tuple[str, str | None]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            came.append((self.path.partition("?")[0], self.headers["authorization"]))
            body = json.dumps({"error": {"message": "no", "type": "t", "code": "unauthorized", "param": None}}).encode()
            self.send_response(401)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - the library's name

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", came
        server.shutdown()


@pytest.mark.parametrize(
    ("environment", "user", "admin"),
    [
        ({}, None, None),
        ({"SECONDLOOK_API_KEY": USER}, USER, USER),
        ({"SECONDLOOK_ADMIN_KEY": ADMIN}, ADMIN, ADMIN),
        ({"SECONDLOOK_API_KEY": USER, "SECONDLOOK_ADMIN_KEY": ADMIN}, USER, ADMIN),
    ],
)
def test_commands_send_the_environments_key(
    environment: dict[str, str],
    user: str | None,
    admin: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`query` the user's, `status`, `policy` and `calibrate` the admin's; none is printed."""
    for variable, key in environment.items():
        monkeypatch.setenv(variable, key)
    picture, policy = tmp_path / "p.png", tmp_path / "p.yaml"
    picture.write_bytes(b"picture")
    policy.write_text("target_agreement: 0.99\nconfidence: 0.95\n")
    with listening() as (url, came):
        for command in (
            ["query", str(picture), "a cat"],
            ["status"],
            ["policy", "history"],
            ["calibrate", str(policy)],
        ):
            assert cli.main([*command, "--url", url]) == 1

    sent = {path: header and header.removeprefix("Bearer ") for path, header in came}
    assert sent == {
        "/v1/similarity": user,
        "/admin/status": admin,
        "/admin/policy/history": admin,
        "/admin/policy": admin,
    }
    printed = capsys.readouterr()
    assert not [key for key in (USER, ADMIN) if key in printed.out + printed.err]


def test_key_that_can_not_be_sent_is_told_without_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line break that came along with a file's content, for one."""
    monkeypatch.setenv("SECONDLOOK_ADMIN_KEY", "sl_key\n")

    assert cli.main(["status", "--url", "http://127.0.0.1:9"]) == 1

    assert capsys.readouterr().err == "secondlook: SECONDLOOK_ADMIN_KEY: not an API key\n"


def serve(tmp_path: Path, access: dict[str, Any], *arguments: str, **changes: Any) -> int:
    """Start a service that must not come up."""
    file = write_deployment_file(tmp_path / "service.yaml", {"access": access, **changes})
    return cli.main(["serve", "--config", str(file), "--port", "0", *arguments])


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.7", "myhost"])
def test_service_is_not_opened_to_a_network_by_an_oversight(
    tmp_path: Path, host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything starts; the message says what to do."""
    assert serve(tmp_path, {}, "--host", host) == 1

    said = capsys.readouterr().err
    assert host in said
    assert "secondlook keys new" in said
    assert "allow_open" in said


def test_keys_that_can_not_be_used_keep_a_service_from_starting(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is missing or broken, a key in the environment that could be guessed."""
    (tmp_path / "broken.yaml").write_text(f"keys: [{{id: x, hash: {USER}}}]")

    assert serve(tmp_path, {"keys_file": "none.yaml"}) == 1
    assert serve(tmp_path, {"keys_file": "broken.yaml"}) == 1
    monkeypatch.setenv("SECONDLOOK_API_KEY", "guess")
    assert serve(tmp_path, {}) == 1

    said = capsys.readouterr().err
    assert [line.split(":")[1].strip() for line in said.splitlines() if line.startswith("secondlook")] == [
        "API keys"
    ] * 3
    assert USER not in said


@pytest.mark.parametrize("access", [{"keys_file": "keys.yaml"}, {}])
def test_fast_digest_is_refused_beside_keys(
    tmp_path: Path, access: dict[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From whichever place they come."""
    (tmp_path / "keys.yaml").write_text("keys: []")
    if not access:
        monkeypatch.setenv("SECONDLOOK_API_KEY", USER)

    assert serve(tmp_path, access, cache={"image_digest": "xxh3_128"}) == 1

    assert "cache.image_digest" in capsys.readouterr().err


def test_running_service_is_not_opened_by_a_change_either(tmp_path: Path) -> None:
    """Neither by its file nor by a command; other changes are not held up by it."""
    changes = {"server": {"host": "0.0.0.0"}, "cache": {"url": "none:"}}
    file = write_deployment_file(tmp_path / "service.yaml", {**changes, "access": {"allow_open": True}})
    args = load(file)
    deployment = Deployment(file, args, 8000)
    open_args = args.model_copy(update={"access": AccessConfig()})

    with pytest.raises(ConfigRefused, match=r"0\.0\.0\.0"):
        deployment.requested({"config": open_args.model_dump(mode="json")})
    write_deployment_file(file, changes)
    with pytest.raises(ConfigRefused, match="secondlook keys new"):
        deployment.reloaded()

    assert deployment.requested({"policy": {"threshold": 3.0}}).rolls == ()


@pytest.mark.parametrize("access", [{"allow_open": True}, {"keys_file": "keys.yaml"}, {"keys": (entry(USER),)}])
def test_network_is_served_with_keys_or_where_that_is_meant(access: dict[str, Any], tmp_path: Path) -> None:
    """A file without a key is one that lets nobody in."""
    (tmp_path / "keys.yaml").write_text("keys: []")
    config = AccessConfig.model_validate(access)
    if config.keys_file:
        config = config.model_copy(update={"keys_file": str(tmp_path / "keys.yaml")})
    args = load(DEFAULT_CONFIG, host="0.0.0.0").model_copy(update={"access": config})

    check_exposure(args)


@pytest.mark.parametrize(("host", "expected"), [("127.0.0.1", True), ("127.8.9.1", True), ("::1", True)])
def test_loopback_is_told_by_its_address(host: str, expected: bool) -> None:  # noqa: FBT001
    """Or by the one name that it always has."""
    assert is_loopback(host) is expected
    assert is_loopback("localhost")
    assert not is_loopback("localhost.example.com")
    assert not is_loopback("")
