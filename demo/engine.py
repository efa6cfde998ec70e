"""Give open_clip, imported after torchvision has been made importable."""

from tiers.torchvision_shim import import_torchvision

import_torchvision()

import open_clip  # noqa: E402  # only now does torchvision import

__all__ = ["open_clip"]
