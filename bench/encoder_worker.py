"""One process that holds a model as a replica does, and times it without a service: `python -m bench.encoder_worker`.

A setup as JSON on the first line of standard input, a task on each further one; figures, a line each, on standard
output. So a model is loaded once and measured in as many rounds as there are.
"""

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import orjson

from bench.encoder_task import Setup, Task
from bench.latency import Latency
from bench.wire import read_requests
from tiers.config import BatchConfig, ImageLimits, ModelConfig
from tiers.encoder import Encoder

MIN_RUNS = 2


@dataclass(slots=True)
class _Way:
    """What happens to one kind of item, before the encoder and in it."""

    raw: Sequence[Any]
    prepare: Callable[[Any], Any]
    encode: Callable[[Sequence[Any]], Any]
    prepared: list[Any] = field(default_factory=list)


class Bench:
    """The model and its inputs, ready to be timed."""

    def __init__(self, setup: Setup) -> None:
        batch = BatchConfig.model_validate(setup.batch)
        encoder = Encoder(ModelConfig.model_validate(setup.model), ImageLimits(), batch)
        encoder.warm_up()
        self._ways = {
            "image": _Way(read_requests(Path(setup.pictures_file)), encoder.prepare_image, encoder.encode_images),
            "text": _Way(setup.texts, encoder.prepare_text, encoder.encode_texts),
        }
        for way in self._ways.values():
            way.prepared += [way.prepare(one) for one in way.raw]

    def run(self, task: Task) -> dict[str, Any]:
        """Time one task."""
        way = self._ways[task.modality]
        return {"encode": _encode, "prepare": _prepare, "alone": _alone}[task.kind](way, task)


def _encode(way: _Way, task: Task) -> dict[str, Any]:
    """Items/s, and CPU seconds of an item, by size of batch; each size is run in turn: a disturbance meets all."""
    items = cycle(way.prepared)
    seconds: dict[int, list[float]] = {size: [] for size in task.batches}
    cpu_s = dict.fromkeys(task.batches, 0.0)
    until = time.perf_counter() + task.seconds
    while time.perf_counter() < until or any(len(times) < MIN_RUNS for times in seconds.values()):
        for size, times in seconds.items():
            batch = list(islice(items, size))
            began, cpu_began = time.perf_counter(), time.process_time()
            way.encode(batch)
            times.append(time.perf_counter() - began)
            cpu_s[size] += time.process_time() - cpu_began
    return {
        "per_s_by_batch": {str(size): size * len(times) / sum(times) for size, times in seconds.items()},
        "cpu_s_by_batch": {str(size): cpu_s[size] / (size * len(times)) for size, times in seconds.items()},
    }


def _prepare(way: _Way, task: Task) -> dict[str, float]:
    """CPU seconds of this thread for one item."""
    raw = cycle(way.raw)
    times = _times(lambda: way.prepare(next(raw)), task.seconds, time.thread_time)
    return {"cpu_s": sum(times) / len(times)}


def _alone(way: _Way, task: Task) -> dict[str, float]:
    """Latency of one item with nobody else there: prepared and encoded in a batch of its own."""
    raw = cycle(way.raw)
    return Latency.of(_times(lambda: way.encode([way.prepare(next(raw))]), task.seconds)).as_figures()


def _times(run: Callable[[], object], seconds: float, clock: Callable[[], float] = time.perf_counter) -> list[float]:
    run()
    times: list[float] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or len(times) < MIN_RUNS:
        began = clock()
        run()
        times.append(clock() - began)
    return times


def main() -> None:
    """Set up, then answer each task until the input ends."""
    # What libraries print goes with the log: only figures go to whoever asked.
    with os.fdopen(os.dup(1), "wb") as figures:
        os.dup2(2, 1)
        bench = Bench(Setup(**orjson.loads(sys.stdin.buffer.readline())))
        _write(figures, {"event": "ready"})
        for line in sys.stdin.buffer:
            _write(figures, bench.run(Task(**orjson.loads(line))))


def _write(figures: Any, document: dict[str, Any]) -> None:
    figures.write(orjson.dumps(document) + b"\n")
    figures.flush()


if __name__ == "__main__":
    main()
