"""Operators' routes for the policy, over one router with a journal in memory."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from router.agreement_watch import AgreementWatch
from router.audit_log import LOG, AuditLog
from router.audit_record import AuditRecord
from router.policy import Policy
from router.policy_admin import PolicyAdmin
from router.policy_history import HISTORY, Applied, remember
from router.policy_in_force import PolicyInForce
from tests.fakes import FakeRouter
from tests.policies import ACCURATE_NAME, FAST_NAME, GROUP, RECORD, FlakyJournal, make_certificate

CERTIFICATE = make_certificate(2.0)
POLICY = Policy(target_agreement=0.99, certificates=(CERTIFICATE,))
AUDITED = RECORD._replace(certificate=CERTIFICATE.id, target=0.99)


@dataclass(slots=True)
class Bench:
    """A client, and what the router keeps."""

    client: httpx.AsyncClient
    journal: FlakyJournal
    watch: AgreementWatch

    async def get(self, path: str) -> Any:
        """The body of an answer that must be good."""
        return (await self.client.get(path)).raise_for_status().json()

    async def refusal(self, method: str, path: str, body: object = None) -> tuple[int, str, str | None]:
        """Status, code and parameter of an answer that must be an error."""
        response = await self.client.request(method, path, json=body)
        error = response.json()["error"]
        return response.status_code, error["code"], error["param"]

    async def write(self, *records: AuditRecord) -> None:
        """Add to the audit log."""
        await self.journal.append(LOG, [record.to_bytes() for record in records], keep=100_000)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """A router with a certified policy."""
    router, journal = FakeRouter(), FlakyJournal()
    watch = AgreementWatch(journal, lambda _: None)
    admin = PolicyAdmin(router.fast.embedder, router.accurate.embedder, journal, AuditLog(journal, keep=100_000), watch)
    async with router.client(policy=PolicyInForce(POLICY), policy_admin=admin) as client:
        yield Bench(client, journal, watch)


async def test_policy_in_force_is_told_with_its_version_and_models(bench: Bench) -> None:
    """The document without its certificates, which are told apart."""
    body = await bench.get("/admin/policy")

    assert body["version"] == POLICY.version
    assert body["policy"] == POLICY.model_dump(mode="json", exclude={"certificates"})
    assert body["models"] == {"fast": FAST_NAME, "accurate": ACCURATE_NAME}
    assert body["audit"] == {"written": 0, "dropped": 0}


async def test_certificates_are_told_with_how_they_stand(bench: Bench) -> None:
    """By their ids, with what they promise, without the counts of every threshold."""
    (certificate,) = (await bench.get("/admin/policy"))["certificates"]

    assert (certificate["id"], certificate["group"], certificate["standing"]) == (CERTIFICATE.id, GROUP, "holds")
    assert (certificate["target_agreement"], certificate["threshold"]) == (0.99, 2.0)
    assert certificate["audit"] is None
    assert not certificate.keys() & {"grid", "errors_at", "served_at"}


async def test_certificates_are_told_with_what_the_watch_has_seen(bench: Bench) -> None:
    """How many audits, and how they came out."""
    await bench.write(*[AUDITED] * 3, AUDITED._replace(agrees=False))
    await bench.watch.step()

    (certificate,) = (await bench.get("/admin/policy"))["certificates"]

    audit = certificate["audit"]
    assert (audit["audits"], audit["disagreements"], audit["is_alarmed"]) == (4, 1, False)
    assert 0 < audit["recent_agreement_bound"] < audit["recent_agreement"] == 0.75


async def test_policy_is_tagged_with_all_that_is_said_of_it(bench: Bench) -> None:
    """Who has it already gets no body; who has another one gets it, also where only the audit has moved."""
    tag = (await bench.client.get("/admin/policy")).headers["etag"]

    same = await bench.client.get("/admin/policy", headers={"if-none-match": tag})
    other = await bench.client.get("/admin/policy", headers={"if-none-match": '"p-other"'})

    await bench.write(AUDITED)
    await bench.watch.step()
    moved = await bench.client.get("/admin/policy", headers={"if-none-match": tag})

    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
    assert (other.status_code, other.json()["version"]) == (200, POLICY.version)
    assert (moved.status_code, moved.headers["etag"] == tag) == (200, False)


async def test_status_tells_certificates_and_audit_too(bench: Bench) -> None:
    """One place to look at."""
    body = await bench.get("/admin/status")

    assert [one["standing"] for one in body["certificates"]] == ["holds"]
    assert body["audit"] == {"written": 0, "dropped": 0}


async def test_valid_policy_is_described_and_not_applied(bench: Bench) -> None:
    """As it would stand, with the present models."""
    document = {"target_agreement": 0.999, "certificates": [CERTIFICATE.model_dump(mode="json")]}

    body = (await bench.client.post("/admin/policy/validate", json=document)).json()

    assert (body["valid"], body["version"]) == (True, Policy.model_validate(document).version)
    assert [one["standing"] for one in body["certificates"]] == ["too_weak"]
    assert (await bench.get("/admin/policy"))["version"] == POLICY.version


@pytest.mark.parametrize(
    ("document", "param"),
    [
        ({"treshold": 1}, "treshold"),
        ({"threshold": -1}, "threshold"),
        ({"routes": {"similarity": {"treshold": 1}}}, "routes.similarity.treshold"),
        ({"certificates": [{}]}, "certificates.0.group"),
        ({"threshold": 1, "target_agreement": 0.9}, None),
    ],
)
async def test_invalid_policy_is_refused_by_the_name_of_its_key(
    bench: Bench, document: dict[str, Any], param: str | None
) -> None:
    """Equally where it is to be validated and where it is to be tried."""
    assert await bench.refusal("POST", "/admin/policy/validate", document) == (400, "invalid_request", param)
    assert await bench.refusal("POST", "/admin/policy/dry-run", {"policy": document}) == (
        400,
        "invalid_request",
        param,
    )


async def test_refusal_does_not_repeat_a_key_of_any_length(bench: Bench) -> None:
    """What a stranger sends comes back cut."""
    response = await bench.client.post("/admin/policy/validate", json={"x" * 50_000: 1})

    assert response.status_code == 400
    assert len(response.content) < 1000


@pytest.mark.parametrize("content", [b"", b"not JSON", b"[1]", b'"text"'])
async def test_body_that_is_no_document_is_refused(bench: Bench, content: bytes) -> None:
    """Before anything is made of it."""
    headers = {"content-type": "application/json"}

    response = await bench.client.post("/admin/policy/validate", content=content, headers=headers)

    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_request")


async def test_dry_run_compares_a_policy_with_the_one_in_force(bench: Bench) -> None:
    """On the recorded traffic, garbage in it left out."""
    await bench.write(*[RECORD._replace(at=float(i), margin=1.0 + i % 2 * 2) for i in range(10)])
    await bench.journal.append(LOG, [b"garbage"], keep=1000)
    proposed = Policy(threshold=0.5)

    body = (await bench.client.post("/admin/policy/dry-run", json={"policy": proposed.model_dump(mode="json")})).json()

    assert body["versions"] == {"current": POLICY.version, "proposed": proposed.version}
    assert (body["records"], body["certified"], body["lost"]) == (10, True, {})
    assert [one["escalation_share"] for one in body["current"]] == [0.5]
    assert [one["escalation_share"] for one in body["proposed"]] == [0.0]


async def test_dry_run_of_an_uncertified_target_says_so(bench: Bench) -> None:
    """And has infinity nowhere, which JSON has not."""
    await bench.write(RECORD)

    body = (await bench.client.post("/admin/policy/dry-run", json={"policy": {"target_agreement": 0.999}})).json()

    assert body["certified"] is False
    assert (body["proposed"][0]["threshold"], body["proposed"][0]["escalation_share"]) == (None, 1.0)


async def test_dry_run_replays_only_the_newest_records(bench: Bench) -> None:
    """As many as it was asked for."""
    await bench.write(*[RECORD._replace(margin=9.0)] * 5, *[RECORD._replace(margin=0.1)] * 3)

    body = (await bench.client.post("/admin/policy/dry-run", json={"policy": {"threshold": 1}, "records": 3})).json()

    assert (body["records"], body["proposed"][0]["escalation_share"]) == (3, 1.0)


@pytest.mark.parametrize(
    ("body", "param"), [({}, "policy"), ({"policy": {}, "records": 0}, "records"), ({"policy": {}, "more": 1}, "more")]
)
async def test_dry_run_request_that_is_none_is_refused(bench: Bench, body: dict[str, Any], param: str) -> None:
    """By the name of its field."""
    assert await bench.refusal("POST", "/admin/policy/dry-run", body) == (400, "invalid_request", param)


async def test_history_is_newest_first(bench: Bench) -> None:
    """As the launcher has written it."""
    for policy in (Policy(threshold=1), Policy(threshold=2)):
        document = policy.model_dump(mode="json")
        await remember(
            bench.journal,
            Applied(at="now", action="apply", version=policy.version, file_version="p-1", policy=document),
        )

    data = (await bench.get("/admin/policy/history"))["data"]

    assert [one["policy"]["threshold"] for one in data] == [2, 1]
    assert [one["version"] for one in data] == [Policy(threshold=2).version, Policy(threshold=1).version]


async def test_history_entry_that_can_not_be_read_hides_no_other(bench: Bench) -> None:
    """An operator who needs to roll back is not to find an error."""
    document = Applied(at="now", action="start", version="p-1", file_version="p-1", policy={})
    await remember(bench.journal, document)
    await bench.journal.append(HISTORY, [b"garbage"], keep=10)

    assert [one["version"] for one in (await bench.get("/admin/policy/history"))["data"]] == ["p-1"]


async def test_audit_log_is_read_page_by_page(bench: Bench) -> None:
    """Oldest first, each page from where the one before ended, to the end."""
    await bench.write(*[RECORD._replace(at=float(i)) for i in range(5)])
    seen: list[float] = []
    after = ""
    while True:
        page = await bench.get(f"/admin/audit?limit=2&after={after}")
        if page["next"] is None:
            break
        after = page["next"]
        seen += [one["at"] for one in page["data"]]

    assert seen == [0.0, 1.0, 2.0, 3.0, 4.0]


async def test_audit_log_without_a_query_is_its_beginning(bench: Bench) -> None:
    """A page of the default size, with each record's position."""
    await bench.write(RECORD, RECORD._replace(threshold=float("inf")))

    body = await bench.get("/admin/audit")

    assert [one["threshold"] for one in body["data"]] == [1.0, None]
    assert body["next"] == body["data"][-1]["position"]
    assert {*AuditRecord._fields, "position"} == body["data"][0].keys()


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=0", "limit"),
        ("limit=10001", "limit"),
        ("limit=many", "limit"),
        ("limit", "limit"),
        ("after=yesterday", "after"),
        ("after=0&limit=1&more=2", "limit"),
    ],
)
async def test_bad_page_is_refused(bench: Bench, query: str, param: str) -> None:
    """By the name of its parameter."""
    await bench.write(RECORD)

    assert await bench.refusal("GET", f"/admin/audit?{query}") == (400, "invalid_request", param)


async def test_record_that_can_not_be_read_is_left_out_of_the_page(bench: Bench) -> None:
    """The page goes on beyond it."""
    await bench.write(RECORD)
    await bench.journal.append(LOG, [b"garbage", b"\x01"], keep=1000)
    await bench.write(RECORD)

    body = await bench.get("/admin/audit")

    assert [one["group"] for one in body["data"]] == [GROUP, GROUP]
    assert (await bench.get(f"/admin/audit?after={body['next']}"))["data"] == []


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/admin/policy/history", None),
        ("GET", "/admin/audit", None),
        ("POST", "/admin/policy/dry-run", {"policy": {}}),
    ],
)
async def test_journal_that_is_away_is_told_as_unavailable(bench: Bench, method: str, path: str, body: object) -> None:
    """To be asked again; the policy in force is told as ever."""
    bench.journal.is_away = True

    assert (await bench.refusal(method, path, body))[:2] == (503, "unavailable")
    assert (await bench.client.get("/admin/policy")).status_code == 200


@pytest.mark.parametrize("path", ["/admin/policy", "/admin/policy/history", "/admin/audit"])
async def test_router_without_a_journal_says_so(path: str) -> None:
    """Its status is there all the same."""
    async with FakeRouter().client() as client:
        assert (await client.get(path)).status_code == 503
        assert (await client.get("/admin/status")).status_code == 200


@pytest.mark.parametrize(("deadline_s", "status"), [(1e-9, 408), (30.0, 200)])
async def test_routes_deadline_is_kept(deadline_s: float, status: int) -> None:
    """Over the router's own; the caller's header may ask for less and not for more."""
    router = FakeRouter()
    policy = Policy.model_validate({"deadline_s": 20.0, "routes": {"similarity": {"deadline_s": deadline_s}}})
    async with router.client(policy=PolicyInForce(policy)) as client:
        body = {"images": [{"image": "YQ=="}], "texts": ["cat", "dog"]}
        response = await client.post("/v1/similarity", json=body, headers={"x-deadline-ms": "60000"})

    assert response.status_code == status


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"count": 10**400}, "certificates.0.count"),
        ({"count": str(10**400)}, "certificates.0.count"),
        ({"served_at": [10**12]}, "certificates.0.served_at.0"),
        ({"seed": str(10**30)}, "certificates.0.seed"),
    ],
)
async def test_counts_beyond_any_sample_are_refused(bench: Bench, change: dict[str, Any], param: str) -> None:
    """Before anything is computed from them: sums over a billion questions take seconds, and floats end somewhere."""
    document = {"certificates": [{**CERTIFICATE.model_dump(mode="json"), **change}]}

    response = await bench.client.post("/admin/policy/validate", content=json.dumps(document))

    # A number that long is no JSON to the decoder.
    assert (response.status_code, response.json()["error"]["param"]) in {(400, param), (400, None)}
