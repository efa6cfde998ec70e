"""What Ray is started with, and what is said of its failures."""

from pathlib import Path

import pytest

from secondlook.ports import PortBlock
from secondlook.ray_environment import haproxy_environment, missing, service_environment
from secondlook.ray_failure import MAX_CHARS, reason_of
from secondlook.readiness import base_url, is_ready
from secondlook.watchdog import MARKER

FOLDER = Path("/tmp/sl-test")  # never created
TRACEBACK = """Deploying app 'secondlook' failed with exception:
Traceback (most recent call last):
  File "/app/tiers/encoder.py", line 7, in load
    raise ModelUnavailable("no weights")
tiers.errors.ModelUnavailable: local-dir:/models/fast: no weights

The above exception was the direct cause of the following exception:
ray.exceptions.RayTaskError(ModelUnavailable): ray::ServeReplica.initialize()
"""


def test_what_a_user_has_set_is_kept() -> None:
    """Only the marker and the import path are always ours."""
    wanted = service_environment(FOLDER, Path("/code"), "/theirs")

    chosen = missing(wanted, {"RAY_worker_niceness": "5", MARKER: "/stale", "PYTHONPATH": "/theirs"})

    assert "RAY_worker_niceness" not in chosen
    assert chosen[MARKER] == str(FOLDER)
    assert chosen["PYTHONPATH"] == "/code:/theirs"


def test_handles_are_closed_to_other_users() -> None:
    """Ray's token authentication is on, with a token of the service's own."""
    wanted = service_environment(FOLDER, Path("/code"), "")

    assert wanted["RAY_AUTH_MODE"] == "token"
    assert wanted["RAY_AUTH_TOKEN_PATH"].startswith(str(FOLDER))


def test_two_services_share_neither_port_nor_file_of_the_ingress() -> None:
    """Every port and path differs between two services."""
    one, two = (
        haproxy_environment(Path(f"/{name}/haproxy"), Path(f"/{name}"), PortBlock(base))
        for name, base in (("a", 20000), ("b", 20128))
    )

    switches = {name for name in one if one[name] == two[name]}
    assert all(one[name] in {"0", "1"} for name in switches)
    assert any("FALLBACK_PROXY_HTTP_PORT" in name for name in one)


def test_reason_is_the_applications_own_error() -> None:
    """Neither the traceback nor Ray's wrapping of it."""
    assert reason_of(TRACEBACK) == "tiers.errors.ModelUnavailable: local-dir:/models/fast: no weights"


@pytest.mark.parametrize(
    ("message", "reason"),
    [("", "no reason given"), ("not enough\n CPUs \n", "CPUs"), ("x" * 999, "x" * MAX_CHARS + "...")],
)
def test_reason_is_one_short_line(message: str, reason: str) -> None:
    """Whatever Ray says."""
    assert reason_of(message) == reason


def test_ipv6_addresses_are_bracketed_in_urls() -> None:
    """As a URL wants them."""
    assert base_url("::1", 8000) == "http://[::1]:8000"
    assert base_url("127.0.0.1", 8000) == "http://127.0.0.1:8000"


def test_nobody_listening_is_not_ready() -> None:
    """Not an error: it may come up yet."""
    assert not is_ready("127.0.0.1", 9)
