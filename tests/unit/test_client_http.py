"""Both clients over real HTTP, against a small service that answers as the contract says."""

import asyncio
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from secondlook import ApiError, AsyncClient, Client, ItemError, Key
from tests.client_drivers import Connect
from tests.contract_service import BAD, ContractService, key_of
from tests.http_server import serving


def without_request(answer: object) -> str:
    """An answer as text, without what differs from one request to the next."""
    return re.sub(r"request_id='\w+'", "", repr(answer))


def images_in(body: object) -> Iterator[bytes]:
    """The bytes of images in a request's body."""
    if isinstance(body, dict) and isinstance(body.get("image"), bytes):
        yield body["image"]
    elif isinstance(body, (dict, list)):
        for part in body.values() if isinstance(body, dict) else body:
            yield from images_in(part)


def test_similarity_has_an_item_for_each_image(connect: Connect, service: ContractService) -> None:
    """A bad one has its error in its place."""
    answer = connect(service)("similarity", [b"1", BAD, b"333"], ["a", "b"])

    first, bad, third = answer.items
    assert (first.key, first.cosine, first.probability) == (key_of(b"1"), (0.01, 0.01), None)
    assert bad == ItemError(1, "bad_image", "told as bad_image", "images[1]")
    assert (third.index, third.tiering.tier, third.tiering.escalated) == (2, "accurate", True)
    assert answer.models == {"fast": "f@1", "accurate": "a@1"}
    assert answer.meta.request_id == service.asked[0].headers["x-request-id"]


def test_embeddings_are_rows_of_float32(connect: Connect, service: ContractService) -> None:
    """Images and texts in one answer, each with its content key."""
    answer = connect(service)("embed", [b"333", "a cat"], "accurate")

    assert (answer.vectors.dtype, answer.vectors.shape) == ("float32", (2, 4))
    assert answer.vectors[:, 0].tolist() == [3, 5]
    assert answer.keys[0] == key_of(b"333")
    assert answer.model == "accurate"


def test_classify_names_labels_best_first(connect: Connect, service: ContractService) -> None:
    """As many as asked for."""
    answer = connect(service)("classify", [b"1", BAD], ["cat", "dog", "cow"], top_k=2)

    assert [label.label for label in answer.items[0].labels] == ["cat", "dog"]
    assert (answer.items[0].best.score, answer.items[0].key) == (0.01, key_of(b"1"))
    assert answer.items[1].code == "bad_image"
    assert service.bodies[0] == {
        "input": [{"image": b"1"}, {"image": BAD}],
        "labels": ["cat", "dog", "cow"],
        "top_k": 2,
    }


def test_score_has_a_number_for_each_pair(connect: Connect, service: ContractService) -> None:
    """One query with each document, or pair by pair."""
    ask = connect(service)

    one = ask("score", "a cat", [b"1", BAD, b"333"], 0.2)
    pairs = ask("score", ["a", "b"], [b"1", b"22"])

    assert [getattr(item, "score", None) for item in one.items] == [0.01, None, 0.03]
    assert [item.score for item in pairs.items] == [0.01, 0.02]


def test_rerank_orders_documents(connect: Connect, service: ContractService) -> None:
    """By their places in the request."""
    answer = connect(service)("rerank", "a cat", [b"1", b"333", b"22"], top_n=2)

    assert [(item.index, item.relevance_score) for item in answer.items] == [(1, 0.03), (2, 0.02)]
    assert answer.tiering.tier == "accurate"


def test_search_finds_hits(connect: Connect, service: ContractService) -> None:
    """With what was stored beside them."""
    hits = connect(service)("search", b"333", "animals", top_k=2).items

    assert [(hit.id, hit.score, hit.metadata) for hit in hits] == [
        ("hit-0", 0.03, {"rank": 0}),
        ("hit-1", 0.03, {"rank": 1}),
    ]


def test_models_and_collections_are_listed(connect: Connect, service: ContractService) -> None:
    """Without a body."""
    ask = connect(service)

    (model,), (collection,) = ask("models"), ask("collections")

    assert (model.id, model.tier, model.revision, model.dimension) == ("f", "fast", "1", 4)
    assert (collection.name, collection.size, collection.details["revision"]) == ("animals", 3, "7")


@pytest.mark.parametrize("evicted", [[], [b"1"], [b"22"], [b"1", b"22"]])
@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("similarity", ([b"1", b"22"], ["a"])),
        ("embed", ([b"1", b"22"],)),
        ("classify", ([b"1", b"22"], ["a"])),
        ("score", (b"1", [b"22", b"22"])),
        ("score", ([b"1", b"22"], ["a", "b"])),
        ("rerank", (b"1", [b"22", b"22"])),
        ("search", (b"1", "animals", 1)),
    ],
)
def test_answer_is_the_same_whatever_the_service_forgot(
    connect: Connect, service: ContractService, method: str, arguments: tuple[object, ...], evicted: list[bytes]
) -> None:
    """On every route; and no bytes go out but those that it forgot."""
    ask = connect(service)
    ask("embed", [b"1", b"22"])
    expected = ask(method, *arguments)
    asked_before = len(service.asked)

    service.evict(*evicted)
    answer = ask(method, *arguments)

    assert without_request(answer) == without_request(expected)
    sent = {data for body in service.bodies[asked_before:] for data in images_in(body)}
    assert sent <= set(evicted) or method == "embed"
    assert not [*images_in(service.bodies[asked_before - 1])]


def test_only_the_evicted_image_is_sent_again(connect: Connect, service: ContractService) -> None:
    """Of three that were sent before."""
    ask = connect(service)
    images = [b"1", b"22", b"333"]
    before = ask("similarity", images, "a")
    service.evict(b"22")

    after = ask("similarity", images, "a")

    assert [body["images"] for body in service.bodies[1:]] == [
        [{"key": key_of(data)} for data in images],
        [{"image": b"22"}],
    ]
    assert after.items == before.items


def test_nothing_is_remembered_where_that_is_asked_for(connect: Connect, service: ContractService) -> None:
    """Bytes go out each time."""
    ask = connect(service, remembered_keys=0)

    for _ in range(2):
        ask("similarity", b"1", "a")

    assert service.bodies[1] == service.bodies[0]


def test_callers_own_unknown_key_is_an_error(connect: Connect, service: ContractService) -> None:
    """Its item's, or the request's where all failed."""
    ask = connect(service)

    mixed = ask("similarity", [Key("i:1"), b"1"], "a")
    with pytest.raises(ApiError) as raised:
        ask("similarity", Key("i:1"), "a")

    assert mixed.items[0].code == "unknown_key"
    assert (raised.value.status, raised.value.code, raised.value.param) == (404, "unknown_key", "images[0]")
    assert str(raised.value) == "404: told as unknown_key [unknown_key] (images[0])"


def test_options_are_headers_of_each_request(connect: Connect, service: ContractService) -> None:
    """The key, the class of traffic and the deadline."""
    connect(service, api_key="secret", traffic_class="warm-up", deadline_s=10)("models")

    headers = service.asked[0].headers
    assert headers["authorization"] == "Bearer secret"
    assert headers["x-traffic-class"] == "warm-up"
    assert 9000 < int(headers["x-deadline-ms"]) < 10_000


@pytest.mark.parametrize("url", ["ftp://example.com", "nonsense", "http://", "http://[::1"])
def test_url_of_no_server_is_refused(url: str) -> None:
    """Before anything is asked."""
    with pytest.raises(ValueError, match="URL"):
        Client(url)


def test_threads_share_a_client(service: ContractService) -> None:
    """Each gets its own answers."""
    with serving(service) as url, Client(url) as client, ThreadPoolExecutor(8) as pool:
        lengths = [*range(1, 9)] * 8

        answers = pool.map(lambda length: client.embed(b"x" * length).vectors[0, 0], lengths)

        assert [*answers] == lengths


async def test_one_event_loop_asks_many_questions_at_once(service: ContractService) -> None:
    """Each gets its own answers; leaving the block closes the connections."""
    with serving(service) as url:
        async with AsyncClient(url, max_connections=4) as client:
            answers = await asyncio.gather(*(client.embed(b"x" * length) for length in range(1, 33)))

    assert [answer.vectors[0, 0] for answer in answers] == [*range(1, 33)]
