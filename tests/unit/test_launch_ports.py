"""Ports: a claim excludes other claims and admits a listener that shares."""

import socket

import pytest

from secondlook.errors import PortInUse
from secondlook.ports import claim_address, claim_block

HOST = "127.0.0.1"


def listen_shared(port: int) -> socket.socket:
    """Listen the way HAProxy does."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((HOST, port))
    listener.listen()
    return listener


def test_claimed_port_is_refused_to_the_next_claim() -> None:
    """Two services that start together can't both get it, on any address."""
    with claim_address(HOST, 0) as port:
        for host in (HOST, "0.0.0.0"):
            with pytest.raises(PortInUse, match=f"{host}:{port}"), claim_address(host, port):
                pass

    with claim_address(HOST, port) as again:
        assert again == port


def test_claim_lets_the_ingress_listen_and_takes_no_connection_from_it() -> None:
    """Every connection arrives at the listener, none at the claim."""
    with claim_address(HOST, 0) as port, listen_shared(port) as listener:
        for _ in range(20):
            with socket.create_connection((HOST, port), timeout=5):
                listener.accept()[0].close()


def test_port_of_a_stopped_service_can_be_claimed_at_once() -> None:
    """Connections that are still closing do not count as somebody listening."""
    with (
        claim_address(HOST, 0) as port,
        listen_shared(port) as listener,
        socket.create_connection((HOST, port), timeout=5),
    ):
        listener.accept()[0].close()

    with claim_address(HOST, port) as again:
        assert again == port


def test_address_of_another_machine_is_refused() -> None:
    """The message is about the host."""
    with pytest.raises(PortInUse, match=r"192\.0\.2\.77"), claim_address("192.0.2.77", 0):
        pass


def test_blocks_do_not_overlap() -> None:
    """Services that hold a block each have no port in common."""
    with claim_block() as one, claim_block() as two:
        ports = [{*block.fixed, *block.replica_http, *block.replica_grpc} for block in (one, two)]
        assert not ports[0] & ports[1]
        assert len(one.fixed) == len(set(one.fixed))
