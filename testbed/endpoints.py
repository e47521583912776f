"""Destinations as Microsoft publishes them: which may be reached over ExpressRoute, and which never are.

The model of the JSON that the Office 365 IP address and URL web service answers with: an array of endpoint sets.
Pure; `testbed.spec.endpoints` reads the files.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    StringConstraints,
    model_validator,
)

Network = IPv4Network | IPv6Network


def _network(value: object) -> Network:
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    try:
        return ip_network(str(value))
    except ValueError:
        problem = "must be an IPv4 or IPv6 prefix like '192.0.2.0/24', no bit set beyond its length"
        raise ValueError(f"{problem}, not {value!r}") from None


def port_ranges(text: str) -> list[tuple[int, int]]:
    """Return the first and last port of each part of "80,443" or "3478-3481"; raise ValueError if it is no such."""
    ranges = []
    for part in filter(None, text.split(",")):
        first, dash, last = part.strip().partition("-")
        ranges.append((int(first), int(last if dash else first)))
    return ranges


def _ports(text: str) -> str:
    try:
        ranges = port_ranges(text)
    except ValueError:
        ranges = []
    if not ranges or not all(1 <= low <= high <= 65535 for low, high in ranges):
        raise ValueError(f"must be ports and ranges like '80,443' or '3478-3481', from 1 to 65535, not {text!r}")
    return text


Prefix = Annotated[Network, PlainValidator(_network), PlainSerializer(str, return_type=str)]
Ports = Annotated[str, AfterValidator(_ports)]
Url = Annotated[str, StringConstraints(pattern=r"^[^\s/]+$")]


class Endpoint(BaseModel):
    """One endpoint set: destinations that are treated alike. Keys that it does not know are left alone."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)

    id: int = Field(ge=1)
    service_area: str = Field(alias="serviceArea", min_length=1)
    'The service, in short: "Skype", "Exchange", "Common".'
    service_area_display_name: str = Field(alias="serviceAreaDisplayName", min_length=1)
    urls: tuple[Url, ...] = ()
    "Names, where a * stands for any characters: whole labels, or a part of one."
    ips: tuple[Prefix, ...] = ()
    tcp_ports: Ports | None = Field(default=None, alias="tcpPorts")
    udp_ports: Ports | None = Field(default=None, alias="udpPorts")
    express_route: bool = Field(alias="expressRoute")
    "Whether Microsoft supports reaching it over ExpressRoute; the Internet always works."
    category: Literal["Optimize", "Allow", "Default"]
    required: bool = False
    notes: str = ""

    @model_validator(mode="after")
    def _leads_somewhere(self) -> "Endpoint":
        if not self.urls and not self.ips:
            raise ValueError("has neither urls nor ips")
        if self.tcp_ports is None and self.udp_ports is None:
            raise ValueError("has neither tcpPorts nor udpPorts")
        return self

    @property
    def ipv4(self) -> tuple[IPv4Network, ...]:
        """The IPv4 prefixes among its addresses."""
        return tuple(network for network in self.ips if isinstance(network, IPv4Network))

    @property
    def ipv6(self) -> tuple[IPv6Network, ...]:
        """The IPv6 prefixes among its addresses: known, and not emulated."""
        return tuple(network for network in self.ips if isinstance(network, IPv6Network))


@dataclass(frozen=True, slots=True)
class Overlap:
    """A range of addresses that one set allows over ExpressRoute and another does not.

    A prefix announced for the first draws the second's traffic too, and its answers: a cause of asymmetric routes.
    """

    allowed: Endpoint
    allowed_prefix: Network
    refused: Endpoint
    refused_prefix: Network

    def __str__(self) -> str:
        return (
            f"{self.refused_prefix} (id {self.refused.id}, never over ExpressRoute) overlaps "
            f"{self.allowed_prefix} (id {self.allowed.id}, ExpressRoute)"
        )


def covers(url: str, name: str) -> bool:
    """Return whether *url*, a name that may have wildcards, stands for the DNS name *name*; case does not count."""
    return re.fullmatch(".*".join(map(re.escape, url.split("*"))), name, re.IGNORECASE) is not None


def expressroute_prefixes(endpoints: Sequence[Endpoint]) -> tuple[IPv4Network, ...]:
    """Return the IPv4 prefixes that may be announced over ExpressRoute, in order, none inside another."""
    return _outermost(network for endpoint in endpoints if endpoint.express_route for network in endpoint.ipv4)


def all_prefixes(endpoints: Sequence[Endpoint]) -> tuple[IPv4Network, ...]:
    """Return the IPv4 prefixes of all endpoints, in order, none inside another: the Internet knows every one."""
    return _outermost(network for endpoint in endpoints for network in endpoint.ipv4)


def overlaps(endpoints: Sequence[Endpoint]) -> Iterator[Overlap]:
    """Yield every pair of ranges that overlap and differ in whether they may be reached over ExpressRoute."""
    for allowed in endpoints:
        for refused in endpoints:
            if allowed.express_route and not refused.express_route:
                for one in allowed.ips:
                    for other in refused.ips:
                        if _overlap(one, other):
                            yield Overlap(allowed, one, refused, other)


def _overlap(one: Network, other: Network) -> bool:
    if isinstance(one, IPv4Network) and isinstance(other, IPv4Network):
        return one.overlaps(other)
    return isinstance(one, IPv6Network) and isinstance(other, IPv6Network) and one.overlaps(other)


def _outermost(networks: Iterator[IPv4Network]) -> tuple[IPv4Network, ...]:
    listed = tuple(dict.fromkeys(networks))
    return tuple(one for one in listed if not any(one != other and one.subnet_of(other) for other in listed))
