"""Which shard keeps a key, whoever asks and whatever else is there."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.rendezvous import Rendezvous

NAMES = st.lists(st.text(max_size=12), min_size=1, max_size=8, unique=True)
KEYS = st.lists(st.binary(max_size=40), max_size=40)


def named(names: list[str], keys: list[bytes]) -> list[str]:
    """The name of each key's shard."""
    rendezvous = Rendezvous(names)
    return [names[rendezvous.place(key)] for key in keys]


@settings(deadline=None)
@given(names=NAMES, keys=KEYS, data=st.data())
def test_order_of_the_shards_plays_no_part(names: list[str], keys: list[bytes], data: st.DataObject) -> None:
    """Only their names do."""
    assert named(names, keys) == named(data.draw(st.permutations(names)), keys)


@settings(deadline=None)
@given(names=st.lists(st.text(max_size=12), min_size=2, max_size=8, unique=True), keys=KEYS)
def test_shard_that_goes_moves_its_own_keys_only(names: list[str], keys: list[bytes]) -> None:
    """What the others kept, they keep."""
    before, after = named(names, keys), named(names[1:], keys)

    assert all(old == new for old, new in zip(before, after, strict=True) if old != names[0])


@settings(deadline=None)
@given(names=NAMES, key=st.binary())
def test_ranking_begins_with_the_keeper(names: list[str], key: bytes) -> None:
    """And names every shard once; without the first, the second keeps the key."""
    rendezvous = Rendezvous(names)
    ranking = rendezvous.ranking(key)

    assert ranking[0] == rendezvous.place(key)
    assert sorted(ranking) == list(range(len(names)))
    if len(names) > 1:
        rest = [name for number, name in enumerate(names) if number != ranking[0]]
        assert rest[Rendezvous(rest).place(key)] == names[ranking[1]]


def test_keys_spread_evenly() -> None:
    """Each of five shards gets a fifth, within a tenth of it."""
    rendezvous = Rendezvous([f"10.0.0.{number}:6379/0" for number in range(5)])
    counts = Counter(rendezvous.place(number.to_bytes(33, "big")) for number in range(20_000))

    assert all(abs(count - 4000) < 400 for count in counts.values())


@pytest.mark.parametrize("names", [[], ["a", "a"]])
def test_shards_are_named_once(names: list[str]) -> None:
    """None, or one twice, is a mistake."""
    with pytest.raises(ValueError, match="each once"):
        Rendezvous(names)
