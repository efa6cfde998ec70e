"""Which deployment file a command means, and what it says."""

from pathlib import Path
from typing import TYPE_CHECKING

from secondlook.errors import ConfigRefused

if TYPE_CHECKING:
    from router.config import AppArgs

DEFAULT_CONFIG = Path(__file__).resolve().parents[1] / "configs" / "quickstart.yaml"
"""Beside the packages, in a checkout as in an installation."""


def load(path: Path, *, host: str | None = None, port: int | None = None) -> "AppArgs":
    """Read and validate the file; `host` and `port` replace what it says.

    Raises:
        ConfigRefused: It can't be read or is not valid; the message names the keys.
    """
    from router.config_file import load_config  # noqa: PLC0415 - the models take half a second to build
    from router.errors import ConfigInvalid  # noqa: PLC0415

    overrides = {key: value for key, value in (("host", host), ("port", port)) if value is not None}
    try:
        return load_config(path, overrides)
    except ConfigInvalid as error:
        raise ConfigRefused(str(error)) from error
