"""Shaped links by the kernel: a netem qdisc on the interface a direction leaves by, frames redirected there on arrival.

`commands` builds the lines for `tc -batch` (pure); the rest runs tc and reads back. What netem does not do by itself:
- jitter would reorder packets; with a rate it does not, so where none is asked a rate beyond any load is set;
- ARP goes around it, by a second band, as it does in the wire;
- DSCP is bleached where the frame comes in, by pedit;
- classes by DSCP are HTB's, with a netem for each (`netem_classes`).
"""

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any, Final

from testbed.emulation import netem_classes
from testbed.emulation.batch import in_network, output_of, program_path, run_batch
from testbed.errors import RigError
from testbed.plan.model import LinkPlan
from testbed.topology import LinkShape

_NO_LIMIT: Final = "100gbit"
_ETHERNET_BYTES: Final = 14
"What netem counts beyond the IP packet, taken off by a negative overhead."
_EVERYTHING: Final = "u32 match u32 0 0"
_NANO: Final = 1_000_000_000
_PROBE_SHAPE: Final = LinkShape.model_validate(
    {"delay": "1ms", "jitter": "1ms", "loss": "1%", "rate": "1Mbit", "dscp": "bleach", "classes": [{"dscp": [46]}]}
)


def _percent(ratio: float) -> str:
    return f"{ratio * 100:.9g}%"


def _time(duration_ns: int) -> str:
    return f"{duration_ns / 1000:.12g}us"  # tc reads no nanoseconds


def _loss_words(shape: LinkShape) -> Iterator[str]:
    if shape.burst_loss is not None:
        # netem has one model of loss: random loss is the chain's loss in its good state, and adds to that in the bad
        model = shape.burst_loss
        bad = 1 - (1 - model.loss) * (1 - shape.loss)
        yield from ("loss", "gemodel", *map(_percent, (model.enter, model.leave, bad, shape.loss)))
    elif shape.loss:
        yield from ("loss", "random", _percent(shape.loss))


def netem_words(shape: LinkShape) -> tuple[str, ...]:
    """Return the words of `tc qdisc ... netem` for *shape*; empty where netem has nothing to do."""
    words: list[str] = []
    if shape.delay or shape.jitter:
        words += ["delay", _time(shape.delay)]
    if shape.jitter:
        words += [_time(shape.jitter)]
        if shape.jitter_distribution != "uniform":
            words += ["distribution", shape.jitter_distribution]
    words += _loss_words(shape)
    if shape.duplicate:
        words += ["duplicate", _percent(shape.duplicate)]
    if shape.reorder and shape.delay:
        words += ["reorder", _percent(shape.reorder)]
    if shape.rate:
        words += ["rate", f"{shape.rate}bit", str(-_ETHERNET_BYTES)]
    elif shape.jitter:
        words += ["rate", _NO_LIMIT]
    return ("limit", str(shape.queue_packets), *words) if words else ()


def _netems(shape: LinkShape) -> list[tuple[str, LinkShape]]:
    """Return the netems of a direction that has any: the parent of each, and what it does."""
    if not shape.classes:
        return [("1:1", shape)]
    each = netem_classes.leaves(shape)
    return [(netem_classes.leaf(index), netem_classes.leaf_shape(shape, of)) for index, of in each]


def _number(parent: str) -> int:
    return 0 if parent == "1:1" else int(parent.rpartition(":")[2])


def _leaf_words(shape: LinkShape) -> tuple[str, ...]:
    return netem_words(shape) or ("limit", str(shape.queue_packets))


def direction_commands(incoming: str, outgoing: str, shape: LinkShape) -> Iterator[str]:
    """Yield the lines that take what arrives on *incoming* to *outgoing*, in *shape*."""
    if netem_words(shape):
        table = netem_classes.size_table(shape, _ETHERNET_BYTES)
        yield f"qdisc add dev {outgoing} root handle 1:{table} prio bands 2 priomap{' 0' * 16}"
        if shape.classes:
            yield from netem_classes.class_commands(outgoing, shape, parent="1:1")
        for parent, part in _netems(shape):
            handle = f"{10 + _number(parent)}:"
            yield f"qdisc add dev {outgoing} parent {parent} handle {handle} netem {' '.join(_leaf_words(part))}"
        yield f"filter add dev {outgoing} parent 1: protocol arp prio 1 {_EVERYTHING} flowid 1:2"
    yield f"qdisc add dev {incoming} ingress"
    redirect = f"action mirred egress redirect dev {outgoing}"
    if shape.dscp == "bleach":
        bleach = "action pedit ex munge ip dsfield set 0 retain 0xfc pipe action csum ip4h pipe"
        yield f"filter add dev {incoming} parent ffff: protocol ip prio 1 {_EVERYTHING} {bleach} {redirect}"
    yield f"filter add dev {incoming} parent ffff: protocol all prio 2 {_EVERYTHING} {redirect}"


def commands(interface_a: str, interface_b: str, link: LinkPlan) -> list[str]:
    """Return the lines for one link, both directions."""
    return [
        *direction_commands(interface_a, interface_b, link.shape_forward),
        *direction_commands(interface_b, interface_a, link.shape_return),
    ]


async def obstacle() -> str | None:
    """Return what keeps netem links from working on this kernel, in one line, or None.

    Found by setting one up in a namespace of its own, which is gone afterwards.
    """
    unshare = [program_path("unshare", "util-linux"), "--net"]
    if os.geteuid() != 0:
        unshare += ["--user", "--map-root-user"]
    try:
        tc = [program_path("tc", "iproute2"), "-batch", "-"]
        await output_of("tc", [*unshare, *tc], lines=[*direction_commands("lo", "lo", _PROBE_SHAPE)])
    except RigError as error:
        return str(error)
    return None


async def apply(links: Mapping[tuple[str, str], LinkPlan], *, netns_fd: int) -> None:
    """Join each pair of interfaces in namespace *netns_fd* by its link's shapes, and read back; raise RigError."""
    lines = [line for (a, b), link in links.items() for line in commands(a, b, link)]
    await run_batch("tc", lines, netns_fd=netns_fd)
    if found := differences(links, await _qdiscs(netns_fd)):
        raise RigError("; ".join(found))


async def replace(links: Mapping[tuple[str, str], LinkPlan], *, netns_fd: int) -> None:
    """Take what `apply` made off each pair of interfaces and make it anew; what waited in the queues is lost."""
    shown = {(x["dev"], x["kind"]) for x in await _qdiscs(netns_fd)}
    ends = [end for pair in links for end in pair]
    roots = [f"qdisc del dev {end} root" for end in ends if (end, "prio") in shown]
    await run_batch("tc", [*roots, *(f"qdisc del dev {end} ingress" for end in ends)], netns_fd=netns_fd)
    await apply(links, netns_fd=netns_fd)


async def _qdiscs(netns_fd: int) -> list[dict[str, Any]]:
    command = in_network(netns_fd, [program_path("tc", "iproute2"), "-statistics", "-json", "qdisc", "show"])
    shown: list[dict[str, Any]] = json.loads(await output_of("tc", command, fds=(netns_fd,)))
    return shown


async def counters(shapes: Mapping[str, LinkShape], *, netns_fd: int) -> dict[str, dict[str, Any]]:
    """Return per interface what its netems did, whose shapes are told by the interface that a direction leaves by."""
    return counted(shapes, await _qdiscs(netns_fd))


def counted(shapes: Mapping[str, LinkShape], shown: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Read what `tc -statistics -json qdisc show` says was sent and dropped (lost, or no room: netem does not tell)."""
    found: dict[str, dict[str, Any]] = {}
    for qdisc in shown:
        if qdisc["kind"] == "netem":
            of = found.setdefault(qdisc["dev"], {"sent": 0, "dropped": 0})
            of["sent"] += qdisc["packets"]
            of["dropped"] += qdisc["drops"]
            if shape := shapes.get(qdisc["dev"]):
                by_class = netem_classes.class_drops(shape, qdisc["parent"], qdisc["drops"])
                of.update({"class_drops": of.get("class_drops", {}) | by_class} if by_class else {})
    return found


def differences(links: Mapping[tuple[str, str], LinkPlan], shown: list[dict[str, Any]]) -> list[str]:
    """Compare the shapes with what `tc -json qdisc show` says; return one line for each difference."""
    has = {(x["dev"], x["parent"]): x["options"] for x in shown if x["kind"] == "netem"}
    found = []
    for (a, b), link in links.items():
        for interface, shape in ((b, link.shape_forward), (a, link.shape_return)):
            wanted = {parent: _expected(part, is_leaf=bool(shape.classes)) for parent, part in _netems(shape)}
            extra = {parent: dict[str, float | None](limit=None) for dev, parent in has if dev == interface}
            for parent, expected in (extra | wanted).items():
                there, where = _shown(has.get((interface, parent))), f" of {parent}" if shape.classes else ""
                found += [
                    f"{link.name}: {interface}: netem{where} {key} should be {value}, is {there.get(key)}"
                    for key, value in expected.items()
                    if not _is_close(value, there.get(key))
                ]
    return found


def _is_close(wanted: float | None, there: float | None) -> bool:
    if wanted is None or there is None:
        return wanted is there
    return abs(wanted - there) <= 1e-6 * max(1.0, abs(wanted))  # the kernel's probabilities have 32 bits


def _expected(shape: LinkShape, *, is_leaf: bool = False) -> dict[str, float | None]:
    if not netem_words(shape) and not is_leaf:
        return {"limit": None}
    is_chain = shape.burst_loss is not None
    return {
        "limit": shape.queue_packets,
        "delay": shape.delay / _NANO if shape.delay or shape.jitter else None,
        "jitter": shape.jitter / _NANO if shape.delay or shape.jitter else None,
        "loss": shape.loss if shape.loss and not is_chain else None,
        "enter": shape.burst_loss.enter if shape.burst_loss is not None else None,
        "leave": shape.burst_loss.leave if shape.burst_loss is not None else None,
        "duplicate": shape.duplicate or None,
        "reorder": shape.reorder if shape.reorder and shape.delay else None,
        "rate": shape.rate / 8 if shape.rate else (12.5e9 if shape.jitter else None),
    }


def _shown(options: dict[str, Any] | None) -> dict[str, float | None]:
    if options is None:
        return {}

    def value(table: str, key: str) -> float | None:
        found = options.get(table, {}).get(key)
        return None if found is None else float(found)

    return {
        "limit": float(options["limit"]),
        "delay": value("delay", "delay"),
        "jitter": value("delay", "jitter"),
        "loss": value("loss-random", "loss"),
        "enter": value("loss-gemodel", "p"),
        "leave": value("loss-gemodel", "r"),
        "duplicate": value("duplicate", "duplicate"),
        "reorder": value("reorder", "reorder"),
        "rate": value("rate", "rate"),
    }
