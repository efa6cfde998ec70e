"""A configuration becomes a journal, and one that cannot be reached delays no start."""

import logging
import socket
import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from cache.config import CacheConfig, JournalConfig
from cache.embedded_journal import EmbeddedJournal
from cache.errors import JournalUnavailable
from cache.memory_journal import MemoryJournal
from cache.open import open_cache, open_journal
from cache.redis_journal import RedisJournal
from cache.store import OpenGate
from tests.journal_contract import read_all


def make_config(url: str | tuple[str, ...], journal: str = "cache") -> CacheConfig:
    """Return a configuration of these addresses."""
    return CacheConfig(url=url, journal=JournalConfig(url=journal), connect_timeout_s=0.2)


def names_in(folder: Path) -> list[str]:
    """Return the names in a directory, sorted."""
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("url", "journal", "kind"),
    [
        ("none:", "cache", MemoryJournal),
        ("embedded:{}/store", "cache", EmbeddedJournal),
        ("embedded:{}/store", "embedded:{}/journal", EmbeddedJournal),
        ("embedded:{}/store", "none:", MemoryJournal),
        ("embedded:{}/store", "redis://127.0.0.1:1", RedisJournal),
        ("redis://127.0.0.1:1", "cache", RedisJournal),
        ("redis://127.0.0.1:1", "embedded:{}/journal", EmbeddedJournal),
    ],
)
async def test_journal_is_where_the_configuration_says(tmp_path: Path, url: str, journal: str, kind: type) -> None:
    """With the cache, or somewhere of its own."""
    opened = await open_journal(make_config(url.format(tmp_path), journal.format(tmp_path)))
    await opened.close()

    assert type(opened) is kind


def test_journal_beside_the_cache_has_an_address_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of several Redis servers the first; a directory beside the store's, the user's cache directory included."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    auto = tmp_path / "secondlook" / "embeddings.journal"

    assert make_config(("redis://b", "redis://a")).journal_url == "redis://b"
    assert make_config("embedded:/store").journal_path() == Path("/store.journal")
    assert make_config("embedded:/store", "embedded:/own").journal_path() == Path("/own")
    assert make_config("embedded:auto").journal_path() == auto
    assert make_config("redis://a", "embedded:auto").journal_path() == auto


@pytest.mark.parametrize("url", ["", "embedded:", "none", "http://host", "redis://", "redis://host?no_such_option=1"])
def test_config_refuses_an_address_that_means_nothing(url: str) -> None:
    """A typing error is found at start."""
    with pytest.raises(ValidationError, match=r"expected cache|unknown option"):
        JournalConfig(url=url)


def test_config_refuses_the_stores_own_directory() -> None:
    """Two kinds of tables in one directory would be a mistake."""
    with pytest.raises(ValidationError, match="own directory"):
        make_config("embedded:/store", "embedded:/store")


def test_every_field_of_the_journal_is_described() -> None:
    """The reference page is made from these texts."""
    assert all(field.description for field in JournalConfig.model_fields.values())


async def test_journal_and_cache_open_side_by_side(tmp_path: Path) -> None:
    """The default: two directories, and neither knows of the other."""
    config = make_config(f"embedded:{tmp_path / 'store'}")
    cache, journal = await open_cache(config, OpenGate), await open_journal(config)

    await journal.append("audit", [b"1"], keep=1)

    assert await read_all(journal, "audit") == [b"1"]
    assert names_in(tmp_path) == ["store", "store.journal"]
    await journal.close()
    await cache.close()


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1", "redis+sentinel://127.0.0.1:1/service", "embedded:{}/file/x"])
async def test_place_that_cannot_be_had_delays_no_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, url: str
) -> None:
    """The journal opens, with a word in the log, and its calls say that it cannot be reached."""
    (tmp_path / "file").write_text("")
    begin = time.monotonic()

    with caplog.at_level(logging.WARNING):
        journal = await open_journal(make_config("none:", url.format(tmp_path)))

    assert time.monotonic() - begin < 2
    assert "journal: cannot be reached yet" in caplog.text
    with pytest.raises(JournalUnavailable):
        await journal.append("audit", [b"1"], keep=1)
    await journal.close()


async def test_redis_that_swallows_packets_delays_a_start_by_the_connect_timeout() -> None:
    """A listener that never answers is as good as none."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begin = time.monotonic()
        journal = await open_journal(make_config(f"redis://127.0.0.1:{silent.getsockname()[1]}"))

        assert time.monotonic() - begin < 1
        await journal.close()
