"""How a call goes, without doing any I/O: a generator yields what is to be sent and is given what came back.

`sync` and `asynchronous` drive it; neither knows more of the API than how to send.
"""

import json
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import msgpack

from secondlook.client.errors import ApiError, ClientError, DeadlineExceeded, UnreadableAnswer, api_error
from secondlook.client.items import Picture
from secondlook.client.known_keys import KnownKeys
from secondlook.client.reading import Reply
from secondlook.client.requests import UNKNOWN_KEY, Question
from secondlook.client.retries import Refusal, RetryPolicy

MSGPACK = "application/msgpack"
# The service is told a little less than what is left, so that its last word has time to travel.
TRAVEL_SHARE, LONGEST_TRAVEL_S = 0.05, 0.1
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request to send, after a pause; its answer has to be there at `give_up_at` on the session's clock."""

    method: str
    path: str
    headers: Mapping[str, str]
    content: bytes | None
    give_up_at: float
    after_s: float = 0.0

    @property
    def request_id(self) -> str:
        """What the service's logs will know it by."""
        return self.headers["X-Request-Id"]


@dataclass(frozen=True, slots=True)
class Incoming:
    """An answer as it came; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes


Flow: TypeAlias = Generator[Outgoing, Incoming, Value]


@dataclass(frozen=True, slots=True)
class Session:
    """What the calls of one client share."""

    retry: RetryPolicy
    known: KnownKeys
    deadline_s: float
    clock: Callable[[], float]
    draw: Callable[[], float]
    new_id: Callable[[], str]

    def begin(self, deadline_s: float | None) -> "Call":
        """A call that begins now.

        Raises:
            ValueError: The deadline is no time in the future.
        """
        given_s = self.deadline_s if deadline_s is None else deadline_s
        if not 0 < given_s < float("inf"):
            raise ValueError("deadline_s is a number of seconds above zero")
        return Call(self, self.clock() + given_s, self.new_id())


@dataclass(frozen=True, slots=True)
class Call:
    """One call: everything that is sent for it has one deadline and one request id."""

    session: Session
    give_up_at: float
    request_id: str

    def fetch(self, path: str) -> Flow[Reply]:
        """Ask a route that takes no body."""
        return (yield from self._exchange("GET", path, None))

    def ask(self, question: Question, as_bytes: frozenset[bytes] = frozenset()) -> Flow[Reply]:
        """Ask, keys first: pictures that an answer gave a key for are sent only where the key turns out unknown.

        Args:
            question: What to ask.
            as_bytes: Digests of pictures that are sent whatever is known of them.
        """
        known = self.session.known
        keys = known.of(picture.digest for picture in question.pictures() if picture.digest not in as_bytes)
        try:
            reply = yield from self._exchange("POST", question.path, question.body(keys))
        except ApiError as error:
            places: list[int] = []
            unknown = _among(keys, question.pictures_blamed(error.param)) if error.code == UNKNOWN_KEY else frozenset()
            if not unknown:
                raise
        else:
            for digest, key in question.named_keys(reply.body):
                known.remember(digest, key)
            places = question.unknown_places(reply.body)
            unknown = _among(keys, question.pictures_at(places))
            if not unknown:
                return reply
        known.forget(unknown)
        if not places:
            return (yield from self.ask(question, as_bytes | unknown))
        rest = yield from self.ask(question.part(places), as_bytes | unknown)
        return Reply(question.merged(reply.body, rest.body, places), reply.request_id)

    def _exchange(self, method: str, path: str, content: bytes | None) -> Flow[Reply]:
        """Send until it is answered, or refused for good."""
        sent, pause_s = 0, 0.0
        while True:
            incoming = yield self._outgoing(method, path, content, pause_s)
            sent += 1
            if incoming.status == 200:
                return Reply(self._body(incoming), self._id_of(incoming))
            refusal = Refusal(incoming.status, incoming.headers.get("retry-after"))
            left_s = self.give_up_at - self.session.clock()
            next_pause_s = self.session.retry.pause_s(sent, refusal, left_s, self.session.draw())
            if next_pause_s is None:
                raise self._error(incoming)
            pause_s = next_pause_s

    def _outgoing(self, method: str, path: str, content: bytes | None, pause_s: float) -> Outgoing:
        left_s = self.give_up_at - self.session.clock() - pause_s
        if left_s <= 0:
            raise DeadlineExceeded("no answer before the deadline", self.request_id)
        told_s = left_s - min(left_s * TRAVEL_SHARE, LONGEST_TRAVEL_S)
        headers = {
            "Accept": MSGPACK,
            "X-Request-Id": self.request_id,
            "X-Deadline-Ms": str(max(1, int(told_s * 1e3))),
        } | ({} if content is None else {"Content-Type": MSGPACK})
        return Outgoing(method, path, headers, content, self.give_up_at, pause_s)

    def _body(self, incoming: Incoming) -> dict[str, Any]:
        body = _decode(incoming)
        if not isinstance(body, dict):
            raise UnreadableAnswer("the answer is not of this API", self._id_of(incoming))
        return body

    def _error(self, incoming: Incoming) -> ClientError:
        body = _decode(incoming)
        return api_error(incoming.status, body.get("error") if isinstance(body, dict) else None, self._id_of(incoming))

    def _id_of(self, incoming: Incoming) -> str:
        return incoming.headers.get("x-request-id", self.request_id)


def _among(keys: Mapping[bytes, str], pictures: list[Picture]) -> frozenset[bytes]:
    return frozenset(picture.digest for picture in pictures if picture.digest in keys)


def _decode(incoming: Incoming) -> object:
    """The body as data; None where it is none, as when a proxy answers."""
    try:
        if incoming.headers.get("content-type", "").startswith(MSGPACK):
            return msgpack.unpackb(incoming.content)
        return json.loads(incoming.content)
    except (ValueError, msgpack.UnpackException, RecursionError):
        return None
