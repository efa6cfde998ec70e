"""An open loop: requests leave at their times, whatever becomes of those before them."""

import asyncio
import json
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

from tests.faults.load import CLIENT_PATIENCE_S, Exchange


def flood(base_url: str, path: str, bodies: Sequence[bytes], rate: float, deadline_s: float) -> list[Exchange]:
    """Send all bodies at `rate` per second, each over its own connection; an exchange's seed is its place."""
    return asyncio.run(_flood(base_url, path, bodies, rate, deadline_s))


async def _flood(base_url: str, path: str, bodies: Sequence[bytes], rate: float, deadline_s: float) -> list[Exchange]:
    began_at = time.monotonic()

    async def send(place: int) -> Exchange:
        await asyncio.sleep(began_at + place / rate - time.monotonic())
        return await _ask(base_url, path, bodies[place], deadline_s, place)

    return await asyncio.gather(*[send(place) for place in range(len(bodies))])


async def _ask(base_url: str, path: str, body: bytes, deadline_s: float, place: int) -> Exchange:
    url = urlsplit(base_url)
    head = (
        f"POST {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-type: application/json\r\n"
        f"x-deadline-ms: {int(deadline_s * 1e3)}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    began_at = time.monotonic()
    try:
        async with asyncio.timeout(CLIENT_PATIENCE_S):
            reader, writer = await asyncio.open_connection(url.hostname, url.port)
            writer.write(head.encode() + body)
            answer = await reader.read(-1)
            writer.close()
        return _read(answer, place, began_at)
    except (OSError, TimeoutError, ValueError) as error:
        return Exchange(place, began_at, time.monotonic(), 0, fault=type(error).__name__)


def _read(answer: bytes, place: int, began_at: float) -> Exchange:
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Exchange(place, began_at, time.monotonic(), int(first.split()[1]), json.loads(body), headers)
