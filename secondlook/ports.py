"""Claim TCP ports so that services on one machine never share one, even when started together.

A claim is a bound socket that never listens. The kernel refuses a second claim, and drops the
first with its process, however that ends. HAProxy and Serve listen with SO_REUSEPORT, which is
switched on after binding: they may join the claim's port, another claim may not.
"""

import random
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass

from secondlook.errors import PortInUse, StartFailed

FIRST_BLOCK = 20000
LAST_PORT = 32767
"""Blocks lie between the ports that servers are usually given and the kernel's ephemeral range."""
BLOCK_SIZE = 128
FIRST_REPLICA_OFFSET = 8
FIRST_GRPC_OFFSET = 96


@dataclass(frozen=True, slots=True)
class PortBlock:
    """The ports that one service uses inside the machine, next to each other from `base`."""

    base: int

    @property
    def haproxy_stats(self) -> int:
        """HAProxy's status page."""
        return self.base + 1

    @property
    def haproxy_metrics(self) -> int:
        """HAProxy's own Prometheus page."""
        return self.base + 2

    @property
    def fallback_http(self) -> int:
        """Serve's Python proxy behind HAProxy."""
        return self.base + 3

    @property
    def fallback_grpc(self) -> int:
        """The same proxy's gRPC side."""
        return self.base + 4

    @property
    def replica_http(self) -> range:
        """Where ingress replicas listen for HAProxy."""
        return range(self.base + FIRST_REPLICA_OFFSET, self.base + FIRST_GRPC_OFFSET)

    @property
    def replica_grpc(self) -> range:
        """Where ingress replicas would listen for gRPC."""
        return range(self.base + FIRST_GRPC_OFFSET, self.base + BLOCK_SIZE)

    @property
    def fixed(self) -> tuple[int, ...]:
        """The ports that have to be free at start: nothing looks for another one later."""
        return (self.haproxy_stats, self.haproxy_metrics, self.fallback_http, self.fallback_grpc)


@contextmanager
def claim_address(host: str, port: int) -> Iterator[int]:
    """Hold `host:port` for this process and yield the port; 0 chooses a free one.

    Raises:
        PortInUse: Somebody listens there or has claimed it, or the host is not one of this machine's.
    """
    with closing(_bind(host, port)) as claim:
        yield int(claim.getsockname()[1])


@contextmanager
def claim_block() -> Iterator[PortBlock]:
    """Hold a block of neighbouring ports that no other service uses.

    Raises:
        StartFailed: Every block is taken.
    """
    blocks = [PortBlock(base) for base in range(FIRST_BLOCK, LAST_PORT - BLOCK_SIZE, BLOCK_SIZE)]
    # Any order is right; a random one keeps services that start together from trying the same.
    random.shuffle(blocks)
    for block in blocks:
        with ExitStack() as held, suppress(PortInUse):
            held.enter_context(closing(_bind("127.0.0.1", block.base)))
            _check_free(block)
            with held.pop_all():
                yield block
                return
    raise StartFailed(f"no free block of {BLOCK_SIZE} ports between {FIRST_BLOCK} and {LAST_PORT}")


def _check_free(block: PortBlock) -> None:
    for port in block.fixed:
        _bind("", port).close()


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise PortInUse(f"cannot listen on {host}: not an address of this machine") from error
    claim = socket.socket(family, kind, proto)
    try:
        # Reuse lets connections that are just closing pass; taken back at once, so that only a
        # listener with SO_REUSEPORT may join.
        claim.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        claim.bind(address)
        claim.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        claim.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except OSError as error:
        claim.close()
        raise PortInUse(f"cannot listen on {host}:{port}: {(error.strerror or 'refused').lower()}") from error
    return claim
