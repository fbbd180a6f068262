"""Which addresses may be asked: the public internet, and nothing on a private network.

A metadata file comes from outside, and so do its URLs. A name is resolved once, each of its addresses is checked, and
the connection goes to an address that was checked: a name that resolves differently a moment later changes nothing.
"""

import ipaddress
import socket
from dataclasses import dataclass

from aiohttp import ThreadedResolver
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from geoloc_core.photos.images import RefusedImage

MAX_URL_LENGTH = 2048
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True)
class AddressRules:
    """Public addresses are allowed, and those of `allowed_networks` ("127.0.0.1/32" in a test)."""

    allowed_networks: tuple[str, ...] = ()

    def check(self, host: str, address: str) -> None:
        """Raise `RefusedImage` unless `address`, to which `host` leads, may be asked."""
        ip = ipaddress.ip_address(address)
        if is_public(ip) or any(ip in ipaddress.ip_network(network) for network in self.allowed_networks):
            return
        raise RefusedImage("blocked_address", f"{host} leads to {address}, which is not on the public internet")

    def check_url(self, url: URL) -> None:
        """Refuse what is not http(s), has no host or a password, or names its host by a number that may not be asked."""
        if url.scheme not in ("http", "https") or not url.host:
            raise RefusedImage("bad_url", f"{str(url)[:200]!r} is not an http or https address")
        if url.user is not None or url.password is not None:
            raise RefusedImage("bad_url", f"the address of {url.host} carries a user name")
        if len(str(url)) > MAX_URL_LENGTH:
            raise RefusedImage("bad_url", f"an address of {url.host} is longer than {MAX_URL_LENGTH} characters")
        try:
            ipaddress.ip_address(url.host)
        except ValueError:
            return  # a name: the resolver checks what it leads to
        # aiohttp does not ask its resolver about numbers.
        self.check(url.host, url.host)


def is_public(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether an address is on the public internet, seen through every way of writing an IPv4 address in IPv6."""
    if isinstance(ip, ipaddress.IPv6Address):
        whole = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else ip.ipv4_mapped
        if whole is not None:
            return is_public(whole)
        hidden = [address for address in (ip.sixtofour, *(ip.teredo or ())) if address is not None]
        if ip.is_site_local or not all(map(is_public, hidden)):
            return False
    return ip.is_global and not ip.is_multicast and not ip.is_unspecified


class CheckedResolver(AbstractResolver):
    """Resolves names with the system's resolver and refuses a name of which any address may not be asked."""

    def __init__(self, rules: AddressRules) -> None:
        self._rules = rules
        self._inner = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of `host`, all of them checked."""
        addresses = await self._inner.resolve(host, port, family)
        for address in addresses:
            self._rules.check(host, address["host"])
        return addresses

    async def close(self) -> None:
        """Nothing is kept open between look-ups."""
        await self._inner.close()
