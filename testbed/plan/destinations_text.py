"""Endpoints as a table for a terminal and as JSON: what may go over ExpressRoute, what never does, and what would."""

from collections.abc import Iterator, Sequence

from rich.table import Table
from rich.text import Text

from testbed.endpoints import Endpoint, Overlap, port_ranges
from testbed.plan.destinations import Way

Ways = Sequence[Way] | None
"None: without a topology."


def endpoints_table(endpoints: Sequence[Endpoint], ways: Ways, client: str) -> Table:
    """Lay the endpoints out, what may go over ExpressRoute first, a row a set; with *ways* a column of them."""
    table = Table(box=None, pad_edge=False)
    table.add_column("Id", justify="right", no_wrap=True)
    table.add_column("Service", overflow="fold")
    table.add_column("Destinations", overflow="fold")
    table.add_column("Ports", no_wrap=True)
    table.add_column("By the file", no_wrap=True)
    if ways is not None:
        table.add_column(f"Way from {client}", overflow="fold")
    for endpoint in sorted(endpoints, key=lambda one: not one.express_route):
        cells = [
            str(endpoint.id),
            endpoint.service_area + ("" if endpoint.required else " (optional)"),
            "\n".join(map(str, (*endpoint.ips, *endpoint.urls))),
            "\n".join(_port_lines(endpoint)),
            "ExpressRoute" if endpoint.express_route else "Internet only",
        ]
        row = [Text(cell) for cell in cells]
        table.add_row(*row, *([] if ways is None else [_way_cell(endpoint, ways)]))
    return table


def _port_lines(endpoint: Endpoint) -> Iterator[str]:
    """Yield the ports of each protocol, neighbouring ones as a range, two ranges a line."""
    for protocol, text in (("tcp", endpoint.tcp_ports), ("udp", endpoint.udp_ports)):
        merged: list[tuple[int, int]] = []
        for low, high in sorted(port_ranges(text or "")):
            if merged and low <= merged[-1][1] + 1:
                low, high = merged[-1][0], max(high, merged.pop()[1])
            merged.append((low, high))
        ranges = [str(low) if low == high else f"{low}-{high}" for low, high in merged]
        yield from (f"{protocol} {', '.join(ranges[at : at + 2])}" for at in range(0, len(ranges), 2))


def _way_cell(endpoint: Endpoint, ways: Sequence[Way]) -> Text:
    lines = _way_lines([way for way in ways if way.endpoint == endpoint.id])
    if lost := _without_host(endpoint, ways):
        lines.append(Text("no host there" + (f": {', '.join(lost)}" if lines else ""), style="dim"))
    if endpoint.ipv6:
        lines.append(Text("IPv6 is not emulated", style="dim"))
    return Text("\n").join(lines)


def _without_host(endpoint: Endpoint, ways: Sequence[Way]) -> list[str]:
    """Return the IPv4 prefixes and names of an endpoint set at which there is no host."""
    found = {way.destination for way in ways if way.endpoint == endpoint.id}
    return [str(each) for each in (*endpoint.ipv4, *endpoint.urls) if each not in found]


def _way_lines(mine: Sequence[Way]) -> list[Text]:
    """Return a line for each different way, with the hosts that are reached so, by whichever of their destinations."""
    nodes: dict[str, list[str]] = {}
    for way in mine:
        nodes.setdefault(_way_words(way), []).extend(way.nodes)
    against = {_way_words(way) for way in mine if not way.is_allowed}
    return [
        Text(f"{words}: {', '.join(dict.fromkeys(each))}", style="bold red" if words in against else "")
        for words, each in nodes.items()
    ]


def _way_words(way: Way) -> str:
    there, back = _exit(way.forward), _exit(way.return_)
    path = there if there == back or not way.return_ else f"there {there}, back {back}"
    end = "" if way.end == "DELIVERED" else f", {way.end}"
    return f"{path}{end}{'' if way.is_allowed else ', against the file'}"


def _exit(kinds: Sequence[str]) -> str:
    """Return what a way is called: by how it leaves, or that it does not."""
    named = {"expressroute": "ExpressRoute", "internet": "Internet"}
    return " and ".join(named[kind] for kind in kinds if kind in named) or "inside"


def summary_lines(endpoints: Sequence[Endpoint], overlaps: Sequence[Overlap], ways: Ways) -> Iterator[str]:
    """Yield how many sets there are of each kind, of what no way is told, and where the file contradicts itself."""
    allowed = sum(endpoint.express_route for endpoint in endpoints)
    yield f"{len(endpoints)} sets: {allowed} may go over ExpressRoute, {len(endpoints) - allowed} never do"
    if ways is not None:
        lost = sum(len(_without_host(endpoint, ways)) for endpoint in endpoints)
        total = sum(len(endpoint.ipv4) + len(endpoint.urls) for endpoint in endpoints)
        if lost:
            yield f"No host at {lost} of {total} destinations (IPv4 prefixes and names): there is no way to them"
        if ipv6 := sum(len(endpoint.ipv6) for endpoint in endpoints):
            yield f"IPv6 is not emulated; prefixes left out: {ipv6}"
    for overlap in overlaps:
        yield f"Overlap: {overlap}; announced for the one, it draws the other's traffic too (docs/asymmetric.md, AS-5)"


def as_json(
    endpoints: Sequence[Endpoint], overlaps: Sequence[Overlap], ways: Ways, client: str | None
) -> dict[str, object]:
    """Return what `testbed endpoints --json` prints."""
    document: dict[str, object] = {
        "endpoints": [_endpoint_json(endpoint, ways) for endpoint in endpoints],
        "overlaps": [
            {
                "expressroute": {"id": one.allowed.id, "prefix": str(one.allowed_prefix)},
                "internet_only": {"id": one.refused.id, "prefix": str(one.refused_prefix)},
            }
            for one in overlaps
        ],
    }
    return document if ways is None else {**document, "from": client}


def _endpoint_json(endpoint: Endpoint, ways: Ways) -> dict[str, object]:
    document: dict[str, object] = endpoint.model_dump(mode="json", by_alias=True, exclude_none=True)
    if ways is None:
        return document
    mine = [way for way in ways if way.endpoint == endpoint.id]
    return {
        **document,
        "ways": [_way_json(way) for way in mine],
        "without_host": _without_host(endpoint, ways),
        "not_emulated": [str(network) for network in endpoint.ipv6],
    }


def _way_json(way: Way) -> dict[str, object]:
    return {
        "url" if isinstance(way.destination, str) else "prefix": str(way.destination),
        "protocol": way.protocol,
        "port": way.port,
        "nodes": list(way.nodes),
        "forward": list(way.forward),
        "return": list(way.return_),
        "end": way.end,
        "allowed": way.is_allowed,
    }
