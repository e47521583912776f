"""A plan as text, for `testbed check`: everything that will be applied, in a form that diffs well."""

from collections.abc import Iterator

from testbed.plan.model import LinkPlan, NameServer, NodePlan, Plan, TrafficPlan
from testbed.topology import LinkShape
from testbed.units import format_duration, format_rate, format_ratio


def plan_lines(plan: Plan) -> list[str]:
    """Return the plan, line by line: nodes with all their settings, links with their shapes, programs, calls."""
    lines = [f"scenario {plan.scenario} (row {plan.row}): {len(plan.nodes)} nodes, {len(plan.links)} links"]
    for node in plan.nodes:
        lines += ["", *_node_lines(node)]
    lines += ["", "links"]
    lines += [f"  {_link_line(link)}" for link in plan.links]
    lines += ["", "routes that must be there before traffic"]
    lines += [f"  {fact.node}: {fact.prefix} via {fact.via or 'nothing'}" for fact in plan.converged]
    lines += ["", "programs"]
    lines += [f"  {job.name} on {job.node}: {job.program}" for job in plan.jobs]
    for server in plan.name_servers:
        lines += ["", *_name_server_lines(server)]
    lines += ["", "calls"]
    lines += [f"  {call.party} calls {call.target} ({', '.join(call.media)})" for call in plan.calls]
    lines += [f"  {message.party} writes to {message.target}: {message.text}" for message in plan.messages]
    lines += [f"  {_traffic_line(traffic)}" for traffic in plan.traffic]
    return lines


def _traffic_line(traffic: TrafficPlan) -> str:
    ends = f"{traffic.from_} sends {traffic.protocol.upper()} to {traffic.to} ({traffic.address}:{traffic.port})"
    return f"{traffic.name}: {ends}, at most {format_rate(traffic.rate_bps)}, over {', '.join(traffic.links)}"


def _node_lines(node: NodePlan) -> Iterator[str]:
    place = f"{node.kind}, {node.organisation}, segment {node.segment}: {node.segment_kind}"
    yield f"node {node.name} ({place}) {node.title}".rstrip()
    for interface in node.interfaces:
        address = interface.address or "no address"
        yield f"  interface {interface.name} {interface.mac} {address} (link {interface.link})"
    for route in node.routes:
        yield f"  route {route.prefix} via {route.via} dev {route.interface}"
    for name, value in sorted(node.sysctls.items()):
        yield f"  sysctl {name} = {value}"
    for title, text in (("bird", node.bird), ("iptables", node.iptables)):
        if text is not None:
            yield f"  {title}:"
            yield from (f"    {line}".rstrip() for line in text.splitlines())


def _name_server_lines(server: NameServer) -> Iterator[str]:
    rest = f"asks {server.forward} for the rest" if server.forward else "knows nothing else"
    yield f"names that {server.name} on {server.node} ({server.address}) answers; it {rest}"
    for record in server.records:
        port = f" port {record.port}" if record.port is not None else ""
        yield f"  {record.name} {record.kind} {record.target}{port}"


def _link_line(link: LinkPlan) -> str:
    forward, back = shape_text(link.shape_forward), shape_text(link.shape_return)
    shape = forward if forward == back else f"forward {forward}; return {back}"
    marks = "".join(f" [{mark}]" for mark, on in (("down", not link.up), ("not captured", not link.captured)) if on)
    return f"{link.name} ({link.segment_kind}) {link.a.node} - {link.b.node}: {shape}{marks}"


def shape_text(shape: LinkShape) -> str:
    """Say in one line what a link's direction does."""
    if shape == LinkShape():
        return "plain cable"
    words = [format_duration(shape.delay)] if shape.delay else []
    words += [f"jitter {format_duration(shape.jitter)} {shape.jitter_distribution}"] if shape.jitter else []
    words += [format_rate(shape.rate)] if shape.rate else []
    words += [
        f"{what} {format_ratio(share)}" for what in ("loss", "reorder", "duplicate") if (share := getattr(shape, what))
    ]
    words += (
        [f"burst loss {format_ratio(shape.burst_loss.enter)}/{format_ratio(shape.burst_loss.leave)}"]
        if shape.burst_loss
        else []
    )
    words += ["DSCP to 0"] if shape.dscp == "bleach" else []
    words += [_classes_text(shape)] if shape.classes else []
    return ", ".join(words)


def _classes_text(shape: LinkShape) -> str:
    told = []
    for each in shape.classes:
        most = f", {format_rate(each.rate)}" if each.rate else ""
        told.append(f"{' '.join(map(str, each.dscp))} ({each.queue_packets} packets{most})")
    return f"DSCP {', then '.join(told)}, then the rest ({shape.queue_packets} packets)".replace(" (", " first (", 1)
