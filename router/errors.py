"""Errors of the router, and the one table that maps them to HTTP.

RouterError
├── ConfigInvalid          a deployment file that can't be used
└── ApiError               anything a caller is told; one class a row of the contract's table
"""

from typing import ClassVar


class RouterError(Exception):
    """Root of the router's errors."""


class ConfigInvalid(RouterError):
    """Raised when a deployment file can't be read, parsed or validated."""


class ApiError(RouterError):
    """An error a caller is told, in the contract's one shape."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    kind: ClassVar[str] = "server_error"

    def __init__(self, message: str, param: str | None = None, retry_after_s: int | None = None) -> None:
        super().__init__(message, param, retry_after_s)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s
        self.headers: dict[str, str] = {}

    def at(self, param: str) -> "ApiError":
        """The same error, naming the parameter it is about."""
        return type(self)(self.message, param, self.retry_after_s)

    def body(self) -> dict[str, dict[str, str | None]]:
        """The contract's error object, all four keys always."""
        return {"error": {"message": self.message, "type": self.kind, "code": self.code, "param": self.param}}


class InternalError(ApiError):
    """Raised for a fault of ours; what happened is in the logs under the request's id."""

    def __init__(
        self,
        message: str = "internal error; the request id names it in the logs",
        param: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message, param, retry_after_s)


class InvalidRequest(ApiError):
    """Raised when a body is not JSON, has wrong types, an empty list or an unknown field."""

    status, code, kind = 400, "invalid_request", "invalid_request_error"


class UrlNotFetched(InvalidRequest):
    """Raised for an image behind a URL: what is said of it where none is fetched, and a mark where some are."""


class Unauthorized(ApiError):
    """Raised when the request has no key, a wrong one, or one that has expired."""

    status, code, kind = 401, "unauthorized", "authentication_error"


class Forbidden(ApiError):
    """Raised when the key is a user's, and the route an operator's."""

    status, code, kind = 403, "forbidden", "permission_error"


class RateLimited(ApiError):
    """Raised when the key has used up its own quota."""

    status, code, kind = 429, "rate_limited", "rate_limit_error"


class UnknownModel(ApiError):
    """Raised when `model` names neither a tier nor a tier's model."""

    status, code, kind = 404, "unknown_model", "invalid_request_error"


class UnknownCollection(ApiError):
    """Raised when no text collection has this name."""

    status, code, kind = 404, "unknown_collection", "invalid_request_error"


class NotFound(ApiError):
    """Raised when no route has this path."""

    status, code, kind = 404, "not_found", "invalid_request_error"


class MethodNotAllowed(ApiError):
    """Raised when the path is known and the method is not."""

    status, code, kind = 405, "method_not_allowed", "invalid_request_error"


class UnknownKey(ApiError):
    """Raised when a content key is unknown or evicted: the bytes have to be sent again."""

    status, code, kind = 404, "unknown_key", "invalid_request_error"


class DeadlineExceeded(ApiError):
    """Raised when the caller's or the operator's deadline has passed."""

    status, code, kind = 408, "deadline_exceeded", "timeout_error"


class TooLarge(ApiError):
    """Raised when a body, an item count, a text or a picture is over its limit."""

    status, code, kind = 413, "too_large", "invalid_request_error"


class UnsupportedMedia(ApiError):
    """Raised for a content type or an image format that we don't read."""

    status, code, kind = 415, "unsupported_media", "invalid_request_error"


class BadImage(ApiError):
    """Raised for a truncated or corrupt picture, or one too small to see."""

    status, code, kind = 422, "bad_image", "invalid_request_error"


class Overloaded(ApiError):
    """Raised when a tier or the router sheds the request."""

    status, code, kind = 503, "overloaded", "overloaded_error"


class Unavailable(ApiError):
    """Raised when no healthy replica can answer and no degraded answer is allowed."""

    status, code, kind = 503, "unavailable", "overloaded_error"


ERROR_TABLE: tuple[type[ApiError], ...] = (
    InvalidRequest,
    Unauthorized,
    Forbidden,
    UnknownModel,
    UnknownCollection,
    NotFound,
    UnknownKey,
    MethodNotAllowed,
    DeadlineExceeded,
    TooLarge,
    UnsupportedMedia,
    BadImage,
    RateLimited,
    Overloaded,
    Unavailable,
    InternalError,
)
