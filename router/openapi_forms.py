"""What the OpenAPI document says of multipart bodies: flat forms, whose fields are texts and whose files are images."""

from typing import Any

from pydantic import BaseModel

from router.multipart import CLAIM_FIELDS, LIST_FIELDS
from router.schemas import ITEM_SCHEMA

_PART = {
    "description": "A text field, or an image as a file.",
    "anyOf": [{"type": "string"}, {"type": "string", "format": "binary"}],
}


def form_schema(body: type[BaseModel]) -> dict[str, Any]:
    """The form that stands for a body: its fields are the body's, and what is a list there is a repeated name here."""
    schema = body.model_json_schema()
    return {
        "type": "object",
        "properties": {name: _field(name, field) for name, field in schema["properties"].items()},
        "required": schema.get("required", []),
        "additionalProperties": False,
    }


def _field(name: str, field: dict[str, Any]) -> dict[str, Any]:
    about = {key: field[key] for key in ("description",) if key in field}
    if name in LIST_FIELDS:
        return {"type": "array", "items": _PART, "minItems": 1, **about}
    if field.get("anyOf") == ITEM_SCHEMA["anyOf"]:
        return {**_PART, **about}
    if name in CLAIM_FIELDS:
        return {"type": "string", "enum": ["true", "false"], **about}
    return _without_null(field)


def _without_null(field: dict[str, Any]) -> dict[str, Any]:
    """A field that has a value where it is sent: a form knows no null."""
    kinds = [one for one in field.get("anyOf", ()) if one.get("type") != "null"]
    rest = {key: value for key, value in field.items() if key != "anyOf" and value is not None}
    return {**kinds[0], **rest} if len(kinds) == 1 else rest
