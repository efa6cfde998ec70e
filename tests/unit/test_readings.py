"""A request's lists: good items, errors at their places, and lists of texts that come again."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.keys import ContentHasher
from router.errors import InvalidRequest
from router.items import Item, ItemReader
from router.readings import ListReader
from tests.fakes import READER, text


class CountingReader(ItemReader):
    """A reader that counts what it reads."""

    __slots__ = ()
    reads = 0

    def read(self, *arguments: Any, **names: Any) -> Item:
        """Read and count."""
        type(self).reads += 1
        return super().read(*arguments, **names)


@pytest.fixture
def counting() -> CountingReader:
    """A reader that has read nothing yet."""
    CountingReader.reads = 0
    return CountingReader(ContentHasher(b"a secret of tests"), text_chars=64)


def test_reading_keeps_items_places_and_errors() -> None:
    """A bad item fails alone; the others keep their places."""
    reading = ListReader(READER).texts(["cat", "", "dog"])

    assert reading.items == (text("cat"), text("dog"))
    assert list(reading.places) == [0, 2]
    assert isinstance(reading.errors[1], InvalidRequest)
    assert reading.errors[1].param == "texts[1]"
    assert reading.width == 3


def test_name_of_a_reading_names_its_items_in_order() -> None:
    """The same texts in another order are another list."""
    reader = ListReader(READER)

    assert reader.texts(["cat", "dog"]).name == text("cat").digest + text("dog").digest
    assert reader.texts(["dog", "cat"]).name == text("dog").digest + text("cat").digest


def test_list_of_texts_that_comes_again_is_not_read_again(counting: CountingReader) -> None:
    """Labels are hashed once, not for each picture."""
    reader = ListReader(counting)

    first, second = reader.texts(["cat", "dog"]), reader.texts(["cat", "dog"])

    assert first is second
    assert counting.reads == 2


def test_list_with_an_error_is_read_again(counting: CountingReader) -> None:
    """Errors are not worth remembering."""
    reader = ListReader(counting)

    assert reader.texts(["cat", ""]).errors.keys() == reader.texts(["cat", ""]).errors.keys() == {1}
    assert counting.reads == 4


def test_objects_in_place_of_strings_are_read_each_time(counting: CountingReader) -> None:
    """They can't be looked up, and mean the same."""
    reader = ListReader(counting)

    assert reader.texts([{"text": "cat"}]) == reader.texts(["cat"])


def test_list_larger_than_the_memory_is_read_each_time(counting: CountingReader) -> None:
    """It is answered all the same."""
    reader = ListReader(counting, memory_bytes=500)

    for _ in range(2):
        assert len(reader.texts(["cat", "dog", "cow"]).items) == 3
    assert counting.reads == 6


@settings(deadline=None)
@given(
    lists=st.lists(
        st.lists(st.sampled_from(["1", "True", "", 1, True, 1.0, 0, False, None, b"1"]), min_size=1, max_size=3),
        min_size=2,
        max_size=8,
    )
)
def test_what_was_read_before_changes_no_reading(lists: list[list[object]]) -> None:
    """What Python finds equal (1, 1.0 and True) is not mistaken for one another."""
    reader = ListReader(READER)

    for raw in lists:
        known, fresh = reader.texts(raw), ListReader(READER).texts(raw)
        assert known.items == fresh.items
        assert known.errors.keys() == fresh.errors.keys()


def test_images_are_read_as_images() -> None:
    """Bytes are a picture; what is not base64 fails alone."""
    reading = ListReader(READER).images([b"picture", "?"])

    assert [item.modality for item in reading.items] == ["image"]
    assert reading.errors.keys() == {1}
