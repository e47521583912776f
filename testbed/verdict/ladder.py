"""By which transport each party's media reached its relay, and what the search for it cost, as the captures show.

The rungs of the fallback ladder are told apart by the packets: UDP, TCP, and TCP with TLS inside it.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from testbed.analysis.demux import Bools, Ints
from testbed.analysis.legs import MEDIA
from testbed.analysis.packets import TCP, UDP
from testbed.analysis.run import Run
from testbed.plan.jobs import TURN_TCP_PORT, TURN_UDP_PORT
from testbed.scenario import Verdict
from testbed.verdict.checks import Check, calls_told

_HANDSHAKE: Final = 0x16
"First byte that a client of TLS sends: the record type (RFC 8446 section 5.1). Of STUN it is 0."
NO_RELAY: Final = "none"
"What a row asks for whose party must reach no relay."
_WORDS: Final = {"udp": "UDP", "tcp": "TCP 443", "tls": "TLS 443"}


@dataclass(frozen=True, slots=True)
class Rung:
    """One transport that a party tried towards a relay."""

    transport: str
    began_ns: int
    frame: int
    "Of the first packet."


@dataclass(frozen=True, slots=True)
class Ladder:
    """What a party did to reach its relay."""

    rungs: tuple[Rung, ...]
    "In the order in which they were tried."
    used: tuple[str, ...]
    "Transports that its media went by, wrapped in TURN; none where it went to no relay of its own."

    def given_up_ms(self) -> dict[str, float]:
        """Return how long each rung was tried before the one after it."""
        pairs = zip(self.rungs, self.rungs[1:], strict=False)
        return {one.transport: (after.began_ns - one.began_ns) / 1e6 for one, after in pairs}


def judge_relay_transport(run: Run) -> Check:
    """Judge by which transport the media of the parties that the row names reached their relays."""
    wanted = run.scenario.relay_transports
    observed: dict[str, Any] = {}
    faults, doubts, told = list[str](), list[str](), list[str]()
    for name, transport in wanted.items():
        ladder = climbed(run, run.scenario.parties[name].node)
        observed[name] = _document(run, name, ladder)
        told.append(_sentence(name, ladder, observed[name]))
        unseen = not ladder.used and bool(run.incomplete or run.sealed_tls)
        if unseen or (not ladder.used and transport != NO_RELAY):
            (doubts if unseen else faults).append(f"no media of {name} was seen on its way to a relay of its own")
        elif ladder.used != (() if transport == NO_RELAY else (transport,)):
            faults.append(f"media of {name} reached its relay by {' and '.join(ladder.used)}, not {transport}")
    verdict: Verdict = "FAIL" if faults else "INCONCLUSIVE" if doubts else "PASS"
    reason = (faults or doubts or ["; ".join(told)])[0]
    return Check("relay-transport", dict(wanted), observed, verdict, reason, tuple(told))


def climbed(run: Run, node: str) -> Ladder:
    """Return the rungs that the party at *node* tried, and the transports that its media took to its relay."""
    p = run.packets
    sent = np.isin(p.source, _addresses(run, {node})) & np.isin(p.destination, _addresses(run, run.network.relays))
    rungs = sorted(_rungs(run, sent), key=lambda rung: rung.began_ns)
    media = sent & np.isin(p.kind, [int(kind) for kind in MEDIA]) & (p.encapsulation > 0)
    by = {"udp": p.protocol == UDP, "tcp": (p.protocol == TCP) & ~p.tls, "tls": p.tls}
    used = [name for name, rows in by.items() if (media & rows).any()]
    return Ladder(tuple(rungs), tuple(used))


def _rungs(run: Run, sent: Bools) -> Iterator[Rung]:
    """Yield each transport by which TURN was tried: UDP's first request, the first packet of TCP connections."""
    p = run.packets
    yield from _first(run, "udp", np.flatnonzero(sent & (p.protocol == UDP) & (p.destination_port == TURN_UDP_PORT)))
    to_relay = np.flatnonzero(sent & (p.protocol == TCP) & (p.destination_port == TURN_TCP_PORT))
    rows: dict[str, list[int]] = {"tcp": [], "tls": []}
    for port in np.unique(p.source_port[to_relay]).tolist():
        connection = to_relay[p.source_port[to_relay] == port]
        spoken = connection[p.payload_length[connection] > 0]
        first = p.buffer[p.payload_offset[spoken[np.argmin(p.time_ns[spoken])]]] if len(spoken) else None
        rows["tls" if first == _HANDSHAKE else "tcp"] += connection.tolist()
    for transport, of_it in rows.items():
        yield from _first(run, transport, np.array(of_it, np.int64))


def _first(run: Run, transport: str, rows: Ints) -> Iterator[Rung]:
    if len(rows):
        row = int(rows[np.argmin(run.packets.time_ns[rows])])
        yield Rung(transport, int(run.packets.time_ns[row]), int(run.packets.frame[row]))


def _addresses(run: Run, nodes: Collection[str]) -> list[int]:
    known = np.unique(np.concatenate((run.packets.source, run.packets.destination))).tolist()
    return [address for address in known if run.network.owner(address) in nodes]


def _document(run: Run, name: str, ladder: Ladder) -> dict[str, Any]:
    """Return what verdict.json tells of a party; what only agents can know is null without their events."""
    events = run.events or ()
    relay = [event for event in events if event.get("agent") == name and event.get("event") == "relay"]
    calls = list(calls_told(events, name))
    return {
        "used": list(ladder.used),
        "tried": [{"transport": rung.transport, "first_frame": rung.frame} for rung in ladder.rungs],
        "given_up_ms": {transport: round(ms, 1) for transport, ms in ladder.given_up_ms().items()},
        "relay_ms": relay[0].get("took_ms") if relay and not relay[0].get("cause") else None,
        "unreachable_ms": relay[0].get("took_ms") if relay and relay[0].get("cause") else None,
        "setup_ms": (calls[0].get("timing") or {}).get("setup_ms") if calls else None,
        "rtt_ms": calls[0].get("rtt_ms") if calls else None,
    }


def _sentence(name: str, ladder: Ladder, told: dict[str, Any]) -> str:
    """Say which rung held, and what the search and the way cost."""
    used = " and ".join(_WORDS[transport] for transport in ladder.used) or "no relay of its own"
    given_up = [f"{_WORDS[transport]} was given up after {ms:.0f} ms" for transport, ms in ladder.given_up_ms().items()]
    figures = [
        ("told after", told["unreachable_ms"]),
        ("relay after", told["relay_ms"]),
        ("set-up", told["setup_ms"]),
        ("round trip", told["rtt_ms"]),
    ]
    cost = ", ".join(f"{what} {ms:.0f} ms" for what, ms in figures if ms is not None)
    after = f" after {', '.join(given_up)}" if given_up else ""
    return f"media of {name} by {used}{after}{f' ({cost})' if cost else ''}"
