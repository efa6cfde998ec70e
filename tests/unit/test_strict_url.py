"""URLs are read in one plain form; hosts are admitted by name. Whatever parsers disagree on is refused."""

import ipaddress
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.errors import InvalidRequest
from router.strict_url import AdmittedHosts, StrictUrl, is_host_entry, parse_url

HOSTS = AdmittedHosts(["cdn.example.com", ".example.org", "93.184.216.34", "2606:4700::1"], [80, 443])


def is_admitted(url: str) -> bool:
    """Whether the allow-list lets a URL pass."""
    try:
        HOSTS.check(parse_url(url))
    except InvalidRequest:
        return False
    return True


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://a.example", StrictUrl("http", "a.example", 80, "/", False)),
        ("https://a.example/b/c.png?d=e&f", StrictUrl("https", "a.example", 443, "/b/c.png?d=e&f", False)),
        ("https://a.example?x", StrictUrl("https", "a.example", 443, "/?x", False)),
        ("https://a.example:8443/#part", StrictUrl("https", "a.example", 8443, "/", False)),
        ("http://xn--mller-kva.example/%C3%BC", StrictUrl("http", "xn--mller-kva.example", 80, "/%C3%BC", False)),
        ("http://8.8.8.8/@:80//", StrictUrl("http", "8.8.8.8", 80, "/@:80//", True)),
        ("http://[2606:4700::1]:81/", StrictUrl("http", "2606:4700::1", 81, "/", True)),
    ],
)
def test_plain_url_is_parsed(text: str, expected: StrictUrl) -> None:
    """Scheme, host, port and what is asked for; a fragment stays here."""
    assert parse_url(text) == expected


@pytest.mark.parametrize(
    ("text", "authority"),
    [
        ("http://a.example:80/", "a.example"),
        ("https://a.example:80/", "a.example:80"),
        ("https://[2606:4700::1]/", "[2606:4700::1]"),
        ("http://[2606:4700::1]:81/", "[2606:4700::1]:81"),
    ],
)
def test_authority_names_the_port_where_it_is_not_the_schemes(text: str, authority: str) -> None:
    """As the Host header does."""
    assert parse_url(text).authority == authority


@pytest.mark.parametrize(
    "text",
    [
        *("", "http:", "http://", "http:///a", "//a.example/", "a.example", "http:/a.example", "http:a.example"),
        *("file:///etc/passwd", "ftp://a.example/", "gopher://a.example/", "HTTP://a.example/", "javascript:alert(1)"),
        *("http://user@a.example/", "http://user:pw@a.example/", "http://a.example@127.0.0.1/", "http://@a.example/"),
        *("http://a.example:/", "http://a.example:0/", "http://a.example:080/", "http://a.example:+80/"),
        *("http://a.example:80:80/", "http://a.example:800000/", "http://:80/", "http://a.example:8\u0660/"),
        *("http://a.example./", "http://.a.example/", "http://a..example/", "http://-a.example/", "http://a-.example/"),
        *(
            "http://A.example/",
            "http://a_b.example/",
            "http://a%2eexample/",
            "http://%61.example/",
            "http://*.example/",
        ),
        *("http://\u0430.example/", "http://\uff41.example/", "http://a\u3002example/", "http://\u2460.example/"),
        *("http://a.example\\@b.example/", "http://a.example/\\", "http:\\\\a.example/"),
        *(
            "http://a.example/\r\nX: y",
            "http://a.example/\t",
            " http://a.example/",
            "http://a.exa\nmple/",
            "http://a b/",
        ),
        *("http://a.example/\0", "http://a.example/\x7f", "http://a.example/\u00fc", "http://a.example/\n"),
        f"http://{'a' * 64}.example/",
        f"http://{'a.' * 127}example/",
        "http://a.example/" + "x" * 8192,
    ],
)
def test_url_that_is_not_plain_is_refused(text: str) -> None:
    """Other schemes, users, odd ports and names, letters that look like others, characters that split a request."""
    with pytest.raises(InvalidRequest):
        parse_url(text)


@pytest.mark.parametrize(
    "host",
    [
        *("2130706433", "0x7f000001", "017700000001", "0x7f.0.0.1", "0177.0.0.1", "127.1", "127.0.1", "0x7f.1"),
        *("127.0.0.01", "127.0.0.1.", "127.0.0.256", "1.2.3.4.5", "a.1", "a.0x", "0", "1.2.3.0x4"),
        *("[127.0.0.1]", "[::1", "::1", "[::1%lo]", "[::1%25lo]", "[0:0:0:0:0:0:0:1]", "[::0001]", "[::FFFF:1.2.3.4]"),
        *("[]", "[:]", "[v1.x]", "[a.example]"),
    ],
)
def test_address_in_another_notation_is_refused(host: str) -> None:
    """Decimal, octal, hexadecimal, short, padded, scoped: an address has one spelling."""
    with pytest.raises(InvalidRequest):
        parse_url(f"http://{host}/")


@pytest.mark.parametrize(
    "url",
    [
        *(
            "https://cdn.example.com/a",
            "http://cdn.example.com:443/",
            "https://a.example.org/",
            "https://a.b.example.org/",
        ),
        *("http://93.184.216.34/", "http://[2606:4700::1]/"),
    ],
)
def test_host_on_the_list_is_admitted(url: str) -> None:
    """By its name, by its domain, or as the very address."""
    assert is_admitted(url)


@pytest.mark.parametrize(
    "url",
    [
        *(
            "https://example.com/",
            "https://a.cdn.example.com/",
            "https://cdn.example.com.evil.net/",
            "https://localhost/",
        ),
        *("https://example.org/", "https://evilexample.org/", "https://example.org.evil.net/"),
        *("http://93.184.216.35/", "http://8.8.8.8/", "http://[2606:4700::2]/", "http://[::ffff:93.184.216.34]/"),
        *("http://cdn.example.com:8080/", "https://cdn.example.com:22/"),
    ],
)
def test_host_that_is_not_on_the_list_is_refused(url: str) -> None:
    """Neither above nor below a name, no look-alike, no other address, and no other port."""
    assert not is_admitted(url)


def test_empty_list_admits_nothing() -> None:
    """The default."""
    with pytest.raises(InvalidRequest):
        AdmittedHosts([], [80]).check(parse_url("http://a.example/"))


@pytest.mark.parametrize(
    "entry", ["a.example", "localhost", ".example.com", ".a.example.com", "8.8.8.8", "2606:4700::1"]
)
def test_entry_of_a_list_is_a_host_or_a_domains_suffix(entry: str) -> None:
    """Each can be matched by a URL."""
    assert is_host_entry(entry)


@pytest.mark.parametrize(
    "entry",
    [
        *(
            "",
            ".",
            "..",
            ".com",
            "*.example.com",
            "A.example",
            "a.example.",
            "a.example:80",
            "https://a.example",
            "a/b",
        ),
        *(".1.2.3.4", "8.8.8", "[::1]", "::0001", "fe80::1%lo", "m\u00fcller.example", ".example..com"),
    ],
)
def test_entry_that_nothing_or_everything_would_match_is_refused(entry: str) -> None:
    """A mistake in the allow-list is heard of at once."""
    assert not is_host_entry(entry)


@settings(deadline=None, max_examples=500)
@given(
    st.builds(
        "{}{}{}{}".format,
        st.sampled_from(["http://", "https://", "http:", "file://", ""]),
        st.sampled_from(["cdn.example.com", "a.example.org", "93.184.216.34", "[2606:4700::1]", "127.0.0.1", "x@", ""]),
        st.text(alphabet="a.:@/\\?#%[]0x \t\u3002", max_size=8),
        st.text(max_size=3),
    )
)
def test_other_parsers_find_the_same_host_in_what_is_admitted(text: str) -> None:
    """There is no URL that is checked as one thing and means another."""
    if not is_admitted(text):
        return
    url = parse_url(text)

    assert urlsplit(text).hostname == httpx.URL(text).host == url.host
    assert (urlsplit(text).port or 0) in {0, url.port}
    assert url.is_address == _is_address(url.host)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
