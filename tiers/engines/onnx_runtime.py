"""The `onnxruntime` engines: the towers exported at load and run by ONNX Runtime, on CPUs. The only file that knows it.

Its packages are an extra of this project (`onnx`), so it is imported where a configuration asks for it.
"""

import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnxruntime
import onnxscript  # noqa: F401 - torch's exporter needs it, and says so only when it runs
import torch
from onnxruntime.capi import onnxruntime_pybind11_state as faults
from onnxruntime.quantization import QuantType, quantize_dynamic

from tiers.engines.engine import CutTexts, Shapes
from tiers.text_tower import TextTower

logger = logging.getLogger(__name__)
ERRORS_ONLY = 3
# Of the operations that can be quantised those that take the time; the others would only lose exactness.
QUANTISED = ("MatMul", "Gemm")
RUNTIME_ERRORS = (faults.Fail, faults.InvalidGraph, faults.NotImplemented, faults.RuntimeException)


class OnnxEngine:
    """Two sessions. Takes any batch; texts stay with torch where their tower can't be exported."""

    def __init__(self, model: Any, *, shapes: Shapes, threads: int, quantised: bool) -> None:
        self._threads = threads
        self._quantised = quantised
        pictures = torch.zeros(2, *shapes.picture)
        self._images = self._open(_Tower(model.encode_image, model), pictures, {0: torch.export.Dim.DYNAMIC})
        self.holds_model = self.is_concurrent = False
        self.text_tower = TextTower(self._text_model(model, shapes), torch.device("cpu"))

    def encode_images(self, batch: torch.Tensor) -> torch.Tensor:
        """Embed prepared pictures: not of unit length."""
        return self._images(batch)

    def warm_up(self) -> None:
        """Do nothing: opening a session has prepared it."""

    def _text_model(self, model: Any, shapes: Shapes) -> Any:
        ids = torch.zeros(2, max(shapes.context_length // 2, 2), dtype=torch.long)
        sizes = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
        try:
            return CutTexts(self._open(_TextTower(model), ids, sizes))
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
            logger.warning("the text tower stays with torch: %s", type(error).__name__)
            self.holds_model = True
            return model

    def _open(
        self, tower: torch.nn.Module, batch: torch.Tensor, sizes: dict[int, Any]
    ) -> Callable[[torch.Tensor], torch.Tensor]:
        with tempfile.TemporaryDirectory(prefix="secondlook-onnx-") as folder:
            file = Path(folder) / "tower.onnx"
            _export(tower, batch, file, sizes)
            if self._quantised:
                file = _quantise(file)
            return _Session(file, self._threads)


class _Session:
    def __init__(self, file: Path, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = ERRORS_ONLY
        try:
            self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        except RUNTIME_ERRORS as error:
            raise RuntimeError(str(error)) from error

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        (rows,) = self._session.run(None, {"batch": batch.numpy()})
        return torch.from_numpy(rows)


class _Tower(torch.nn.Module):
    """One function of a model, with the model's weights."""

    def __init__(self, run: Callable[[torch.Tensor], torch.Tensor], model: torch.nn.Module) -> None:
        super().__init__()
        self._model = model
        self._run = run

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return self._run(batch)


class _TextTower(torch.nn.Module):
    """A text tower that takes ids of any length, as its own positions and mask would not let it."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        # A CLIP is its own text tower, and beside a text's embedding it returns other things.
        self._is_whole = hasattr(model, "positional_embedding")
        self._tower = model if self._is_whole else model.text

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        length = batch.shape[1]
        parts: dict[str, torch.Tensor] = {}
        if (positions := getattr(self._tower, "positional_embedding", None)) is not None:
            parts["positional_embedding"] = positions[:length]
        if (mask := getattr(self._tower, "attn_mask", None)) is not None:
            parts["attn_mask"] = mask[:length, :length]
        output = torch.func.functional_call(self._tower, parts, kwargs={"text": batch}, tie_weights=False)
        rows: torch.Tensor = output if not self._is_whole else _text_features(output)
        return rows


def _text_features(output: Any) -> Any:
    return output["text_features"] if isinstance(output, dict) else output[1]


def _export(tower: torch.nn.Module, batch: torch.Tensor, file: Path, sizes: dict[int, Any]) -> None:
    with torch.no_grad(), _quiet("onnxscript"):
        torch.onnx.export(
            tower.eval(),
            (batch,),
            file,
            dynamo=True,
            external_data=True,
            input_names=["batch"],
            output_names=["rows"],
            dynamic_shapes=(sizes,),
            verbose=False,
        )


def _quantise(file: Path) -> Path:
    """Store weights as int8, a scale for each channel; activations get theirs at each run."""
    quantised = file.with_name("int8.onnx")
    with _quiet(None):
        quantize_dynamic(
            file,
            quantised,
            op_types_to_quantize=list(QUANTISED),
            per_channel=True,
            weight_type=QuantType.QInt8,
            use_external_data_format=True,
        )
    return quantised


@contextmanager
def _quiet(name: str | None) -> Iterator[None]:
    """Keep a library's account of its work out of our log.

    Where it logs to the root itself, that would even configure logging for the whole process: not beside a handler.
    """
    log, silent = logging.getLogger(name), logging.NullHandler()
    level = log.level
    log.addHandler(silent)
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
        log.removeHandler(silent)
