"""HTTP in and out over raw ASGI: bounded bodies, JSON or msgpack, one way to send an answer."""

import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

import msgpack
import orjson
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from router.document_size import MAX_VALUES, ValueCounter, check_json_size, too_many_values
from router.errors import ApiError, InvalidRequest, TooLarge, UnsupportedMedia
from router.multipart import parse_multipart

logger = logging.getLogger(__name__)
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Body = TypeVar("Body", bound=BaseModel)

JSON, MSGPACK, MULTIPART = "application/json", "application/msgpack", "multipart/form-data"
_JSON_TYPE = JSON.encode()
MAX_REQUEST_ID_CHARS = 128
MAX_PARAM_CHARS = 200
# A body over its limit is read on and thrown away up to this many times the limit, so that a client still
# writing gets to read the 413; beyond it the connection is closed.
DISCARD_FACTOR = 4
_TYPE_NAMES = {
    "missing": "this field is required",
    "extra_forbidden": "unknown field",
    "list_type": "expected a list",
    "string_type": "expected a string",
    "bool_type": "expected true or false",
    "int_type": "expected a whole number",
    "int_parsing": "expected a whole number",
    "float_type": "expected a number",
    "float_parsing": "expected a number",
    "finite_number": "expected a finite number",
    "too_short": "expected at least one item",
    "literal_error": "not one of the allowed values",
    "greater_than_equal": "too small",
    "less_than_equal": "too large",
}


class Request(NamedTuple):
    """One request: its method, path, headers (lower-case names) and the id that logs and answers carry.

    `content_type` is the body's media type without parameters, JSON where the client names none. `names_itself` is
    False where the server around us puts the id on the answer. `tenant` is whose key it came with, if keys are needed.
    """

    method: str
    path: str
    headers: Mapping[bytes, bytes]
    content_type: str
    request_id: str
    receive: Receive
    names_itself: bool = True
    query: bytes = b""
    tenant: str = ""

    def header(self, name: bytes) -> str | None:
        """A header's value; of one that was sent twice, the last."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    @property
    def wants_msgpack(self) -> bool:
        """Whether the answer goes out as msgpack: asked for, or the body came in so."""
        accept = self.header(b"accept") or "*/*"
        return MSGPACK in accept or (self.content_type == MSGPACK and JSON not in accept)


class Response(NamedTuple):
    """An answer before it is encoded: a body for JSON or msgpack, or ready bytes with their type."""

    body: object
    status: int = 200
    headers: Mapping[str, str] = MappingProxyType({})
    media_type: str | None = None


def read_request(scope: Scope, receive: Receive, *, names_itself: bool = True) -> Request:
    """The request of an ASGI scope, with its id echoed or made."""
    headers: dict[bytes, bytes] = dict(scope["headers"])  # ASGI servers give lower-case names
    given = headers.get(b"x-request-id", b"").decode("latin-1")
    is_usable = given.isascii() and given.isprintable() and 0 < len(given) <= MAX_REQUEST_ID_CHARS
    request_id = given if is_usable else uuid.uuid4().hex
    content_type = _media_type(headers.get(b"content-type", _JSON_TYPE))
    query: bytes = scope.get("query_string", b"")
    return Request(scope["method"], scope["path"], headers, content_type, request_id, receive, names_itself, query)


def _media_type(header: bytes) -> str:
    return JSON if header == _JSON_TYPE else header.decode("latin-1").partition(";")[0].strip().lower()


async def read_body(request: Request, max_bytes: int) -> bytes:
    """The whole body.

    Raises:
        TooLarge: It is longer than `max_bytes`, whatever Content-Length says.
        InvalidRequest: The client went away in the middle.
    """
    chunks: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise InvalidRequest("the body was cut off")
        chunk = message.get("body", b"")
        size += len(chunk)
        if size <= max_bytes:
            chunks.append(chunk)
        elif size > DISCARD_FACTOR * max_bytes:
            break
        more = message.get("more_body", False)
    if size > max_bytes:
        raise TooLarge(f"a body has at most {max_bytes} bytes")
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def parse_body(request: Request, data: bytes, model: type[Body]) -> Body:
    """Decode by content type and validate.

    Raises:
        UnsupportedMedia: The content type is none that is read.
        InvalidRequest: The body can't be decoded, or is not what the route takes.
        TooLarge: It has too many values.
    """
    document = parse_object(request, data)
    unknown = next((name for name in document if name not in model.model_fields), None)
    if unknown is not None:  # here, because each of a million unknown fields would be an error of its own
        param = str(unknown)[:MAX_PARAM_CHARS]
        raise InvalidRequest(f"{param}: unknown field", param)
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise _explain(error.errors(include_url=False)[0]) from error


def parse_object(request: Request, data: bytes) -> dict[str, Any]:
    """Decode by content type an object whose fields are checked elsewhere.

    Raises:
        UnsupportedMedia: The content type is none that is read.
        InvalidRequest: The body can't be decoded, or is no object.
        TooLarge: It has too many values.
    """
    document = _decode(request, data)
    if not isinstance(document, dict):
        raise InvalidRequest("the body is an object with named fields")
    return document


def _decode(request: Request, data: bytes) -> object:
    content_type = request.content_type
    if content_type == MULTIPART:
        return parse_multipart(request.header(b"content-type") or "", data)
    try:
        if content_type == JSON:
            check_json_size(data)
            return orjson.loads(data)
        if content_type == MSGPACK:
            return _unpack(data)
    except (orjson.JSONDecodeError, ValueError, msgpack.UnpackException, RecursionError) as error:
        name = "JSON" if content_type == JSON else "msgpack"
        raise InvalidRequest(f"the body is not valid {name}") from error
    raise UnsupportedMedia(f"content type must be {JSON}, {MSGPACK} or {MULTIPART}")


def _unpack(data: bytes) -> object:
    """Decode msgpack; its values are counted as they are made, because no scan tells them from bytes of strings."""
    count = ValueCounter().count
    limits = {"max_array_len": MAX_VALUES, "max_map_len": MAX_VALUES}
    try:
        document: object = msgpack.unpackb(
            data, raw=False, strict_map_key=True, list_hook=count, object_hook=count, **limits
        )
    except ValueError as error:
        if any(f"exceeds {limit}" in str(error) for limit in limits):  # msgpack has no class of its own for it
            raise too_many_values() from error
        raise
    return document


def _explain(detail: ErrorDetails) -> ApiError:
    param = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in detail["loc"]).lstrip(".")[:MAX_PARAM_CHARS]
    text = _TYPE_NAMES.get(detail["type"], "not what this field takes")
    if detail["type"] == "literal_error":
        text = f"expected {detail['ctx']['expected']}"
    return InvalidRequest(f"{param}: {text}" if param else text, param or None)


def error_response(error: ApiError) -> Response:
    """An error in the contract's one shape."""
    headers = dict(error.headers)
    if error.status == 503 or error.retry_after_s is not None:
        headers["retry-after"] = str(error.retry_after_s or 1)
    return Response(error.body(), error.status, headers)


async def send_response(request: Request, response: Response, send: Send) -> None:
    """Encode and send."""
    if response.media_type is not None:
        media_type, body = response.media_type, response.body
        payload = body if isinstance(body, bytes) else str(body).encode()
    elif request.wants_msgpack:
        media_type, payload = MSGPACK, msgpack.packb(response.body, default=_plain)
    else:
        media_type, payload = JSON, orjson.dumps(response.body, option=orjson.OPT_SERIALIZE_NUMPY)
    headers = [(b"content-type", media_type.encode()), (b"content-length", str(len(payload)).encode())]
    headers += [(name.encode(), value.encode("latin-1")) for name, value in response.headers.items()]
    if request.names_itself:
        headers.append((b"x-request-id", request.request_id.encode()))
    # A list of its own for each answer: servers add headers to it.
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if request.method == "HEAD" else payload})


def _plain(value: Any) -> object:
    """Arrays of a msgpack answer as lists; whole vectors were made bytes before."""
    return value.tolist()
