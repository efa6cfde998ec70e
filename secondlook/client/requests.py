"""What is asked: the bodies of requests, and which part of a question has to be asked again. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgpack

from secondlook.client.items import Item, Key, Picture

UNKNOWN_KEY = "unknown_key"
Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Question:
    """One question to a route.

    Args:
        path: The route.
        lists: The fields that hold items.
        fields: All other fields; those that are None are not sent.
        slots: The lists whose n-th item is answered, or fails, in the answer's n-th place. Without any, no part of
            the question can be asked alone.
        single: Fields of `lists` that are sent as one item, not as a list.
        named: The list whose items' content keys the answer names, place by place.
    """

    path: str
    lists: Mapping[str, Sequence[Item]]
    fields: Mapping[str, object]
    slots: tuple[str, ...] = ()
    single: frozenset[str] = frozenset()
    named: str | None = None

    def pictures(self) -> Iterator[Picture]:
        """Every picture in it."""
        for items in self.lists.values():
            yield from (item for item in items if isinstance(item, Picture))

    def body(self, keys: Mapping[bytes, str]) -> bytes:
        """The request's body; a picture whose digest is in `keys` is named by its key."""
        document: Body = {name: value for name, value in self.fields.items() if value is not None}
        for name, items in self.lists.items():
            sent = [_wire_form(item, keys) for item in items]
            document[name] = sent[0] if name in self.single else sent
        packed: bytes = msgpack.packb(document)
        return packed

    def named_keys(self, answer: Body) -> Iterator[tuple[bytes, str]]:
        """The digest and the content key of each picture whose key the answer names."""
        items = self.lists[self.named] if self.named else ()
        for slot in slots_of(answer):
            item = items[slot["index"]] if slot["index"] < len(items) else None
            if isinstance(item, Picture) and isinstance(key := slot.get("key"), str):
                yield item.digest, key

    def unknown_places(self, answer: Body) -> list[int]:
        """The places of an answer's list where a picture's key turned out unknown."""
        places = {slot["index"] for slot in slots_of(answer) if _code_of(slot) == UNKNOWN_KEY}
        return sorted(place for place in places if self.pictures_at([place]))

    def pictures_at(self, places: Sequence[int]) -> list[Picture]:
        """The pictures that are answered in these places."""
        lists = [self.lists[name] for name in self.slots] or [
            items for name, items in self.lists.items() if name not in self.single
        ]
        answered = [items[place] for items in lists for place in places if place < len(items)]
        return [item for item in answered if isinstance(item, Picture)]

    def pictures_blamed(self, param: str | None) -> list[Picture]:
        """The pictures that an error of the whole request may mean: it names only the first of several in a list."""
        blamed = self.lists.get((param or "").partition("[")[0])
        return [*self.pictures()] if blamed is None else [item for item in blamed if isinstance(item, Picture)]

    def part(self, places: Sequence[int]) -> "Question":
        """The question about these places alone; the whole one where there are no parts."""
        picked = {name: [self.lists[name][place] for place in places] for name in self.slots}
        return replace(self, lists={**self.lists, **picked})

    def merged(self, answer: Body, part: Body, places: Sequence[int]) -> Body:
        """An answer with the places that were asked again filled from the answer to that part."""
        if not self.slots:
            return part
        numbered = dict(enumerate(places))
        again = {numbered[slot["index"]]: slot for slot in slots_of(part) if slot["index"] in numbered}
        slots = [_moved(again.get(slot["index"], slot), slot) for slot in slots_of(answer)]
        return {**answer, "data": slots, "usage": _summed(answer.get("usage"), part.get("usage"))}


def slots_of(answer: Body) -> list[Body]:
    """An answer's list, whatever the route calls it."""
    slots = answer.get("data", answer.get("results"))
    return [slot for slot in slots if _is_slot(slot)] if isinstance(slots, list) else []


def _is_slot(slot: object) -> bool:
    index = slot.get("index") if isinstance(slot, dict) else None
    return isinstance(index, int) and index >= 0


def _wire_form(item: Item, keys: Mapping[bytes, str]) -> object:
    if isinstance(item, str):
        return item
    if isinstance(item, Key):
        return {"key": item.value}
    key = keys.get(item.digest)
    return {"image": item.data} if key is None else {"key": key}


def _code_of(slot: Body) -> object:
    error = slot.get("error")
    return error.get("code") if isinstance(error, dict) else None


def _moved(slot: Body, to: Body) -> Body:
    """A part's slot at its place in the whole; an error names that place, too."""
    moved = {**slot, "index": to["index"]}
    if isinstance(slot.get("error"), dict):
        moved["error"] = {**slot["error"], "param": to["error"].get("param")}
    return moved


def _summed(whole: object, part: object) -> object:
    """Images were counted where they were answered; texts were counted twice."""
    counts = [usage.get("images") if isinstance(usage, dict) else None for usage in (whole, part)]
    if not isinstance(whole, dict) or not all(isinstance(count, int) for count in counts):
        return whole
    return {**whole, "images": sum(counts)}
