"""What clients visit besides calls: a portal, telemetry and a CDN over TLS, and the list of what is revoked behind all.

Each is a stock web server. The certificates are of the run's own authority and name the list (RFC 5280 section
4.2.1.13), which is how clients come to ask for it.
"""

import base64
from collections.abc import Iterator
from typing import Any, Final

from testbed.plan import stock
from testbed.plan.addresses import host_name, own_address
from testbed.plan.adjacency import Adjacency
from testbed.plan.cast import Cast
from testbed.plan.certificates import Certificates
from testbed.plan.model import DnsRecord
from testbed.scenario import Party

_LIST: Final = "authority.crl"
_HTTPS_PORT: Final = 443


class Visits:
    """The visits of one scenario's parties, and the servers that they need."""

    def __init__(self, cast: Cast, adjacency: Adjacency) -> None:
        self._cast, self._topology, self._adjacency = cast, cast.topology, adjacency
        self._certificates = Certificates(cast.secret("certificates"))
        visited = {name for party in cast.scenario.parties.values() for name in party.visits}
        services = self._topology.services.items()
        self._visited = [name for name, _ in services if name in visited]
        self._lists = [name for name, service in services if service.kind == "crl" and visited]

    def servers(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Yield name, node and arguments of each web server."""
        for name in self._lists:
            node = self._topology.services[name].node
            files = {f"www/{_LIST}": {"base64": base64.b64encode(self._revoked()).decode()}}
            yield name, node, self._nginx(node, stock.list_configuration(self._address(node)), stock.HTTP_PORT, files)
        for name in self._visited:
            service = self._topology.services[name]
            names, condition = [host_name(self._topology, service.node)], self._topology.nodes[service.node].certificate
            shown = self._certificates.of(service.node, names, condition, crl=self._list_url())
            page = f"<!doctype html><title>{service.title}</title><h1>{service.title}</h1>\n"
            own: dict[str, Any] = {"certificate.pem": shown.certificate, "key.pem": shown.key, "www/index.html": page}
            accepts = service.kind == "telemetry"
            text = stock.https_configuration(self._address(service.node), accepts=accepts)
            yield name, service.node, self._nginx(service.node, text, _HTTPS_PORT, own)

    def records(self) -> Iterator[DnsRecord]:
        """Yield the names under which they are found."""
        for name in (*self._lists, *self._visited):
            node = self._topology.services[name].node
            yield DnsRecord(name=host_name(self._topology, node), kind="A", target=self._address(node))

    def of(self, party: Party) -> dict[str, Any]:
        """Return what a client's job says of its visits; nothing where it makes none."""
        if not party.visits:
            return {}
        return {"visits": {"authority": self._certificates.trusted, "to": [self._visit(name) for name in party.visits]}}

    def _visit(self, name: str) -> dict[str, str]:
        service = self._topology.services[name]
        return {"service": name, "kind": service.kind, "url": f"https://{host_name(self._topology, service.node)}/"}

    def _revoked(self) -> bytes:
        nodes = (self._topology.services[name].node for name in self._visited)
        return self._certificates.revoked([x for x in nodes if self._topology.nodes[x].certificate == "revoked"])

    def _list_url(self) -> str:
        nodes = (self._topology.services[name].node for name in self._lists)
        return next((f"http://{host_name(self._topology, node)}/{_LIST}" for node in nodes), "")

    def _nginx(self, node: str, server: str, port: int, files: dict[str, Any]) -> dict[str, Any]:
        arguments = stock.nginx(server, self._address(node), port=port)
        return {**arguments, "files": {**arguments["files"], **files}}

    def _address(self, node: str) -> str:
        return str(own_address(self._topology, self._adjacency, node))
