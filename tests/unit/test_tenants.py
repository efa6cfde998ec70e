"""Tenants share nothing: not an answer, not a key, not a hit, not a computation in flight."""

import asyncio
from typing import Any

import httpx
import pytest

from router.access import Access
from router.access_config import AccessConfig
from router.audit_record import AuditRecord
from router.config import AppArgs
from router.policy import Policy
from router.policy_in_force import PolicyInForce
from router.tenants import MOST_READERS, Readers, TenantReaders, readers_for
from secondlook.deployment_file import DEFAULT_CONFIG, load
from tests.fakes import FakeRouter, SlowStore, make_cache
from tests.keys import OTHER, USER, bearer, entry

SECRET = b"a secret of tests, long enough"
KEYS = (entry(USER, "acme-1", tenant="acme"), entry(OTHER, "zeta-1", tenant="zeta"))
IMAGE = {"image": "c3VyZQ=="}
TEXTS = ["cat", "dog"]
Answer = dict[str, Any]


def client_of(router: FakeRouter, readers: Readers | None = None) -> httpx.AsyncClient:
    """A client of a service with two tenants, who share nothing unless `readers` says otherwise."""
    readers = readers or TenantReaders(SECRET, "blake2b", 64)
    return router.client(access=Access(AccessConfig(), KEYS, clock=router.clock), readers=readers)


async def ask(
    client: httpx.AsyncClient, key: str, image: object = IMAGE, texts: object = TEXTS, tier: str = "auto"
) -> httpx.Response:
    """Ask as a tenant."""
    document = {"images": [image], "texts": texts, "tier": tier}
    return await client.post("/v1/similarity", json=document, headers=bearer(key))


def item_of(response: httpx.Response) -> Answer:
    """The one item of an answer."""
    assert response.status_code == 200, response.text
    (item,) = response.json()["data"]
    return dict(item)


@pytest.mark.parametrize("is_over_a_store", [False, True])
async def test_what_one_tenant_has_cached_is_a_miss_for_another(is_over_a_store: bool) -> None:  # noqa: FBT001
    """Image and texts, in the process and in the shared store; its own second time is a hit, and the answers agree."""
    router = FakeRouter(make_cache(0 if is_over_a_store else 2**20, SlowStore() if is_over_a_store else None))
    async with client_of(router) as client:
        first = item_of(await ask(client, USER))
        await router.cache.flush()
        again = item_of(await ask(client, USER))
        other = item_of(await ask(client, OTHER))

    assert again["tiering"]["cache"] == {"image": "hit", "texts": {"hit": 2, "miss": 0}}
    assert other["tiering"]["cache"] == first["tiering"]["cache"] == {"image": "miss", "texts": {"hit": 0, "miss": 2}}
    assert other["cosine"] == first["cosine"]


async def test_key_of_one_tenant_means_nothing_to_another() -> None:
    """Of an image and of a text; and the same input has another key there."""
    router = FakeRouter()
    async with client_of(router) as client:
        mine = item_of(await ask(client, USER))["key"]
        texts = {"input": "cat", "model": "fast"}
        text = (await client.post("/v1/embeddings", json=texts, headers=bearer(USER))).json()["data"][0]["key"]
        by_key = await ask(client, OTHER, {"key": mine})
        by_text = await ask(client, OTHER, IMAGE, [{"key": text}, "dog"])
        own = item_of(await ask(client, USER, {"key": mine}))
        theirs = item_of(await ask(client, OTHER))["key"]
        embedded = await client.post(
            "/v1/embeddings", json={"input": [{"key": mine}], "model": "fast"}, headers=bearer(OTHER)
        )

    assert by_key.json()["error"]["code"] == "unknown_key"
    assert by_text.json()["texts"][0]["error"]["code"] == "unknown_key"
    assert embedded.json()["error"]["code"] == "unknown_key"
    assert own["tiering"]["cache"]["image"] == "hit"
    assert mine != theirs


async def test_matrix_of_ones_texts_is_not_found_by_their_keys() -> None:
    """Texts that come again and again are kept as a matrix: by its name, and by whose it is."""
    router = FakeRouter()
    async with client_of(router) as client:
        for _ in range(3):
            item_of(await ask(client, USER, tier="fast"))
        body = {"input": TEXTS, "model": "fast"}
        data = (await client.post("/v1/embeddings", json=body, headers=bearer(USER))).json()["data"]
        keys = [{"key": one["key"]} for one in data]
        await ask(client, OTHER, tier="fast")
        own = await ask(client, USER, IMAGE, keys, tier="fast")
        stolen = await ask(client, OTHER, IMAGE, keys, tier="fast")

    assert own.status_code == 200
    assert stolen.json()["error"]["code"] == "unknown_key"


async def test_same_input_in_flight_is_computed_for_each_tenant() -> None:
    """A join would answer sooner than the tier can, and so tell that somebody else is asking the same."""
    router = FakeRouter()
    router.fast.handle.hold()
    async with client_of(router) as client:
        asking = [asyncio.create_task(ask(client, key)) for key in (USER, USER, OTHER)]
        await router.fast.handle.called()
        await asyncio.sleep(0.01)
        router.fast.handle.release()
        answers = await asyncio.gather(*asking)

    assert {one.status_code for one in answers} == {200}
    assert router.fast.handle.items == 6  # image and two texts, for each of two tenants
    assert router.fast.embedder.joins == 3  # the second request of the one


async def test_tenants_may_share_where_the_operator_says_so() -> None:
    """Then keys and hits are common."""
    router = FakeRouter()
    shared = readers_for(deployment(access={"share_cache": True}), SECRET, has_keys=True)
    async with client_of(router, shared) as client:
        mine = item_of(await ask(client, USER))["key"]
        theirs = item_of(await ask(client, OTHER, {"key": mine}))

    assert theirs["tiering"]["cache"] == {"image": "hit", "texts": {"hit": 2, "miss": 0}}


def deployment(**changes: dict[str, Any]) -> AppArgs:
    """A deployment of the quickstart's models."""
    document = load(DEFAULT_CONFIG).model_dump(mode="json")
    return AppArgs.model_validate(document | changes)


@pytest.mark.parametrize(
    ("has_keys", "digest", "share", "tag", "tenant"),
    [
        (False, "auto", False, "i:01", ""),
        (False, "blake2b", False, "i:02", ""),
        (True, "auto", False, "i:02", "acme"),
        (True, "auto", True, "i:02", ""),
    ],
)
def test_deployment_says_how_images_are_known_and_who_shares(
    *, has_keys: bool, digest: str, share: bool, tag: str, tenant: str
) -> None:
    """Fast digests only where nobody has keys; all in one only where they have none or are said to share."""
    args = deployment(access={"share_cache": share}, cache={"image_digest": digest})

    (item,) = readers_for(args, SECRET, has_keys=has_keys).of("acme").images([b"an image"]).items

    assert (item.key[:4], item.tenant) == (tag, tenant)


async def test_second_look_stays_within_the_tenant() -> None:
    """An accurate answer that one has paid for is not another's for free."""
    router = FakeRouter()
    router.place(b"sure", fast=(0.5, 0.49), accurate=(0.2, 0.6))
    async with client_of(router) as client:
        first = item_of(await ask(client, USER))
        other = item_of(await ask(client, OTHER))
        again = item_of(await ask(client, USER))

    assert first["tiering"]["escalated"] is other["tiering"]["escalated"] is True
    assert (again["tiering"]["escalated"], again["tiering"]["tier"]) == (False, "accurate")


class Records(list[AuditRecord]):
    """An audit log in memory."""

    def add(self, record: AuditRecord) -> None:
        """Take one."""
        self.append(record)


async def test_audit_asks_within_the_tenant_and_records_nothing_of_it() -> None:
    """No content, no key, no tenant; and what it embeds is the tenant's own."""
    router, records = FakeRouter(), Records()
    router.place(b"sure", fast=(0.9, 0.1), accurate=(0.9, 0.1))
    auditor = router.audit(records)
    policy = PolicyInForce(Policy(threshold=1.0, audit_share=1.0))
    gate = Access(AccessConfig(), KEYS, clock=router.clock)
    readers = TenantReaders(SECRET, "blake2b", 64)
    async with router.client(access=gate, readers=readers, policy=policy, cascade=router.cascade) as client:
        mine = item_of(await ask(client, USER))
        async with asyncio.timeout(5):
            while not records:  # noqa: ASYNC110 - the audit's tasks are its own
                await asyncio.sleep(0)
        # Only the audit has asked the accurate tier so far.
        other = item_of(await ask(client, OTHER, tier="accurate"))
        own = item_of(await ask(client, USER, tier="accurate"))
    await auditor.close()

    said = repr([*records])
    assert not [secret for secret in ("acme", "dog", "sure", "c3VyZQ", mine["key"], mine["key"][4:]) if secret in said]
    assert other["tiering"]["cache"]["image"] == "miss"
    assert own["tiering"]["cache"]["image"] == "hit"


def test_images_digests_are_keyed_and_cryptographic() -> None:
    """Strangers among themselves could make fast hashes collide; the tag byte says which it is."""
    reader = TenantReaders(SECRET, "blake2b", 64).of("acme")

    (item,) = reader.images([b"an image"]).items

    assert item.key.startswith("i:02")
    assert item.tenant == "acme"


def test_readers_are_bounded_and_one_that_went_reads_the_same() -> None:
    """Only what it remembers of lists goes with it."""
    readers = TenantReaders(SECRET, "blake2b", 64)
    before = readers.of("first").texts(["a cat"])
    assert readers.of("first") is readers.of("first")

    for number in range(MOST_READERS):
        readers.of(f"tenant-{number}")

    assert len(readers._readers) == MOST_READERS
    assert readers.of("first").texts(["a cat"]) == before
