"""Keeps requests to addresses that users chose away from our own network (SSRF).

A name is resolved once, every answer is judged, and the connection goes to the judged
address itself, so a second, different answer of the resolver is never asked for.
"""

import ipaddress
from collections.abc import Sequence

from notifier.channels import wire

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
IP = ipaddress.IPv4Address | ipaddress.IPv6Address

NEVER: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        # IANA IPv4 and IPv6 special-purpose address registries (RFC 6890 and successors).
        # `is_global` alone is not enough: its tables differ between Python releases.
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "2001::/23",  # Teredo and other protocol assignments
        "2001:db8::/32",
        "2002::/16",  # 6to4
        "3fff::/20",
    )
)

UNICAST = ipaddress.ip_network("2000::/3")
"""The only part of IPv6 that is assigned for the public internet (IANA, RFC 4291, 2.4).
Outside lie loopback, private, link-local and multicast, and the addresses that carry an IPv4
address to which a socket (`::ffff:0:0/96`) or a gateway (NAT64, `64:ff9b::/96`) would go on."""


class Forbidden(Exception):
    """The host has an address that must not be reached. The text names no address:
    it is shown to the tenant, who may be mapping our network."""

    def __init__(self) -> None:
        super().__init__("the host has an address that is not public")


def parse_networks(text: str) -> tuple[Network, ...]:
    """A comma list of networks such as `127.0.0.0/8,::1/128`; ValueError where it is none."""
    return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())


def is_allowed(ip: IP, allowed: Sequence[Network] = ()) -> bool:
    """Whether a connection to `ip` may be opened: it is public, or in an allowed network."""
    if any(ip.version == network.version and ip in network for network in allowed):
        return True
    if ip.version == 6 and ip not in UNICAST:
        return False
    forbidden = any(ip.version == network.version and ip in network for network in NEVER)
    return not forbidden and ip.is_global and not ip.is_multicast


def vetted(
    host: str, port: int, ends: float, allowed: Sequence[Network] = ()
) -> list[wire.Address]:
    """The addresses of `host`, all of them allowed; raises `Forbidden` if any is not.

    OSError where the host has none. Decimal, octal and hex spellings of an address are
    understood by the resolver as the connection would understand them.
    """
    addresses = wire.resolve(host, port, ends)
    for address in addresses:
        try:
            ip = ipaddress.ip_address(address.ip)
        except ValueError:  # with a scope that Python does not know
            raise Forbidden from None
        if not is_allowed(ip, allowed):
            raise Forbidden
    return addresses
