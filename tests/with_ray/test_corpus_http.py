"""The hostile pictures through a real service: answered or refused as documented, soon; no replica dies or swells."""

import resource
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import httpx
import msgpack
import pytest

from router.errors import ERROR_TABLE
from tests.fuzz.corpus import corpus
from tests.fuzz.form import HANG_S

PAGE_BYTES = resource.getpagesize()
BODY_BYTES = 8 * 2**20
GROWTH_BYTES = 700 * 2**20
"""All replicas together: each picture may be in memory decoded and converted, on either tier."""
DOCUMENTED = {(row.status, row.code) for row in ERROR_TABLE if row.status in {413, 415, 422}}


def replicas() -> dict[int, int]:
    """The resident bytes of every replica on this machine, by process."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "cmdline").read_bytes().startswith(b"ray::ServeReplica"):
                found[int(process.name)] = int((process / "statm").read_text().split()[1]) * PAGE_BYTES
    return found


def send(client: httpx.Client, data: bytes) -> httpx.Response:
    """Ask what a picture shows, as msgpack, which leaves its bytes as they are."""
    body = msgpack.packb({"images": [{"image": data}], "texts": ["a cat", "a dog"], "tier": "fast"})
    headers = {"content-type": "application/msgpack", "accept": "application/json"}
    return client.post("/v1/similarity", content=body, headers=headers)


def outcomes(client: httpx.Client, names: Iterable[str]) -> dict[str, tuple[int, str | None, float]]:
    """Status, code and seconds of each picture."""
    found = {}
    for name in names:
        started = time.perf_counter()
        response = send(client, corpus()[name])
        took_s = time.perf_counter() - started
        code = None if response.is_success else response.json()["error"]["code"]
        found[name] = (response.status_code, code, took_s)
    return found


@pytest.fixture(scope="module")
def names() -> list[str]:
    """The corpus, but for the file of no bytes, which is no item."""
    return [name for name, data in corpus().items() if 0 < len(data) < BODY_BYTES]


def test_every_hostile_picture_is_answered_or_refused_soon(client: httpx.Client, names: list[str]) -> None:
    """Each alone; the same replicas live on, and have not grown by more than their largest picture."""
    assert send(client, corpus()["largest.png"]).is_success
    before = replicas()

    found = outcomes(client, names)

    wrong = {name: one for name, one in found.items() if one[:2] != (200, None) and one[:2] not in DOCUMENTED}
    assert not wrong
    assert {name: took_s for name, (_, _, took_s) in found.items() if took_s > HANG_S} == {}
    after = replicas()
    assert before
    assert before.keys() <= after.keys()
    assert sum(after[pid] - before[pid] for pid in before) < GROWTH_BYTES
