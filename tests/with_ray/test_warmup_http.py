"""`secondlook warmup` against real services: killed and run again, interrupted, and before another model comes."""

import base64
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from bench.payloads import captions
from tests.deployment_files import write_deployment_file
from tests.faults.chaos import report
from tests.pictures import as_base64, picture
from tests.redis_server import RedisServer
from tests.service_process import REPOSITORY, RunningService, run_service

TEXTS = 2400
KILLS = 3
UNDER_WAY = 64 + 32
"""Texts that a kill may lose: two calls under way, and one that goes while the connections end one after the other."""
TIERS = ("fast", "accurate")


class Catalogue:
    """A file of texts that nobody has seen before."""

    def __init__(self, folder: Path, first: int, count: int = TEXTS) -> None:
        self.texts = captions(first, count)
        self.file = folder / f"texts-{first}.txt"
        self.file.write_text("\n".join([*self.texts, self.texts[0]]) + "\n", encoding="utf-8")


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    """Start the command."""
    return subprocess.Popen(
        [sys.executable, "-m", "secondlook", "warmup", "--json", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )


def run(*arguments: str | Path, code: int = 0) -> dict[str, Any]:
    """Run the command, which has to end with this code; its summary."""
    process = start(*arguments)
    out, err = process.communicate(timeout=240)
    assert process.returncode == code, err
    summary: dict[str, Any] = json.loads(out)
    return summary


def items(url: str) -> dict[str, int]:
    """What each tier was sent so far."""
    tiers = httpx.get(f"{url}/admin/status", timeout=30).json()["tiers"]
    return {tier: tiers[tier]["items"] for tier in TIERS}


def wait_for_items(url: str, count: int) -> None:
    """Wait until the tiers together were sent so many."""
    give_up_at = time.monotonic() + 120
    while sum(items(url).values()) < count:
        assert time.monotonic() < give_up_at
        time.sleep(0.01)


def cached_vectors(url: str, tier: str, texts: list[str]) -> NDArray[np.float32]:
    """The embeddings as the cache has them."""
    vectors: list[bytes] = []
    for start in range(0, len(texts), 512):
        body = {"model": tier, "input": texts[start : start + 512], "encoding_format": "base64"}
        answer = httpx.post(f"{url}/v1/embeddings", json=body, timeout=60).raise_for_status()
        assert answer.headers["x-cached"] == str(len(body["input"]))
        vectors += [base64.b64decode(item["embedding"]) for item in answer.json()["data"]]
    return np.frombuffer(b"".join(vectors), dtype="<f4").reshape(len(texts), -1)


def write(folder: Path, name: str, cache: str, **tiers: Any) -> Path:
    """Write a deployment file whose hits come from the shared store alone."""
    changes = {"cache": {"url": f"embedded:{folder / cache}", "l1_bytes": 0}, "tiers": tiers}
    return write_deployment_file(folder / name, changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the files lie."""
    return tmp_path_factory.mktemp("warmup")


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[RunningService]:
    """The service of today."""
    with run_service(write(folder, "service.yaml", "cache")) as service:
        yield service


def test_job_that_is_killed_again_and_again_embeds_no_text_twice(service: RunningService, folder: Path) -> None:
    """But for what was under way at each kill; in the end all is there, and another run does nothing."""
    url, catalogue, chance = service.base_url, Catalogue(folder, 0), random.Random()
    before = items(url)

    for kill in range(KILLS):
        process = start(catalogue.file, "--url", url)
        share = (kill + chance.random()) / KILLS
        wait_for_items(url, sum(before.values()) + int(2 * TEXTS * share))
        process.kill()
        process.communicate()
    run(catalogue.file, "--url", url)
    sent = {tier: count - before[tier] for tier, count in items(url).items()}
    again = run(catalogue.file, "--url", url)

    report(f"{KILLS} kills: {sent} items sent for {TEXTS} texts")
    assert all(TEXTS <= count <= TEXTS + KILLS * UNDER_WAY for count in sent.values()), sent
    assert (again["texts"], again["duplicates"]) == (TEXTS, 1)
    assert {(tier["embedded"], tier["cached"]) for tier in again["tiers"].values()} == {(0, TEXTS)}
    assert {tier: count - before[tier] for tier, count in items(url).items()} == sent


def test_killed_jobs_embeddings_are_those_of_one_that_was_not(service: RunningService, folder: Path) -> None:
    """But for the last bit of the stored float16, in one of thousands: other texts were in a batch with it."""
    catalogue = Catalogue(folder, 0)
    killed = {tier: cached_vectors(service.base_url, tier, catalogue.texts) for tier in TIERS}

    with run_service(write(folder, "other.yaml", "other")) as other:
        run(catalogue.file, "--url", other.base_url)
        for tier in TIERS:
            whole = cached_vectors(other.base_url, tier, catalogue.texts)
            steps = np.abs(killed[tier] - whole) / np.spacing(np.abs(whole).astype(np.float16)).astype(np.float32)
            report(
                f"{tier}: {(steps > 0).sum()} of {steps.size} stored numbers differ, by {steps.max():g} steps at most"
            )
            assert steps.max() <= 2
            assert (steps > 0).mean() < 1e-3


def test_interrupted_job_says_how_far_it_came_and_goes_on_from_there(service: RunningService, folder: Path) -> None:
    """Ctrl-C: a summary and exit code 130."""
    url, catalogue = service.base_url, Catalogue(folder, 100_000)
    before = sum(items(url).values())
    process = start(catalogue.file, "--url", url)
    wait_for_items(url, before + 500)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)

    summary = json.loads(out)
    rest = run(catalogue.file, "--url", url)

    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert summary["interrupted"] is True
    for tier in TIERS:
        done = summary["tiers"][tier]["embedded"]
        assert 0 < done < TEXTS
        assert rest["tiers"][tier]["cached"] >= done
        assert rest["tiers"][tier]["embedded"] + rest["tiers"][tier]["cached"] == TEXTS


def test_stdin_that_never_ends_is_left_there(service: RunningService) -> None:
    """Ctrl-C does not wait for the next line."""
    command = [sys.executable, "-m", "secondlook", "warmup", "-", "--json", "--url", service.base_url]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=REPOSITORY
    )
    assert process.stdin is not None
    process.stdin.write(b"a text from a pipe\n")
    process.stdin.flush()
    time.sleep(4)
    process.send_signal(signal.SIGINT)

    assert process.wait(10) == 130
    process.communicate()


def test_dry_run_counts_and_estimates(service: RunningService, folder: Path) -> None:
    """Only the sample is embedded."""
    catalogue = Catalogue(folder, 200_000)
    before = items(service.base_url)

    estimate = run(catalogue.file, "--url", service.base_url, "--dry-run")

    assert (estimate["texts"], estimate["duplicates"]) == (TEXTS, 1)
    assert {count - before[tier] for tier, count in items(service.base_url).items()} == {256}
    assert estimate["estimate"]["sampled_cached"] == 0
    assert estimate["estimate"]["seconds"] > 0
    assert estimate["estimate"]["memory_bytes"] == dict.fromkeys(TIERS, TEXTS * 747)


def test_texts_are_hits_from_the_first_request_to_the_next_model(service: RunningService, folder: Path) -> None:
    """Warmed beside the service of today, for the tier whose model is to be another; the other one is left alone."""
    catalogue = Catalogue(folder, 300_000, count=300)
    model = {"name": "secondlook-demo-next", "architecture": "local-dir:../demo/models/accurate"}
    file = write(folder, "next.yaml", "cache", fast={"model": model})

    warmed = run(catalogue.file, "--revision", "next", "--config", file, "--url", service.base_url)
    again = run(catalogue.file, "--revision", "next", "--config", file, "--url", service.base_url)

    assert {tier: (one["embedded"], one["cached"]) for tier, one in warmed["tiers"].items()} == {"fast": (300, 0)}
    assert {tier: (one["embedded"], one["cached"]) for tier, one in again["tiers"].items()} == {"fast": (0, 300)}
    with run_service(file) as following:
        body = {"images": [as_base64(picture(77))], "texts": catalogue.texts, "tier": "fast"}
        (item,) = httpx.post(f"{following.base_url}/v1/similarity", json=body, timeout=60).json()["data"]
        assert item["tiering"]["cache"] == {"image": "miss", "texts": {"hit": 300, "miss": 0}}
        assert items(following.base_url)["fast"] == 1


def test_job_whose_redis_dies_fails_and_is_completed_by_the_next(folder: Path) -> None:
    """Nothing is claimed that is not kept; a lookup of a long list finds all of it, however slow Redis is."""
    catalogue = Catalogue(folder, 400_000)
    with RedisServer() as redis:
        changes = {"cache": {"url": redis.url, "l1_bytes": 0}}
        with run_service(write_deployment_file(folder / "redis.yaml", changes)) as service:
            url = service.base_url
            process = start(catalogue.file, "--url", url)
            wait_for_items(url, 600)
            redis.kill()
            out, err = process.communicate(timeout=120)
            redis.start()
            rest = run(catalogue.file, "--url", url)
            again = run(catalogue.file, "--url", url)

    assert process.returncode == 1, err
    assert "could not keep" in json.loads(out)["error"]
    assert "run the same command again" in err
    assert all(tier["embedded"] > 0 for tier in rest["tiers"].values())
    assert {(tier["embedded"], tier["cached"]) for tier in again["tiers"].values()} == {(0, TEXTS)}
