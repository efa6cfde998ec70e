"""What a call of the client can end with, other than an answer.

SecondlookError
└── ClientError
    ├── ConnectionFailed       no connection, or it was cut before the answer was complete
    ├── DeadlineExceeded       no answer before the deadline: the caller's here, or the service's own (408)
    ├── UnreadableAnswer       an answer that is not of this API
    └── ApiError               the service answered with an error
        ├── RateLimited        429: the key's quota is used up
        └── Overloaded         503: shed, or nobody healthy to answer
"""

from secondlook.errors import SecondlookError


class ClientError(SecondlookError):
    """Root of the client's errors. `request_id` is what the service's logs know the call by."""

    def __init__(self, message: str, request_id: str | None = None) -> None:
        super().__init__(message, request_id)
        self.message = message
        self.request_id = request_id

    def __str__(self) -> str:
        return self.message


class ConnectionFailed(ClientError):
    """Raised when the service can't be reached, or the connection ends before the answer does."""


class DeadlineExceeded(ClientError):
    """Raised when no answer came before the deadline."""


class UnreadableAnswer(ClientError):
    """Raised when a server answers 200 with something that is not of this API."""


class ApiError(ClientError):
    """Raised when the service answers with an error: its HTTP status and the fields of its error object."""

    def __init__(
        self, message: str, request_id: str | None = None, status: int = 500, code: str = "", param: str | None = None
    ) -> None:
        super().__init__(message, request_id)
        self.args = (message, request_id, status, code, param)
        self.status = status
        self.code = code
        self.param = param

    def __str__(self) -> str:
        where = f" ({self.param})" if self.param else ""
        return f"{self.status}: {self.message} [{self.code or 'no code'}]{where}"


class RateLimited(ApiError):
    """Raised when the key's quota is used up (429), and waiting for more would pass the deadline."""


class Overloaded(ApiError):
    """Raised when the service shed the request or has nobody to answer it (503), also after retries."""


def api_error(status: int, error: object, request_id: str | None) -> ClientError:
    """The exception for an answer's status and error object, if it has one."""
    fields = error if isinstance(error, dict) else {}
    # Proxies before the service answer in plain text: there is only the status then.
    message = str(fields.get("message") or "the answer has no error object")
    if status == 408:
        return DeadlineExceeded(message, request_id)
    kinds: dict[int, type[ApiError]] = {429: RateLimited, 503: Overloaded}
    param = fields.get("param")
    code = str(fields.get("code") or "")
    return kinds.get(status, ApiError)(message, request_id, status, code, None if param is None else str(param))
