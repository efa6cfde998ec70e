"""Read a deployment file: YAML in, validated configuration out."""

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from cache.config import EMBEDDED, EMBEDDED_AUTO
from router.config import AppArgs
from router.errors import ConfigInvalid
from router.policy_file import resolve_policy
from router.yaml_file import explain, read_yaml
from tiers.config import ModelConfig

LOCAL = "local-dir:"


def load_config(path: Path, overrides: Mapping[str, object] | None = None) -> AppArgs:
    """Load, validate and resolve the deployment file at `path`.

    Args:
        path: The YAML file.
        overrides: Values that replace the file's `server` keys (from the command line).

    Raises:
        ConfigInvalid: The file is missing, no YAML, or not a valid configuration; the message names each
            wrong key by its path and says what is allowed.
    """
    document = read_yaml(path)
    if "policy" in document:
        document["policy"] = resolve_policy(document["policy"], path.resolve().parent)
    if overrides:
        document["server"] = {**_mapping(document.get("server")), **overrides}
    try:
        args = AppArgs.model_validate(document)
    except ValidationError as error:
        raise ConfigInvalid(explain(path, AppArgs, error)) from error
    return _with_absolute_paths(args, path.resolve().parent)


def _mapping(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _with_absolute_paths(args: AppArgs, base: Path) -> AppArgs:
    """Replicas run in another working directory: relative paths mean beside the file."""
    tiers = {
        name: tier.model_copy(update={"model": _model_with_absolute_paths(tier.model, base)})
        for name, tier in (("fast", args.tiers.fast), ("accurate", args.tiers.accurate))
    }
    cache: dict[str, object] = {}
    if args.cache.is_embedded:
        cache["url"] = _embedded_beside(base, args.cache.urls[0])
    journal = args.cache.journal
    cache["journal"] = journal.model_copy(update={"url": _embedded_beside(base, journal.url)})
    if args.cache.secret_file:
        cache["secret_file"] = _beside(base, args.cache.secret_file)
    access: dict[str, object] = {}
    if args.access.keys_file:
        access["keys_file"] = _beside(base, args.access.keys_file)
    return args.model_copy(
        update={
            "access": args.access.model_copy(update=access),
            "tiers": args.tiers.model_copy(update=tiers),
            "cache": args.cache.model_copy(update=cache),
        }
    )


def _model_with_absolute_paths(model: ModelConfig, base: Path) -> ModelConfig:
    update: dict[str, object] = {}
    if model.architecture.startswith(LOCAL):
        update["architecture"] = LOCAL + _beside(base, model.architecture.removeprefix(LOCAL))
    if model.pretrained and (base / model.pretrained).is_file():  # else it is a tag
        update["pretrained"] = _beside(base, model.pretrained)
    if model.bpe_file:
        update["bpe_file"] = _beside(base, model.bpe_file)
    return model.model_copy(update=update)


def _embedded_beside(base: Path, url: str) -> str:
    if not url.startswith(EMBEDDED) or url == EMBEDDED_AUTO:
        return url
    return EMBEDDED + _beside(base, url.removeprefix(EMBEDDED))


def _beside(base: Path, path: str) -> str:
    return os.path.normpath(base / Path(path).expanduser())
