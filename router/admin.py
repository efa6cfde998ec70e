"""The operators' routes, under /admin."""

import hashlib
from collections.abc import Callable
from urllib.parse import parse_qs

import orjson

from router.admin_schemas import MAX_PAGE, PAGE
from router.eager import within
from router.errors import DeadlineExceeded, InvalidRequest, Unavailable
from router.http import Request, Response, parse_body, parse_object, read_body
from router.policy_admin import DryRunRequest, PolicyAdmin
from router.service import Service
from router.status import cache_status, service_status

MAX_BODY_BYTES = 4 * 2**20


class AdminRoutes:
    """What operators ask of one router."""

    def __init__(self, service: Service, clock: Callable[[], float], in_flight: Callable[[], int]) -> None:
        self._service = service
        self._clock = clock
        self._in_flight = in_flight

    async def status(self, _request: Request) -> Response:
        """How the service is doing, as this router sees it."""
        service = self._service
        tiers = {"fast": service.fast, "accurate": service.accurate}
        cache = cache_status(service.cache, service.cache_breakers, self._clock())
        body = service_status(service.policy, tiers, cache, self._in_flight())
        if service.policy_admin is not None:
            described = service.policy_admin.describe(service.policy)
            body |= {"certificates": described["certificates"], "audit": described["audit"]}
        return Response(body)

    async def policy(self, request: Request) -> Response:
        """The policy in force; 304 where the caller has it already."""
        described = self._policy_admin.describe(self._service.policy)
        # Of all that is said: standings and the audit's counts change while the policy does not.
        tag = f'"{hashlib.sha256(orjson.dumps(described)).hexdigest()[:16]}"'
        if request.header(b"if-none-match") == tag:
            return Response(b"", status=304, headers={"ETag": tag}, media_type="application/json")
        return Response(described, headers={"ETag": tag})

    async def validate(self, request: Request) -> Response:
        """Whether a policy document could be applied."""
        document = parse_object(request, await self._read(request))
        return Response(self._policy_admin.validate(document))

    async def dry_run(self, request: Request) -> Response:
        """What a policy would have done on recorded traffic."""
        body = parse_body(request, await self._read(request), DryRunRequest)
        return Response(await self._policy_admin.dry_run(body, self._service.policy))

    async def history(self, _request: Request) -> Response:
        """What was applied, newest first."""
        return Response(await self._policy_admin.history())

    async def audit(self, request: Request) -> Response:
        """A page of the audit log."""
        after, limit = _page(request)
        return Response(await self._policy_admin.audit_page(after, limit))

    async def _read(self, request: Request) -> bytes:
        """The body; who sends it drop by drop holds no place for longer than a request may take."""
        try:
            return await within(read_body(request, MAX_BODY_BYTES), self._service.deadline_s)
        except TimeoutError as error:
            raise DeadlineExceeded("the body did not arrive before the deadline") from error

    @property
    def _policy_admin(self) -> PolicyAdmin:
        if self._service.policy_admin is None:
            raise Unavailable("this router keeps no journal")
        return self._service.policy_admin


def _page(request: Request) -> tuple[str, int]:
    """The `after` and `limit` of a request for a page."""
    try:
        fields = parse_qs(request.query.decode(), max_num_fields=2, strict_parsing=bool(request.query))
        limit = int(fields.get("limit", [str(PAGE)])[-1])
    except ValueError as error:
        raise InvalidRequest("limit: expected a whole number", "limit") from error
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidRequest(f"limit: expected 1 to {MAX_PAGE}", "limit")
    return fields.get("after", [""])[-1], limit
