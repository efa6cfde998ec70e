"""Read a YAML file whose keys and values a model checks, and say what is wrong with it by its path."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from router.errors import ConfigInvalid


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


def read_yaml(path: Path) -> dict[str, object]:
    """Return the file's top level.

    Raises:
        ConfigInvalid: It can't be read, is no YAML, or says a key twice.
    """
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


def explain(path: Path, model: type[BaseModel], error: ValidationError) -> str:
    """Say of each wrong key where it is and what is allowed."""
    lines = [f"{path}: {len(error.errors())} problem(s)"]
    lines += [_explain_one(model, detail) for detail in error.errors(include_url=False)]
    return "\n".join(lines)


def _explain_one(model: type[BaseModel], detail: ErrorDetails) -> str:
    where = ".".join(str(part) for part in detail["loc"]) or "(top level)"
    if detail["type"] == "extra_forbidden":
        allowed = ", ".join(sorted(_allowed_keys(model, detail["loc"][:-1])))
        return f"  {where}: unknown key; allowed here: {allowed}"
    return f"  {where}: {detail['msg']}"


def _allowed_keys(model: object, parents: tuple[str | int, ...]) -> set[str]:
    for part in parents:
        fields = getattr(model, "model_fields", {})
        model = fields[part].annotation if part in fields else _value_type(model)
    return set(getattr(model, "model_fields", {}))


def _value_type(container: object) -> object:
    """The type of what stands in a mapping or a list."""
    types = [one for one in get_args(container) if one is not ...]
    return types[-1] if types else None
