"""Engines: each proves that it computes what torch does, or is refused; batches of any size come back whole."""

import argparse
import dataclasses
import json
import logging
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
import torch._dynamo
import torch._inductor.config
from pydantic import ValidationError

from demo.captions import caption
from demo.scenes import sample_scene
from secondlook import cli
from secondlook.commands import bench
from secondlook.deployment_file import DEFAULT_CONFIG, load
from tests.tiny_model import tiny_config, write_tiny_model
from tiers.config import ENGINES, BatchConfig, EngineName, ImageLimits, ModelConfig
from tiers.encoder import Encoder
from tiers.engines import choice
from tiers.engines.buckets import buckets_up_to, plan, run_in_buckets
from tiers.engines.trial import PREFERENCE, Trial, choose
from tiers.errors import ModelUnavailable

TEXTS = [caption(sample_scene(np.random.default_rng(seed)), np.random.default_rng(seed)) for seed in range(9)]
ONE_IMAGE = BatchConfig(max_images=1)


def shipped(tier: str, engine: str) -> Encoder:
    """A model of the shipped pair, run by an engine."""
    tiers = load(DEFAULT_CONFIG).tiers
    model = (tiers.fast if tier == "fast" else tiers.accurate).model
    return Encoder(ModelConfig.model_validate({**model.model_dump(), "engine": engine}), ImageLimits())


def pictures(encoder: Encoder, count: int) -> list[torch.Tensor]:
    """Prepared pictures of noise."""
    return list(torch.randn(count, 3, *encoder.description.image_size, generator=torch.Generator().manual_seed(1)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny model on disk."""
    return write_tiny_model(tmp_path / "tiny")


@pytest.mark.parametrize(
    ("largest", "buckets"), [(1, (1,)), (2, (1, 2)), (12, (1, 2, 4, 8, 12)), (16, (1, 2, 4, 8, 16))]
)
def test_buckets_are_powers_of_two_and_the_largest_batch(largest: int, buckets: tuple[int, ...]) -> None:
    """The batcher's largest batch fits, whatever it is."""
    assert buckets_up_to(largest) == buckets


@pytest.mark.parametrize(
    ("count", "pads", "runs"),
    [
        (3, True, [(3, 4)]),
        (4, True, [(4, 4)]),
        (9, True, [(4, 4), (4, 4), (1, 1)]),
        (3, False, [(2, 2), (1, 1)]),
        (9, False, [(4, 4), (4, 4), (1, 1)]),
    ],
)
def test_batches_are_padded_or_cut_to_buckets(count: int, pads: bool, runs: list[tuple[int, int]]) -> None:  # noqa: FBT001
    """One padded run on a GPU, several full ones on a CPU; never more than the largest bucket."""
    assert plan(count, (1, 2, 4), pads=pads) == runs


@pytest.mark.parametrize("pads", [True, False])
def test_rows_come_back_in_order_though_runs_share_memory(pads: bool) -> None:  # noqa: FBT001
    """As those of a CUDA graph do: what a run wrote is gone after the next one of its size."""
    memory = {size: torch.empty(size, 2) for size in (1, 2, 4)}
    batch = torch.arange(22.0).reshape(11, 2)

    rows = run_in_buckets(lambda part: memory[len(part)].copy_(part), batch, (1, 2, 4), pads=pads)

    assert rows.equal(batch)


@pytest.mark.parametrize(("tier", "engine"), [("accurate", "onnxruntime"), ("fast", "onnxruntime-int8")])
def test_engine_agrees_with_torch_on_the_shipped_pair(tier: str, engine: str) -> None:
    """On batches of all sizes, and with torch's weights let go."""
    torchs, other = shipped(tier, "torch"), shipped(tier, engine)
    images = pictures(torchs, 5)
    texts = [torchs.prepare_text(text) for text in TEXTS]
    least = choice.LEAST_COSINE["int8" if engine.endswith("int8") else "fp32"]

    for count in (1, 2, 5):
        assert ((torchs.encode_images(images[:count]) * other.encode_images(images[:count])).sum(axis=1) > least).all()
        assert ((torchs.encode_texts(texts[:count]) * other.encode_texts(texts[:count])).sum(axis=1) > least).all()

    assert other.description == dataclasses.replace(torchs.description, precision=other.description.precision)
    assert other.engine_cosine >= least
    assert other.text_tower.cuts
    assert other._model is None


def test_int8_is_another_number_format_and_the_same_model(folder: Path) -> None:
    """So that a cache never gives the one for the other; what only runs otherwise shares its vectors."""
    torchs = Encoder(tiny_config(folder), ImageLimits()).description
    int8 = Encoder(tiny_config(folder, engine="onnxruntime-int8"), ImageLimits()).description

    assert int8 == dataclasses.replace(torchs, precision="int8")


def test_compiled_engine_agrees_and_compiles_nothing_later(folder: Path) -> None:
    """Neither for a batch of another size nor on another thread, which a replica's encoder runs on."""
    torchs = Encoder(tiny_config(folder), ImageLimits())
    compiled = Encoder(tiny_config(folder, engine="torch-compile"), ImageLimits(), BatchConfig(max_images=2))
    images = pictures(torchs, 5)
    rows: list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]] = []
    before = dict(torch._dynamo.utils.counters["stats"])

    thread = threading.Thread(target=lambda: rows.append(compiled.encode_images(images)))
    thread.start()
    thread.join()

    np.testing.assert_allclose(rows[0], torchs.encode_images(images), atol=1e-5)
    assert dict(torch._dynamo.utils.counters["stats"]) == before
    assert before["unique_graphs"] >= 2


def test_machine_without_compiler_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At start, with the cause; no request meets it."""
    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", ("no-such-compiler",))
    monkeypatch.setattr(torch._inductor.config, "force_disable_caches", True)
    torch._dynamo.reset()

    with pytest.raises(ModelUnavailable, match=r"engine torch-compile: .*[Cc]ompiler"):
        Encoder(tiny_config(folder, engine="torch-compile"), ImageLimits(), ONE_IMAGE)


@pytest.mark.parametrize("package", ["onnxruntime", "onnxscript"])
def test_missing_package_is_named_with_its_extra(folder: Path, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What to install stands in the message."""
    monkeypatch.delitem(sys.modules, "tiers.engines.onnx_runtime", raising=False)
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(ModelUnavailable, match=rf"needs {package}.*secondlook\[onnx\]"):
        Encoder(tiny_config(folder, engine="onnxruntime"), ImageLimits())


def test_engine_that_computes_something_else_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the figure that it reached."""
    monkeypatch.setitem(choice.LEAST_COSINE, "int8", 1.1)

    with pytest.raises(ModelUnavailable, match=r"onnxruntime-int8: cosine to torch is (0\.99|1\.0)\d+, .* than 1\.1"):
        Encoder(tiny_config(folder, engine="onnxruntime-int8"), ImageLimits())


def test_text_tower_that_reads_padding_is_not_cut_by_another_engine(tmp_path: Path) -> None:
    """Attention to both sides and the last position's output: SigLIP's way."""
    text = {"context_length": 16, "vocab_size": 516, "width": 32, "heads": 2, "layers": 1}
    place = write_tiny_model(tmp_path / "tiny", text_cfg={**text, "no_causal_mask": True, "pool_type": "last"})

    encoder = Encoder(tiny_config(place, engine="onnxruntime"), ImageLimits())

    assert not encoder.text_tower.cuts
    assert encoder.engine_cosine > choice.LEAST_COSINE["fp32"]


def test_text_tower_that_cannot_be_exported_stays_with_torch(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The image tower is what takes the time."""
    from tiers.engines import onnx_runtime  # noqa: PLC0415 - another test takes it out of the modules

    def refuse(*_: object) -> torch.Tensor:
        raise RuntimeError

    monkeypatch.setattr(onnx_runtime._TextTower, "forward", refuse)
    with caplog.at_level(logging.WARNING, "tiers.engines"):
        encoder = Encoder(tiny_config(folder, engine="onnxruntime"), ImageLimits())

    assert "stays with torch" in caplog.text
    assert encoder._model is not None
    assert encoder.encode_texts([encoder.prepare_text("a cat")]).shape == (1, 16)


@pytest.mark.parametrize("fields", [{"device": "cuda"}, {"precision": "bf16"}])
def test_onnxruntime_takes_a_cpu_and_fp32(fields: dict[str, str]) -> None:
    """Refused with the file, not at start."""
    with pytest.raises(ValidationError, match="onnxruntime runs on `device: cpu`"):
        ModelConfig.model_validate({"architecture": "x", "pretrained": "random", "engine": "onnxruntime", **fields})


def trial(engine: EngineName, images_per_s: float) -> Trial:
    """What a measurement found."""
    return Trial(engine, {1: images_per_s / 2, 8: images_per_s})


@pytest.mark.parametrize(
    ("rates", "chosen"),
    [
        ({"torch": 96.0, "onnxruntime": 100.0}, "torch"),
        ({"torch": 90.0, "onnxruntime": 100.0}, "onnxruntime"),
        ({"torch": 50.0, "onnxruntime-int8": 102.0, "onnxruntime": 100.0}, "onnxruntime"),
        ({"torch": 50.0, "onnxruntime-int8": 120.0, "onnxruntime": 100.0}, "onnxruntime-int8"),
    ],
)
def test_engine_has_to_be_clearly_faster_to_be_chosen(rates: dict[EngineName, float], chosen: str) -> None:
    """Within 5 % the simpler one is taken, and the one with torch's numbers before int8."""
    found = choose([*(trial(name, rate) for name, rate in rates.items()), Trial("torch-compile", {}, unavailable="no")])

    assert found is not None
    assert found.engine == chosen


def test_nothing_is_chosen_where_nothing_runs() -> None:
    """A model that can't be loaded has no engine."""
    assert choose([Trial("torch", {}, unavailable="no such model")]) is None


def test_bench_names_every_engine() -> None:
    """Though the command line does not import where they are declared."""
    assert bench.ENGINES == ENGINES
    assert set(PREFERENCE) == set(ENGINES)


def test_bench_prints_a_table_and_the_line_to_use(capsys: pytest.CaptureFixture[str]) -> None:
    """The last line can be pasted into the deployment file."""
    assert cli.main(["bench", "engine", "--seconds", "0.1", "--batch", "2", "--engine", "torch"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[0] == "engine"
    assert lines[1].split()[:2] == ["*", "torch"]
    assert lines[-1] == "model: {engine: torch}"


def test_bench_tells_figures_as_json_and_why_an_engine_is_not_there(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Numbers by name; an engine that can't run here stands there with its reason."""
    model = {"architecture": f"local-dir:{folder}", "bpe_file": str(folder / "merges.txt.gz"), "precision": "bf16"}
    file = tmp_path / "deployment.yaml"
    document = {"tiers": {name: {"model": model} for name in ("fast", "accurate")}, "policy": {"threshold": 1.0}}
    file.write_text(json.dumps({**document, "cache": {"url": "embedded:auto"}}), encoding="utf-8")
    command = ["bench", "engine", "--config", str(file), "--tier", "accurate", "--seconds", "0.05", "--json"]

    assert cli.main([*command, "--engine", "torch", "onnxruntime", "--batch", "2"]) == 0

    found = json.loads(capsys.readouterr().out)
    torchs, other = found["trials"]
    assert found["config"] == "model: {engine: torch}"
    assert set(torchs["images_per_s"]) == {"1", "2"}
    assert min(torchs["texts_per_s"], torchs["load_s"], torchs["memory_mib"]) > 0
    assert "precision: fp32" in other["unavailable"]


def test_bench_fails_where_no_engine_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With each one's reason."""
    file = tmp_path / "deployment.yaml"
    tiers = {name: {"model": {"architecture": "local-dir:nowhere"}} for name in ("fast", "accurate")}
    file.write_text(json.dumps({"tiers": tiers, "policy": {"threshold": 1.0}, "cache": {"url": "embedded:auto"}}))

    assert cli.main(["bench", "engine", "--config", str(file), "--engine", "torch"]) == 1
    assert "nowhere" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["0", "1025", "x", "1.5"])
def test_bench_refuses_a_batch_that_is_none(text: str) -> None:
    """A size is a number of images that a configuration may have."""
    with pytest.raises(argparse.ArgumentTypeError):
        bench._size(text)


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "soon"])
def test_bench_refuses_a_time_that_is_none(text: str) -> None:
    """It would never end, or measure nothing."""
    with pytest.raises(argparse.ArgumentTypeError):
        bench._seconds(text)
