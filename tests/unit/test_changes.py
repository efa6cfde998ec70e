"""Changes of a running service: told before they are made, made in place, refused whole."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from router.policy import Policy
from router.policy_history import Applied, remember
from secondlook.changes import IN_FORCE_S, Changes, FixedApplication
from secondlook.cluster import Application
from secondlook.control_socket import Asked
from secondlook.deployment import Deployment, _open_journal
from secondlook.deployment_file import load
from secondlook.errors import ChangeFailed
from tests.deployment_files import write_deployment_file

PORT = 8123


@dataclass
class FakeCluster:
    """Serve's part: what it was given, and whether it manages."""

    deployed: list[Application] = field(default_factory=list)
    waited_s: list[float] = field(default_factory=list)
    fault: Exception | None = None

    def deploy(self, application: Application) -> None:
        """Take it."""
        self.deployed.append(application)

    def wait_until_in_force(self, application: Application, timeout_s: float) -> None:
        """Be there at once, or fail."""
        assert application is self.deployed[-1]
        self.waited_s.append(timeout_s)
        if self.fault is not None:
            raise self.fault


def write_history(deployment: Deployment, applied: Applied) -> None:
    """Add to a deployment's history."""

    async def write() -> None:
        journal = await _open_journal(deployment._args)
        await remember(journal, applied)
        await journal.close()

    asyncio.run(write())


class Bench:
    """A deployment from a file, and the ways to change it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write()
        self.cluster = FakeCluster()
        self.start()

    def start(self) -> None:
        """Begin with what the file says and what was applied."""
        self.deployment = Deployment(self.file, load(self.file), PORT)
        self.deployment.begin()
        self.changes = Changes(self.cluster, self.deployment)  # type: ignore[arg-type] # the part of it that is used

    @property
    def file(self) -> Path:
        """The deployment file."""
        return self.folder / "service.yaml"

    def write(self, **changes: Any) -> None:
        """Write it, with a journal beside it."""
        base = {"cache": {"url": f"embedded:{self.folder / 'cache'}"}, "policy": {"threshold": 1.0}}
        write_deployment_file(self.file, {**base, **changes})

    def ask(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Have a command's request answered."""
        asked = Asked(request)
        self.changes.answer(asked)
        return asked.answer.get_nowait()

    def apply(self, policy: Policy, **fields: Any) -> Mapping[str, Any]:
        """Ask for a policy."""
        return self.ask({"op": "apply", "policy": policy.model_dump(mode="json"), **fields})

    @property
    def policy(self) -> Policy:
        """What is, or is to be, deployed."""
        overrides = {one["name"]: one for one in self.deployment.application.deployments}
        return Policy.model_validate(overrides["Router"]["user_config"])

    @property
    def history(self) -> list[tuple[str, float | None]]:
        """Of each entry, newest first, what put it in force and its threshold."""
        entries = self.deployment._history() or []
        return [(one.action, one.document().threshold) for one in entries]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """It has begun."""
    return Bench(tmp_path)


def test_plan_tells_and_changes_nothing(bench: Bench) -> None:
    """Which keys change, and how, and under which version."""
    policy = Policy(threshold=2.0, degraded="fail")

    plan = bench.ask({"op": "plan", "policy": policy.model_dump(mode="json")})

    assert dict(plan) == {
        "version": policy.version,
        "in_place": ("policy.degraded", "policy.threshold"),
        "rolls": (),
    }
    assert (bench.cluster.deployed, bench.policy.threshold) == ([], 1.0)


def test_policy_is_applied_in_place(bench: Bench) -> None:
    """Deployed with the same builder's arguments, and waited for."""
    before = bench.deployment.application

    answer = bench.apply(Policy(threshold=2.0), note="for the test")

    (deployed,) = bench.cluster.deployed
    assert (answer["version"], answer["rolls"]) == (Policy(threshold=2.0).version, ())
    assert answer["in_force_after_s"] >= 0
    assert deployed.args == before.args
    assert deployed.deployments != before.deployments
    assert bench.cluster.waited_s == [IN_FORCE_S]
    assert bench.policy.threshold == 2.0


def test_change_that_replaces_replicas_is_refused_unless_allowed(bench: Bench) -> None:
    """Whole, with the policy that came with it."""
    bench.write(limits={"texts": 9}, policy={"threshold": 2.0})
    request = {"op": "apply", "config": load(bench.file).model_dump(mode="json")}

    refused = bench.ask(request)

    assert "limits.texts" in refused["error"]
    assert (bench.cluster.deployed, bench.policy.threshold) == ([], 1.0)
    allowed = bench.ask({**request, "allow_roll": True})
    assert (allowed["rolls"], allowed["in_place"]) == (("limits.texts",), ("policy.threshold",))
    assert len(bench.cluster.deployed) == 1
    assert bench.policy.threshold == 2.0


def test_address_of_a_running_service_stays(bench: Bench) -> None:
    """Whatever the file says of another: it is not the service's to change while it runs."""
    bench.write(server={"host": "0.0.0.0", "port": 1}, policy={"threshold": 2.0})

    plan = bench.ask({"op": "plan", "config": load(bench.file).model_dump(mode="json")})

    assert (plan["rolls"], plan["in_place"]) == ((), ("policy.threshold",))


@pytest.mark.parametrize(
    "request_",
    [
        {"op": "apply"},
        {"op": "apply", "policy": {"treshold": 1}},
        {"op": "apply", "policy": "threshold: 1"},
        {"op": "apply", "policy": None},
        {"op": "apply", "config": {}},
        {"op": "apply", "config": {"tiers": 5}},
        {"op": "apply", "config": None},
    ],
)
def test_request_that_is_not_valid_changes_nothing(bench: Bench, request_: Mapping[str, Any]) -> None:
    """It is answered with an error."""
    assert "valid" in bench.ask(request_)["error"]
    assert (bench.cluster.deployed, bench.policy.threshold) == ([], 1.0)
    assert bench.history == [("start", 1.0)]


def test_change_that_serve_does_not_manage_is_told(bench: Bench) -> None:
    """And not remembered as applied."""
    bench.cluster.fault = ChangeFailed("not everywhere in force")

    assert bench.apply(Policy(threshold=2.0))["error"] == "not everywhere in force"
    assert bench.history == [("start", 1.0)]


def test_history_tells_what_was_applied_and_rolled_back(bench: Bench) -> None:
    """Newest first; the same policy again is nothing new, but rolled back to is."""
    bench.apply(Policy(threshold=2.0))
    bench.apply(Policy(threshold=2.0))
    bench.apply(Policy(threshold=1.0), action="rollback")
    bench.apply(Policy(threshold=1.0), action="rollback")

    assert bench.history == [("rollback", 1.0), ("rollback", 1.0), ("apply", 2.0), ("start", 1.0)]


def test_reload_takes_over_what_the_file_says(bench: Bench) -> None:
    """In place, and remembered."""
    bench.write(policy={"threshold": 3.0})

    bench.changes.reload()

    assert bench.policy.threshold == 3.0
    assert bench.history == [("reload", 3.0), ("start", 1.0)]


def test_reload_of_an_unchanged_file_keeps_what_was_applied(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing has changed, and so nothing is deployed."""
    caplog.set_level(logging.INFO)
    bench.apply(Policy(threshold=2.0))

    bench.changes.reload()

    assert bench.policy.threshold == 2.0
    assert len(bench.cluster.deployed) == 1
    assert "nothing has changed" in caplog.text


@pytest.mark.parametrize(
    ("changes", "told"), [({"policy": {"treshold": 1}}, "policy.treshold"), ({"limits": {"texts": 9}}, "limits.texts")]
)
def test_reload_that_can_not_be_applied_changes_nothing(
    bench: Bench, caplog: pytest.LogCaptureFixture, changes: dict[str, Any], told: str
) -> None:
    """It is told which key stands in the way."""
    bench.write(**changes)

    bench.changes.reload()

    assert (bench.cluster.deployed, bench.policy.threshold) == ([], 1.0)
    assert "not applied" in caplog.text
    assert told in caplog.text


def test_reload_that_serve_does_not_manage_does_not_end_the_service(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """A replica more than there is room for is no reason to stop serving."""
    bench.write(policy={"threshold": 3.0})
    bench.cluster.fault = ChangeFailed("not everywhere in force")

    bench.changes.reload()

    assert "not everywhere in force" in caplog.text
    assert bench.history == [("start", 1.0)]


def test_restart_begins_with_what_was_applied(bench: Bench) -> None:
    """And adds nothing to the history."""
    bench.apply(Policy(threshold=2.0))

    bench.start()

    assert bench.policy.threshold == 2.0
    assert bench.history == [("apply", 2.0), ("start", 1.0)]


def test_restart_with_an_edited_file_begins_with_the_file(bench: Bench) -> None:
    """Remembered, so that editing it back is an edit too."""
    bench.apply(Policy(threshold=2.0))
    thresholds = []

    for edited in (3.0, 1.0):
        bench.write(policy={"threshold": edited})
        bench.start()
        thresholds.append(bench.policy.threshold)

    assert thresholds == [3.0, 1.0]


@pytest.mark.parametrize("begins", ["restart", "reload"])
def test_file_edited_to_what_was_applied_and_back_wins(bench: Bench, begins: str) -> None:
    """Who applies the edited file and edits it back later means the file, and not what was applied between."""
    begin = bench.start if begins == "restart" else bench.changes.reload
    bench.write(policy={"threshold": 2.0})
    bench.ask({"op": "apply", "config": load(bench.file).model_dump(mode="json")})
    begin()
    assert bench.policy.threshold == 2.0

    bench.write(policy={"threshold": 1.0})
    begin()

    assert bench.policy.threshold == 1.0


def test_history_that_this_version_can_not_read_does_not_keep_a_service_from_starting(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """The file's policy is there; that it is not the one that was applied is told."""
    bench.apply(Policy(threshold=2.0))
    newest = (bench.deployment._history() or [])[0]
    later = newest.model_copy(update={"policy": {"a_later_field": 1}})
    write_history(bench.deployment, later)

    bench.start()

    assert bench.policy.threshold == 1.0
    assert "can't be read" in caplog.text


def test_fixed_application_refuses_every_change() -> None:
    """It has no file, and nothing that could be asked for."""
    cluster = FakeCluster()
    application = Application("somewhere:build")
    changes = Changes(cluster, FixedApplication(application))  # type: ignore[arg-type] # the part of it that is used
    asked = Asked({"op": "apply", "policy": {}})

    changes.answer(asked)
    changes.reload()

    assert "can't be changed" in asked.answer.get_nowait()["error"]
    assert cluster.deployed == []


def test_fault_in_a_change_is_answered_and_ends_nothing(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """The command hears that it failed, the log why."""
    bench.cluster.fault = RuntimeError("an actor died")

    assert "failed" in bench.apply(Policy(threshold=2.0))["error"]
    assert "an actor died" in caplog.text
