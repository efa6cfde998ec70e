"""Parts of a message's content as items: what vLLM's clients send, and nothing else, is made into our forms."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.content_parts import as_item, as_items

IMAGE: dict[str, object] = {"image_url": {"url": "data:image/png;base64,aGk="}}
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.binary())
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["content", "type", "text", "image_url", "image"]), inner, max_size=3),
    ),
    max_leaves=8,
)


def part(item: dict[str, object]) -> dict[str, object]:
    """An item as a part of a message's content."""
    (kind,) = item
    return {"type": kind, **item}


@pytest.mark.parametrize("item", [IMAGE, {"text": "a cat"}])
def test_part_is_the_item_that_it_holds(item: dict[str, object]) -> None:
    """Alone, as a message's only part, or in a list."""
    assert as_item(part(item)) == as_item({"content": [part(item)]}) == item
    assert as_items({"content": [part(item)]}) == as_items([part(item)]) == [item]


def test_content_of_a_message_is_a_list_of_items() -> None:
    """In the place of a list; as one item it would be several."""
    message = {"content": [part(IMAGE), {"text": "a cat"}, "a dog"]}

    assert as_items(message) == [IMAGE, {"text": "a cat"}, "a dog"]
    assert as_item(message) == message


@pytest.mark.parametrize(
    "raw", ["a cat", b"bytes", {"image": "aGk="}, {"key": "i:1"}, {"content": []}, {"content": "a"}, {"type": "text"}]
)
def test_everything_else_stays_as_it_is(raw: object) -> None:
    """Whoever reads items says what is wrong with it."""
    assert as_item(raw) == raw
    assert as_items(raw) == [raw]


@given(ANYTHING)
def test_whatever_comes_becomes_a_list_of_something(raw: object) -> None:
    """Never an error, and every item of a list keeps its place."""
    items = as_items(raw)

    assert isinstance(items, list)
    if isinstance(raw, list):
        assert items == [as_item(one) for one in raw]
    else:
        assert items
