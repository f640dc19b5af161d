"""Addresses of machines: which are this one, which are private to it, and how people write address and port."""

from __future__ import annotations

import fcntl
import ipaddress
import re
import socket
import struct
from collections.abc import Iterator

_SIOCGIFADDR = 0x8915  # netdevice(7)


def lan_address() -> str | None:
    """The address by which other machines of the network reach this one; None without a network.

    Connecting a UDP socket sends nothing: the kernel only says which address of ours it would send from.
    """
    for family, elsewhere in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((elsewhere, 9))
            except OSError:  # no route by this family
                continue
            found = str(probe.getsockname()[0])
        if not is_loopback(found) and not ipaddress.ip_address(found).is_unspecified:
            return found
    # A network without a default route, such as a router with nothing behind it.
    return next((found for found in _interface_addresses() if not is_loopback(found)), None)


def reachable(listens: str) -> str:
    """The address or name by which others reach a server that listens on `listens`, which may be every address."""
    try:
        every = ipaddress.ip_address(listens).is_unspecified
    except ValueError:
        every = False
    return (lan_address() or socket.gethostname()) if every else listens


def own() -> list[str]:
    """The addresses by which others may know this machine: that of `lan_address`, and IPv4 of every interface."""
    return list(
        dict.fromkeys(found for found in (lan_address(), *_interface_addresses()) if found and not is_loopback(found))
    )


def _interface_addresses() -> Iterator[str]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for _index, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(any_socket.fileno(), _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            except OSError:  # an interface without an IPv4 address
                continue
            yield socket.inet_ntoa(answer[20:24])


def full_name() -> str:
    """This machine's name with its domain, as the resolver knows it, which may take a while; "" for one of no use."""
    try:
        return socket.getfqdn()
    except (OSError, UnicodeError):  # a label of 64 characters is a host name to Linux, and none to the resolver
        return ""


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host` (an address or a name)."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost" or host.lower().endswith(".localhost")


def for_url(host: str) -> str:
    """`host` as it stands in a URL: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def split(text: str) -> tuple[str | None, str | None]:
    """What people type where an address and a port belong, as texts; None for the part that is missing.

    `10.0.0.5:8080`, `[::1]:8080`, `myhost`, `::1`, `8080`, `:8080`. ValueError when there is neither.
    """
    text = text.strip()
    bracketed = re.fullmatch(r"\[([^\]]+)\](?::([0-9]+))?", text)
    if bracketed:
        return bracketed[1], bracketed[2]
    if re.fullmatch(r"[0-9]+", text):
        return None, text
    if text.count(":") == 1:
        host, _colon, port = text.partition(":")
        if not port:
            raise ValueError(text)
        return host or None, port
    if not text:
        raise ValueError(text)
    return text, None
