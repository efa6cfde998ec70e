"""Items as vLLM's clients send them: parts of a message's content, made into our forms. Pure."""

PART_TYPES = ("text", "image_url")
TYPE_AND_CONTENT = 2


def as_items(raw: object) -> list[object]:
    """A list of items; a single one is a list of one, and a message's content is a list of its parts."""
    if isinstance(raw, list):
        return [as_item(one) for one in raw]
    parts = _parts(raw)
    return [as_item(raw)] if parts is None else [_from_part(part) for part in parts]


def as_item(raw: object) -> object:
    """One item; of a message's content it is the only part. What has no such form stays as it is."""
    parts = _parts(raw)
    if parts is None:
        return _from_part(raw)
    return _from_part(parts[0]) if len(parts) == 1 else raw


def _parts(raw: object) -> list[object] | None:
    content = raw.get("content") if isinstance(raw, dict) and len(raw) == 1 else None
    return content if isinstance(content, list) and content else None


def _from_part(raw: object) -> object:
    """A part names its type beside its content: `{"type": "text", "text": ...}` and the same with `image_url`."""
    kind = raw.get("type") if isinstance(raw, dict) and len(raw) == TYPE_AND_CONTENT else None
    if isinstance(raw, dict) and kind in PART_TYPES and kind in raw:
        return {kind: raw[kind]}
    return raw
