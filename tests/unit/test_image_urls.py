"""Images are fetched from URLs within bounds: of time, bytes and number, and of what they are."""

import asyncio
import gzip
import time
from collections.abc import AsyncIterator

import pytest

from router.deadline import Deadline
from router.errors import BadImage, DeadlineExceeded, Overloaded, TooLarge, UnsupportedMedia
from router.image_urls import WAITING_PER_TURN
from tests.pictures import picture
from tests.web_server import Names, WebServer, fetch, fetcher, forever, response, url

PNG = picture(1)
FIXED_TEXT = "the image can't be fetched from its URL"


@pytest.fixture
async def server() -> AsyncIterator[WebServer]:
    """A web server on loopback that has a picture at /a.png."""
    async with WebServer().listen() as server:
        server.answers["/a.png"] = response(PNG)
        yield server


async def test_image_is_fetched_from_its_name(server: WebServer) -> None:
    """The request names the host, asks for plain bytes, and carries nothing of ours."""
    server.answers["/a.png?size=1"] = response(PNG)

    data = await fetch(fetcher(server), url(server, "/a.png?size=1#left"))

    assert data == PNG
    first, *lines = server.requests[-1].strip().split("\r\n")
    assert first == "GET /a.png?size=1 HTTP/1.1"
    assert sorted(lines) == [
        "Accept-Encoding: identity",
        "Accept: image/*",
        "Connection: close",
        f"Host: img.example.com:{server.port}",
        "User-Agent: secondlook",
    ]


async def test_url_that_stands_there_twice_is_fetched_once(server: WebServer) -> None:
    """And each of several by itself."""
    server.answers["/b.png"] = response(picture(2))
    urls = [url(server), url(server, "/b.png"), url(server)]

    results = await fetcher(server).fetch_all(urls, Deadline(time.monotonic() + 60))

    assert results == {urls[0]: PNG, urls[1]: picture(2)}
    assert sorted(server.paths) == ["/a.png", "/b.png"]


async def test_body_may_come_in_chunks_or_end_with_the_connection(server: WebServer) -> None:
    """Without a length the bytes are counted as they come."""
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (PNG[:3], PNG[3:])) + b"0\r\n\r\n"
    server.answers["/chunks"] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks
    server.answers["/old"] = b"HTTP/1.0 200 OK\r\n\r\n" + PNG
    images = fetcher(server)

    assert await fetch(images, url(server, "/chunks")) == PNG
    assert await fetch(images, url(server, "/old")) == PNG


async def test_next_address_is_tried_where_one_does_not_answer(server: WebServer) -> None:
    """Names have addresses of servers that are down."""
    names = Names(img=[["127.0.0.2", "127.0.0.1"]])

    assert await fetch(fetcher(server, names, may_connect=lambda _: True), url(server)) == PNG


@pytest.mark.parametrize(
    "answer",
    [
        *(response(PNG, status=status) for status in ("404 Not Found", "204 No Content", "206 Partial", "500 Oh")),
        response(b"", "Location: /a.png", status="302 Found"),
        response(PNG, "Upgrade: websocket", status="101 Switching Protocols"),
        response(gzip.compress(PNG), "Content-Encoding: gzip"),
        response(PNG, "content-encoding: br", "Content-Encoding: identity"),
        response(PNG, "Transfer-Encoding: gzip, chunked"),
        response(PNG, length=len(PNG) + 1),
        response(PNG, "Content-Length: 1"),
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"",
    ],
)
async def test_answer_that_is_no_plain_200_fails_with_one_text(server: WebServer, answer: bytes) -> None:
    """Another status, an encoding, a cut body, no HTTP: what stands there is nobody's business."""
    server.answers["/a.png"] = answer

    error = await fetch(fetcher(server), url(server))

    assert isinstance(error, BadImage)
    assert error.message == FIXED_TEXT
    assert server.paths == ["/a.png"]


async def test_whatever_keeps_it_from_being_fetched_has_the_same_text(server: WebServer) -> None:
    """An unknown name, nothing at the port, an address inside and a time-out can't be told apart."""
    names = Names(img=[["127.0.0.1"]], inside=[["10.0.0.1"]])
    images = fetcher(server, names, allowed_hosts=[".example.com"], allowed_ports=[server.port, 1], timeout_s=0.2)
    server.answers["/slow"] = forever

    for address in (
        url(server, host="unknown.example.com"),
        "http://img.example.com:1/",
        url(server, host="inside.example.com"),
        url(server, "/slow"),
    ):
        error = await fetch(images, address)
        assert isinstance(error, BadImage), address
        assert error.message == FIXED_TEXT


@pytest.mark.parametrize("body", [b"<html></html>", b"", b"GIF8", gzip.compress(PNG), b"\0" * 20])
async def test_what_is_no_image_is_unsupported(server: WebServer, body: bytes) -> None:
    """Its bytes decide, whatever type the server gives it."""
    server.answers["/a.png"] = response(body, "Content-Type: image/png")

    assert isinstance(await fetch(fetcher(server), url(server)), UnsupportedMedia)


async def test_what_is_no_image_is_not_read_to_its_end(server: WebServer) -> None:
    """Its first bytes are enough."""

    async def page(writer: asyncio.StreamWriter) -> None:
        writer.write(response(b"<!doctype html>", length=100_000))
        await forever()

    server.answers["/a.png"] = page

    assert isinstance(await fetch(fetcher(server), url(server)), UnsupportedMedia)


async def test_type_that_the_server_gives_an_image_does_not_matter(server: WebServer) -> None:
    """Many stores say that all is octets."""
    server.answers["/a.png"] = response(PNG, "Content-Type: text/html")

    assert await fetch(fetcher(server), url(server)) == PNG


async def test_image_may_be_as_large_as_its_limit(server: WebServer) -> None:
    """One byte more is too large, and is not read where its length is announced."""
    assert await fetch(fetcher(server, max_bytes=len(PNG)), url(server)) == PNG
    server.answers["/a.png"] = response(b"", length=len(PNG) + 1)

    error = await fetch(fetcher(server, max_bytes=len(PNG)), url(server))

    assert isinstance(error, TooLarge)


@pytest.mark.parametrize("header", ["", "Transfer-Encoding: chunked\r\n"])
async def test_body_without_end_is_cut_at_the_limit(server: WebServer, header: str) -> None:
    """The server is left while it is still sending."""
    server.answers["/endless"] = lambda writer: send_forever(writer, header)

    error = await fetch(fetcher(server, max_bytes=300_000), url(server, "/endless"))

    assert isinstance(error, TooLarge)
    await server.hung_up()


async def send_forever(writer: asyncio.StreamWriter, header: str) -> None:
    """Send a picture that does not end."""
    writer.write(f"HTTP/1.1 200 OK\r\n{header}\r\n".encode())
    part = b"GIF89a" + b"\0" * 65_536
    while True:
        writer.write(b"%x\r\n%b\r\n" % (len(part), part) if header else part)
        await writer.drain()


async def test_headers_without_end_are_cut(server: WebServer) -> None:
    """Not only a body can be long."""

    async def send_headers(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"X-More: " + b"x" * 1000 + b"\r\n")
            await writer.drain()

    server.answers["/headers"] = send_headers

    assert isinstance(await fetch(fetcher(server), url(server, "/headers")), BadImage)


async def test_request_has_one_allowance_for_all_its_images(server: WebServer) -> None:
    """Many images within their limits are not many times the limit."""
    paths = [f"/{number}.png" for number in range(4)]
    server.answers |= {path: response(PNG) for path in paths}
    images = fetcher(server, max_bytes=len(PNG), max_request_bytes=2 * len(PNG))

    results = await images.fetch_all([url(server, path) for path in paths], Deadline(time.monotonic() + 60))

    assert sum(isinstance(result, TooLarge) for result in results.values()) >= 2
    assert all(isinstance(result, (bytes, TooLarge)) for result in results.values())
    assert await fetch(images, url(server)) == PNG  # the next request has its own


async def test_server_that_sends_drop_by_drop_is_given_up(server: WebServer) -> None:
    """Its bytes keep coming, and the time is up all the same."""

    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(response(b"", length=len(PNG)))
        for byte in PNG:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.01)

    server.answers["/drip"] = drip
    began = time.monotonic()

    error = await fetch(fetcher(server, timeout_s=0.2), url(server, "/drip"))

    assert isinstance(error, BadImage)
    assert 0.15 < time.monotonic() - began < 2.0
    await server.hung_up()


@pytest.mark.parametrize("left_s", [0.0, 0.1])
async def test_fetch_ends_with_the_requests_deadline(server: WebServer, left_s: float) -> None:
    """That it was the caller's own is said."""
    server.answers["/slow"] = forever

    error = await fetch(fetcher(server), url(server, "/slow"), left_s)

    assert isinstance(error, DeadlineExceeded)


async def test_time_of_the_lookup_counts(server: WebServer) -> None:
    """A name server that hangs is given up too."""

    async def hang(_: str) -> list[str]:
        await asyncio.Event().wait()
        return []

    images = fetcher(server, hang, timeout_s=0.1)

    assert isinstance(await fetch(images, url(server)), BadImage)
    assert server.connections == 0


async def test_so_many_are_fetched_at_once_and_no_more(server: WebServer) -> None:
    """The others wait for their turn."""
    may_answer, both_came, together = asyncio.Event(), asyncio.Event(), 0

    async def answer(writer: asyncio.StreamWriter) -> None:
        nonlocal together
        together += 1
        if together == 2:
            both_came.set()
        await may_answer.wait()
        together -= 1
        writer.write(response(PNG))

    server.answers |= {f"/{number}": answer for number in range(6)}
    urls = [url(server, f"/{number}") for number in range(6)]
    fetching = asyncio.create_task(
        fetcher(server, concurrent=2).fetch_all(urls, Deadline(time.monotonic() + 60)), name="fetching"
    )
    async with asyncio.timeout(5):
        await both_came.wait()
    assert server.connections == 2
    may_answer.set()

    assert list((await fetching).values()) == [PNG] * 6


async def test_who_gets_no_turn_in_time_hears_that_the_router_is_busy(server: WebServer) -> None:
    """It is no fault of the image; and the next but so many is refused at once."""
    server.answers |= {f"/{number}": forever for number in range(WAITING_PER_TURN + 2)}
    urls = [url(server, f"/{number}") for number in range(WAITING_PER_TURN + 2)]

    results = await fetcher(server, concurrent=1, timeout_s=0.2).fetch_all(urls, Deadline(time.monotonic() + 60))

    assert [type(result) for result in results.values()] == [BadImage] + [Overloaded] * (WAITING_PER_TURN + 1)


async def test_caller_who_goes_away_ends_the_fetch(server: WebServer) -> None:
    """Nothing goes on for nobody, and the turn is free again."""
    server.answers["/slow"] = forever
    images = fetcher(server, concurrent=1)
    fetching = asyncio.create_task(fetch(images, url(server, "/slow")))
    await server.asked()

    fetching.cancel()

    await server.hung_up()
    assert await fetch(images, url(server)) == PNG
