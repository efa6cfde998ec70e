"""The comparison with other servers: equal requests for all, the figures, our deployment file."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from bench.peers.apis import APIS, OURS, OURS_INT8
from bench.peers.comparison import CPU, figures, measure_name
from bench.peers.exactness import LONG_TEXT, exactness, probe_texts
from bench.peers.servers import COMMANDS, our_deployment
from bench.peers.setup import PEERS, REQUIREMENTS
from bench.photographs import SIZE, photograph
from bench.wire import END_OF_HEAD
from router.config_file import load_config


def strings_of(document: Any) -> list[str]:
    """Every string in a JSON document."""
    if isinstance(document, str):
        return [document]
    inner = document.values() if isinstance(document, dict) else document
    return [text for one in inner for text in strings_of(one)]


@pytest.mark.parametrize("name", APIS)
def test_every_server_is_sent_the_same_text_and_the_same_image(name: str) -> None:
    """Only the document around them differs."""
    text, image = APIS[name].text("a red cat"), APIS[name].image(b"file")

    assert "a red cat" in strings_of(json.loads(text.partition(END_OF_HEAD)[2]))
    sent = strings_of(json.loads(image.partition(END_OF_HEAD)[2]))
    assert [base64.b64decode(one.rpartition(",")[2]) for one in sent if one.endswith("=")] == [b"file"]


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        (OURS, {"data": [{"embedding": [0.5, 1.0]}]}),
        ("infinity", {"data": [{"embedding": [0.5, 1.0]}]}),
        ("litserve", {"embedding": [0.5, 1.0]}),
        ("bentoml", [[0.5, 1.0]]),
    ],
)
def test_vector_is_found_in_each_servers_answer(name: str, answer: Any) -> None:
    """They have it in different places."""
    assert APIS[name].vector(answer) == [0.5, 1.0]


def test_every_peer_can_be_installed_started_and_asked() -> None:
    """A peer is a file of requirements, a command and an API."""
    assert set(PEERS) == set(COMMANDS) == set(APIS) - {OURS, OURS_INT8}
    assert all((REQUIREMENTS / f"{name}.txt").exists() for name in PEERS)


def test_exactness_tells_a_changed_direction_from_a_changed_length() -> None:
    """What all have in common hides differences; without it they show."""
    common = np.array([100.0, 0.0, 0.0])
    expected = common + np.array([[0.0, 1.0, 0.0], [0.0, -1.0, 0.0]])
    swapped = expected[::-1]

    same = exactness({"text": expected * 3, "image": expected}, {"text": expected, "image": expected})
    wrong = exactness({"text": swapped, "image": expected}, {"text": expected, "image": expected})

    assert min(same.values()) == pytest.approx(1)
    assert wrong["text_cosine"] > 0.999
    assert wrong["text_difference_cosine"] == pytest.approx(-1)


def test_one_probe_is_a_long_text_and_none_comes_twice() -> None:
    """Servers that cut texts shall be seen to."""
    assert probe_texts()[-1] == LONG_TEXT
    assert len(LONG_TEXT.split()) > 39
    assert len(set(probe_texts())) == len(probe_texts())


def test_ours_is_promised_to_beat_each_peer() -> None:
    """Who beats each beats the best."""
    rates = {OURS: 30.0, OURS_INT8: 60.0, "infinity": 20.0, "litserve": 5.0, "bentoml": 10.0}
    samples = {
        measure_name(name, kind): [{"requests_per_s": rate, CPU: 1.0}]
        for name, rate in rates.items()
        for kind in ("text", "image")
    }
    exact = {f"{name}: exactness": [{"text_cosine": 1.0, "image_cosine": 0.5}] for name in rates}

    found = {figure.name: figure for figure in figures(samples, exact)}

    assert found["secondlook beside infinity, images"].is_kept
    assert found["secondlook beside litserve, images"].ratio == pytest.approx(6)
    assert found["CPU of infinity beside secondlook, texts"].ratio == pytest.approx(1)
    assert found["secondlook beside infinity, texts"].is_kept is False
    assert found["secondlook beside litserve, texts"].is_kept
    assert found["secondlook: least cosine to open_clip, images"].is_kept is False


def test_our_deployment_file_is_valid_and_caches_nothing(tmp_path: Path) -> None:
    """The fast tier runs the peers' model with as many threads as they have."""
    file = our_deployment(tmp_path / "peers.yaml", tmp_path / "weights.safetensors", "torch")

    document = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert load_config(file).cache.url == "none:"
    assert document["tiers"]["fast"]["model"]["threads"] == 2


def test_photographs_are_distinct_jpeg_files_of_a_photographs_size() -> None:
    """Equal numbers give equal files."""
    files = [photograph(number) for number in range(8)]

    assert len(set(files)) == 8
    assert photograph(3) == files[3]
    assert SIZE == (640, 480)
    assert all(file.startswith(b"\xff\xd8") and 40_000 < len(file) < 80_000 for file in files)
