"""Addresses of Redis servers: what a URL means. Pure text; the message of an error never holds the URL.

`redis://[user:password@]host[:port][/db]`, `rediss://` (TLS), `unix://[user:password@]/path[?db=0]`, and behind
Sentinel `redis+sentinel://[user:password@]host[:port],host[:port].../service[/db]`, `rediss+sentinel://`. Further
options of the connection stand in the query, by redis-py's names (`OPTIONS`, `TLS_OPTIONS`).
"""

from typing import NamedTuple
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

PLAIN_SCHEMES = ("redis", "rediss", "unix")
SENTINEL_SUFFIX = "+sentinel"
OPTIONS = ("client_name", "db")
TLS_OPTIONS = ("ssl_ca_certs", "ssl_certfile", "ssl_check_hostname", "ssl_keyfile")
SENTINEL_OPTIONS = {"sentinel_username": "username", "sentinel_password": "password"}
REDIS_PORT, SENTINEL_PORT = 6379, 26379
FORMS = "redis://HOST, rediss://HOST, unix:///SOCKET, redis+sentinel://HOST,HOST/SERVICE"


class SentinelAddress(NamedTuple):
    """Where sentinels are, which master they are asked for, and how that master is reached."""

    sentinels: tuple[tuple[str, int], ...]
    service: str
    sentinel_options: dict[str, str]
    scheme: str
    userinfo: str
    path: str
    query: str

    def master_url(self, host: str, port: int) -> str:
        """Return the URL of the master at this address."""
        shown = f"[{host}]" if ":" in host else host
        query = f"?{self.query}" if self.query else ""
        return f"{self.scheme}://{self.userinfo}{shown}:{port}{self.path}{query}"


def is_redis(url: str) -> bool:
    """Whether a URL is that of a Redis server, or of sentinels."""
    scheme = url.partition("://")[0]
    return "://" in url and scheme.removesuffix(SENTINEL_SUFFIX) in PLAIN_SCHEMES


def is_sentinel(url: str) -> bool:
    """Whether a URL names sentinels."""
    return url.partition("://")[0].endswith(SENTINEL_SUFFIX)


def check(url: str) -> None:
    """Make sure that a URL can be understood.

    Raises:
        ValueError: It can't.
    """
    if is_sentinel(url):
        parse_sentinel(url)
        return
    parts = urlsplit(url)
    is_meant = parts.path and not parts.hostname if parts.scheme == "unix" else parts.hostname or parts.path
    if not is_redis(url) or not is_meant or parts.port == 0:
        raise ValueError(f"expected {FORMS}")


def check_options(url: str) -> None:
    """Make sure that the options and the database of a URL whose form is right can be understood.

    Raises:
        ValueError: They can't; the message says what is known.
    """
    parts = urlsplit(url)
    known = {*OPTIONS, *(TLS_OPTIONS if parts.scheme.startswith("rediss") else ())}
    known.update(SENTINEL_OPTIONS if is_sentinel(url) else ())
    if not known.issuperset(name for name, _ in parse_qsl(parts.query, keep_blank_values=True)):
        raise ValueError(f"url: an unknown option; known here: {', '.join(sorted(known))}")
    has_path = parts.scheme in ("redis", "rediss")  # a socket's is no database, and a service's is known to be one
    if not _database(parts.path if has_path else "", parts.query)[1:].isdigit():
        raise ValueError("url: the database is a number")


def parse_sentinel(url: str) -> SentinelAddress:
    """Return what a URL with sentinels says.

    Raises:
        ValueError: It is not of that form.
    """
    parts = urlsplit(url)
    scheme = parts.scheme.removesuffix(SENTINEL_SUFFIX)
    userinfo, at, hosts = parts.netloc.rpartition("@")
    service, *rest = parts.path.removeprefix("/").split("/")
    sentinels = tuple(_host_and_port(host) for host in hosts.split(","))
    if (
        scheme not in ("redis", "rediss")
        or not service
        or len(rest) > 1
        or not all(rest_part.isdigit() for rest_part in rest)
    ):
        raise ValueError(f"expected {FORMS}")
    options = parse_qsl(parts.query)
    return SentinelAddress(
        sentinels=sentinels,
        service=service,
        sentinel_options={SENTINEL_OPTIONS[name]: value for name, value in options if name in SENTINEL_OPTIONS},
        scheme=scheme,
        userinfo=userinfo + at,
        path=f"/{rest[0]}" if rest else "",
        query=urlencode([(name, value) for name, value in options if name not in SENTINEL_OPTIONS], quote_via=quote),
    )


def shard_name(url: str) -> str:
    """Return what a shard is called: its address without credentials and options, so that these move no keys."""
    if is_sentinel(url):
        address = parse_sentinel(url)
        hosts = ",".join(sorted(f"{host}:{port}" for host, port in address.sentinels))
        return f"{hosts}/{address.service}{_database(address.path, address.query)}"
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return f"{parts.path}{_database('', parts.query)}"
    return f"{parts.hostname or 'localhost'}:{parts.port or REDIS_PORT}{_database(parts.path, parts.query)}"


def _database(path: str, query: str) -> str:
    return f"/{dict(parse_qsl(query)).get('db') or path.strip('/') or '0'}"


def _host_and_port(text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname or parts.port == 0:
        raise ValueError(f"expected {FORMS}")
    return parts.hostname, parts.port or SENTINEL_PORT
