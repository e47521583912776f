"""The programs that run in a scenario, with the whole job of each, and the calls that the parties are told to make.

The jobs' arguments are the contract of docs/seams.md, section Agents.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

from testbed.plan import stock
from testbed.plan.addresses import host_name, inner_address, own_address
from testbed.plan.adjacency import Adjacency
from testbed.plan.broadcast import BroadcastJobs
from testbed.plan.cast import Cast, Server
from testbed.plan.model import CallPlan, Job, MessagePlan
from testbed.plan.names import WEB_SERVICE, Names
from testbed.plan.signaling import CLIENT_TLS_PORT, PLAIN, SIP_PORT, SIP_PORTS, Signaling
from testbed.plan.visits import Visits
from testbed.scenario import Party
from testbed.spec import Spec

TURN_UDP_PORT: Final = 3478
TURN_TCP_PORT: Final = 443
_FIRST_TONE_HZ: Final = 400
_TONE_STEP_HZ: Final = 100
_SIGNALING: Final = ("edge", "front_end", "conference", "mediation", "broadcast", "client", "rest_client", "phone")
"Programs that speak SIP, or the web service in its place."


class Jobs:
    """Writes the jobs and calls of one scenario."""

    def __init__(self, spec: Spec, adjacency: Adjacency, *, seed: int) -> None:
        self._cast = Cast(spec, adjacency, seed=seed)
        self._scenario, self._topology, self._adjacency = spec.scenario, spec.topology, adjacency
        self._signaling = Signaling(self._cast, adjacency)
        self._trunks = tuple(self._cast.trunks())
        self._visits = Visits(self._cast, adjacency)
        self._broadcast = BroadcastJobs(self._cast, adjacency)
        others = (*self._visits.records(), *self._broadcast.records())
        self._names = Names(self._cast, adjacency, self._signaling, others)
        self.name_servers = self._names.servers()
        calls = enumerate(spec.scenario.calls)
        hosts = (self._cast.host(index) for index, call in calls if call.kind == "conference")
        self._conferences = tuple(dict.fromkeys(hosts))
        parties = enumerate(spec.scenario.parties)
        self._tones = {name: _FIRST_TONE_HZ + _TONE_STEP_HZ * number for number, name in parties}

    def jobs(self) -> tuple[Job, ...]:
        """Return every job: servers first, in the order in which they depend on each other; none on a stopped node."""
        every = (
            *self._name_servers(),
            *self._proxies(),
            *(self._job(node, "stock", given, name=name) for name, node, given in self._visits.servers()),
            *self._servers(),
            *self._broadcast.servers(self._broadcast_meeting()),
            *(self._party(name, party) for name, party in self._scenario.parties.items()),
        )
        return tuple(self._marked(job) for job in every if self._cast.is_running(job.node))

    def _marked(self, job: Job) -> Job:
        """Return *job*, told how signaling is marked where its program has any."""
        if job.program not in _SIGNALING:
            return job
        dscp = self._topology.signaling.dscp
        return job.model_copy(update={"arguments": {**job.arguments, "signaling_dscp": dscp}})

    def calls(self) -> tuple[CallPlan, ...]:
        """Return what each calling party does once all are ready."""
        calls = (plan for index in range(len(self._scenario.calls)) for plan in self._call(index))
        watching = {name: self._resolver(self._scenario.parties[name].node) for name in self._broadcast.attendees}
        return tuple(plan for plan in (*calls, *self._broadcast.calls(watching)) if self._is_played(plan))

    def _broadcast_meeting(self) -> CallPlan | None:
        """Return somebody's call to the conference that is broadcast."""
        broadcast = self._scenario.broadcast
        return next(self._call(broadcast.call), None) if broadcast else None

    def messages(self) -> tuple[MessagePlan, ...]:
        """Return the instant messages that parties send once all are ready."""
        return tuple(
            MessagePlan(
                party=message.from_,
                message=f"message{number}",
                target=self._scenario.parties[message.to].uri,
                text=message.text,
            )
            for number, message in enumerate(self._scenario.messages, 1)
            if self._cast.is_running(self._scenario.parties[message.from_].node)
        )

    def _is_played(self, plan: CallPlan) -> bool:
        return self._cast.is_running(self._scenario.parties[plan.party].node)

    def _name_servers(self) -> Iterator[Job]:
        addresses = {server.name: server.address for server in self.name_servers}
        for server in self.name_servers:
            forward_to = addresses[server.forward] if server.forward else None
            yield self._job(server.node, "stock", stock.dnsmasq(server, forward_to=forward_to), name=server.name)

    def _proxies(self) -> Iterator[Job]:
        """Yield the web proxies that a party signals through, or that a leg names."""
        used = {party.proxy for party in self._scenario.parties.values()}
        named = used | {end for leg in self._scenario.legs for end in (leg.from_, leg.to)}
        for name, service in self._topology.services.items():
            if service.kind == "proxy" and name in named:
                address = str(inner_address(self._topology, self._adjacency, service.node))
                arguments = stock.tinyproxy(address, connect_ports=(CLIENT_TLS_PORT, *SIP_PORTS))
                # What a tunnel for signaling carries is signaling, wherever the proxy awaits it.
                tunnels = {"listen": [{"transport": "tcp", "port": stock.PROXY_PORT}]} if name in used else {}
                yield self._job(service.node, "stock", arguments | tunnels, name=name)

    def _servers(self) -> Iterator[Job]:
        for pool in self._cast.pools():
            for node in self._cast.role_nodes(pool, "edge"):
                yield self._job(node, "edge", self._edge(pool, node))
            for node in () if self._cast.is_connector(pool) else self._cast.role_nodes(pool, "front-end"):
                yield self._job(node, "front_end", self._front_end(pool, node))
        for server in self._conferences:
            yield self._job(server.node, "conference", self._conference(server))
        for server, phone in dict.fromkeys((trunk.server, trunk.phone) for trunk in self._trunks):
            yield self._job(server.node, "mediation", self._mediation(server, self._scenario.parties[phone].node))

    def _job(self, node: str, program: str, arguments: dict[str, Any], *, name: str = "") -> Job:
        """Return the job of a server, called like its node if it has no *name* of its own."""
        address = str(own_address(self._topology, self._adjacency, node))
        document = {"name": name or node, "node": node, "address": address, **arguments}
        return Job(name=name or node, node=node, program=program, arguments=document, stage="service")

    def _edge(self, pool: str, node: str) -> dict[str, Any]:
        outer, inner = (str(address(self._topology, self._adjacency, node)) for address in (own_address, inner_address))
        return {
            "external_address": outer,
            "internal_address": inner,
            "relay_ports": self._cast.pool(pool).relay_ports,
            "udp_port": TURN_UDP_PORT,
            "tcp_port": TURN_TCP_PORT,
            "relay_secret": self._cast.secret(f"relay/{pool}"),
            "realm": self._cast.pool(pool).domains[0],
            "access_edge": self._access_edge(pool, node) if self._cast.pool(pool).access_edge else None,
            "sip_t1_ns": self._scenario.sip_t1,
            **self._signaling.identity(pool, node, addresses=tuple(dict.fromkeys((outer, inner)))),
        }

    def _access_edge(self, pool: str, node: str) -> dict[str, Any]:
        signaling = self._signaling
        return {
            "listen": signaling.listen(pool, node),
            "next": signaling.within(pool, self._cast.front_end(pool), seen_from=node),
            **self._asking(node, self._domain_routes(pool, node)),
        }

    def _front_end(self, pool: str, node: str) -> dict[str, Any]:
        users = self._cast.users(pool).items()
        return {
            "domains": list(self._cast.pool(pool).domains),
            "users": {party.uri: self._password(name) for name, party in users if party.home == pool},
            **self._signaling.server(pool, node),
            **self._signaling.web_service(pool),
            "relay_secret": self._cast.secret(f"relay/{pool}"),
            "relays": [self._relay(edge) for edge in self._cast.role_nodes(pool, "edge")],
            "relay_of": self._cast.relay_turn[pool],
            "moved": dict(self._moved(pool)),
            **self._asking(node, self._routes(pool, node)),
            "sip_t1_ns": self._scenario.sip_t1,
        }

    def _moved(self, pool: str) -> Iterator[tuple[str, str]]:
        """Yield the users who are sent here by the records of their domain, and where their home is."""
        for party in self._scenario.parties.values():
            domain = party.uri.partition("@")[2]
            if party.home not in (None, pool) and self._names.pool_of.get(domain) == pool:
                assert party.home is not None
                gate = self._signaling.gate(party.home, seen_from=party.node)
                port = self._signaling.client_port(party.home, gate, party.transport)
                yield party.uri, f"sip:{host_name(self._topology, gate)}:{port};transport={party.transport}"

    def _routes(self, pool: str, node: str) -> Iterator[dict[str, Any]]:
        signaling = self._signaling
        for server in self._conferences:
            if server.pool == pool:
                next_hop = signaling.within(pool, server.node, seen_from=node)
                yield {"match": f"^{_uri_prefix(server)}[0-9]+$", "next": next_hop}
        for trunk in self._trunks:
            if trunk.home == pool:
                own, theirs = trunk.server.pool == pool, trunk.server
                within = signaling.within(pool, theirs.node, seen_from=node) if own else None
                next_hop = within or signaling.outward(pool, theirs.pool, seen_from=node)
                yield {"match": r"^\+[0-9]+$", "next": next_hop}
        yield from self._domain_routes(pool, node)

    def _domain_routes(self, pool: str, node: str) -> Iterator[dict[str, Any]]:
        """Yield the routes from a server of *pool* to the domains of other pools."""
        for other in self._cast.pools():
            for domain in self._cast.pool(other).domains if other != pool else ():
                yield {"match": f"^{re.escape(domain)}$", "next": self._next_to(pool, node, other, domain)}

    def _next_to(self, pool: str, node: str, other: str, domain: str) -> dict[str, Any]:
        """Return where *node* sends requests for a domain of another pool: to a server, or to what the DNS says."""
        is_border = node in self._names.routers(pool)
        if is_border and self._names.finds(pool, domain):
            return {"domain": domain, "transport": self._cast.pool(self._names.pool_of[domain]).trunk}
        if is_border:
            return self._signaling.across(other, seen_from=node)
        return self._signaling.outward(pool, other, seen_from=node)

    def _asking(self, node: str, routes: Iterator[dict[str, Any]]) -> dict[str, Any]:
        """Return *routes* and, where one leads to a domain by its name, the name server that *node* asks."""
        every = list(routes)
        asks = any("domain" in route["next"] for route in every)
        return {"routes": every, **({"resolver": self._resolver(node)} if asks else {})}

    def _conference(self, server: Server) -> dict[str, Any]:
        return {"uri_prefix": _uri_prefix(server), **self._media_server(server)}

    def _mediation(self, server: Server, phone: str) -> dict[str, Any]:
        gateway = str(self._cast.address(phone, seen_from=server.node))
        own = str(self._cast.address(server.node, seen_from=phone))
        return {
            "gateway": {"address": gateway, "port": SIP_PORT},
            "gateway_facing_address": own,
            **self._media_server(server),
        }

    def _media_server(self, server: Server) -> dict[str, Any]:
        edge = self._cast.media_edge(server)
        return {
            **self._signaling.server(server.pool, server.node),
            "front_end": self._signaling.inward(server.pool, self._home_server(server)),
            "relay": {
                "address": str(inner_address(self._topology, self._adjacency, edge)),
                "udp_port": TURN_UDP_PORT,
                "tcp_port": TURN_TCP_PORT,
                "secret": self._cast.secret(f"relay/{server.pool}"),
            },
            "tones": self._tones,
            "media": self._media_marks("server_ports"),
            "sip_t1_ns": self._scenario.sip_t1,
            "setup_limit_ns": self._scenario.setup_limit,
        }

    def _media_marks(self, ports: str) -> dict[str, Any]:
        """Return the ports and the DSCP of each kind of media that the topology has a class for."""
        classes = self._topology.media.items()
        return {kind: {"ports": getattr(table, ports), "dscp": table.dscp} for kind, table in classes}

    def _home_server(self, server: Server) -> str:
        """Return where a media server sends its requests: its Front End, or the Edge of Cloud Connector."""
        return self._cast.role_nodes(server.pool, "edge" if self._cast.is_connector(server.pool) else "front-end")[0]

    def _party(self, name: str, party: Party) -> Job:
        if name in self._broadcast.attendees:
            return self._broadcast.attendee(name, party, self._tones, self._resolver(party.node))
        phone = self._cast.is_phone(party)
        gateway = next((trunk.server.node for trunk in self._trunks if trunk.phone == name), party.node)
        arguments = {
            "name": name,
            "node": party.node,
            "address": str(self._cast.address(party.node, seen_from=gateway)),
            "uri": party.uri,
            "tone_hz": self._tones[name],
            "tones": self._tones,
            "sip_t1_ns": self._scenario.sip_t1,
            "setup_limit_ns": self._scenario.setup_limit,
            **({"listen": list(PLAIN)} if phone else self._client(name, party)),
        }
        program = "phone" if phone else "rest_client" if party.transport == "https" else "client"
        return Job(name=name, node=party.node, program=program, arguments=arguments, stage="party")

    def _client(self, name: str, party: Party) -> dict[str, Any]:
        pool = self._cast.server_pool(name)
        domain = self._cast.pool(pool).domains[0] if party.home is None else party.uri.partition("@")[2]
        return {
            "password": None if party.home is None else self._password(name),
            "domain": self._cast.pool(pool).domains[0],
            **self._found(name, party, domain),
            **self._signaling.trust(),
            "relay": "by SIP" if party.ice else None,
            "ice": party.ice,
            "relay_side": "internal" if self._cast.is_inside(party.node, pool) else "external",
            "transport": party.transport,
            "turn_transports": list(party.turn_transports),
            "proxy": self._proxy(party),
            **self._visits.of(party),
            "guest": party.home is None,
            "media": self._media_marks("client_ports"),
            "file_bytes": party.file_bytes,
            **({} if self._scenario.ice_restart is None else {"ice_restart_ns": self._scenario.ice_restart}),
        }

    def _found(self, name: str, party: Party, domain: str) -> dict[str, Any]:
        """Return how a client finds its server: by its domain's name, or by address where it has no name server."""
        resolver, transport = self._resolver(party.node), party.transport
        if resolver is not None and transport != "https":
            return {"server": {"domain": domain, "transport": transport}, "resolver": resolver}
        pool = self._cast.server_pool(name)
        server = self._signaling.for_client(pool, seen_from=party.node, transport=transport, domain=domain)
        if resolver is None:
            return {"server": server}
        named = {key: value for key, value in server.items() if key != "address"}
        return {"server": {**named, "host": f"{WEB_SERVICE}.{domain}"}, "resolver": resolver}

    def _resolver(self, node: str) -> str | None:
        """Return the address of the name server that *node* asks, None without one."""
        asked = self._names.asked_by(node)
        return next((each.address for each in self.name_servers if each.name == asked), None)

    def _proxy(self, party: Party) -> dict[str, Any] | None:
        if party.proxy is None:
            return None
        node = self._topology.services[party.proxy].node
        address = str(inner_address(self._topology, self._adjacency, node))
        return {"address": address, "port": stock.PROXY_PORT, "transport": "tcp"}

    def _relay(self, edge: str) -> dict[str, Any]:
        return {
            "address": str(own_address(self._topology, self._adjacency, edge)),
            "internal_address": str(inner_address(self._topology, self._adjacency, edge)),
            "udp_port": TURN_UDP_PORT,
            "tcp_port": TURN_TCP_PORT,
            "host": host_name(self._topology, edge),
        }

    def _password(self, party: str) -> str:
        return self._cast.secret(f"password/{party}")

    def _call(self, index: int) -> Iterator[CallPlan]:
        call = self._scenario.calls[index]
        name = f"call{index + 1}"
        if call.kind == "conference":
            host = self._cast.host(index)
            domain = self._cast.pool(host.pool).domains[0]
            target = f"sip:{_uri_prefix(host)}{index + 1}@{domain}"
            ends = [(party, f"{name}-{party}", target, host.node) for party in call.participants]
        else:
            assert call.caller is not None and call.callee is not None  # the scenario's reader has made sure
            ends = [(call.caller, name, self._scenario.parties[call.callee].uri, call.callee)]
        for party, title, target, answerer in ends:
            yield CallPlan(
                party=party,
                call=title,
                target=target,
                answerers=(answerer,) if self._is_answered(answerer) else (),
                media=call.media,
                bundled=call.bundled,
                codec=call.codec,
            )

    def _is_answered(self, answerer: str) -> bool:
        party = self._scenario.parties.get(answerer)
        return self._cast.is_running(answerer if party is None else party.node)


def _uri_prefix(server: Server) -> str:
    return f"{server.role}-"
