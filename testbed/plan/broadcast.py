"""The programs of a broadcast: the conference's encoder with its origin, the content delivery network, the audience."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from testbed.plan import stock
from testbed.plan.addresses import host_name, inner_address, own_address
from testbed.plan.adjacency import Adjacency
from testbed.plan.cast import Cast
from testbed.plan.model import CallPlan, DnsRecord, Job
from testbed.scenario import Broadcast, Party

PLAYLIST: Final = "live/index.m3u8"
"Path below the web server's root."


class BroadcastJobs:
    """Writes the jobs of a scenario's broadcast; none where it has no such."""

    def __init__(self, cast: Cast, adjacency: Adjacency) -> None:
        self._cast, self._topology, self._adjacency = cast, cast.topology, adjacency
        self._broadcast = cast.scenario.broadcast

    @property
    def attendees(self) -> tuple[str, ...]:
        """Parties who watch."""
        return self._broadcast.attendees if self._broadcast else ()

    def servers(self, meeting: CallPlan | None) -> Iterator[Job]:
        """Yield the content delivery network, and the encoder with its origin; *meeting* is somebody's call to it."""
        if self._broadcast is None or meeting is None:
            return
        cdn, origin = self._services(self._broadcast)
        yield self._cdn(cdn, origin)
        yield self._origin(origin, meeting)

    def records(self) -> Iterator[DnsRecord]:
        """Yield the name under which the audience finds the content delivery network."""
        if self._broadcast is not None:
            node = self._topology.services[self._broadcast.cdn].node
            yield DnsRecord(name=host_name(self._topology, node), kind="A", target=self._own_address(node))

    def attendee(self, name: str, party: Party, tones: Mapping[str, int], resolver: str | None) -> Job:
        """Return the job of those who watch at a party's node, whose name server has the address *resolver*."""
        assert self._broadcast is not None
        arguments = {
            "name": name,
            "node": party.node,
            "address": self._own_address(party.node),
            "viewers": self._broadcast.viewers,
            "buffer_ns": self._broadcast.buffer,
            **({"resolver": resolver} if resolver else {}),
            "setup_limit_ns": self._cast.scenario.setup_limit,
            "tones": dict(tones),
        }
        return Job(name=name, node=party.node, program="attendee", arguments=arguments, stage="party")

    def calls(self, resolvers: Mapping[str, str | None]) -> Iterator[CallPlan]:
        """Yield what each attendee is told to watch; *resolvers*: the name server that each asks, None without one."""
        if self._broadcast is None:
            return
        node = self._topology.services[self._broadcast.cdn].node
        for name in self._broadcast.attendees:
            host = host_name(self._topology, node) if resolvers[name] else self._own_address(node)
            yield CallPlan(
                party=name,
                call=f"broadcast-{name}",
                target=f"http://{host}/{PLAYLIST}",
                answerers=(),
                media=("audio",),
                bundled=True,
            )

    def _services(self, broadcast: Broadcast) -> tuple[str, str]:
        origin = self._topology.services[broadcast.cdn].forward
        assert origin is not None  # the topology's reader has made sure
        return broadcast.cdn, origin

    def _cdn(self, cdn: str, origin: str) -> Job:
        service = self._topology.services[cdn]
        address = self._own_address(service.node)
        upstream = self._own_address(self._topology.services[origin].node)
        arguments = {
            "name": cdn,
            "node": service.node,
            "address": address,
            **stock.nginx(stock.cache_configuration(address, upstream=upstream, caches=service.caches), address),
        }
        return Job(name=cdn, node=service.node, program="stock", arguments=arguments, stage="service")

    def _origin(self, name: str, meeting: CallPlan) -> Job:
        """Return the encoder's job. It is a party: it takes part in the conference, which must serve before."""
        scenario, node = self._cast.scenario, self._topology.services[name].node
        conference = meeting.answerers[0] if meeting.answerers else self._cast.host(self._call_index()).node
        address = self._own_address(node)
        domain = meeting.target.partition("@")[2]
        arguments = {
            "name": name,
            "node": node,
            "address": str(inner_address(self._topology, self._adjacency, node)),
            "uri": f"sip:{name}@{domain}",
            "conference": {"server": self._sip_hop(conference, node), "target": meeting.target},
            "origin": stock.nginx(stock.origin_configuration(address), address),
            "playlist": PLAYLIST,
            "sip_t1_ns": scenario.sip_t1,
            "setup_limit_ns": scenario.setup_limit,
        }
        return Job(name=name, node=node, program="broadcast", arguments=arguments, stage="party")

    def _call_index(self) -> int:
        assert self._broadcast is not None
        return self._broadcast.call

    def _sip_hop(self, node: str, seen_from: str) -> dict[str, Any]:
        address = str(self._cast.address(node, seen_from=seen_from))
        return {"address": address, "port": 5060, "transport": "tcp"}

    def _own_address(self, node: str) -> str:
        return str(own_address(self._topology, self._adjacency, node))
