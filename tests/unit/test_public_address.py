"""Which addresses the service may connect to: one host of the public internet each, in its usual notation."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.public_address import is_public


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "8.8.8.8", "1.1.1.1", "172.32.0.1", "2606:4700:4700::1111", "2a00:1450:4001:81b::200e"]
)
def test_host_of_the_internet_is_public(address: str) -> None:
    """Of both versions."""
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.255.254"),
        *("10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
        *("169.254.169.254", "100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.8", "192.0.0.192"),
        *("192.0.2.1", "198.51.100.1", "203.0.113.1", "198.18.0.1", "192.88.99.1"),
        *("224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
    ],
)
def test_ipv4_that_is_no_host_of_the_internet_is_refused(address: str) -> None:
    """Own, loopback, private, link-local and metadata, shared, documentation, multicast, reserved."""
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("::", "::1", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd00:ec2::254", "fd20:ce::254"),
        *("2001:db8::1", "3fff::1", "100::1", "ff02::1", "ff0e::1", "5f00::1", "4000::1"),
        "2606:4700:4700::1111%eth0",
    ],
)
def test_ipv6_that_is_no_host_of_the_internet_is_refused(address: str) -> None:
    """Loopback, link-local, local, documentation, multicast, unassigned, and whatever names an interface."""
    assert not is_public(address)


@pytest.mark.parametrize("inner", ["127.0.0.1", "169.254.169.254", "10.0.0.1", "8.8.8.8"])
def test_ipv4_inside_of_ipv6_is_refused(inner: str) -> None:
    """Mapped, compatible, translated (both prefixes of NAT64, and SIIT), 6to4 and Teredo: whatever they carry."""
    number = int(ipaddress.IPv4Address(inner))
    forms = [
        (0xFFFF << 32) | number,
        number,
        (0x64FF9B << 96) | number,
        (0x64FF9B0001 << 80) | number,
        (0xFFFF << 48) | number,
        (0x2002 << 112) | (number << 80),
        (0x20010000 << 96) | (number << 64) | (number ^ 0xFFFFFFFF),
    ]

    for form in map(ipaddress.IPv6Address, forms):
        assert not is_public(str(form)), form
    assert not is_public(f"::ffff:{inner}")


@pytest.mark.parametrize(
    "address", ["", "localhost", "8.8.8", "134744072", "0x8.8.8.8", "08.8.8.8", "8.8.8.8:80", "8.8.8.8/32", " 8.8.8.8"]
)
def test_what_is_no_address_in_its_usual_notation_is_refused(address: str) -> None:
    """A resolver that answers with anything else is not one to follow."""
    assert not is_public(address)


@given(st.ip_addresses())
def test_public_address_is_global_to_python_too(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    """The service is never more lenient than the standard library."""
    if is_public(str(address)):
        assert address.is_global
        assert not address.is_multicast
