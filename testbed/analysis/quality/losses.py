"""Where packets died: the link behind the last one that showed them, or the firewall that says it dropped them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np

from testbed.analysis.drops import Drop
from testbed.analysis.network import Network
from testbed.analysis.paths import Walk
from testbed.analysis.quality.streams import NOT_SEEN, Stream, Way


def loss_places(
    stream: Stream, walks: Sequence[Walk], drops: Iterable[Drop], network: Network
) -> list[dict[str, object]]:
    """Return `{"where", "links", "firewall", "packets"}` of every place at which *stream* lost packets."""
    lost = np.flatnonzero(stream.arrived_ns == NOT_SEEN)
    numbers, counts = np.unique(stream.walk[lost], return_counts=True)
    dropped = Counter((number, drop.firewall, drop.rule) for drop in drops for number in drop.walks)
    places: Counter[tuple[str, tuple[str, ...], str | None]] = Counter()
    for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
        left = count
        for (walk, firewall, rule), packets in dropped.items():
            if walk == number and left:
                places[f"{firewall} (rule {rule})", (), firewall] += min(left, packets)
                left -= min(left, packets)
        if left:
            links, where = _behind(stream.ways, walks[number], network)
            places[where, links, None] += left
    return [
        {"where": where, "links": list(links), "firewall": firewall, "packets": packets}
        for (where, links, firewall), packets in places.most_common()
    ]


def _behind(ways: Sequence[Way], walk: Walk, network: Network) -> tuple[tuple[str, ...], str]:
    """Return the links on which packets died that *walk* shows up to its last hop, and the place in words."""
    last = walk.steps[-1].hop
    for way in ways:
        if last not in way.directions:
            continue
        at = way.directions.index(last)
        # Seen where the link begins (forward), they may have died on it; seen where it ends, on the next one.
        candidates = [last] if last.forward else []
        candidates += [after for before, after in pairwise(way.directions) if before == last and not after.forward]
        # A plain veth loses nothing, so of several the shaped one did it, or the node behind where nothing follows.
        shaped = [hop for hop in candidates if network.links[hop.link].is_shaped]
        is_end = at == len(way.directions) - 1
        links = tuple(hop.link for hop in (shaped if is_end else shaped or candidates))
        return links, " or ".join(links) or f"at {way.directions[at].target}"
    return (), f"off the way, behind {last.link}"
