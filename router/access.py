"""What stands before the routes: who asks, whether they may, and whether they have asked enough already.

All of it is decided by a request's head; of one that is refused no body is read.
"""

import time
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

from router.access_config import AccessConfig, KeyEntry, QuotaConfig
from router.api_keys import Caller, KeyRing, key_in
from router.cors import Cors
from router.errors import ApiError, Forbidden, Unauthorized
from router.http import Request, Response, error_response
from router.quota import Quota, Use, quota_of

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
"""What load balancers and supervisors ask, who have no keys."""
ADMIN_PATHS = ("/admin", "/metrics")
"""What these begin with is of all tenants."""
UNBOUNDED = QuotaConfig()
Handler = Callable[[Request], Awaitable[Response]]


class _Account(NamedTuple):
    """A key's bounds, and what it has used up of them."""

    quota: Quota
    use: Use


class _Books(NamedTuple):
    """The keys that count, and an account for each by its id. Swapped as a whole."""

    keys: KeyRing
    accounts: dict[str, _Account]


class Access:
    """The access to one router. `keys` None: everybody may do anything."""

    def __init__(
        self,
        config: AccessConfig,
        keys: Iterable[KeyEntry] | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._default = config.quota
        self._cors = Cors(config.cors_origins) if config.cors_origins else None
        self._clock = clock
        self._wall_clock = wall_clock
        self._books: _Books | None = None
        if keys is not None:
            self.use(keys)

    def use(self, keys: Iterable[KeyEntry]) -> None:
        """Go by these keys from now on; what one that stays has used up stays used up.

        Raises:
            ConfigInvalid: Two of them have one id, or one hash; nothing has changed.
        """
        entries = list(keys)
        known = self._books.accounts if self._books else {}
        ring = KeyRing(entries)
        accounts = {
            entry.id: _Account(self._quota(entry), known[entry.id].use if entry.id in known else Use())
            for entry in entries
        }
        self._books = _Books(ring, accounts)

    async def answer(self, request: Request, handler: Handler) -> Response:
        """Have a request answered by `handler`, or refuse it."""
        if self._cors is None:
            return await self._guard(request, handler)
        return self._cors.preflight(request) or self._cors.mark(request, await self._guard(request, handler))

    async def _guard(self, request: Request, handler: Handler) -> Response:
        books = self._books
        if books is None or request.path in OPEN_PATHS:
            return await handler(request)
        try:
            caller = self._identify(request, books.keys)
            quota, use = books.accounts[caller.key_id]
            use.begin(quota, self._clock())
        except ApiError as error:
            return error_response(error)
        try:
            return await handler(request._replace(tenant=caller.tenant))
        finally:
            use.end()

    def _identify(self, request: Request, keys: KeyRing) -> Caller:
        caller = keys.find(key_in(request.headers), self._wall_clock())
        if caller is None:
            refusal = Unauthorized("a valid API key is needed: Authorization: Bearer KEY, or X-Api-Key: KEY")
            refusal.headers["www-authenticate"] = "Bearer"
            raise refusal
        if not caller.is_admin and request.path.startswith(ADMIN_PATHS):
            raise Forbidden("this needs an admin's key")
        return caller

    def _quota(self, entry: KeyEntry) -> Quota:
        """A key's bounds; an admin, whom a default could lock out of a flooded service, has only its own."""
        return quota_of(entry.quota, UNBOUNDED if entry.role == "admin" else self._default)
