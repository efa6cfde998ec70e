"""Questions about generated scenes, as files and over HTTP: what a cascade is calibrated and judged on."""

import io
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx
import msgpack

from demo.evaluate import HARD, ask
from demo.scenes import Split, render

CONNECTIONS = 8
TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class SceneQuestion:
    """A picture of compositions that were never trained on, and the captions to choose from."""

    picture: bytes
    captions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Served:
    """How the service answered one question."""

    best: int
    tier: str
    degraded: str | None
    policy: str


def scene_questions(count: int, seed: int, hard: int = HARD) -> Iterator[SceneQuestion]:
    """Draw questions with 16 captions; `hard` of them differ from the true one in one thing."""
    for question in ask(count, seed, Split.HELD_OUT, hard):
        picture = io.BytesIO()
        render(question.scene).save(picture, "PNG")
        yield SceneQuestion(picture.getvalue(), question.captions)


def write_questions(folder: Path, questions: Iterator[SceneQuestion]) -> Path:
    """Write pictures, and the file of questions that `secondlook calibrate` reads; return that file."""
    folder.mkdir()
    lines = []
    for number, question in enumerate(questions):
        name = f"{number}.png"
        (folder / name).write_bytes(question.picture)
        lines.append(json.dumps({"image": name, "texts": question.captions}))
    file = folder / "questions.jsonl"
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def serve(
    base_url: str, questions: Sequence[SceneQuestion], tier: Literal["auto", "accurate"] = "auto"
) -> list[Served]:
    """Ask them all, several at once, and return the answers in order."""
    limits = httpx.Limits(max_connections=CONNECTIONS)
    with (
        httpx.Client(base_url=base_url, timeout=TIMEOUT_S, limits=limits) as client,
        ThreadPoolExecutor(CONNECTIONS) as threads,
    ):
        return list(threads.map(lambda question: _ask(client, question, tier), questions))


def _ask(client: httpx.Client, question: SceneQuestion, tier: str) -> Served:
    body = {"images": [{"image": question.picture}], "texts": list(question.captions), "tier": tier}
    response = client.post(
        "/v1/similarity",
        content=msgpack.packb(body),
        headers={"content-type": "application/msgpack", "accept": "application/json"},
    )
    response.raise_for_status()
    item: dict[str, Any] = response.json()["data"][0]
    tiering = item["tiering"]
    return Served(item["best"], tiering["tier"], tiering["degraded"], tiering["policy"])
