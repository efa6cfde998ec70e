"""A small service that answers as the HTTP contract says, keys and errors of single items included.

It has no model: an image's cosine with a text is the image's length in hundredths, so that answers tell items apart.
"""

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.http_server import Answer, Asked, Reply

Body = dict[str, Any]
BAD = b"not a picture"
TIERING = {
    "tier": "accurate",
    "confidence": 0.93,
    "margin": 2.6,
    "escalated": True,
    "degraded": None,
    "cache": {"image": "miss", "texts": {"hit": 2, "miss": 0}},
    "policy": "p-3c81a0",
}
STATUS = {"unknown_key": 404, "bad_image": 422, "not_found": 404, "overloaded": 503, "rate_limited": 429}


def error_body(code: str, param: str | None = None) -> Body:
    """The contract's error object."""
    return {"error": {"message": f"told as {code}", "type": "invalid_request_error", "code": code, "param": param}}


def refusal(code: str, param: str | None = None, **headers: str) -> Answer:
    """An error as a whole answer."""
    return Answer(error_body(code, param), STATUS[code], {name.replace("_", "-"): v for name, v in headers.items()})


def key_of(data: bytes) -> str:
    """The content key of an image."""
    return f"i:{hashlib.sha256(data).hexdigest()[:32]}"


class ContractService:
    """Remembers the images it was sent until `evict`, and every request."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.images: dict[str, bytes] = {}
        self._routes: dict[str, Callable[[Body], Reply]] = {
            "/v1/similarity": self._similarity,
            "/v1/embeddings": self._embeddings,
            "/v1/classify": self._classify,
            "/v1/score": self._score,
            "/v1/rerank": self._rerank,
            "/v1/search": self._search,
        }

    def __call__(self, asked: Asked) -> Reply:
        """Answer one request."""
        self.asked.append(asked)
        reply = self._listing(asked.path) if asked.method == "GET" else self._routes[asked.path](asked.body)
        if isinstance(reply, Answer):
            return Answer(reply.body, reply.status, {"x-request-id": asked.headers["x-request-id"], **reply.headers})
        return reply

    def evict(self, *datas: bytes) -> None:
        """Forget images."""
        for data in datas:
            del self.images[key_of(data)]

    @property
    def bodies(self) -> list[Body]:
        """The bodies that came, in order."""
        return [asked.body for asked in self.asked]

    def _read(self, item: object) -> bytes | str:
        """An item's content, or the code of its error."""
        if isinstance(item, str):
            return item.encode()
        assert isinstance(item, dict)
        if "key" in item:
            return self.images.get(item["key"], "unknown_key")
        data: bytes = item["image"]
        if data == BAD:
            return "bad_image"
        self.images[key_of(data)] = data
        return data

    def _similarity(self, body: Body) -> Reply:
        def answer(data: bytes) -> Body:
            cosine = [len(data) / 100] * len(body["texts"])
            return {"key": key_of(data), "best": 0, "cosine": cosine, "probability": None, "tiering": TIERING}

        slots = self._slots("images", body["images"], answer)
        answered = sum("error" not in slot for slot in slots.values())
        usage = {"images": answered, "texts": len(body["texts"]), "prompt_tokens": 8}
        return _listed(slots, object="similarity", model={"fast": "f@1", "accurate": "a@1"}, usage=usage)

    def _embeddings(self, body: Body) -> Reply:
        contents = [self._read(item) for item in body["input"]]
        for place, content in enumerate(contents):
            if isinstance(content, str):
                return refusal(content, f"input[{place}]")
        data = [
            {"index": i, "embedding": np.full(4, len(c), "<f4").tobytes(), "key": key_of(c)}
            for i, c in enumerate(contents)
            if isinstance(c, bytes)
        ]
        return Answer({"object": "list", "data": data, "model": body["model"], "usage": {"prompt_tokens": 0}})

    def _classify(self, body: Body) -> Reply:
        def answer(data: bytes) -> Body:
            score = {"score": len(data) / 100, "cosine": len(data) / 100}
            labels = [
                {"label": label, "index": i, **score} for i, label in enumerate(body["labels"][: body.get("top_k")])
            ]
            return {"key": key_of(data), "labels": labels, "tiering": TIERING}

        return _listed(self._slots("input", body["input"], answer))

    def _score(self, body: Body) -> Reply:
        queries, documents = body["queries"], body["documents"]
        scores = {"queries": queries * len(documents) if len(queries) == 1 else queries, "documents": documents}
        slots: dict[int, Body] = {}
        for name, items in scores.items():
            for index, slot in self._slots(name, items, lambda data: {"score": len(data) / 100}).items():
                if "error" not in slots.get(index, {}):
                    slots[index] = slot
        return _listed(slots)

    def _rerank(self, body: Body) -> Reply:
        if isinstance(code := self._read(body["query"]), str):
            return refusal(code, "query")
        slots = self._slots(
            "documents", body["documents"], lambda data: {"relevance_score": len(data) / 100, "key": key_of(data)}
        )
        good = [slot for slot in slots.values() if "error" not in slot]
        ranked = sorted(good, key=lambda slot: -slot["relevance_score"])[: body.get("top_n")]
        bad = [slot for slot in slots.values() if "error" in slot]
        return Answer({"results": [*ranked, *bad], "tiering": TIERING, "usage": {}})

    def _search(self, body: Body) -> Reply:
        content = self._read(body["query"])
        if isinstance(content, str):
            return refusal(content, "query")
        hits = [{"id": f"hit-{i}", "score": len(content) / 100, "metadata": {"rank": i}} for i in range(body["top_k"])]
        return Answer({"object": "list", "data": hits})

    def _listing(self, path: str) -> Reply:
        model = {"id": "f", "object": "model", "tier": "fast", "revision": "1", "dimension": 4}
        collection = {"name": "animals", "size": 3, "revision": "7"}
        known = {"/v1/models": model, "/v1/collections": collection}
        return Answer({"object": "list", "data": [known[path]]}) if path in known else refusal("not_found")

    def _slots(self, name: str, items: list[object], answer: Callable[[bytes], Body]) -> dict[int, Body]:
        slots: dict[int, Body] = {}
        for index, item in enumerate(items):
            content = self._read(item)
            failed = error_body(content, f"{name}[{index}]") if isinstance(content, str) else None
            slots[index] = {"index": index, **(failed or (answer(content) if isinstance(content, bytes) else {}))}
        return slots


def _listed(slots: dict[int, Body], **fields: object) -> Reply:
    """Status 200, unless all failed: then the first error is the answer's."""
    errors = [slot["error"] for slot in slots.values() if "error" in slot]
    if len(errors) == len(slots):
        return Answer({"error": errors[0]}, STATUS[errors[0]["code"]])
    return Answer({"object": "list", "data": list(slots.values()), **fields})
