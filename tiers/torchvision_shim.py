"""Let torchvision's CUDA wheel import beside a CPU build of torch.

PyPI carries only CUDA builds of torchvision. Beside a CPU build of torch their compiled operators don't load and
the import fails at `operator torchvision::nms does not exist`. Only the transforms are used here, so declaring
the missing schemas is enough.
"""

from typing import Any

import torch

_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_library: list[Any] = []


def import_torchvision() -> None:
    """Import torchvision, declaring its operators first where exactly that makes it fail."""
    try:
        import torchvision  # noqa: PLC0415 - the import is the work
    except RuntimeError as error:
        if "torchvision::nms does not exist" not in str(error):
            raise
        library: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        for operator in ("nms", "qnms"):
            library.define(operator + _SIGNATURE)
        _library.append(library)  # the schemas live as long as the library object
        import torchvision  # noqa: F401, PLC0415
