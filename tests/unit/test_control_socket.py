"""The launcher's socket: commands of the same user, one exchange a connection."""

import json
import os
import queue
import socket
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from secondlook.control_socket import MAX_REQUEST_BYTES, Asked, ControlSocket, ask, listening
from secondlook.errors import NoService

HOST, PORT = "127.0.0.1", 8123
PATIENCE_S = 10.0


@pytest.fixture(autouse=True)
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime folder of the test's own, short enough for a socket's path."""
    with tempfile.TemporaryDirectory(prefix="slt-", dir="/tmp") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield Path(folder)


class Launcher:
    """Takes requests as a launcher does: one after the other, when it is woken."""

    def __init__(self) -> None:
        self.woken = threading.Semaphore(0)
        self.taken: list[Mapping[str, Any]] = []

    def next(self, control: ControlSocket) -> Asked:
        """Wait for a request, and take it."""
        assert self.woken.acquire(timeout=PATIENCE_S)
        asked = control.take()
        assert asked is not None
        self.taken.append(asked.request)
        return asked


@contextmanager
def asking(*requests: Mapping[str, Any], host: str = HOST) -> Iterator["queue.Queue[Any]"]:
    """Ask in threads of their own; yields their answers, and errors, as they come."""
    answers: queue.Queue[Any] = queue.Queue()

    def run(request: Mapping[str, Any]) -> None:
        try:
            answers.put(ask(host, PORT, request))
        except NoService as error:
            answers.put(error)

    threads = [threading.Thread(target=run, args=(request,), daemon=True) for request in requests]
    for thread in threads:
        thread.start()
    yield answers
    for thread in threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def path_of(runtime: Path, host: str = HOST) -> Path:
    """Where the socket lies."""
    return runtime / "secondlook" / f"{host}-{PORT}.sock"


def send(runtime: Path, data: bytes, *, ends: bool = True) -> bytes:
    """Send raw bytes and return what comes back."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE_S)
        connection.connect(str(path_of(runtime)))
        try:
            connection.sendall(data)
            if ends:
                connection.shutdown(socket.SHUT_WR)
        except BrokenPipeError:  # answered before it had read everything
            pass
        received = b""
        try:
            while chunk := connection.recv(65536):
                received += chunk
        except ConnectionResetError:
            pass
        return received


def test_request_reaches_the_launcher_and_its_answer_the_command() -> None:
    """Both as they are."""
    launcher = Launcher()
    request = {"op": "plan", "note": "grüße\nzeile"}

    with listening(HOST, PORT, launcher.woken.release) as control, asking(request) as answers:
        launcher.next(control).answer.put({"rolls": ["limits.texts"]})

        assert answers.get(timeout=PATIENCE_S) == {"rolls": ["limits.texts"]}
    assert launcher.taken == [request]


def test_two_commands_at_once_get_each_their_own_answer() -> None:
    """In whatever order they come and are answered."""
    launcher = Launcher()

    with (
        listening(HOST, PORT, launcher.woken.release) as control,
        asking({"number": 1}, {"number": 2}) as answers,
    ):
        taken = [launcher.next(control) for _ in range(2)]
        for asked in reversed(taken):
            asked.answer.put({"answer_to": asked.request["number"]})
        got = [answers.get(timeout=PATIENCE_S) for _ in range(2)]

    assert sorted(one["answer_to"] for one in got) == [1, 2]


def test_nothing_asked_is_nothing_taken() -> None:
    """The launcher never waits here."""
    with listening(HOST, PORT, lambda: None) as control:
        assert control.take() is None


@pytest.mark.parametrize(
    "data", [b"garbage\n", b"\xff\xfe\n", b"[1]\n", b"5\n", b"{}\n{}\n", b"\n", b"[" * 5000 + b"\n"]
)
def test_garbage_is_answered_with_an_error_and_not_taken(runtime: Path, data: bytes) -> None:
    """And the next command is served."""
    launcher = Launcher()

    with listening(HOST, PORT, launcher.woken.release) as control:
        answer = json.loads(send(runtime, data))
        assert control.take() is None
        with asking({"op": "plan"}) as answers:
            launcher.next(control).answer.put({"fine": True})
            assert answers.get(timeout=PATIENCE_S) == {"fine": True}

    assert answer.keys() == {"error"}


@pytest.mark.parametrize("data", [b"", b'{"op": "apply"', b'{"op": "apply"}'])
def test_request_that_is_cut_off_is_not_taken(runtime: Path, data: bytes) -> None:
    """A line without its end may be half of what was meant."""
    with listening(HOST, PORT, lambda: None) as control:
        answer = json.loads(send(runtime, data))

        assert control.take() is None
    assert "cut off" in answer["error"]


def test_request_that_is_too_long_is_not_read_to_its_end(runtime: Path) -> None:
    """Whoever sends it."""
    with listening(HOST, PORT, lambda: None) as control:
        answer = send(runtime, b'"' + b"x" * (MAX_REQUEST_BYTES + 2**20))

        assert control.take() is None
    assert answer == b"" or b"too long" in answer


def test_command_that_goes_away_does_not_stop_the_launcher(runtime: Path) -> None:
    """Its request is taken all the same, and its answer thrown away."""
    launcher = Launcher()

    with listening(HOST, PORT, launcher.woken.release) as control:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path_of(runtime)))
            connection.sendall(b'{"op": "plan"}\n')
            asked = launcher.next(control)
        asked.answer.put({"too": "late"})
        with asking({"op": "apply"}) as answers:
            launcher.next(control).answer.put({"fine": True})
            assert answers.get(timeout=PATIENCE_S) == {"fine": True}


def test_nobody_there_is_told() -> None:
    """By the address that was meant."""
    with pytest.raises(NoService, match=f"{HOST}:{PORT}"):
        ask(HOST, PORT, {})


def test_other_port_is_another_service() -> None:
    """A command never reaches one that it does not mean."""
    with listening(HOST, PORT + 1, lambda: None), pytest.raises(NoService):
        ask(HOST, PORT, {})


def test_service_on_every_address_is_found_by_any_of_them() -> None:
    """It listens on 0.0.0.0, and the command says 127.0.0.1."""
    launcher = Launcher()

    with listening("0.0.0.0", PORT, launcher.woken.release) as control, asking({}) as answers:
        launcher.next(control).answer.put({"fine": True})
        assert answers.get(timeout=PATIENCE_S) == {"fine": True}


@pytest.mark.parametrize(("served", "asked"), [("127.0.0.1", "localhost"), ("localhost", "127.0.0.1"), ("::", "::1")])
def test_names_of_this_machine_mean_the_same_service(served: str, asked: str) -> None:
    """As they do over HTTP."""
    launcher = Launcher()

    with listening(served, PORT, launcher.woken.release) as control, asking({}, host=asked) as answers:
        launcher.next(control).answer.put({"fine": True})
        assert answers.get(timeout=PATIENCE_S) == {"fine": True}


def test_launcher_that_ends_before_it_answers_is_told(runtime: Path) -> None:
    """Not taken for an answer."""
    folder = runtime / "secondlook"
    folder.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path_of(runtime)))
        listener.listen(1)
        with asking({}) as answers:
            connection, _ = listener.accept()
            connection.recv(100)
            connection.close()

            error = answers.get(timeout=PATIENCE_S)
    assert isinstance(error, NoService)
    assert "ended before it had answered" in str(error)


def test_only_the_same_user_may_open_it(runtime: Path) -> None:
    """Neither the folder nor the socket is anybody else's."""
    with listening(HOST, PORT, lambda: None):
        modes = [stat.S_IMODE(path.stat().st_mode) for path in (runtime / "secondlook", path_of(runtime))]

    assert modes == [0o700, 0o600]


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
def test_folder_that_is_open_to_others_is_refused(runtime: Path, mode: int) -> None:
    """By both ends: somebody else could have put a socket there."""
    folder = runtime / "secondlook"
    folder.mkdir()
    folder.chmod(mode)

    with pytest.raises(NoService, match="not this user's own"), listening(HOST, PORT, lambda: None):
        pass
    with pytest.raises(NoService, match="not this user's own"):
        ask(HOST, PORT, {})


def test_folder_that_leads_elsewhere_is_refused(runtime: Path) -> None:
    """A link may be changed by whoever made it."""
    (runtime / "elsewhere").mkdir(mode=0o700)
    (runtime / "secondlook").symlink_to(runtime / "elsewhere")

    with pytest.raises(NoService, match="not this user's own"):
        ask(HOST, PORT, {})


def test_socket_of_a_launcher_that_was_killed_is_replaced(runtime: Path) -> None:
    """The port is ours now, and so is its socket; at the end it is gone."""
    (runtime / "secondlook").mkdir(mode=0o700)
    path_of(runtime).touch()

    with listening(HOST, PORT, lambda: None):
        assert stat.S_ISSOCK(path_of(runtime).stat().st_mode)
    assert not path_of(runtime).exists()


def in_a_file(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The runtime folder is none."""
    (runtime / "file").touch()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime / "file"))


def in_a_long_folder(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The path would be too long for a socket."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime / ("long" * 30)))


@pytest.mark.parametrize("happens", [in_a_file, in_a_long_folder])
def test_runtime_folder_that_can_not_be_used_is_done_without(
    runtime: Path, monkeypatch: pytest.MonkeyPatch, happens: Callable[[Path, pytest.MonkeyPatch], None]
) -> None:
    """A service must not fail to start for it, and a command finds the service all the same."""
    happens(runtime, monkeypatch)
    launcher = Launcher()

    with listening(HOST, PORT, launcher.woken.release) as control, asking({}) as answers:
        launcher.next(control).answer.put({"fine": True})
        assert answers.get(timeout=PATIENCE_S) == {"fine": True}


def test_folder_without_a_runtime_one_is_named_for_the_user(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the folder for temporary files, where others have theirs."""
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setattr(tempfile, "tempdir", str(runtime))

    with listening(HOST, PORT, lambda: None):
        assert (runtime / f"secondlook-{os.getuid()}" / f"{HOST}-{PORT}.sock").exists()


def test_request_whose_command_has_given_up_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has been told that nothing came of it, and so nothing may."""
    monkeypatch.setattr("secondlook.control_socket.PATIENCE_S", 0.05)
    launcher = Launcher()

    with listening(HOST, PORT, launcher.woken.release) as control, asking({"op": "apply"}) as answers:
        assert "error" in answers.get(timeout=PATIENCE_S)

        assert control.take() is None
