"""The configuration reference: every key of a deployment file, from the models that check it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

INTRODUCTION = """# Configuration

One YAML file per deployment. Unknown keys are errors; `secondlook config check FILE` says what is wrong and what is
allowed. `configs/schema.json` is the same as a JSON Schema: the files name it, so that editors complete and check.
What no file should hold is in the environment: Redis's password in `SECONDLOOK_REDIS_PASSWORD`, API keys in
`SECONDLOOK_API_KEY` and `SECONDLOOK_ADMIN_KEY` ([access.md](access.md)).

This page is made by `secondlook config reference`.
"""


def reference(schema: dict[str, Any]) -> str:
    """The Markdown page of a deployment file's JSON Schema."""
    lines = [INTRODUCTION, "| key | default | meaning |", "|---|---|---|"]
    lines += [
        f"| `{row.path}` | {row.default} | {row.meaning} |" for row in _rows(schema, _Parent("", schema["$defs"], {}))
    ]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class _Row:
    path: str
    default: str
    meaning: str


@dataclass(frozen=True, slots=True)
class _Parent:
    """Where a model stands: its path, all models, and the defaults that its place gives it."""

    path: str
    definitions: dict[str, Any]
    defaults: dict[str, Any]


def _rows(schema: dict[str, Any], parent: _Parent) -> Iterator[_Row]:
    for name, field in schema.get("properties", {}).items():
        default = parent.defaults.get(name, field.get("default"))
        path = parent.path + name
        model = _model(field, parent.definitions)
        if model is not None:
            yield from _rows(model, _Parent(f"{path}.", parent.definitions, default or {}))
            continue
        is_required = name in schema.get("required", ()) and name not in parent.defaults
        text = field.get("description", "").replace("|", "\\|")
        yield _Row(path, "required" if is_required else f"`{_plain(default, field)}`", text)


def _model(field: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any] | None:
    """The model that a key holds, be it in the file itself or in one whose path may stand there."""
    # What may be a path as well stands first among the alternatives.
    alternatives: list[dict[str, Any]] = [field, *field.get("anyOf", ())]
    reference = next((one["$ref"] for one in alternatives[:2] if "$ref" in one), None)
    return definitions[reference.rsplit("/", 1)[-1]] if reference else None


def _plain(value: object, field: dict[str, Any]) -> str:
    if value is None:
        return "{}" if field.get("type") == "object" else "none"
    return str(value)
