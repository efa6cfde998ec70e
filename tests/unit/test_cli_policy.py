"""`secondlook policy` against a launcher's socket and a router that are real, and a cluster that is not."""

import json
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from router.policy import Policy
from secondlook import cli
from secondlook.control_socket import ControlSocket, listening
from tests.deployment_files import write_deployment_file
from tests.policies import make_certificate

HOST = "127.0.0.1"
NEW = Policy(threshold=2.0)
PLAN: Mapping[str, Any] = {"version": NEW.version, "in_place": ["policy.threshold"], "rolls": []}
DONE: Mapping[str, Any] = {**PLAN, "in_force_after_s": 0.25}
REPLAY: Mapping[str, Any] = {
    "group": "similarity/2",
    "threshold": 2.0,
    "certificate": None,
    "target_agreement": 0.99,
    "items": 100,
    "lost": 1,
    "escalation_share": 0.25,
    "degraded_share": 0.0,
    "agreement": 0.98,
    "agreement_bound": 0.93,
    "is_certified": True,
    "items_per_s": 2.0,
    "accurate_items_per_s": 0.5,
    "replica_hours_per_million": None,
}
REPORT: Mapping[str, Any] = {
    "versions": {"current": "p-old", "proposed": NEW.version},
    "certified": True,
    "records": 101,
    "from_other_models": 3,
    "lost": {"shed": 1},
    "seconds": 50.0,
    "current": [{**REPLAY, "threshold": None, "is_certified": None, "target_agreement": None}],
    "proposed": [REPLAY],
}


def entry(policy: Policy, action: str = "apply", note: str = "") -> dict[str, Any]:
    """An entry of the history."""
    return {
        "at": "2026-03-01T12:00:00+00:00",
        "action": action,
        "version": policy.version,
        "note": note,
        "policy": policy.model_dump(mode="json"),
    }


@dataclass
class FakeService:
    """A launcher and a router that answer what they are told to, and remember what they were asked."""

    port: int = 0
    plan: Mapping[str, Any] = field(default_factory=lambda: PLAN)
    done: Mapping[str, Any] = field(default_factory=lambda: DONE)
    report: Mapping[str, Any] = field(default_factory=lambda: REPORT)
    history: list[dict[str, Any]] = field(default_factory=list)
    asked: list[Mapping[str, Any]] = field(default_factory=list)
    posted: list[Mapping[str, Any]] = field(default_factory=list)

    def run(self, *arguments: str | Path) -> int:
        """Run the command against it."""
        return cli.main(["policy", *map(str, arguments), "--url", f"http://{HOST}:{self.port}"])

    def answer(self, control: ControlSocket) -> None:
        """Answer whatever has been asked, as the launcher does when it is woken."""
        while asked := control.take():
            self.asked.append(asked.request)
            asked.answer.put(self.plan if asked.request["op"] == "plan" else self.done)


@contextmanager
def serving(service: FakeService) -> Iterator[None]:
    """Serve HTTP and the launcher's socket until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer({"data": service.history})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            service.posted.append({"path": self.path, **json.loads(body)})
            self.answer(service.report)

        def answer(self, document: Mapping[str, Any]) -> None:
            body = json.dumps(document).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

    with HTTPServer((HOST, 0), Handler) as server, ExitStack() as held:
        service.port = server.server_port
        woken = threading.Semaphore(0)
        control = held.enter_context(listening(HOST, service.port, woken.release))
        stopping = threading.Event()

        def launch() -> None:
            while woken.acquire() and not stopping.is_set():
                service.answer(control)

        threads = [
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True),
            threading.Thread(target=launch, daemon=True),
        ]
        for thread in threads:
            thread.start()
        yield
        stopping.set()
        woken.release()
        server.shutdown()


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeService]:
    """A service of the test's own."""
    with tempfile.TemporaryDirectory(prefix="slt-", dir="/tmp") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        fake = FakeService()
        with serving(fake):
            yield fake


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A policy's own file."""
    path = tmp_path / "policy.yaml"
    path.write_text("threshold: 2\n", encoding="utf-8")
    return path


Said = Callable[[], str]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    """What has been printed since."""
    return lambda: capsys.readouterr().out


def test_check_describes_a_valid_policy(file: Path, said: Said) -> None:
    """Each route's aim and each certificate; it needs no service."""
    certificate = make_certificate(2.0)
    (file.parent / "c.json").write_text(json.dumps([certificate.model_dump(mode="json")]), encoding="utf-8")
    file.write_text("target_agreement: 0.99\ncertificates: c.json\nroutes: {score: {threshold: 3}}\n", encoding="utf-8")

    code = cli.main(["policy", "check", str(file)])

    output = said()
    assert code == 0
    assert "valid: policy p-" in output
    assert "agreement of 99.00% with 95% confidence" in output
    assert "score: second look below a margin of 3.0" in output
    assert f"certificate {certificate.id} for similarity/2: second look below 2.0" in output


def test_check_says_that_a_target_without_certificate_escalates(file: Path, said: Said) -> None:
    """Valid, and not what one expects."""
    file.write_text("target_agreement: 0.99\n", encoding="utf-8")

    assert cli.main(["policy", "check", str(file)]) == 0
    assert "every item takes a second look" in said()


def test_check_as_json_is_one_object(file: Path, said: Said) -> None:
    """For machines."""
    assert cli.main(["policy", "check", str(file), "--json"]) == 0
    assert json.loads(said()) == {"valid": True, "version": NEW.version}


def test_invalid_file_fails_by_the_name_of_its_key(
    service: FakeService, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever was to be done with it: nobody is asked."""
    file.write_text("treshold: 2\n", encoding="utf-8")

    codes = [cli.main(["policy", "check", str(file)])]
    codes += [service.run(action, file) for action in ("diff", "apply", "dry-run")]

    assert codes == [1, 1, 1, 1]
    assert capsys.readouterr().err.count("treshold: unknown key; allowed here:") == 4
    assert (service.asked, service.posted) == ([], [])


def test_diff_tells_what_changes_and_how(service: FakeService, file: Path, said: Said) -> None:
    """And asks for a plan alone."""
    service.plan = {**PLAN, "rolls": ["limits.texts"]}

    code = service.run("diff", file)

    output = said()
    assert code == 0
    assert "replaces replicas: limits.texts" in output
    assert "in place, without replacing a replica: policy.threshold" in output
    assert [one["op"] for one in service.asked] == ["plan"]


def test_diff_as_json_is_the_plan(service: FakeService, file: Path, said: Said) -> None:
    """For machines."""
    assert service.run("diff", file, "--json") == 0
    assert json.loads(said()) == PLAN


def test_apply_sends_the_policy_of_its_own_file(service: FakeService, file: Path, said: Said) -> None:
    """With the operator's note; first as a plan, which is printed."""
    code = service.run("apply", file, "--note", "as agreed")

    plan, applied = service.asked
    assert code == 0
    assert (plan["op"], applied["op"], applied["note"], applied["allow_roll"]) == ("plan", "apply", "as agreed", False)
    assert Policy.model_validate(applied["policy"]) == NEW
    assert said().splitlines()[-1] == f"policy {NEW.version} is in force on every replica, after 0.25 s"


def test_apply_sends_a_deployment_files_whole_configuration(service: FakeService, tmp_path: Path) -> None:
    """What of it is no policy can be changed in place too, or is refused by name."""
    file = write_deployment_file(tmp_path / "service.yaml", {"policy": {"threshold": 2.0}})

    assert service.run("apply", file) == 0

    config = service.asked[-1]["config"]
    assert "policy" not in service.asked[-1]
    assert (config["policy"]["threshold"], "tiers" in config) == (2.0, True)


def test_apply_as_json_is_one_object(service: FakeService, file: Path, said: Said) -> None:
    """What was done, and that it was."""
    assert service.run("apply", file, "--json") == 0
    assert json.loads(said()) == {**DONE, "applied": True}


def test_apply_of_what_is_in_force_does_nothing(service: FakeService, file: Path, said: Said) -> None:
    """It says so, and succeeds."""
    service.plan = {**PLAN, "in_place": []}

    assert (service.run("apply", file), service.run("apply", file, "--json")) == (0, 0)

    lines = said()
    assert "nothing to apply" in lines
    assert '"applied": false' in lines
    assert {one["op"] for one in service.asked} == {"plan"}


def test_apply_that_would_replace_replicas_has_to_be_allowed(
    service: FakeService, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else nothing is applied, and the keys are named."""
    service.plan = {**PLAN, "rolls": ["limits.texts"]}

    refused = service.run("apply", file)
    asked = [one["op"] for one in service.asked]
    allowed = service.run("apply", file, "--allow-roll")

    assert (refused, allowed) == (1, 0)
    assert "limits.texts would replace replicas; --allow-roll" in capsys.readouterr().err
    assert (asked, service.asked[-1]["op"], service.asked[-1]["allow_roll"]) == (["plan"], "apply", True)


def test_error_of_the_launcher_is_told(service: FakeService, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As it says it, with exit code 1."""
    service.done = {"error": "not everywhere in force after 60 s"}

    assert service.run("apply", file) == 1
    assert "secondlook: not everywhere in force after 60 s" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://127.0.0.1:99999", "http://127.0.0.1:port", "nowhere"])
@pytest.mark.parametrize("action", ["diff", "apply", "dry-run", "history", "rollback"])
def test_without_a_service_every_action_fails_with_a_message(
    service: FakeService, file: Path, action: str, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1 and one line."""
    arguments = [str(file)] if action in ("diff", "apply", "dry-run") else []

    assert cli.main(["policy", action, *arguments, "--url", url]) == 1
    assert capsys.readouterr().err.startswith("secondlook: ")


def test_history_lists_the_newest_first(service: FakeService, said: Said) -> None:
    """When, what, which and why."""
    service.history = [entry(NEW, note="as agreed"), entry(Policy(), "start")]

    assert service.run("history") == 0

    lines = said().splitlines()
    assert [line.split()[1:4] for line in lines[1:]] == [
        ["apply", NEW.version, "as"],
        ["start", Policy().version],
    ]


def test_history_as_json_is_the_services_answer(service: FakeService, said: Said) -> None:
    """Whole documents."""
    service.history = [entry(NEW)]

    assert service.run("history", "--json") == 0
    assert json.loads(said()) == {"data": [entry(NEW)]}


def test_rollback_asks_for_the_policy_before(service: FakeService, said: Said) -> None:
    """The newest of the history that is not the one in force."""
    older = Policy(threshold=3.0)
    service.history = [entry(NEW), entry(NEW, "reload"), entry(older), entry(Policy(), "start")]

    assert service.run("rollback", "--note", "too slow", "--json") == 0

    (asked,) = service.asked
    assert (asked["op"], asked["action"], asked["note"]) == ("apply", "rollback", "too slow")
    assert Policy.model_validate(asked["policy"]) == older
    assert json.loads(said()) == {**DONE, "applied": True}


def test_rollback_to_a_version_asks_for_that_one(service: FakeService) -> None:
    """Wherever it stands."""
    service.history = [entry(NEW), entry(Policy(threshold=3.0)), entry(Policy(), "start")]

    assert service.run("rollback", "--to", Policy().version) == 0
    assert Policy.model_validate(service.asked[0]["policy"]) == Policy()


@pytest.mark.parametrize(
    ("history", "arguments", "problem"),
    [
        ([], [], "the history is empty"),
        ([entry(NEW)], [], "no other version"),
        ([entry(NEW)], ["--to", "p-none"], "no version p-none"),
    ],
)
def test_rollback_to_nothing_fails(
    service: FakeService,
    history: list[dict[str, Any]],
    arguments: list[str],
    problem: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nothing is asked for."""
    service.history = history

    assert service.run("rollback", *arguments) == 1
    assert problem in capsys.readouterr().err
    assert service.asked == []


def test_dry_run_prints_both_policies_side_by_side(service: FakeService, file: Path, said: Said) -> None:
    """And what it does not know."""
    code = service.run("dry-run", file, "--records", "500")

    output = said()
    assert code == 0
    assert [line.split()[:2] for line in output.splitlines()[2:4]] == [
        ["similarity/2", "current"],
        ["similarity/2", "proposed"],
    ]
    assert "101 records over 50 s, 1 audits lost" in output
    assert "3 records are of other models" in output
    assert "every target is certified" in output
    assert service.posted == [{"path": "/admin/policy/dry-run", "policy": NEW.model_dump(mode="json"), "records": 500}]


def test_dry_run_of_an_uncertified_target_fails(service: FakeService, file: Path, said: Said) -> None:
    """Exit code 1, so that a pipeline stops; the report is printed all the same."""
    service.report = {**REPORT, "certified": False, "current": [], "proposed": []}

    codes = service.run("dry-run", file), service.run("dry-run", file, "--json")

    output = said()
    assert codes == (1, 1)
    assert "NOT certified" in output
    assert "nothing to replay" in output


@pytest.mark.parametrize(
    "arguments", [[], ["apply"], ["check"], ["rollback", "--from", "p-1"], ["dry-run", "f", "--records", "many"]]
)
def test_wrong_use_is_exit_code_2(arguments: list[str]) -> None:
    """As everywhere on the command line."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["policy", *arguments])

    assert ended.value.code == 2
