"""How a call goes, step by step, without any I/O: what is sent, and what each answer leads to."""

from collections.abc import Callable
from typing import Any, TypeVar

import msgpack
import pytest

from secondlook import ApiError, DeadlineExceeded, Key, Overloaded, RateLimited, RetryPolicy, UnreadableAnswer
from secondlook.client import calls
from secondlook.client.flow import Flow, Incoming, Outgoing, Session
from secondlook.client.items import Picture, read_images
from secondlook.client.known_keys import KnownKeys
from tests.contract_service import TIERING, error_body, key_of

Value = TypeVar("Value")
Body = dict[str, Any]
OVERLOADED = error_body("overloaded")


class Clock:
    """Time as the test says."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock that stands."""
    return Clock()


@pytest.fixture
def session(clock: Clock) -> Session:
    """A client's state, with dice that always fall in the middle."""
    return Session(RetryPolicy(3, 1.0, 8.0), KnownKeys(10), 30.0, clock, draw=lambda: 0.5, new_id=lambda: "id-1")


def play(flow: Flow[Value], *answers: Incoming | Callable[[], Incoming]) -> tuple[Value, list[Outgoing]]:
    """Give a flow these answers; what it came to, and what it sent."""
    sent = [next(flow)]
    try:
        for answer in answers:
            outgoing = flow.send(answer if isinstance(answer, Incoming) else answer())
            sent.append(outgoing)
    except StopIteration as end:
        return end.value, sent
    raise AssertionError(f"it wants to send {sent[-1]}")


def incoming(body: object, status: int = 200, **headers: str) -> Incoming:
    """An answer in msgpack."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Incoming(status, {"content-type": "application/msgpack", **named}, msgpack.packb(body))


def similarity_of(*slots: Body) -> Incoming:
    """An answer of /v1/similarity with these slots."""
    numbered = [{"index": index, **slot} for index, slot in enumerate(slots)]
    usage = {"images": len(slots), "texts": 1, "prompt_tokens": 3}
    return incoming({"object": "similarity", "model": {"fast": "f@1"}, "data": numbered, "usage": usage})


def seen(data: bytes) -> Body:
    """The slot of an image that was answered."""
    return {"key": key_of(data), "best": 0, "cosine": [len(data) / 10], "probability": None, "tiering": TIERING}


def learned(data: bytes) -> tuple[bytes, str]:
    """What a client remembers of an image: its digest and its key."""
    (picture,) = read_images(data)
    assert isinstance(picture, Picture)
    return picture.digest, key_of(data)


def body_of(outgoing: Outgoing) -> Body:
    """What a request carries."""
    body: Body = msgpack.unpackb(outgoing.content or b"")
    return body


def test_request_carries_deadline_id_and_body(session: Session, clock: Clock) -> None:
    """The service is told a twentieth less than there is, at most a tenth of a second: its answer has to travel."""
    _, (sent,) = play(calls.similarity(session, b"cat", "a cat", 0.3, deadline_s=1), similarity_of(seen(b"cat")))

    assert (sent.method, sent.path, sent.after_s) == ("POST", "/v1/similarity", 0)
    assert sent.headers["X-Deadline-Ms"] == "950"
    assert sent.headers["X-Request-Id"] == sent.request_id == "id-1"
    assert sent.give_up_at == clock.now + 1
    assert body_of(sent) == {"images": [{"image": b"cat"}], "texts": ["a cat"], "threshold": 0.3, "tier": "auto"}


def test_fields_that_are_not_given_are_not_sent(session: Session) -> None:
    """The service's defaults hold."""
    _, (sent,) = play(calls.score(session, "a", ["b"]), incoming({"data": [{"index": 0, "score": 1.0}]}))

    assert body_of(sent) == {"queries": ["a"], "documents": ["b"]}


def test_refused_request_is_sent_again_after_the_services_pause(session: Session) -> None:
    """The same bytes under the same id; Retry-After first, then the dice."""
    refused = incoming(OVERLOADED, 503, retry_after="2")

    answer, (first, second) = play(calls.similarity(session, b"cat", "a"), refused, similarity_of(seen(b"cat")))

    assert answer.meta.request_id == "id-1"
    assert second.after_s == 2.5
    assert second.content == first.content
    assert second.request_id == first.request_id


@pytest.mark.parametrize(("status", "error"), [(503, Overloaded), (429, RateLimited)])
def test_refusal_after_the_last_attempt_is_the_error(session: Session, status: int, error: type[ApiError]) -> None:
    """With what the service said."""
    refused = incoming(error_body("overloaded", "images"), status, x_request_id="theirs")

    with pytest.raises(error) as raised:
        play(calls.similarity(session, b"cat", "a"), refused, refused, refused)

    told = (raised.value.status, raised.value.code, raised.value.param, raised.value.request_id)
    assert told == (status, "overloaded", "images", "theirs")


def test_pause_that_would_pass_the_deadline_is_not_made(session: Session, clock: Clock) -> None:
    """The refusal is told at once."""

    def late() -> Incoming:
        clock.now += 29
        return incoming(OVERLOADED, 503, retry_after="1")

    with pytest.raises(Overloaded):
        play(calls.similarity(session, b"cat", "a"), late)


def test_nothing_is_sent_after_the_deadline(session: Session, clock: Clock) -> None:
    """Not even the bytes of an image whose key turned out unknown."""

    def late() -> Incoming:
        clock.now += 31
        return incoming(error_body("unknown_key", "input[0]"), 404)

    session.known.remember(*learned(b"cat"))

    with pytest.raises(DeadlineExceeded) as raised:
        play(calls.embed(session, b"cat"), late)

    assert raised.value.request_id == "id-1"


def test_plain_text_of_a_proxy_is_known_by_its_status(session: Session) -> None:
    """Serve and HAProxy answer so where the router is not reached."""
    busy = Incoming(503, {"content-type": "text/plain"}, b"busy")

    with pytest.raises(Overloaded, match="503"):
        play(calls.similarity(session, b"cat", "a"), busy, busy, busy)


def test_services_own_deadline_is_a_deadline(session: Session) -> None:
    """408 is told as what it is, and not sent again."""
    with pytest.raises(DeadlineExceeded, match="told as"):
        play(calls.models(session), incoming(error_body("deadline_exceeded"), 408))


@pytest.mark.parametrize(
    "answer", [Incoming(200, {}, b"<html>"), incoming([1]), incoming({"data": 3}), incoming({"data": [{"index": 0}]})]
)
def test_answer_of_something_else_is_unreadable(session: Session, answer: Incoming) -> None:
    """A web page, a list, other fields: never a KeyError."""
    with pytest.raises(UnreadableAnswer):
        play(calls.similarity(session, b"cat", "a"), answer)


def test_deadline_has_to_be_ahead(session: Session) -> None:
    """Zero, negative and infinite ones are mistakes."""
    for deadline_s in (0, -1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="deadline_s"):
            next(calls.models(session, deadline_s=deadline_s))


def test_second_question_about_an_image_sends_its_key(session: Session) -> None:
    """Also to another route."""
    play(calls.similarity(session, b"cat", "a"), similarity_of(seen(b"cat")))
    found = incoming({"data": [{"id": "1", "score": 0.5}]})

    _, (again,) = play(calls.similarity(session, b"cat", "b"), similarity_of(seen(b"cat")))
    _, (searched,) = play(calls.search(session, b"cat", "animals"), found)

    assert body_of(again)["images"] == [{"key": key_of(b"cat")}]
    assert body_of(searched) == {"query": {"key": key_of(b"cat")}, "collection": "animals"}


def test_bytes_are_sent_again_for_unknown_keys_alone(session: Session) -> None:
    """The answers are merged in order; other errors stay in their places."""
    images = [b"1", b"22", b"333", b"4444"]
    play(calls.similarity(session, images, "a"), similarity_of(*map(seen, images)))
    unknown = error_body("unknown_key", "images[1]")
    mixed = similarity_of(seen(b"1"), unknown, error_body("bad_image", "images[2]"), unknown)

    answer, (_, again) = play(
        calls.similarity(session, images, "a"), mixed, similarity_of(seen(b"22"), error_body("too_large", "images[1]"))
    )

    assert body_of(again)["images"] == [{"image": b"22"}, {"image": b"4444"}]
    assert [(item.index, getattr(item, "cosine", None) or getattr(item, "code", None)) for item in answer.items] == [
        (0, (0.1,)),
        (1, (0.2,)),
        (2, "bad_image"),
        (3, "too_large"),
    ]
    assert answer.meta.usage == {"images": 6, "texts": 1, "prompt_tokens": 3}


def test_callers_own_key_is_not_sent_again(session: Session) -> None:
    """There are no bytes to send: its place says so."""
    answer, sent = play(
        calls.similarity(session, [Key("i:1"), b"cat"], "a"), similarity_of(error_body("unknown_key"), seen(b"cat"))
    )

    assert len(sent) == 1
    assert getattr(answer.items[0], "code", None) == "unknown_key"


def test_request_that_fails_for_unknown_keys_is_sent_with_all_bytes(session: Session) -> None:
    """The error of a whole request names only the first of them."""
    images = [b"1", b"22"]
    play(calls.similarity(session, images, "a"), similarity_of(*map(seen, images)))

    _, (_, again) = play(
        calls.similarity(session, images, "a"),
        incoming(error_body("unknown_key", "images[0]"), 404),
        similarity_of(*map(seen, images)),
    )

    assert body_of(again)["images"] == [{"image": b"1"}, {"image": b"22"}]


def test_unknown_query_is_sent_alone(session: Session) -> None:
    """The error names it: the documents go by their keys as before."""
    play(calls.similarity(session, [b"1", b"22"], "a"), similarity_of(seen(b"1"), seen(b"22")))

    _, (_, again) = play(
        calls.rerank(session, b"1", [b"22"]),
        incoming(error_body("unknown_key", "query"), 404),
        incoming({"results": [{"index": 0, "relevance_score": 0.5, "key": key_of(b"22")}]}),
    )

    assert body_of(again) == {"query": {"image": b"1"}, "documents": [{"key": key_of(b"22")}], "tier": "auto"}


def test_unknown_key_of_bytes_ends_the_call(session: Session) -> None:
    """A service that does not know what it was just sent is not asked for ever."""
    with pytest.raises(ApiError) as raised:
        play(calls.embed(session, b"cat"), incoming(error_body("unknown_key", "input[0]"), 404))

    assert raised.value.code == "unknown_key"


def test_key_is_learned_only_where_the_answer_names_the_item(session: Session) -> None:
    """A key in a pair's place could be either's."""
    slot = {"index": 0, "score": 0.5, "key": "i:1"}
    play(calls.score(session, b"1", b"22"), incoming({"data": [slot]}))

    assert len(session.known) == 0
