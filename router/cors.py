"""Cross-origin requests of browsers: which pages may call the service, by their exact origin."""

from collections.abc import Iterable, Mapping

from router.http import Request, Response

METHODS = "GET, POST"
REQUEST_HEADERS = "authorization, content-type, x-api-key, x-deadline-ms, x-request-id, x-traffic-class"
ANSWER_HEADERS = "retry-after, server-timing, x-degraded, x-request-id, x-tier"
MAX_AGE_S = 600


class Cors:
    """Answers browsers' preflights, and marks answers that a page may read. Cookies play no part: keys are headers."""

    def __init__(self, origins: Iterable[str]) -> None:
        self._origins = frozenset(origin.encode() for origin in origins)

    def preflight(self, request: Request) -> Response | None:
        """The answer to a browser that asks before a page's request; None for anything else.

        It needs no key, which browsers do not send here, and says nothing of what routes there are.
        """
        is_preflight = request.method == "OPTIONS" and b"access-control-request-method" in request.headers
        if not is_preflight or not self._admits(request):
            return None
        headers = {
            **self._allowed(request),
            "access-control-allow-methods": METHODS,
            "access-control-allow-headers": REQUEST_HEADERS,
            "access-control-max-age": str(MAX_AGE_S),
        }
        return Response(b"", status=204, headers=headers, media_type="text/plain")

    def mark(self, request: Request, response: Response) -> Response:
        """The answer with what lets a page of an admitted origin read it."""
        headers: dict[str, str] = {**response.headers, "vary": "Origin"}
        if self._admits(request):
            headers |= {**self._allowed(request), "access-control-expose-headers": ANSWER_HEADERS}
        return response._replace(headers=headers)

    def _admits(self, request: Request) -> bool:
        return request.headers.get(b"origin") in self._origins

    def _allowed(self, request: Request) -> Mapping[str, str]:
        return {"access-control-allow-origin": request.header(b"origin") or "", "vary": "Origin"}
