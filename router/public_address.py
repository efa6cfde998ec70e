"""Whether an IP address lies on the public internet: the only ones that images are fetched from. Pure."""

import ipaddress

# What `ipaddress.is_global` lets pass, in some Python of those we run on, and what is no host of the internet.
_IPV4_EXCEPTIONS = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "192.0.0.0/24",  # protocol assignments
        "192.88.99.0/24",  # 6to4 relays
        "168.63.129.16/32",  # Azure's host agent, reached from inside a virtual machine only
    )
)
_IPV6_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
# All forms that carry an IPv4 address are refused, whatever address it is: mapped, compatible and NAT64 ones lie
# outside of global unicast, the two others here.
_IPV6_EXCEPTIONS = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments, Teredo among them
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
    )
)


def is_public(address: str) -> bool:
    """Whether this is the address of one host on the public internet, in its usual notation."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if not parsed.is_global or parsed.is_multicast:
        return False
    if isinstance(parsed, ipaddress.IPv4Address):
        return not any(parsed in network for network in _IPV4_EXCEPTIONS)
    if parsed.scope_id is not None or parsed not in _IPV6_GLOBAL_UNICAST:
        return False
    return not any(parsed in network for network in _IPV6_EXCEPTIONS)
