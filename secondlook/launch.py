"""Run one service on this machine from start to stop, and leave nothing behind."""

import logging
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Self

from secondlook import haproxy, watchdog
from secondlook.changes import Changes, Deployable
from secondlook.cluster import Cluster
from secondlook.control_socket import listening
from secondlook.errors import StartFailed, StoppedAtOnce, StopRequested
from secondlook.ports import PortBlock, claim_address, claim_block
from secondlook.ray_environment import haproxy_environment, missing, service_environment
from secondlook.readiness import base_url, is_ready
from secondlook.wall_clock import WallClock

logger = logging.getLogger(__name__)

CODE_DIR = Path(__file__).resolve().parents[1]
MAX_TEMP_DIR_CHARS = 20
"""Ray's and HAProxy's socket paths in a longer folder would pass the kernel's 107 characters."""
READY_POLL_S = 0.1
STATUS_EVERY = 5
WATCH_S = 2.0
CLEAN_UP_S = 30.0
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True)
class Service:
    """What to run and where; `port` 0 is a free one."""

    deployable: Callable[[int], Deployable]
    """Makes what is to be run, given the port that it will be reached on."""
    host: str = "127.0.0.1"
    port: int = 0
    code_dir: Path = CODE_DIR
    start_timeout_s: float = 600.0
    drain_timeout_s: float = 30.0
    verbose: bool = False


class StopSignal:
    """SIGTERM or SIGINT: interrupts start-up, ends the wait of a running service, cuts a drain short.

    SIGHUP asks for a reload or, where it comes because the terminal has gone, to stop.
    """

    def __init__(self) -> None:
        self._woken = threading.Event()
        self._count = 0
        self._interrupts = True
        self._reloads = 0
        self._has_terminal = os.isatty(0)

    def __enter__(self) -> Self:
        self._previous = {signum: signal.getsignal(signum) for signum in (*STOP_SIGNALS, signal.SIGHUP)}
        self.install()
        return self

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)

    def install(self) -> None:
        """Take both signals over; again after Ray's start, which takes SIGTERM for itself."""
        for signum in (*STOP_SIGNALS, signal.SIGHUP):
            signal.signal(signum, self._handle)

    def wait(self, timeout_s: float) -> bool:
        """Wait for a signal and return whether one asked to stop; from now on only a second one interrupts."""
        self._interrupts = False
        self._woken.wait(timeout_s)
        self._woken.clear()
        return self._count > 0

    def wake(self) -> None:
        """End the wait, for something that is no signal."""
        self._woken.set()

    def take_reload(self) -> bool:
        """Whether a reload has been asked for since this was asked last."""
        asked, self._reloads = self._reloads > 0, 0
        return asked

    def _handle(self, signum: int, _frame: FrameType | None) -> None:
        self._woken.set()
        if signum == signal.SIGHUP and not (self._has_terminal and not os.isatty(0)):
            self._reloads += 1
            return
        self._count += 1
        if self._count == (1 if self._interrupts else 2):
            raise StopRequested("stopped on request")


def run_service(service: Service, announce: Callable[[str], None]) -> None:
    """Start the service, `announce` its URL once it is ready, serve until a signal, drain, stop.

    Raises:
        StartFailed: It did not start, or was stopped before it was ready.
        ServiceLost: It lost a process that nothing restarts, or was told twice to stop. Everything has
            been cleaned up, but Ray's native part in this process still believes in its cluster.
    """
    with ExitStack() as held:
        stop = held.enter_context(StopSignal())
        port = held.enter_context(claim_address(service.host, service.port))
        ports = held.enter_context(claim_block())
        folder = held.enter_context(_service_folder())
        ingress = _set_environment(service, folder, ports)
        # Ray opens its folder to everybody: it gets one inside ours, which is closed.
        cluster = Cluster(folder / "r", verbose=service.verbose)
        deployable = service.deployable(port)
        with _stopping_on_failure(cluster):
            _start(service, cluster, deployable, port, stop)
            control = held.enter_context(listening(service.host, port, stop.wake))
            announce(base_url(service.host, port))
        changes = Changes(cluster, deployable)
        deployable.begin()
        clock = WallClock()
        while not stop.wait(WATCH_S):
            cluster.check_alive()
            if clock.was_set_back():
                logger.warning(
                    "the wall clock was set back: Serve's controller begins anew, or it would check no health"
                )
                cluster.restart_controller()
            if stop.take_reload():
                changes.reload()
            while asked := control.take():
                changes.answer(asked)
        _drain(service, cluster, ingress)


@contextmanager
def _stopping_on_failure(cluster: Cluster) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        cluster.stop()
        if isinstance(error, SystemExit):  # Ray's own way to take SIGTERM
            raise StopRequested("stopped on request") from error
        raise


def _start(service: Service, cluster: Cluster, deployable: Deployable, port: int, stop: StopSignal) -> None:
    began = time.monotonic()
    cluster.start(service.host, port)
    stop.install()
    logger.info("Ray and Serve are up after %.1f s", time.monotonic() - began)
    cluster.deploy(deployable.application)
    _wait_until_ready(service, cluster, port)
    logger.info("ready after %.1f s", time.monotonic() - began)


def _wait_until_ready(service: Service, cluster: Cluster, port: int) -> None:
    give_up_at = time.monotonic() + service.start_timeout_s
    polls = 0
    while not is_ready(service.host, port):
        polls += 1
        if polls % STATUS_EVERY == 0:
            cluster.check_deploying()
            cluster.check_alive()
        if time.monotonic() > give_up_at:
            raise StartFailed(f"not ready after {service.start_timeout_s:.0f} s")
        time.sleep(READY_POLL_S)


def _drain(service: Service, cluster: Cluster, ingress: Path | None) -> None:
    logger.info("draining: requests in flight finish, new ones are refused")
    try:
        if ingress:
            haproxy.close_front_door(ingress)
        cluster.wait_until_idle(service.drain_timeout_s)
        cluster.stop()
    except StopRequested as error:
        raise StoppedAtOnce("stopped at once; requests in flight were dropped") from error


def _set_environment(service: Service, folder: Path, ports: PortBlock) -> Path | None:
    """Set what Ray reads at import; return HAProxy's folder, or None where Serve's own proxy is used."""
    if "ray" in sys.modules:
        raise StartFailed("Ray was imported before the service's environment was set")
    environment = service_environment(folder, service.code_dir, os.environ.get("PYTHONPATH", ""))
    binary = haproxy.find_binary()
    ingress = None
    if binary and os.environ.get("RAY_SERVE_ENABLE_HA_PROXY", "1") == "1":
        ingress = folder / "ha"
        ingress.mkdir()
        environment |= haproxy_environment(haproxy.write_wrapper(binary, ingress), ingress, ports)
        logger.info("ingress: HAProxy (%s)", binary)
    else:
        logger.info("ingress: Serve's own proxy, six to eight times slower; no HAProxy for this platform")
    os.environ.update(missing(environment, os.environ))
    return ingress


@contextmanager
def _service_folder() -> Iterator[Path]:
    """The service's private folder; with it go, at the end, all processes that were started in it."""
    parent = tempfile.gettempdir()
    folder = Path(tempfile.mkdtemp(prefix="sl-", dir=parent if len(parent) <= MAX_TEMP_DIR_CHARS else "/tmp"))  # noqa: S108 - mkdtemp makes it private
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32), encoding="ascii")
    guard = subprocess.Popen(  # noqa: S603 - our own file, by this interpreter
        [sys.executable, "-S", "-E", watchdog.__file__, str(folder)], stdin=subprocess.PIPE, start_new_session=True
    )
    try:
        yield folder
    finally:
        guard.communicate(timeout=CLEAN_UP_S)
        shutil.rmtree(folder, ignore_errors=True)
