"""The content of quality.json but for the targets: every stream's figures, the links' achieved figures, the timings."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from testbed.analysis.quality import emodel
from testbed.analysis.quality.achieved import Achieved
from testbed.analysis.quality.clock import PCMU, clock_rates
from testbed.analysis.quality.extents import extents
from testbed.analysis.quality.figures import Figures, interarrival_jitter_ms, passage_figures
from testbed.analysis.quality.losses import loss_places
from testbed.analysis.quality.streams import NOT_SEEN, Stream, Stretch, find_streams, whole
from testbed.analysis.quality.timings import timings
from testbed.analysis.run import Json, Run

Document = dict[str, Any]
_LEAST_FOR_JITTER: Final = 16
"J moves by a sixteenth a packet: before so many it still shows its start at 0."


def measure(run: Run) -> Document:
    """Return streams, links and timings of *run*; `testbed.analysis.quality.figures` says how each is worked out."""
    rates, achieved, streams = clock_rates(run.packets), Achieved(), []
    for stream in find_streams(run.packets, run.walks, run.network):
        streams.append(_describe(run, stream, rates.get(stream.payload_type)))
        achieved.add(stream)
    return {
        "streams": streams,
        "links": achieved.links(),
        "timings": timings(run),
        "rtt_told_by_agents": _told_rtt(run.events),
        "e_model": {
            "r_default": emodel.R_DEFAULT,
            "equipment_impairment": emodel.EQUIPMENT_IMPAIRMENT,
            "loss_robustness": emodel.LOSS_ROBUSTNESS,
            "burst_ratio": emodel.BURST_RATIO,
            "dejitter_buffer_ms": emodel.DEJITTER_BUFFER_MS,
        },
    }


def link_figures(run: Run) -> Document:
    """Return `links` of `measure` alone."""
    achieved = Achieved()
    for stream in find_streams(run.packets, run.walks, run.network):
        achieved.add(stream)
    return achieved.links()


def _describe(run: Run, stream: Stream, clock_rate_hz: int | None) -> Document:
    document: Document = {
        "ssrc": stream.ssrc,
        "from": stream.sender,
        "to": stream.receiver,
        "payload_type": stream.payload_type,
        "media": stream.media,
        "clock_rate_hz": clock_rate_hz,
        "packets": len(stream.sequence),
        "first_ns": int(stream.first_ns[0]),
        "last_ns": int(stream.first_ns[-1]),
        "sequence_gaps": int(np.ptp(stream.sequence)) + 1 - len(stream.sequence),
        "duplicates": stream.duplicates,
        "ways": [
            {"links": list(way.links(0, len(way.hops))), "packets": way.packets} for way in stream.ways if way.arrives
        ],
        "lost_where": loss_places(stream, run.walks.walks, run.drops, run.network) if stream.ways else [],
        "end_to_end": None,
        "stretches": [],
    }
    if not stream.ways:
        return document | {"note": "no capture shows its whole way: there is nothing to measure against"}
    if stream.is_dead:
        document["note"] = "no packet of it arrived"
    end_to_end = _figures(stream, whole(stream.ways[0]), clock_rate_hz)
    document["end_to_end"] = end_to_end | _quality(stream, end_to_end, clock_rate_hz)
    document["stretches"] = [
        {"what": what, "name": name, **_figures(stream, part, clock_rate_hz)}
        for what, name, part in extents(stream.ways)
    ]
    return document


def _figures(stream: Stream, part: Stretch, clock_rate_hz: int | None) -> Document:
    document: Document = {
        "links": list(part.links),
        "from": part.way.directions[part.first].source,
        "to": part.way.directions[part.behind - 1].target,
        "problem": part.problem,
    }
    if part.problem is not None or part.entry is None:
        return document
    passage = stream.passage(part.entry, part.exit)
    figures = passage_figures(passage)
    jitter = _jitter(stream, part.exit, clock_rate_hz, figures["missing"])
    return document | figures | {"interarrival_jitter_ms": jitter}


def _jitter(stream: Stream, exit_: int | None, clock_rate_hz: int | None, missing: dict[str, str]) -> Document | None:
    """Return RFC 3550's J as a receiver at the end of the stretch would have it: it grows along the way."""
    if exit_ is None:
        missing["interarrival_jitter_ms"] = "no packet passed"
        return None
    at_ns = stream.time_ns[:, stream.column[exit_]]
    seen = at_ns != NOT_SEEN
    if clock_rate_hz is None:
        missing["interarrival_jitter_ms"] = f"the clock rate of payload type {stream.payload_type} is not known"
        return None
    if (count := int(seen.sum())) < _LEAST_FOR_JITTER:
        missing["interarrival_jitter_ms"] = f"{count} packets, {_LEAST_FOR_JITTER} needed"
        return None
    jitter = interarrival_jitter_ms(at_ns[seen], stream.rtp_timestamp[seen], clock_rate_hz)
    return {"last": float(jitter[-1]), "mean": float(jitter.mean()), "max": float(jitter.max())}


def _quality(stream: Stream, figures: Figures, clock_rate_hz: int | None) -> Document:
    """Return R and MOS of a G.711 stream."""
    delays, loss_ratio = figures.get("one_way_delay_ms"), figures.get("loss_ratio")
    missing = dict(figures.get("missing", {}))
    if stream.payload_type != PCMU or clock_rate_hz is None:
        missing["r"] = "the E-model has agreed constants for G.711 here, and this stream is something else"
    elif delays is None or loss_ratio is None or len(stream.rtp_timestamp) < 2:
        missing["r"] = "no packet arrived" if loss_ratio == 1 else "it needs delay and loss"
    if "r" in missing or delays is None or loss_ratio is None or clock_rate_hz is None:
        return {"r": None, "mos": None, "mouth_to_ear_ms": None, "missing": missing}
    packet_ms = float(np.median(np.diff(np.sort(stream.rtp_timestamp)))) * 1000 / clock_rate_hz
    mouth_to_ear_ms = delays["mean"] + packet_ms + emodel.DEJITTER_BUFFER_MS
    r = emodel.rating(mouth_to_ear_ms, loss_ratio)
    return {"r": r, "mos": emodel.mean_opinion_score(r), "mouth_to_ear_ms": mouth_to_ear_ms, "missing": missing}


def _told_rtt(events: Sequence[Json] | None) -> list[Document] | None:
    """Return the agents' RTT from RTCP: it travels encrypted (SRTCP), so no capture can tell it."""
    if events is None:
        return None
    return [
        {"agent": event.get("agent"), "peer": call.get("peer"), "rtt_ms": call.get("rtt_ms")}
        for event in events
        if event.get("line") == "result"
        for call in event.get("calls") or ()
        if isinstance(call, dict)
    ]
