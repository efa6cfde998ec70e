"""`python -m bench.redis_memory`: bytes of a Redis server's memory for each stored embedding."""

import sys

import numpy as np

from cache.codec import Codec
from cache.layout import DType
from cache.redis_store import KEY_PREFIX
from tests.redis_server import RedisServer

COUNT = 50_000
STEP = 500
KEY_BYTES = 33
DTYPES: tuple[DType, ...] = ("float32", "float16", "int8")
DIMENSIONS = (256, 512, 768)


def bytes_per_embedding(dtype: DType, dimension: int) -> float:
    """Return by how much a server's memory grows for each of 50,000 embeddings of different keys."""
    vector = np.random.default_rng(0).standard_normal(dimension).astype(np.float32)
    codec = Codec(dtype)
    with RedisServer() as server:
        before = _used_memory(server)
        for first in range(0, COUNT, STEP):
            words: list[bytes | str] = ["MSET"]
            for number in range(first, first + STEP):
                key = number.to_bytes(KEY_BYTES, "big")
                words += [KEY_PREFIX + key, codec.encode(key, vector, 60_000)]
            server.call(*words)
        return (_used_memory(server) - before) / COUNT


def _used_memory(server: RedisServer) -> int:
    info = server.call("INFO", "memory").decode()
    return int(info.partition("used_memory:")[2].split("\r\n", 1)[0])


def main() -> None:
    """Print a table."""
    sys.stdout.write("dtype     " + "".join(f"{f'{dimension} numbers':>14}" for dimension in DIMENSIONS) + "\n")
    for dtype in DTYPES:
        row = [f"{bytes_per_embedding(dtype, dimension):>12,.0f} B" for dimension in DIMENSIONS]
        sys.stdout.write(f"{dtype:<10}" + "".join(row) + "\n")


if __name__ == "__main__":
    main()
