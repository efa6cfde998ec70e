"""Read a deployment file: YAML in, validated configuration out."""

import os
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from cache.config import EMBEDDED, EMBEDDED_AUTO
from router.config import AppArgs
from router.errors import ConfigInvalid
from tiers.config import ModelConfig

LOCAL = "local-dir:"


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML's safe loader, which would let the last of two equal keys win; here they are an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002
        """Build a mapping whose keys differ."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(
                problem=f"the key {twice!r} stands there twice", problem_mark=node.start_mark
            )
        return super().construct_mapping(node, deep=deep)


def load_config(path: Path, overrides: Mapping[str, object] | None = None) -> AppArgs:
    """Load, validate and resolve the deployment file at `path`.

    Args:
        path: The YAML file.
        overrides: Values that replace the file's `server` keys (from the command line).

    Raises:
        ConfigInvalid: The file is missing, no YAML, or not a valid configuration; the message names each
            wrong key by its path and says what is allowed.
    """
    document = _read(path)
    if overrides:
        document["server"] = {**_mapping(document.get("server")), **overrides}
    try:
        args = AppArgs.model_validate(document)
    except ValidationError as error:
        raise ConfigInvalid(_explain(path, error)) from error
    return _with_absolute_paths(args, path.resolve().parent)


def _read(path: Path) -> dict[str, object]:
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeyLoader)  # noqa: S506 - it is a SafeLoader
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigInvalid(f"{path}: cannot be read ({type(error).__name__})") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = str(getattr(error, "problem", ""))
        what = problem if problem.startswith("the key") else None
        raise ConfigInvalid(f"{path}: {what or 'not YAML'}{where}") from error
    if not isinstance(document, dict):
        raise ConfigInvalid(f"{path}: expected keys and values at the top level")
    return document


def _mapping(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _explain(path: Path, error: ValidationError) -> str:
    lines = [f"{path}: {len(error.errors())} problem(s)"]
    lines += [_explain_one(detail) for detail in error.errors(include_url=False)]
    return "\n".join(lines)


def _explain_one(detail: ErrorDetails) -> str:
    where = ".".join(str(part) for part in detail["loc"]) or "(top level)"
    if detail["type"] == "extra_forbidden":
        parent = ".".join(str(part) for part in detail["loc"][:-1])
        allowed = ", ".join(sorted(_allowed_keys(parent)))
        return f"  {where}: unknown key; allowed here: {allowed}"
    return f"  {where}: {detail['msg']}"


def _allowed_keys(parent: str) -> set[str]:
    model: object = AppArgs
    for part in filter(None, parent.split(".")):
        fields = getattr(model, "model_fields", {})
        model = fields[part].annotation if part in fields else None
    return set(getattr(model, "model_fields", {}))


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
    return args.model_copy(
        update={"tiers": args.tiers.model_copy(update=tiers), "cache": args.cache.model_copy(update=cache)}
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
