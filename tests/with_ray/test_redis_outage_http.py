"""Redis killed, back, and holding garbage: over real HTTP, with a real redis-server."""

import itertools
import threading
import time
from collections.abc import Callable

import httpx
import redis

from tests.pictures import as_base64, captions, picture
from tests.redis_server import RedisServer


def ask(client: httpx.Client, seed: int) -> httpx.Response:
    """A similarity request about a seed's picture."""
    body = {"images": [{"image": as_base64(picture(seed))}], "texts": captions(seed, 3)}
    return client.post("/v1/similarity", json=body)


def is_all_hits(response: httpx.Response) -> bool:
    """Whether nothing had to be computed."""
    (item,) = response.json()["data"]
    return bool(item["tiering"]["cache"] == {"image": "hit", "texts": {"hit": 3, "miss": 0}})


def wait_until(condition: Callable[[], bool], timeout_s: float = 20) -> None:
    """Poll until the condition holds."""
    give_up_at = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < give_up_at, "the condition did not come to hold"
        time.sleep(0.05)


def flip_last_byte_of_every_vector(url: str) -> None:
    """Corrupt whatever is long enough to be a vector."""
    with redis.Redis.from_url(url) as connection:
        for key in connection.scan_iter(_type="string"):
            value = connection.get(key)
            if isinstance(value, bytes) and len(value) > 100:
                connection.set(key, value[:-1] + bytes([value[-1] ^ 1]))


def test_no_request_fails_while_redis_is_killed_and_started_again(
    redis_base_url: str, redis_server: RedisServer
) -> None:
    """Under load, SIGKILL and a new start: every answer is 200, and hits come back by themselves."""
    statuses: list[int] = []
    stop = threading.Event()
    seeds = itertools.count(5000)

    def load() -> None:
        with httpx.Client(base_url=redis_base_url, timeout=30) as client:
            while not stop.is_set():
                statuses.append(ask(client, next(seeds) % 40 + 5000).status_code)

    workers = [threading.Thread(target=load) for _ in range(4)]
    for worker in workers:
        worker.start()
    wait_until(lambda: len(statuses) > 50)
    redis_server.kill()
    reached = len(statuses)
    wait_until(lambda: len(statuses) > reached + 50)
    redis_server.start()
    reached = len(statuses)
    wait_until(lambda: len(statuses) > reached + 50)
    stop.set()
    for worker in workers:
        worker.join()

    assert set(statuses) == {200}
    with httpx.Client(base_url=redis_base_url, timeout=30) as client:
        wait_until(lambda: is_all_hits(ask(client, 6000)))


def test_corrupted_value_in_redis_is_a_miss(redis_base_url: str, redis_server: RedisServer) -> None:
    """A flipped byte costs a computation and never a wrong answer."""
    with httpx.Client(base_url=redis_base_url, timeout=30) as client:
        wait_until(lambda: is_all_hits(ask(client, 6100)))
        good = ask(client, 6100).json()["data"][0]["cosine"]
        flip_last_byte_of_every_vector(redis_server.url)

        response = ask(client, 6100)

    assert response.json()["data"][0]["tiering"]["cache"]["image"] == "miss"
    assert max(abs(a - b) for a, b in zip(response.json()["data"][0]["cosine"], good, strict=True)) < 1e-3
