"""Requests made from the OpenAPI document, good and bad, and every answer held against it.

The document of a router over two fake tiers is read by schemathesis, which sends what the schemas admit and what they
do not, in JSON, msgpack and multipart; no answer may be a fault, undocumented, or other than its schema says.
"""

import base64
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from cache.memory_journal import MemoryJournal
from router.access import Access
from router.access_config import AccessConfig
from router.agreement_watch import AgreementWatch
from router.api import Api
from router.audit_log import AuditLog
from router.http import MSGPACK
from router.openapi import openapi_document
from router.policy_admin import PolicyAdmin
from tests.fakes import FakeRouter
from tests.fuzz.form import IS_LONG
from tests.keys import ADMIN, USER, bearer, entry

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
OPERATIONS = [(path, method) for path, methods in openapi_document()["paths"].items() for method in methods]
WITH_BODIES = [path for path, method in OPERATIONS if method == "post"]
MODES = list(schemathesis.GenerationMode)
CASES_EACH = 420 if IS_LONG else 20
CASES_WITH_KEYS = 60 if IS_LONG else 10
CASES_IN_ALL = 5000 if IS_LONG else 200
PICTURE = "c3VyZQ=="
IMAGE_FIELDS = frozenset({"images", "image", "input"})


def to_msgpack(_: Any, value: Any) -> bytes:
    """A body in msgpack; what JSON alone can hold (large whole numbers) goes as a float."""
    return bytes(msgpack.packb(value, default=lambda _: None, unicode_errors="surrogatepass", use_bin_type=True))


def from_msgpack(_: Any, response: Any) -> Any:
    """An answer in msgpack as its schema sees it: vectors, which are binary there, as base64."""
    return as_json(msgpack.unpackb(response.content))


def as_json(value: Any) -> Any:
    """The same document without binary values."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {name: as_json(one) for name, one in value.items()}
    return [as_json(one) for one in value] if isinstance(value, list) else value


schemathesis.serializer(MSGPACK)(to_msgpack)
schemathesis.deserializer(MSGPACK)(from_msgpack)


def likelier(value: Any, name: str = "") -> Any:
    """A body in which some strings are what a request needs to get far: pictures, models, texts that are known."""
    if isinstance(value, dict):
        return {one: likelier(inner, one) for one, inner in value.items()}
    if isinstance(value, list):
        return [likelier(one, name) for one in value]
    if not isinstance(value, str) or len(value) % 3 == 0:
        return value
    return PICTURE if name in IMAGE_FIELDS else "fast" if name == "model" else value or "cat"


def make_api(**changes: Any) -> Api:
    """The API over fake tiers, with a journal."""
    router, journal = FakeRouter(), MemoryJournal(2**20)
    watch = AgreementWatch(journal, lambda _: None)
    admin = PolicyAdmin(router.fast.embedder, router.accurate.embedder, journal, AuditLog(journal, keep=1000), watch)
    return Api(router.make_service(policy_admin=admin, **changes), router.clock)


@pytest.fixture(scope="module")
def tally() -> Iterator[Counter[str]]:
    """How often each operation was answered with each status."""
    counts: Counter[str] = Counter()
    yield counts
    print("\n".join(f"{count:6} {what}" for what, count in sorted(counts.items())))  # noqa: T201 - shown by -s


def hold_against_the_document(
    api: Api, operation: Any, cases: Any, tally: Counter[str], *, headers: dict[str, str] | None = None, count: int
) -> None:
    """Send so many cases of one operation and check every answer."""

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=not IS_LONG,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases)
    def check(case: Any) -> None:
        if tally.total() % 2:
            case.body = likelier(case.body)
        response = case.call(app=api, headers=headers)
        tally[f"{operation.label} {response.status_code}"] += 1
        case.validate_response(response, checks=CHECKS)

    check()


@pytest.fixture(scope="module")
def api() -> Api:
    """A router that everybody may ask."""
    return make_api()


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: str(mode.value))
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_every_answer_is_what_the_document_says(
    api: Api, tally: Counter[str], path: str, method: str, mode: Any
) -> None:
    """No fault, no undocumented status or type, no body other than its schema."""
    operation = schemathesis.openapi.from_asgi("/openapi.json", api)[path][method.upper()]

    if can_be_made(operation, mode):
        hold_against_the_document(api, operation, operation.as_strategy(generation_mode=mode), tally, count=CASES_EACH)


def can_be_made(operation: Any, mode: Any) -> bool:
    """Whether there are cases of this kind: nothing is bad where everything is admitted."""
    return mode is schemathesis.GenerationMode.POSITIVE or bool(operation.body) or bool(operation.query)


@pytest.mark.parametrize("key", [None, USER, ADMIN], ids=["no key", "a user's key", "an admin's key"])
@pytest.mark.parametrize("path", ["/v1/similarity", "/v1/embeddings", "/admin/status", "/admin/policy/validate"])
def test_every_answer_with_keys_is_what_the_document_says(tally: Counter[str], path: str, key: str | None) -> None:
    """401 and 403 among them."""
    keys = [entry(USER, "user"), entry(ADMIN, "admin", role="admin")]
    api = make_api(access=Access(AccessConfig(), keys))
    method = "POST" if path in WITH_BODIES else "GET"
    operation = schemathesis.openapi.from_dict(openapi_document())[path][method]
    counted = Counter[str]()

    headers = bearer(key) if key else None
    hold_against_the_document(api, operation, operation.as_strategy(), counted, headers=headers, count=CASES_WITH_KEYS)

    tally.update(counted)
    statuses = {label.split()[-1] for label in counted}
    is_admins = path.startswith("/admin")
    refusal = "401" if key is None else "403" if is_admins and key == USER else None
    assert statuses == {refusal} if refusal else not statuses & {"401", "403"}


def test_so_many_cases_were_sent_and_every_route_was_answered(tally: Counter[str]) -> None:
    """And not all of them were refused; few cases may not get so far."""
    good = {label.rsplit(" ", 1)[0] for label in tally if label.endswith(" 200")}

    assert tally.total() >= CASES_IN_ALL
    assert not IS_LONG or good >= {f"POST {path}" for path in WITH_BODIES if path != "/v1/search"}
