"""Endpoint files: read, made into the announcements that follow from them, and held against the topology."""

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from testbed.endpoints import Endpoint, all_prefixes, expressroute_prefixes
from testbed.errors import SpecError
from testbed.spec.faults import Fault, Sources, field_names, path_source, schema_faults
from testbed.topology import Document, Topology

_PREFIXES = {"expressroute": expressroute_prefixes, "all": all_prefixes}
"What an announcement's `endpoints` may say, and the prefixes it stands for."


def read_endpoints(path: Path) -> tuple[Endpoint, ...]:
    """Read a file in the format of the Office 365 IP address and URL web service; raise SpecError."""
    source = path_source(path)
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))  # what PowerShell saves begins with a mark
    except OSError as error:
        raise SpecError(source, "", f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise SpecError(source, "", f"is not UTF-8: byte 0x{error.object[error.start]:02x}") from None
    except RecursionError:
        raise SpecError(source, "", "is nested too deeply for a list of endpoint sets") from None
    except ValueError as error:  # of the syntax, or a number of thousands of digits
        raise SpecError(source, "", f"is not JSON: {error}") from None
    return parse_endpoints(document, source)


def parse_endpoints(document: Any, source: str) -> tuple[Endpoint, ...]:
    """Return *document*, the content of the file *source*, as endpoint sets; raise SpecError."""
    if not isinstance(document, list) or not document:
        problem = "must be an array of endpoint sets, as endpoints.office.com gives it, with one at least"
        raise SpecError(source, "", problem)
    found: dict[int, Endpoint] = {}
    for place, entry in enumerate(document, 1):
        number = entry.get("id") if isinstance(entry, dict) else None
        where = f"entry {place} of {len(document)}" + (f" (id {number})" if number is not None else "")
        endpoint = _parse_one(entry, source, where)
        if endpoint.id in found:
            raise SpecError(source, where, "this id stands in an earlier entry already")
        found[endpoint.id] = endpoint
    return tuple(found.values())


def _parse_one(entry: Any, source: str, where: str) -> Endpoint:
    if not isinstance(entry, dict):
        raise SpecError(source, where, "must be an object")
    known = field_names(Endpoint)
    for key in entry:
        near = difflib.get_close_matches(key.lower(), [name.lower() for name in known], n=1, cutoff=0.8)
        meant = next((name for name in known if [name.lower()] == near), key)
        if meant not in entry:  # a key that Microsoft adds one day may look like one, and stands beside it
            raise SpecError(source, f"{where}: {key}", f"unknown key; did you mean {meant!r}?")
    try:
        return Endpoint.model_validate_json(json.dumps(entry), strict=True)
    except ValidationError as error:
        fault = schema_faults(error, Endpoint)[0]
        key = ".".join(map(str, fault.key))
        raise SpecError(source, f"{where}: {key}" if key else where, fault.problem) from None


def fill_in_endpoints(document: Document, sources: Sources, directory: Path, *, may_be_foreign: bool = False) -> None:
    """Put the content of the file that a topology's *document* names in its place, and what is announced from it.

    The file is looked for in *directory*; one that a change names, in the current one first. One that *may_be_foreign*
    may leave an announcement without a prefix. Raises SpecError.
    """
    name = document.get("endpoints")
    if isinstance(name, str):
        is_changed = sources.find(("endpoints",)) == "change"
        path = Path(name) if is_changed and Path(name).is_file() else directory / name
        endpoints = read_endpoints(path)
        document["endpoints"] = [endpoint.model_dump(mode="json", by_alias=True) for endpoint in endpoints]
        sources.of["endpoints",] = path_source(path)
    elif name is not None:
        raise SpecError(sources.find(("endpoints",)), "endpoints", f"must name a JSON file, not be {name!r}")
    else:
        endpoints = ()
    announcements = document.get("announcements")
    if isinstance(announcements, dict):
        filled = _with_prefixes(document, announcements, endpoints, sources)
        silent = [name for name in announcements if name not in filled]
        if silent and not may_be_foreign:
            key = ("announcements", silent[0])
            which = announcements[silent[0]]["endpoints"]
            what = "IPv4 prefix with expressRoute true" if which == "expressroute" else "IPv4 prefix"
            problem = f"would announce nothing: {sources.find(('endpoints',))} has no {what}"
            raise SpecError(sources.find(key), ".".join((*key, "endpoints")), problem)
        document["announcements"] = filled


def _with_prefixes(
    document: Document, announcements: Mapping[str, Any], endpoints: Sequence[Endpoint], sources: Sources
) -> dict[str, Any]:
    """Return the announcements, each that follows from the endpoints once for each of their IPv4 prefixes."""
    filled: dict[str, Any] = {}
    for name, entry in announcements.items():
        which = entry.get("endpoints") if isinstance(entry, dict) else None
        if which not in _PREFIXES:  # the model tells what is wrong with it, if anything is
            filled[name] = entry
            continue
        key, source = ("announcements", name), sources.find(("announcements", name))
        if "prefix" in entry:
            raise SpecError(source, ".".join(key), "has both prefix and endpoints; one of them says what is announced")
        if not endpoints:
            raise SpecError(source, ".".join((*key, "endpoints")), "the topology names no file of endpoints to take")
        for number, prefix in enumerate(_PREFIXES[which](endpoints), 1):
            own_name = name if number == 1 else f"{name}-{number}"
            filled[own_name] = {**entry, "prefix": str(prefix)}
            sources.of["announcements", own_name] = source
            _keep_forwarding(document, str(entry.get("at")), prefix)
    return filled


def _keep_forwarding(document: Document, node: str, prefix: IPv4Network) -> None:
    """Give a speaker that has a route for a wider prefix one for what it announces, by the same neighbour.

    Without, it would originate an unreachable aggregate, which is longer than its route and so swallows all.
    """
    routes = document["nodes"].get(node, {}).get("routes", {})
    try:
        wider = {IPv4Network(text): via for text, via in routes.items() if text != "default"}
    except (ValueError, AttributeError):
        return  # told when the model is validated
    covering = [other for other in wider if prefix.subnet_of(other)]
    if covering and prefix not in wider:
        routes[str(prefix)] = wider[max(covering, key=lambda other: other.prefixlen)]


def endpoint_faults(topology: Topology) -> Iterator[Fault]:
    """Yield each IPv4 prefix of the endpoints that no node has, and each announcement that goes against them."""
    if not topology.endpoints:
        return
    addresses = [address.ip for link in topology.links.values() for address in link.addresses.values()]
    for endpoint in topology.endpoints:
        for network in endpoint.ipv4:
            if not any(address in network for address in addresses):
                problem = "no node of the topology has an address there; `testbed endpoints` shows such a file as it is"
                yield Fault(("endpoints",), f"id {endpoint.id}: {network}: {problem}")
    allowed = expressroute_prefixes(topology.endpoints)
    for name, announcement in topology.announcements.items():
        circuit = _circuit_neighbours(topology, announcement.at, announcement.to)
        within = any(announcement.prefix.subnet_of(prefix) for prefix in allowed)
        if circuit and not within and not announcement.despite_endpoints:
            yield Fault(
                ("announcements", name, "prefix"),
                f"{announcement.prefix} is announced over ExpressRoute (to {', '.join(circuit)}), and the endpoints do "
                f"not allow that: {_what_they_say(topology.endpoints, announcement.prefix)}; if it must be, say so: "
                "despite_endpoints = true",
            )


def _circuit_neighbours(topology: Topology, speaker: str, to: Sequence[str]) -> list[str]:
    """Return the neighbours on ExpressRoute that Microsoft's *speaker* announces to."""
    kinds = {name: topology.segments[node.segment].kind for name, node in topology.nodes.items()}
    if kinds.get(speaker) != "microsoft":
        return []
    return [neighbour for neighbour in to if kinds.get(neighbour) == "expressroute"]


def _what_they_say(endpoints: Sequence[Endpoint], prefix: IPv4Network) -> str:
    for endpoint in endpoints:
        for network in endpoint.ipv4:
            if network.overlaps(prefix):
                return f"id {endpoint.id} has {network} with expressRoute {str(endpoint.express_route).lower()}"
    return "none has it"
