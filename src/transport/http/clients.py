"""Who is asking: clients' addresses, behind trusted proxies too, and how many connections each of them has."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable

from imageserver.limits import note
from imageserver.transport.budget import owner_of

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MOST_PROXIES = 32
"""Proxies behind one another that are believed; each address costs microseconds."""


class ClientAddresses:
    """The addresses that connections come from, at most `most` of each at once (0: no limit).

    `trusted_proxies`: addresses or networks ("10.0.0.1", "10.0.0.0/8"). ValueError for one that is none.
    """

    def __init__(self, trusted_proxies: Iterable[str], most: int, log: Callable[[str], None]) -> None:
        self._networks: list[Network] = [ipaddress.ip_network(text) for text in trusted_proxies]
        self._most, self._log = most, log
        self._counts: dict[str, int] = {}

    def trusted(self, address: str) -> bool:
        """Whether `address` is one of the trusted proxies."""
        if not self._networks:
            return False
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._networks)

    def behind(self, peer: str, forwarded: str) -> str:
        """Who is asking: `peer`, or behind trusted proxies the last address of X-Forwarded-For that is none."""
        address = peer
        for hop in reversed(forwarded.rsplit(",", MOST_PROXIES)):
            hop = hop.strip()
            if not hop or not self.trusted(address):
                break
            try:
                ipaddress.ip_address(hop)
            except ValueError:
                break  # "unknown", or something made up: the last one we know stands
            address = hop
        return address

    def enter(self, address: str) -> bool:
        """Count one more connection of `address`; False when it has as many as it may."""
        count = self._counts.get(address, 0)
        if self._most and count >= self._most:
            why = f"{address} has {count} connections; one more was refused"
            self._log(note(why, "max_per_address", owner_of(address)))
            return False
        self._counts[address] = count + 1
        return True

    def leave(self, address: str) -> None:
        """Undo `enter`."""
        count = self._counts.get(address, 0)
        if count > 1:
            self._counts[address] = count - 1
        else:
            self._counts.pop(address, None)
