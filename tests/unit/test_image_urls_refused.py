"""No URL leads inside: neither by its form, nor by what its name resolves to, nor by where a server points."""

import logging
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from router.errors import BadImage, InvalidRequest
from router.image_urls import SystemResolver
from tests.certificates import write_certificate
from tests.pictures import picture
from tests.web_server import Names, WebServer, fetch, fetcher, forever, response, url

PNG = picture(1)
PUBLIC = "93.184.216.34"


@pytest.fixture
async def server() -> AsyncIterator[WebServer]:
    """A server inside, with a picture that nobody outside may see."""
    async with WebServer().listen() as server:
        server.answers["/a.png"] = response(PNG)
        yield server


def reasons(caplog: pytest.LogCaptureFixture) -> list[object]:
    """What the operator can read of why an image was not fetched."""
    return [record.__dict__["reason"] for record in caplog.records if record.name == "router.image_urls"]


@pytest.mark.parametrize(
    "addresses",
    [
        *(["127.0.0.1"], ["127.0.0.2"], ["0.0.0.0"], ["::1"], ["::"], ["::ffff:127.0.0.1"], ["::ffff:7f00:1"]),
        *(["10.0.0.1"], ["172.16.0.1"], ["192.168.1.1"], ["100.64.0.1"], ["169.254.169.254"], ["168.63.129.16"]),
        *(["fe80::1"], ["fe80::1%lo"], ["fd00:ec2::254"], ["64:ff9b::7f00:1"], ["2002:7f00:1::"], ["2001:0:7f00:1::"]),
        *([PUBLIC, "127.0.0.1"], ["127.0.0.1", PUBLIC], [PUBLIC, "::ffff:10.0.0.1"], [], ["localhost"], [""]),
    ],
)
async def test_name_that_resolves_to_the_inside_is_refused(
    server: WebServer, addresses: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Every address has to be public, or nothing is connected to."""
    names = Names(img=[addresses])
    caplog.set_level(logging.DEBUG, "router.image_urls")

    error = await fetch(fetcher(server, names, public_only=True), url(server))

    assert isinstance(error, BadImage)
    assert reasons(caplog) == ["address"]
    assert (server.connections, len(names.lookups)) == (0, 1)


async def test_name_is_looked_up_once(server: WebServer) -> None:
    """A name that has another address a moment later (DNS rebinding) is connected to at the one that was checked."""
    names = Names(img=[["127.0.0.1"], ["127.0.0.2"]])
    images = fetcher(server, names)
    async with WebServer().listen("127.0.0.2", server.port) as inside:
        first = await fetch(images, url(server))
        second = await fetch(images, url(server))

    assert first == PNG
    assert isinstance(second, BadImage)
    assert (len(names.lookups), server.connections, inside.connections) == (2, 1, 0)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "localhost"])
async def test_inside_is_refused_even_where_it_is_on_the_list(server: WebServer, host: str) -> None:
    """An allow-list says who is asked, not that he may be inside."""
    listed = ["127.0.0.1", "::1", "::ffff:7f00:1", "localhost"]
    images = fetcher(server, Names(localhost=[["127.0.0.1"]]), allowed_hosts=listed, public_only=True)

    assert isinstance(await fetch(images, url(server, host=host)), (BadImage, InvalidRequest))
    assert server.connections == 0


async def test_address_on_the_list_is_connected_to_without_a_lookup(server: WebServer) -> None:
    """Were it public; the Host header is the address."""
    names = Names()
    images = fetcher(server, names, allowed_hosts=["127.0.0.1"])

    assert await fetch(images, url(server, host="127.0.0.1")) == PNG
    assert names.lookups == []
    assert f"Host: 127.0.0.1:{server.port}\r\n" in server.requests[0]


@pytest.mark.parametrize(
    "template",
    [
        *("http://127.0.0.1:{}/a.png", "http://[::1]:{}/a.png", "http://localhost:{}/a.png", "http://0.0.0.0:{}/a.png"),
        *("http://2130706433:{}/a.png", "http://0x7f000001:{}/a.png", "http://0x7f.0.0.1:{}/a.png"),
        *("http://017700000001:{}/a.png", "http://0177.0.0.1:{}/a.png", "http://127.1:{}/a.png", "http://0:{}/a.png"),
        *("http://[::ffff:127.0.0.1]:{}/a.png", "http://[::ffff:7f00:1]:{}/a.png", "http://169.254.169.254/latest/"),
        *("file:///etc/passwd", "ftp://img.example.com:{}/a.png", "gopher://img.example.com:{}/_GET", "HTTP://img.x/"),
        *("http://user:pw@img.example.com:{}/a.png", "http://img.example.com@127.0.0.1:{}/a.png"),
        *("http://127.0.0.1:{}\\@img.example.com/", "http://img.example.com\\@127.0.0.1:{}/a.png"),
        *("http://img.example.com/a.png", "http://img.example.com:22/a.png", "http://img.example.com:0{}/a.png"),
        *("http://img.example.com.:{}/a.png", "http://IMG.example.com:{}/a.png", "http://img.example.com.evil.net:{}/"),
        *("http://\uff49mg.example.com:{}/a.png", "http://img\u3002example.com:{}/a.png", "http://\u2460.example.com/"),
        *("http://%69mg.example.com:{}/a.png", "http://img.example.com:{}/\r\nX: y", "http://img.example.com\0:{}/"),
        *("http://a.img.example.com:{}/a.png", "http://example.com:{}/a.png", "//img.example.com:{}/a.png"),
    ],
)
async def test_url_that_is_not_on_the_list_is_refused_before_any_lookup(server: WebServer, template: str) -> None:
    """Other hosts and ports, and every spelling that someone might read as another host."""
    names = Names(img=[["127.0.0.1"]], localhost=[["127.0.0.1"]])

    error = await fetch(fetcher(server, names, may_connect=lambda _: True), template.format(server.port))

    assert isinstance(error, InvalidRequest)
    assert (names.lookups, server.connections) == ([], 0)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
async def test_redirect_is_not_followed(server: WebServer, status: str) -> None:
    """Least of all to the inside."""
    async with WebServer().listen("127.0.0.2") as inside:
        location = f"Location: http://127.0.0.2:{inside.port}/secret.png"
        server.answers["/a.png"] = response(PNG, location, status=status)
        error = await fetch(fetcher(server, may_connect=lambda _: True), url(server))

    assert isinstance(error, BadImage)
    assert (server.paths, inside.connections) == (["/a.png"], 0)


async def test_environment_names_no_proxy(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy would look the name up by itself."""
    for variable in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")

    assert await fetch(fetcher(server), url(server)) == PNG


async def test_systems_resolver_finds_all_addresses(server: WebServer, caplog: pytest.LogCaptureFixture) -> None:
    """And none that it finds for this machine is public."""
    caplog.set_level(logging.DEBUG, "router.image_urls")
    addresses = await SystemResolver(1)("localhost")
    assert set(addresses) <= {"127.0.0.1", "::1"}
    assert addresses

    images = fetcher(server, SystemResolver(1), allowed_hosts=["localhost"], public_only=True)

    assert isinstance(await fetch(images, url(server, host="localhost")), BadImage)
    assert reasons(caplog) == ["address"]


def certificates(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context for `img.example.com`, and one of a client who trusts it."""
    certificate, key = write_certificate(folder, ["img.example.com"])
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate, key)
    return serving, ssl.create_default_context(cafile=str(certificate))


async def test_certificate_of_the_name_is_trusted(tmp_path: Path) -> None:
    """The connection goes to an address; the name is what TLS asks for and checks."""
    serving, trusting = certificates(tmp_path)
    asked: list[str | None] = []
    serving.sni_callback = lambda _, name, __: asked.append(name)
    async with WebServer().listen(context=serving) as server:
        server.answers["/a.png"] = response(PNG)

        assert await fetch(fetcher(server, ssl_context=trusting), url(server, scheme="https")) == PNG
    assert asked == ["img.example.com"]


async def test_certificate_of_another_name_is_refused(tmp_path: Path) -> None:
    """Before anything is asked of it."""
    serving, trusting = certificates(tmp_path)
    names = Names(other=[["127.0.0.1"]])
    async with WebServer().listen(context=serving) as server:
        images = fetcher(server, names, ssl_context=trusting, allowed_hosts=["other.example.com"])

        assert isinstance(await fetch(images, url(server, host="other.example.com", scheme="https")), BadImage)
        assert server.requests == []


async def test_certificate_that_no_authority_vouches_for_is_refused(tmp_path: Path) -> None:
    """The default trusts public authorities only."""
    serving, _ = certificates(tmp_path)
    async with WebServer().listen(context=serving) as server:
        assert isinstance(await fetch(fetcher(server), url(server, scheme="https")), BadImage)
        assert server.requests == []


async def test_connection_is_closed_where_tls_never_begins(server: WebServer) -> None:
    """A server that says nothing holds neither the request nor a socket of ours."""
    server.answers["/a.png"] = forever

    error = await fetch(fetcher(server, timeout_s=0.2), url(server, scheme="https"))

    assert isinstance(error, BadImage)
    await server.hung_up()
