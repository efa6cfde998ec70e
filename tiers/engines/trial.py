"""One engine tried with one model: how fast, how near to torch, how long to load, how much memory."""

import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tiers.config import EngineName, TierConfig
from tiers.errors import ModelUnavailable

TEXTS = ("a red circle", "two dogs play in the snow", "an old man who reads a newspaper on a bench in the park")
TEXT_BATCH = 32
# Which to take of engines that are equally fast: the one that needs nothing, then those with its numbers.
PREFERENCE: tuple[EngineName, ...] = ("torch", "onnxruntime", "torch-compile", "onnxruntime-int8")
MARGIN = 0.05


@dataclass(frozen=True, slots=True)
class Trial:
    """What was measured of an engine, or why it can't run here; `images_per_s` by size of batch."""

    engine: EngineName
    images_per_s: dict[int, float]
    texts_per_s: float = 0.0
    cosine: float = 0.0
    load_s: float = 0.0
    memory_mib: float = 0.0
    unavailable: str | None = None

    @property
    def best_batch(self) -> int:
        """The size of batch with the most images a second."""
        return max(self.images_per_s, key=lambda size: self.images_per_s[size])

    @property
    def best_images_per_s(self) -> float:
        """Images a second in batches of that size."""
        return self.images_per_s[self.best_batch]


def try_in_process(config: TierConfig, engine: EngineName, *, batches: Sequence[int], seconds: float) -> Trial:
    """Try an engine in a process of its own, so that memory and threads are its own too.

    Args:
        config: The tier; its model's engine is not looked at.
        engine: Which to try.
        batches: Sizes of batches of images to measure.
        seconds: How long to measure each, at least.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        try:
            return process.submit(try_engine, config, engine, tuple(batches), seconds).result()
        except BrokenProcessPool:
            return Trial(engine, {}, unavailable="the process ended by itself; was there memory enough?")


def try_engine(config: TierConfig, engine: EngineName, batches: Sequence[int], seconds: float) -> Trial:
    """Try an engine in this process."""
    import torch  # noqa: PLC0415 - who asks another process for a trial needs neither

    from tiers.encoder import Encoder  # noqa: PLC0415

    sizes = config.batch.model_copy(update={"max_images": max(batches)})
    began = time.perf_counter()
    try:
        model = type(config.model).model_validate({**config.model.model_dump(), "engine": engine})
        encoder = Encoder(model, config.images, sizes)
        encoder.warm_up()
    except ModelUnavailable as error:
        return Trial(engine, {}, unavailable=str(error))
    except ValueError as error:
        return Trial(engine, {}, unavailable=f"engine {engine}: {error}")
    load_s = time.perf_counter() - began
    pictures = torch.randn(max(batches), 3, *encoder.description.image_size).unbind()
    texts = [encoder.prepare_text(TEXTS[place % len(TEXTS)]) for place in range(min(TEXT_BATCH, sizes.max_texts))]
    return Trial(
        engine=engine,
        images_per_s={
            size: size * _runs_per_s(partial(encoder.encode_images, pictures[:size]), seconds) for size in batches
        },
        texts_per_s=len(texts) * _runs_per_s(partial(encoder.encode_texts, texts), seconds),
        cosine=encoder.engine_cosine,
        load_s=load_s,
        memory_mib=_resident_mib(),
    )


def choose(trials: Sequence[Trial]) -> Trial | None:
    """The engine with the most images a second, or one to prefer that is within 5 % of it; None where none runs."""
    able = [trial for trial in trials if trial.unavailable is None]
    enough = (1 - MARGIN) * max((trial.best_images_per_s for trial in able), default=0.0)
    near = [trial for trial in able if trial.best_images_per_s >= enough]
    return min(near, key=lambda trial: PREFERENCE.index(trial.engine), default=None)


def _runs_per_s(run: Callable[[], object], seconds: float) -> float:
    """Of the faster half of the runs, as another program on the machine only ever adds time."""
    run()
    times: list[float] = []
    while sum(times) < seconds or len(times) < 3:
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    faster = sorted(times)[: (len(times) + 1) // 2]
    return len(faster) / sum(faster)


def _resident_mib() -> float:
    """Memory that the process holds now; 0 where the system does not say."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0.0
    lines = status.read_text(encoding="utf-8").splitlines()
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:")), 0.0)
