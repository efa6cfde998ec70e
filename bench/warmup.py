"""Scenario `warmup`: a catalogue cold and warm by `secondlook warmup`, beside the bare text encoder in batches.

The bare encoder is as many processes as the tier has threads, of one thread each, at the same time: threads of one run
wait for each other, and on a machine whose cores others use too that is most of what they do.
"""

import json
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.bounds import best_batch
from bench.encoder_process import EncoderProcess, encoder_process
from bench.encoder_task import Task
from bench.figures import Figure, Findings, Promise, compare, median
from bench.load_process import REPOSITORY, Target
from bench.payloads import captions
from bench.photographs import photographs
from bench.processes import cpu_by_role, members, usage
from bench.scenario import Options, say
from bench.services import our_service
from bench.tier_service import BATCH, PATIENCE, THREADS, model

ARCHITECTURE = "ViT-B-32"
BATCHES = (16, 32, 64)
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
    single = {**model(ARCHITECTURE), "threads": 1}
    with ExitStack() as stack:
        encoders = [
            stack.enter_context(encoder_process(options.folder, single, BATCH, pictures, texts)) for _ in range(THREADS)
        ]
        target = stack.enter_context(our_service(options.folder, changes, fast_model=model(ARCHITECTURE)))
        rates = _bare(encoders, CALIBRATION_S)["per_s_by_batch"]
        count = int(max(rates.values()) * COLD_FACTOR * options.seconds)
        say(f"warmup: {options.rounds} rounds of {count} texts")
        for number in range(options.rounds):
            file = _catalogue(options.folder, number, count)
            before = _bare(encoders, options.seconds)
            samples[COLD].append(_job(target, file))
            after = _bare(encoders, options.seconds)
            samples[BARE].append(_mean(before, after))
            samples[WARM].append(_job(target, file))
    best = best_batch([sample["per_s_by_batch"] for sample in samples[BARE]])
    for sample in samples[BARE]:
        sample["texts_per_s"] = sample["per_s_by_batch"][best]
        sample["cpu_ms_per_text"] = 1e3 * sample["cpu_s_by_batch"][best]
    return Findings(list(_figures(samples)), samples, _notes(best, samples))


Rates = dict[str, dict[str, float]]
"""Texts/s and CPU seconds of a text, each by size of batch."""


def _bare(encoders: Sequence[EncoderProcess], seconds: float) -> Rates:
    """What all encoders do together."""
    for encoder in encoders:
        encoder.send(asdict(Task("encode", "text", seconds, BATCHES)))
    found: list[Rates] = [encoder.receive() for encoder in encoders]
    sizes = found[0]["per_s_by_batch"]
    return {
        "per_s_by_batch": {size: sum(one["per_s_by_batch"][size] for one in found) for size in sizes},
        "cpu_s_by_batch": {size: statistics.mean(one["cpu_s_by_batch"][size] for one in found) for size in sizes},
    }


def _mean(before: Rates, after: Rates) -> dict[str, Any]:
    return {key: {size: (value[size] + after[key][size]) / 2 for size in value} for key, value in before.items()}


def _catalogue(folder: Path, number: int, count: int) -> Path:
    file = folder / f"catalogue-{number}.txt"
    texts = captions(CALIBRATION_TEXTS + number * count, count)
    file.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return file


def _job(target: Target, file: Path) -> dict[str, Any]:
    """Run the command; texts/s from the first that it read to the last answer, the start of Python not counted.

    The CPU is that of all of the service's processes; the command's own, most of it the start, stands beside it.
    """
    command = [sys.executable, "-m", "secondlook", "warmup", str(file), "--tiers", "fast", "--json"]
    command += ["--url", f"http://{target.host}:{target.port}"]
    before, own_before = usage(members(target.root_pid)), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True)  # noqa: S603
    after, own_after = usage(members(target.root_pid)), resource.getrusage(resource.RUSAGE_CHILDREN)
    own_s = own_after.ru_utime + own_after.ru_stime - own_before.ru_utime - own_before.ru_stime
    cpu_s = cpu_by_role(before, after)
    summary: dict[str, Any] = json.loads(done.stdout)
    fast = summary["tiers"]["fast"]
    return {
        "texts_per_s": summary["texts"] / summary["seconds"],
        "embedded": fast["embedded"],
        "cached": fast["cached"],
        "seconds": summary["seconds"],
        "cpu_s": cpu_s,
        "own_cpu_s": own_s,
        "cpu_ms_per_text": 1e3 * sum(cpu_s.values()) / summary["texts"],
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
    name = "  CPU of a text in a cold job, all of the service"
    yield compare(samples, COLD, BARE, key="cpu_ms_per_text", name=name, unit="ms")
    twice = median(samples[WARM], "embedded")
    yield Figure("  texts that it embedded again", "texts", twice, promise=Promise("ours", at_most=0))


def _notes(best: str, samples: dict[str, list[dict[str, Any]]]) -> list[str]:
    cold_s, warm_s = (median(samples[name], "seconds") for name in (COLD, WARM))
    return [
        f"the bare encoder is {THREADS} of one thread each, in batches of {best}, their texts tokenized before",
        f"one tier, captions of about ten tokens; a cold job took {cold_s:.1f} s, the same again {warm_s:.2f} s",
    ]
