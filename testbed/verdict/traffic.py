"""Whether the traffic that was to compete with the calls was there: figures under a load that was not mean nothing."""

from ipaddress import IPv4Address
from typing import Any, Final

import numpy as np

from testbed.analysis.packets import TCP, UDP
from testbed.analysis.run import Run
from testbed.plan.model import TrafficPlan
from testbed.verdict.checks import Check

UDP_SHARE: Final = 0.8
"Of the rate that UDP was told: iperf3 keeps it to a few percent where the machine keeps up."
TIME_SHARE: Final = 0.5
"Of the media time that the traffic must last: it starts when the last of the calls is up, and their media before."
_TCP_LEAST_BPS: Final = 10_000
"TCP fits what it finds; less than this is its control connection alone."


def judge_traffic(run: Run) -> Check:
    """Judge, by the captures of the first link that each traffic crosses, whether it was sent, and long enough."""
    expected = {each.name: {"rate_bps": each.rate_bps, "protocol": each.protocol} for each in run.plan.traffic}
    observed = {each.name: _seen(run, each) for each in run.plan.traffic}
    faults = [fault for each in run.plan.traffic if (fault := _fault(run, each, observed[each.name]))]
    evidence = tuple(_words(each, observed[each.name]) for each in run.plan.traffic)
    if faults:
        return Check("traffic", expected, observed, "INCONCLUSIVE", faults[0], (*faults, *evidence))
    return Check("traffic", expected, observed, "PASS", "; ".join(evidence), evidence)


def _seen(run: Run, traffic: TrafficPlan) -> dict[str, Any]:
    packets, first = run.packets, traffic.links[0]
    is_first = np.array([interface.name == first for interface in packets.interfaces], np.bool_)
    protocol, address = (UDP if traffic.protocol == "udp" else TCP), int(IPv4Address(traffic.address))
    rows = np.flatnonzero(
        (packets.destination_port == traffic.port)
        & (packets.protocol == protocol)
        & (packets.destination == address)
        & is_first[packets.link]
    )
    if len(rows) < 2:
        return {"packets": len(rows), "bytes": 0, "seconds": 0.0, "rate_bps": 0, "dropped": {}, "class_drops": {}}
    seconds = float(packets.time_ns[rows].max() - packets.time_ns[rows].min()) / 1e9
    ip_bytes = int(packets.ip_length[rows].astype(np.int64).sum())
    return {
        "packets": len(rows),
        "bytes": ip_bytes,
        "seconds": round(seconds, 3),
        "rate_bps": round(ip_bytes * 8 / seconds) if seconds else 0,
        **_dropped(run, traffic),
    }


def _dropped(run: Run, traffic: TrafficPlan) -> dict[str, Any]:
    """Return how many packets, whoever's, found the queue full on the links that it crosses, in its direction."""
    found: dict[str, int] = {}
    by_class: dict[str, dict[str, int]] = {}
    at = traffic.from_
    for name in traffic.links:
        link = run.network.links[name]
        way, at = ("forward", link.b.node) if link.a.node == at else ("return", link.a.node)
        counted = ((run.emulation.get("links") or {}).get(name) or {}).get(way) or {}
        if drops := counted.get("queue_drops", counted.get("dropped", 0)):
            found[name] = drops
            by_class |= {name: counted["class_drops"]} if "class_drops" in counted else {}
    return {"dropped": found, "class_drops": by_class}


def _fault(run: Run, traffic: TrafficPlan, seen: dict[str, Any]) -> str | None:
    if not seen["packets"]:
        return f"{traffic.name} was never sent: no packet of it on {traffic.links[0]}"
    least_bps = UDP_SHARE * traffic.rate_bps if traffic.protocol == "udp" else _TCP_LEAST_BPS
    if seen["rate_bps"] < least_bps:
        return f"{traffic.name} went at {seen['rate_bps'] / 1e6:.3g} Mbit/s, less than {least_bps / 1e6:.3g} Mbit/s"
    if seen["seconds"] < (least_s := TIME_SHARE * run.plan.duration_ns / 1e9):
        return f"{traffic.name} lasted {seen['seconds']:.1f} s, less than {least_s:.1f} s"
    return None


def _words(traffic: TrafficPlan, seen: dict[str, Any]) -> str:
    lost = ", ".join(_drop_words(seen, link) for link in seen["dropped"]) or "none"
    rate = f"{seen['rate_bps'] / 1e6:.3g} Mbit/s of {traffic.protocol.upper()} for {seen['seconds']:.1f} s"
    return f"{traffic.name}: {rate} from {traffic.from_} to {traffic.to}; packets that found a queue full: {lost}"


def _drop_words(seen: dict[str, Any], link: str) -> str:
    by_class = seen["class_drops"].get(link, {})
    parts = [f"{count} of {'the rest' if name == 'rest' else f'DSCP {name}'}" for name, count in by_class.items()]
    return f"{seen['dropped'][link]} at {link}" + (f" ({', '.join(parts)})" if parts else "")
