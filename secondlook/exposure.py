"""Whether a service may be started as it is configured: not open to a network by an oversight."""

import ipaddress
import os
from pathlib import Path
from typing import TYPE_CHECKING

from secondlook.errors import ConfigRefused

if TYPE_CHECKING:
    from router.config import AppArgs


def check_exposure(args: "AppArgs") -> None:
    """See that whoever can reach the service needs a key, unless the operator has said that nobody does.

    Raises:
        ConfigRefused: Others can reach it without a key, or its keys can't be used.
    """
    from router.access import Access  # noqa: PLC0415 - --help does not need them
    from router.api_keys import environment_keys  # noqa: PLC0415
    from router.errors import ConfigInvalid  # noqa: PLC0415
    from router.keys_file import read_keys  # noqa: PLC0415

    access = args.access
    try:
        keys = (*access.keys, *environment_keys(os.environ))
        if access.keys_file is not None:
            keys = (*keys, *read_keys(Path(access.keys_file)))
        Access(access, keys)
    except ConfigInvalid as error:
        raise ConfigRefused(f"API keys: {error}") from error
    if keys and args.cache.image_digest == "xxh3_128":
        raise ConfigRefused("cache.image_digest: with API keys auto or blake2b; xxh3_128 is for trusted callers")
    if not (keys or access.names_keys or access.allow_open or is_loopback(args.server.host)):
        raise ConfigRefused(
            f"others can reach {args.server.host}, and there are no API keys: make one with `secondlook keys new` and "
            "name its file in access.keys_file, or say access.allow_open: true"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address; a name other than localhost may mean any."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
