"""What the URL of a Redis server means."""

import pytest
from pydantic import ValidationError

from cache.config import CacheConfig
from cache.redis_address import parse_sentinel, shard_name

SENTINELS = "rediss+sentinel://user:p%40ss@one:1,two/cache/3?sentinel_password=s&ssl_ca_certs=/ca.pem"


def test_sentinel_url_says_who_is_asked_and_how_the_master_is_reached() -> None:
    """Credentials and options are the master's; those of the sentinels say so."""
    address = parse_sentinel(SENTINELS)

    assert address.sentinels == (("one", 1), ("two", 26379))
    assert (address.service, address.sentinel_options) == ("cache", {"password": "s"})
    assert address.master_url("10.0.0.1", 6380) == "rediss://user:p%40ss@10.0.0.1:6380/3?ssl_ca_certs=%2Fca.pem"
    assert "@[::1]:6380/" in address.master_url("::1", 6380)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("redis://host", "host:6379/0"),
        ("rediss://user:word@host:1/2?ssl_ca_certs=x", "host:1/2"),
        ("redis://host?db=2", "host:6379/2"),
        ("unix:///run/redis.sock?db=1", "/run/redis.sock/1"),
        (SENTINELS, "one:1,two:26379/cache/3"),
        ("redis+sentinel://two,one:1/cache", "one:1,two:26379/cache/0"),
    ],
)
def test_shard_is_named_without_credentials_and_options(url: str, name: str) -> None:
    """A changed password moves no keys."""
    assert shard_name(url) == name


@pytest.mark.parametrize(
    "url",
    [
        "http://host",
        "redis://",
        "redis://host:0",
        "redis://host:x",
        "redis+sentinel://host/",
        "redis+sentinel://host/name/x",
        "redis+sentinel://host/name/0/1",
        "redis+sentinel:///name",
        "unix+sentinel:///name",
        "unix://run/redis.sock",
        [],
        ["redis://host", "embedded:auto"],
        ["redis://host:6379/0", "redis://user:word@host"],
    ],
)
def test_url_that_means_no_server_is_refused(url: object) -> None:
    """Also a list that names a server twice, or mixes stores."""
    with pytest.raises(ValidationError) as refusal:
        CacheConfig.model_validate({"url": url})

    assert all("word" not in error["msg"] for error in refusal.value.errors())


def test_list_of_one_is_that_one() -> None:
    """As the plain string is."""
    assert CacheConfig.model_validate({"url": ["redis://host"]}).urls == ("redis://host",)
