"""What the OpenAPI document says about keys: how they are sent, which routes need one, and how a lack of it is told."""

from collections.abc import Callable
from typing import Any

from router.access import ADMIN_PATHS, OPEN_PATHS
from router.errors import ApiError, Forbidden, RateLimited, Unauthorized

SCHEMES = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key, where the service has any; routes under /admin take an admin's.",
    },
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-Api-Key", "description": "The same key, otherwise sent."},
}
ErrorResponse = Callable[[type[ApiError], tuple[type[ApiError], ...]], dict[str, Any]]


def secured(paths: dict[str, Any], describe: ErrorResponse) -> dict[str, Any]:
    """The paths with what they ask of a caller, and the errors for who has not got it, as `describe` describes them."""
    return {
        path: {method: _secured(path, operation, describe) for method, operation in methods.items()}
        for path, methods in paths.items()
    }


def _secured(path: str, operation: dict[str, Any], describe: ErrorResponse) -> dict[str, Any]:
    if path in OPEN_PATHS:
        return {**operation, "security": []}
    errors = (Unauthorized, Forbidden, RateLimited) if path.startswith(ADMIN_PATHS) else (Unauthorized, RateLimited)
    responses = operation["responses"] | {str(error.status): describe(error, errors) for error in errors}
    ordered = {status: responses[status] for status in sorted(responses)}
    return {**operation, "security": [{name: []} for name in SCHEMES], "responses": ordered}
