"""`secondlook warmup` against a server that answers as a service does, and remembers what it was asked."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from secondlook import cli
from tests.deployment_files import write_deployment_file
from tests.http_server import Answer, Asked, Reply, serving

FULL_NAMES = {"fast": "f@1 fp32/float16 1-a", "accurate": "a b@2 fp32/int8 1-a"}
CARDS = [{"tier": "fast", "dimension": 256}, {"tier": "accurate", "dimension": 512}]


@dataclass(slots=True)
class FakeService:
    """Knows texts that it was asked for before; can have a cache that keeps nothing, and a tier that is not up."""

    models: dict[str, str | None] = field(default_factory=lambda: dict(FULL_NAMES))
    keeps: bool = True
    known: dict[str, set[str]] = field(default_factory=lambda: {"fast": set(), "accurate": set()})
    dropped: int = 0
    classes: set[str] = field(default_factory=set)

    def answer(self, asked: Asked) -> Reply:
        """Answer one request."""
        match asked.path:
            case "/admin/policy":
                return Answer({"models": self.models}, as_json=True)
            case "/v1/models":
                return Answer({"data": CARDS}, as_json=True)
            case "/admin/status":
                cache = {"dropped_writes": self.dropped, "queued_writes": 0, "shared": {"dropped_writes": 0}}
                return Answer({"cache": cache}, as_json=True)
        return self._embed(asked)

    def _embed(self, asked: Asked) -> Reply:
        texts, known = asked.body["input"], self.known[asked.body["model"]]
        self.classes.add(asked.headers["x-traffic-class"])
        cached = sum(text in known for text in texts)
        known.update(texts)
        if not self.keeps:
            self.dropped += len(texts)
        return Answer({"data": []}, headers={"X-Cached": str(cached)}, as_json=True)


@contextmanager
def running(service: FakeService) -> Iterator[str]:
    """Serve it; yields the URL."""
    with serving(service.answer) as url:
        yield url


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    """Three rows, two texts."""
    file = tmp_path / "texts.txt"
    file.write_text("a cat\na dog\na cat\n")
    return file


def summary_of(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What was printed with `--json`."""
    summary: dict[str, Any] = json.loads(capsys.readouterr().out)
    return summary


def test_catalogue_goes_to_both_tiers_as_warm_up(catalogue: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each text once; a second run finds everything."""
    service = FakeService()
    with running(service) as url:
        assert cli.main(["warmup", str(catalogue), "--url", url, "--json"]) == 0
        first = summary_of(capsys)
        assert cli.main(["warmup", str(catalogue), "--url", url, "--json"]) == 0
        second = summary_of(capsys)

    assert service.known == {"fast": {"a cat", "a dog"}, "accurate": {"a cat", "a dog"}}
    assert service.classes == {"warm-up"}
    assert [first[name] for name in ("rows", "texts", "duplicates", "rejected")] == [3, 2, 1, 0]
    assert {(tier["embedded"], tier["cached"]) for tier in first["tiers"].values()} == {(2, 0)}
    assert {(tier["embedded"], tier["cached"]) for tier in second["tiers"].values()} == {(0, 2)}
    assert (first["interrupted"], first["error"]) == (False, None)


def test_summary_is_a_table_for_people(catalogue: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line a tier; only the tiers that were named."""
    service = FakeService()
    with running(service) as url:
        assert cli.main(["warmup", str(catalogue), "--url", url, "--tiers", "accurate"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("2 texts, 1 duplicates, 0 rejected, ")
    assert lines[2].split()[:4] == ["accurate", "2", "0", "0"]
    assert service.known["fast"] == set()


def test_rejects_are_written_with_their_reasons(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The job goes on, and says how many there were."""
    file, rejects = tmp_path / "texts.jsonl", tmp_path / "rejects.jsonl"
    file.write_text('{"name": "a cat"}\n{"name": 3}\n{\n')
    with running(FakeService()) as url:
        code = cli.main(
            ["warmup", str(file), "--url", url, "--text-column", "name", "--rejects", str(rejects), "--rate", "1e4"]
        )

    assert code == 0
    assert [json.loads(line) for line in rejects.read_text().splitlines()] == [
        {"file": str(file), "line": 2, "reason": "name is not a string"},
        {"file": str(file), "line": 3, "reason": "not JSON"},
    ]
    assert f"2 row(s) rejected, the first at {file}, line 2: name is not a string" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "said"), [("", "there is nothing in it"), ("\n\n", "there is nothing in it"), ("{\n", "not JSON")]
)
def test_catalogue_without_a_text_fails(
    tmp_path: Path, content: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Empty, or all of it rejected."""
    file = tmp_path / "texts.jsonl"
    file.write_text(content)
    with running(FakeService()) as url:
        assert cli.main(["warmup", str(file), "--url", url]) == 1

    assert said in capsys.readouterr().err


def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`-`, a text a line."""
    piped = tmp_path / "piped"
    piped.write_bytes(b"from a pipe\n")
    service = FakeService()
    with running(service) as url, piped.open("rb") as stream:
        monkeypatch.setattr("jobs.catalogue._STANDARD_INPUT_FD", stream.fileno())
        assert cli.main(["warmup", "-", "--url", url, "--tiers", "fast"]) == 0

    assert service.known["fast"] == {"from a pipe"}


def test_cache_that_keeps_nothing_is_a_failure(catalogue: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Embedding was in vain: the summary is printed, and the reason."""
    with running(FakeService(keeps=False)) as url:
        assert cli.main(["warmup", str(catalogue), "--url", url, "--json"]) == 1

    printed = capsys.readouterr()
    assert "could not keep 4 embedding(s)" in json.loads(printed.out)["error"]
    assert "run the same command again" in printed.err


def test_dry_run_says_what_it_would_take(catalogue: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the models' dimension and the format that they are stored in."""
    with running(FakeService()) as url:
        assert cli.main(["warmup", str(catalogue), "--url", url, "--dry-run", "--json"]) == 0
        estimate = summary_of(capsys)["estimate"]
        assert cli.main(["warmup", str(catalogue), "--url", url, "--dry-run"]) == 0

    assert estimate["memory_bytes"] == {"fast": 2 * 747, "accurate": 2 * 747}
    assert (estimate["sampled"], estimate["sampled_cached"]) == (2, 0)
    assert "by a sample of 2 texts, of which 2 were cached already" in capsys.readouterr().out


def test_tier_that_is_not_up_can_not_be_warmed(catalogue: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The other one alone can."""
    with running(FakeService(models={**FULL_NAMES, "accurate": None})) as url:
        assert cli.main(["warmup", str(catalogue), "--url", url]) == 1
        assert cli.main(["warmup", str(catalogue), "--url", url, "--tiers", "fast"]) == 0

    assert "has not come up" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none.txt"], "no such file"),
        (["FILE", "--revision", "next"], "go together"),
        (["FILE", "--config", "next.yaml"], "go together"),
        (["FILE", "--url", "http://127.0.0.1:9"], "secondlook serve"),
        (["FILE", "--rejects", "/no/such/folder/f"], "cannot be written"),
    ],
)
def test_what_can_not_be_done_is_told(
    catalogue: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1 and a reason."""
    assert cli.main(["warmup", *[str(catalogue) if one == "FILE" else one for one in arguments]]) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [[], ["f", "--rate", "0"], ["f", "--rate", "nan"], ["f", "--tiers", "slow"], ["f", "--revision", "1"]]
)
def test_wrong_use_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Told on standard error."""
    with pytest.raises(SystemExit) as ending:
        cli.main(["warmup", *arguments])

    assert ending.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_next_deployment_without_a_shared_cache_has_nothing_to_warm(
    catalogue: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What this process embeds would end with it."""
    config = write_deployment_file(tmp_path / "next.yaml", {"cache": {"url": "none:"}})

    assert cli.main(["warmup", str(catalogue), "--revision", "next", "--config", str(config)]) == 1

    assert "no shared cache" in capsys.readouterr().err


def test_next_models_are_warmed_without_a_service(
    catalogue: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those of the file, all of them, into its cache; a second run finds everything."""
    config = write_deployment_file(tmp_path / "next.yaml", {"cache": {"url": f"embedded:{tmp_path / 'cache'}"}})
    command = ["warmup", str(catalogue), "--revision", "next", "--config", str(config), "--json"]

    assert cli.main(command) == 0
    first = summary_of(capsys)
    assert cli.main(command) == 0
    second = summary_of(capsys)

    assert {(tier["embedded"], tier["cached"]) for tier in first["tiers"].values()} == {(2, 0)}
    assert {(tier["embedded"], tier["cached"]) for tier in second["tiers"].values()} == {(0, 2)}


def test_progress_goes_to_standard_error(catalogue: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In a pipe, line by line."""
    with running(FakeService()) as url:
        cli.main(["warmup", str(catalogue), "--url", url])

    assert "texts: 3 of 3" in capsys.readouterr().err
