"""How commands reach the service that they mean: a socket of its launcher that only the same user can open.

Applying a policy needs Serve's own client, which the launcher holds. One JSON object a line each way, one exchange a
connection.
"""

import json
import os
import queue
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from secondlook.errors import NoService

MAX_REQUEST_BYTES = 8 * 2**20
PATIENCE_S = 120.0
READ_TIMEOUT_S = 5.0
THIS_MACHINE = ("127.0.0.1", "localhost", "::1")
EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - names to look for, not addresses to listen on
MAX_FOLDER_BYTES = 60
"""A socket's path in a longer folder could pass the kernel's 107 characters."""
Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, and the way its answer goes back."""

    request: Document
    answer: "queue.Queue[Document]" = field(default_factory=queue.Queue)
    given_up: threading.Event = field(default_factory=threading.Event)
    """Set when nobody waits for the answer any more: what has not begun by then is not to be done."""


class ControlSocket:
    """The launcher's end. Requests wait until the launcher takes them: Serve's client belongs to one thread."""

    def __init__(self, listener: socket.socket, wake: Callable[[], None]) -> None:
        self._listener = listener
        self._wake = wake
        self._asked: queue.Queue[Asked] = queue.Queue()
        self._thread = threading.Thread(target=self._listen, name="control", daemon=True)
        self._thread.start()

    def take(self) -> Asked | None:
        """The next request that somebody still waits for, or None."""
        with suppress(queue.Empty):
            while (asked := self._asked.get_nowait()).given_up.is_set():
                pass
            return asked
        return None

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed: the service ends
                return
            threading.Thread(target=self._serve, args=(connection,), name="control-request", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(READ_TIMEOUT_S)
            try:
                asked = Asked(_read_line(connection))
            except ValueError as error:
                _write_line(connection, {"error": str(error)})
                return
            self._asked.put(asked)
            self._wake()
            try:
                answer = asked.answer.get(timeout=PATIENCE_S)
            except queue.Empty:
                asked.given_up.set()
                answer = {"error": "the service did not take the request in time"}
            _write_line(connection, answer)


@contextmanager
def listening(host: str, port: int, wake: Callable[[], None]) -> Iterator[ControlSocket]:
    """Listen for commands to the service on `host:port` until the block ends; `wake` is called when one has come."""
    path = _folder() / f"{host}-{port}.sock"
    path.unlink(missing_ok=True)  # of a launcher that was killed: the port is ours
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(8)
        try:
            yield ControlSocket(listener, wake)
        finally:
            path.unlink(missing_ok=True)


def ask(host: str, port: int, request: Document) -> Document:
    """Ask the launcher of the service on `host:port`.

    Raises:
        NoService: There is none of this user's, or it does not answer.
    """
    same = THIS_MACHINE if host in THIS_MACHINE else ()
    for name in dict.fromkeys((host, *same, *EVERYWHERE)):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE_S + READ_TIMEOUT_S)
            try:
                connection.connect(str(_folder() / f"{name}-{port}.sock"))
            except OSError:
                continue
            try:
                _write_line(connection, request)
                return _read_line(connection)
            except (OSError, ValueError) as error:
                raise NoService(f"the service on {host}:{port} ended before it had answered") from error
    raise NoService(f"no `secondlook serve` of this user's serves {host}:{port}")


def _folder() -> Path:
    """The user's own folder for such sockets, closed to others: the first place where there can be one."""
    root = os.environ.get("XDG_RUNTIME_DIR")
    name = f"secondlook-{os.getuid()}"
    places = [Path(root) / "secondlook"] if root else []
    for folder in (*places, Path(tempfile.gettempdir()) / name, Path("/tmp") / name):  # noqa: S108 - checked below
        if len(os.fsencode(folder)) > MAX_FOLDER_BYTES:
            continue
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            status = folder.lstat()
        except OSError:
            continue
        if status.st_uid != os.getuid() or status.st_mode & 0o077:
            raise NoService(f"{folder} is not this user's own; remove it")
        return folder
    raise NoService("there is no folder in which commands could reach a service; set XDG_RUNTIME_DIR")


def _read_line(connection: socket.socket) -> Document:
    data = bytearray()
    while not data.endswith(b"\n"):
        chunk = connection.recv(65536)
        if not chunk or len(data) > MAX_REQUEST_BYTES:
            raise ValueError("cut off, or too long")
        data += chunk
    try:
        document = json.loads(data)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(document, dict):
        raise ValueError("expected an object")  # noqa: TRY004 - of the bytes, not of an argument
    return document


def _write_line(connection: socket.socket, document: Document) -> None:
    connection.sendall(json.dumps(document).encode() + b"\n")
