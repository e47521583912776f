"""One scenario's run directory, read whole: what was planned, what was captured and dropped, how the rig did."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from testbed.analysis.drops import Drop, find_drops
from testbed.analysis.grouping import Span
from testbed.analysis.media_kinds import media_kinds
from testbed.analysis.messages import StunMessage, Unreachable, stun_messages, unreachables
from testbed.analysis.names import Question, questions
from testbed.analysis.network import Network
from testbed.analysis.packets import Kind, Packets, decode
from testbed.analysis.paths import Walks, follow
from testbed.analysis.segments import Ends
from testbed.analysis.texts import unfold
from testbed.analysis.tls import KEY_LOG, Secrets, open_tls, read_key_log, sealed
from testbed.errors import UsageError
from testbed.plan.model import Plan
from testbed.scenario import Scenario

Json = Mapping[str, Any]


class RunError(UsageError):
    """A run directory lacks a file or a file does not hold what it should."""


@dataclass(frozen=True)
class Run:
    """Everything a verdict is made of."""

    directory: Path
    manifest: Json
    scenario: Scenario
    "In force: after all changes."
    plan: Plan
    network: Network
    packets: Packets
    dropped: Packets
    incomplete: Mapping[str, str]
    "Links whose capture may have missed packets, and why: they may prove presence, never absence."
    drop_log_gaps: Mapping[str, str]
    "Firewalls whose log of dropped packets may have gaps, and why."
    emulation: Json
    firewalls: Json
    events: tuple[Json, ...] | None
    "What agents said; None where there is no events.jsonl."
    span: Span | None = None
    "Only packets sent within it are followed."

    @cached_property
    def walks(self) -> Walks:
        """The way of every packet."""
        return follow(self.packets, self.network, self.span, media_kinds(self.packets, self.plan))

    @cached_property
    def drops(self) -> tuple[Drop, ...]:
        """Every packet that a firewall dropped."""
        return find_drops(self.dropped, self.walks)

    @cached_property
    def stun(self) -> tuple[StunMessage, ...]:
        """Every STUN and TURN message outside encapsulation."""
        return tuple(stun_messages(self.packets))

    @cached_property
    def questions(self) -> tuple[Question, ...]:
        """Every question to a name server."""
        return questions(self.packets, self.network)

    @cached_property
    def sealed_tls(self) -> frozenset[Ends]:
        """TLS connections, by their client's ends, that the key log does not open."""
        return sealed(self.packets)

    @cached_property
    def link_figures(self) -> Json:
        """What each link did to media, by direction (`links` of quality.json)."""
        from testbed.analysis.quality.measure import link_figures  # which reads runs

        return link_figures(self)

    @cached_property
    def unreachables(self) -> tuple[Unreachable, ...]:
        """Every ICMP unreachable message."""
        return unreachables(self.packets)


def read_run(directory: Path) -> Run:
    """Read *directory*; raise a TestbedError that names the file and the fault where it is not a whole run."""
    manifest = _json(directory / "manifest.json")
    if manifest.get("format") != 1:
        raise RunError(f"{directory / 'manifest.json'}: format must be 1, not {manifest.get('format')!r}")
    try:
        scenario = Scenario.model_validate(manifest["in_force"])
        plan = Plan.model_validate(manifest["plan"])
        emulation: Json = manifest["emulation"]
    except KeyError as error:
        raise RunError(f"{directory / 'manifest.json'}: has no {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RunError(f"{directory / 'manifest.json'}: {error.title}: {where}: {first['msg']}") from error
    if not isinstance(emulation, Mapping):
        raise RunError(f"{directory / 'manifest.json'}: has no account of the emulation: it broke before its end")
    read = partial(decode, sip_ports=plan.sip_ports, sip_endpoints=plan.signaling_endpoints)
    packets = unfold(open_tls(read(directory / "capture.pcapng"), _key_log(directory / KEY_LOG)))
    sources = {int(ssrc) for ssrc in np.unique(packets.ssrc[packets.kind == Kind.RTP])}
    dropped = read(directory / "dropped.pcapng", sources=sources)
    if strange := {i.name for i in packets.interfaces} - {link.name for link in plan.links}:
        names = ", ".join(sorted(strange))
        raise RunError(f"{directory / 'capture.pcapng'}: has links that the plan does not: {names}")
    incomplete = incomplete_links(plan, packets, emulation)
    return Run(
        directory=directory,
        manifest=manifest,
        scenario=scenario,
        plan=plan,
        network=Network(plan, incomplete),
        packets=packets,
        dropped=dropped,
        incomplete=incomplete,
        drop_log_gaps=_drop_log_gaps(plan, dropped, emulation),
        emulation=emulation,
        firewalls=_json(directory / "firewalls.json"),
        events=_events(directory / "events.jsonl"),
    )


def incomplete_links(plan: Plan, packets: Packets, emulation: Json) -> dict[str, str]:
    """Return the links that may have carried packets which the capture does not have, and why.

    The reason completes the sentence "capture of link <name> ...". A link that is down from the start needs no capture.
    """
    interfaces = {interface.name: interface for interface in packets.interfaces}
    counters = emulation.get("capture") or {}
    found = {}
    for link in plan.links:
        interface = interfaces.get(link.name)
        counted = counters.get(link.name)
        if interface is None:
            if link.up:
                found[link.name] = "is missing"
        elif packets.damage is not None:
            found[link.name] = f"ends early: capture.pcapng is {packets.damage}"
        elif interface.dropped is None:
            found[link.name] = "has no statistics at its end"
        elif interface.dropped:
            found[link.name] = f"lost {interface.dropped} packets"
        elif counted is None:
            found[link.name] = "has no counters in emulation.json"
        elif counted.get("dropped") != 0:
            found[link.name] = f"lost {counted.get('dropped')} packets"
    return found


def _drop_log_gaps(plan: Plan, dropped: Packets, emulation: Json) -> dict[str, str]:
    counters = emulation.get("dropped_log") or {}
    firewalls = [node.name for node in plan.nodes if node.kind == "firewall"]
    if dropped.damage is not None:
        return {name: f"ends early: dropped.pcapng is {dropped.damage}" for name in firewalls}
    return {
        name: f"lost {counters[name]['lost']} packets" if name in counters else "has no counters"
        for name in firewalls
        if counters.get(name, {}).get("lost") != 0
    }


def _key_log(path: Path) -> Secrets:
    try:
        return read_key_log(path)
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: is no key log: {error}") from error


def _json(path: Path) -> Json:
    try:
        value = json.loads(path.read_text())
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise RunError(f"{path}: is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise RunError(f"{path}: must hold a JSON object")
    return value


def _events(path: Path) -> tuple[Json, ...] | None:
    if not path.exists():
        return None
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror}") from error
    events = []
    for number, line in enumerate(lines, 1):
        try:
            events.append(json.loads(line))
        except ValueError as error:
            raise RunError(f"{path}: line {number} is not JSON: {error}") from error
    return tuple(event for event in events if isinstance(event, dict))
