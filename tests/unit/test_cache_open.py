"""A configuration becomes a cache, and a deployment's secret is one for all its processes."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from cache.config import CacheConfig
from cache.errors import SecretUnavailable
from cache.open import _read_or_create, load_secret, open_cache
from cache.store import OpenGate
from cache.two_level import Entry, Lookup

KEY = b"k" * 33
ENTRY = Entry(KEY, np.linspace(-1, 1, 64, dtype=np.float32), 10)


@pytest.mark.parametrize(
    "url", ["none:", "embedded:auto", "embedded:/var/cache", "redis://host", "rediss://host:1/0", "unix:///run/redis"]
)
def test_config_takes_every_kind_of_store(url: str) -> None:
    """All documented forms of the address are accepted."""
    assert CacheConfig(url=url).url == url


@pytest.mark.parametrize("url", ["", "embedded:", "none", "http://host", "redis://", "unix://", "localhost:6379"])
def test_config_refuses_other_addresses_and_says_what_is_allowed(url: str) -> None:
    """A typing error is found at start, with the list of what could have been meant."""
    with pytest.raises(ValidationError, match="embedded:DIRECTORY"):
        CacheConfig(url=url)


@pytest.mark.parametrize("port", ["0", "99999", "abc"])
def test_config_refuses_an_impossible_port(port: str) -> None:
    """A port that no server can have is found at start."""
    with pytest.raises(ValidationError):
        CacheConfig(url=f"redis://host:{port}")


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("?no_such_option=1", "known here: client_name, db"),
        ("?no_such_option", "known here"),
        ("?ssl_ca_certs=/ca.pem", "known here"),
        ("?sentinel_password=word", "known here"),
        ("?db=first", "number"),
        ("/first", "number"),
        ("/0/1", "number"),
    ],
)
def test_config_refuses_an_option_that_means_nothing(rest: str, said: str) -> None:
    """A mistake in the address is found by a check of the file, and the password stays out of the message."""
    with pytest.raises(ValidationError, match=said) as refusal:
        CacheConfig(url=f"redis://cache:word@host{rest}")

    assert all("word" not in error["msg"].replace("sentinel_password", "") for error in refusal.value.errors())


@pytest.mark.parametrize(
    "url",
    [
        "redis:///0",
        "redis://host/?db=1&client_name=router",
        "rediss://host/2?ssl_ca_certs=/ca&ssl_certfile=/c&ssl_keyfile=/k&ssl_check_hostname=false",
        "unix://cache:word@/run/redis?db=1",
        "redis+sentinel://one,two:1/service/3?sentinel_username=a&sentinel_password=b",
        "rediss+sentinel://one/service?ssl_ca_certs=/ca&db=3",
    ],
)
def test_config_takes_the_documented_options(url: str) -> None:
    """Each where it means something."""
    assert CacheConfig(url=url).urls == (url,)


def test_shards_behind_sentinels_may_differ_by_database_alone() -> None:
    """Wherever the database is named."""
    urls = ("redis+sentinel://host/service?db=1", "redis+sentinel://host/service/2")

    assert CacheConfig(url=urls).urls == urls


def test_config_refuses_unknown_keys() -> None:
    """An option that does not exist is an error, not silence."""
    with pytest.raises(ValidationError, match="ttl"):
        CacheConfig.model_validate({"ttl": 5})


def test_every_config_field_is_described() -> None:
    """The reference page is made from these texts."""
    assert all(field.description for field in CacheConfig.model_fields.values())


def test_auto_directory_follows_the_users_cache_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """XDG_CACHE_HOME decides, and the home directory where it is unset or empty."""
    config = CacheConfig(url="embedded:auto")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    given = config.embedded_path()
    monkeypatch.setenv("XDG_CACHE_HOME", "")

    assert given == tmp_path / "xdg" / "secondlook" / "embeddings"
    assert config.embedded_path() == tmp_path / ".cache" / "secondlook" / "embeddings"


async def test_embedded_cache_outlives_the_process(tmp_path: Path) -> None:
    """The default needs no server and finds its vectors again after a restart, to float16's precision."""
    config = CacheConfig(url=f"embedded:{tmp_path / 'embeddings'}")
    cache = await open_cache(config, OpenGate)
    cache.put([ENTRY])
    await cache.close()

    again = await open_cache(config, OpenGate)
    [found] = await again.get_many([Lookup(KEY, 64, 10)])

    assert found is not None
    assert np.allclose(found.vector, ENTRY.vector, atol=1e-3)
    await again.close()


@pytest.mark.parametrize(("dtype", "is_exact"), [("float32", True), ("float16", False), ("int8", False)])
async def test_dtype_decides_the_stored_precision(tmp_path: Path, dtype: str, is_exact: bool) -> None:  # noqa: FBT001
    """float32 keeps every bit; the others do not."""
    config = CacheConfig.model_validate({"url": f"embedded:{tmp_path / 'e'}", "dtype": dtype, "l1_bytes": 0})
    cache = await open_cache(config, OpenGate)
    cache.put([ENTRY])
    await cache.flush()

    [found] = await cache.get_many([Lookup(KEY, 64, 10)])

    assert found is not None
    assert np.array_equal(found.vector, ENTRY.vector) == is_exact
    await cache.close()


async def test_cache_of_nothing_works() -> None:
    """`none:` without an in-process level answers every lookup by a miss."""
    cache = await open_cache(CacheConfig(url="none:", l1_bytes=0), OpenGate)
    cache.put([ENTRY])

    assert await cache.get_many([Lookup(KEY, 64, 10)]) == [None]
    await cache.close()


async def test_secret_of_an_embedded_cache_is_kept_beside_it(tmp_path: Path) -> None:
    """Every process of the machine that shares the store hashes alike; nobody else may read the secret."""
    config = CacheConfig(url=f"embedded:{tmp_path / 'embeddings'}")

    first, second = await load_secret(config), await load_secret(config)

    assert first == second
    assert len(first) == 32
    assert (tmp_path / "embeddings.secret").stat().st_mode & 0o777 == 0o600


async def test_secret_file_wins_over_the_store(tmp_path: Path) -> None:
    """A mounted secret is the one that is used, whatever the store, reachable or not."""
    file = tmp_path / "secret"
    file.write_bytes(b"mounted by the operator")

    secret = await load_secret(CacheConfig(url="redis://127.0.0.1:1", secret_file=str(file)))

    assert secret == b"mounted by the operator"


async def test_secret_without_a_store_is_new_each_time() -> None:
    """Nothing is shared, so nothing needs to be."""
    config = CacheConfig(url="none:")

    assert await load_secret(config) != await load_secret(config)


async def test_secret_that_could_be_guessed_is_refused(tmp_path: Path) -> None:
    """An empty or short file is a mistake of the operator's."""
    (tmp_path / "secret").write_bytes(b"short")

    with pytest.raises(SecretUnavailable, match="16 bytes"):
        await load_secret(CacheConfig(url="none:", secret_file=str(tmp_path / "secret")))


async def test_secret_that_cannot_be_kept_is_an_error(tmp_path: Path) -> None:
    """Without a place for it no two processes would hash alike."""
    (tmp_path / "file").write_text("")

    with pytest.raises(SecretUnavailable, match="file"):
        await load_secret(CacheConfig(url="none:", secret_file=str(tmp_path / "file" / "secret")))


def test_processes_that_create_the_secret_at_once_agree(tmp_path: Path) -> None:
    """Of many that find no file, one writes it and all read the same."""
    with ThreadPoolExecutor(8) as pool:
        secrets = list(pool.map(lambda n: _read_or_create(tmp_path / "dir" / "secret", b"%032d" % n), range(64)))

    assert len(set(secrets)) == 1
    assert [file.name for file in (tmp_path / "dir").iterdir()] == ["secret"]
