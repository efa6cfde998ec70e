"""Scenario `warmup`: a catalogue cold and warm by `secondlook warmup`, beside the bare text encoder in batches."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.bounds import best_batch
from bench.encoder_process import EncoderProcess, encoder_process
from bench.encoder_task import Task
from bench.figures import Figure, Findings, Promise, compare, median
from bench.load_process import REPOSITORY, Target
from bench.payloads import captions
from bench.photographs import photographs
from bench.scenario import Options, say
from bench.services import our_service
from bench.tier_service import BATCH, PATIENCE, THREADS, model

ARCHITECTURE = "ViT-B-32"
BATCHES = (32, 64)
CALIBRATION_TEXTS = 512
CALIBRATION_S = 4.0
COLD_FACTOR = 3
"""A cold run takes so many times `--seconds`: 15 s unless told otherwise."""
MIN_COLD_SHARE, MIN_SPEED_UP = 0.9, 20
BARE, COLD, WARM = "bare encoder", "cold", "warm"


def measure_warmup(options: Options) -> Findings:
    """Measure texts/s of the bare encoder, of a cold job and of the same job again, in turn."""
    say(f"warmup: starting the service with {ARCHITECTURE}")
    samples: dict[str, list[dict[str, Any]]] = {BARE: [], COLD: [], WARM: []}
    changes = {
        "cache": {"url": f"embedded:{options.folder / 'warmup-cache'}"},
        "tiers": {"fast": {"batch": BATCH, "health": PATIENCE}, "accurate": {"health": PATIENCE}},
    }
    texts, pictures = captions(0, CALIBRATION_TEXTS), list(photographs(1, 0))
    with (
        encoder_process(options.folder, model(ARCHITECTURE), BATCH, pictures, texts) as encoder,
        our_service(options.folder, changes, fast_model=model(ARCHITECTURE)) as target,
    ):
        rates = _bare(encoder, CALIBRATION_S)
        count = int(max(rates.values()) * COLD_FACTOR * options.seconds)
        say(f"warmup: {options.rounds} rounds of {count} texts")
        for number in range(options.rounds):
            file = _catalogue(options.folder, number, count)
            before = _bare(encoder, options.seconds)
            samples[COLD].append(_job(target, file))
            after = _bare(encoder, options.seconds)
            samples[BARE].append(_mean(before, after))
            samples[WARM].append(_job(target, file))
    best = best_batch([sample["per_s_by_batch"] for sample in samples[BARE]])
    for sample in samples[BARE]:
        sample["texts_per_s"] = sample["per_s_by_batch"][best]
    return Findings(list(_figures(samples)), samples, _notes(best, samples))


def _bare(encoder: EncoderProcess, seconds: float) -> dict[str, float]:
    rates: dict[str, float] = encoder.run(Task("encode", "text", seconds, BATCHES))["per_s_by_batch"]
    return rates


def _mean(before: dict[str, float], after: dict[str, float]) -> dict[str, Any]:
    return {"per_s_by_batch": {size: (before[size] + after[size]) / 2 for size in before}}


def _catalogue(folder: Path, number: int, count: int) -> Path:
    file = folder / f"catalogue-{number}.txt"
    texts = captions(CALIBRATION_TEXTS + number * count, count)
    file.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return file


def _job(target: Target, file: Path) -> dict[str, Any]:
    """Run the command; texts/s from the first that it read to the last answer, the start of Python not counted."""
    command = [sys.executable, "-m", "secondlook", "warmup", str(file), "--tiers", "fast", "--json"]
    command += ["--url", f"http://{target.host}:{target.port}"]
    done = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True)  # noqa: S603
    summary: dict[str, Any] = json.loads(done.stdout)
    fast = summary["tiers"]["fast"]
    return {
        "texts_per_s": summary["texts"] / summary["seconds"],
        "embedded": fast["embedded"],
        "cached": fast["cached"],
        "seconds": summary["seconds"],
    }


def _figures(samples: dict[str, list[dict[str, Any]]]) -> Iterator[Figure]:
    yield compare(
        samples,
        COLD,
        BARE,
        key="texts_per_s",
        name=f"texts/s of a cold job, {ARCHITECTURE}",
        unit="texts/s",
        promise=Promise("ratio", at_least=MIN_COLD_SHARE),
    )
    yield compare(
        samples,
        WARM,
        COLD,
        key="texts_per_s",
        name="  of the same job again",
        unit="texts/s",
        promise=Promise("ratio", at_least=MIN_SPEED_UP),
    )
    twice = median(samples[WARM], "embedded")
    yield Figure("  texts that it embedded again", "texts", twice, promise=Promise("ours", at_most=0))


def _notes(best: str, samples: dict[str, list[dict[str, Any]]]) -> list[str]:
    cold_s, warm_s = (median(samples[name], "seconds") for name in (COLD, WARM))
    return [
        f"the bare encoder in batches of {best}, one at a time on {THREADS} threads, its texts tokenized before",
        f"one tier, captions of about ten tokens; a cold job took {cold_s:.1f} s, the same again {warm_s:.2f} s",
    ]
