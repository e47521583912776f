"""The columns of every table, in order, and their types: what docs/tables.md describes, held against runs by tests."""

from collections.abc import Mapping
from typing import Final

FORMAT: Final = 2
"Of all tables together: a new one where a column is renamed, removed, of another type, or means something else."

_TYPES: Final = {"": "string", "int": "Int64", "number": "Float64", "bool": "boolean"}
"pandas' types that take nulls, so that a column's does not depend on whether a row has one."
_TYPES_OF_CAPTURES: Final = {"": "category", "int": "int64", "bool": "bool"}
"Of packets and flows, which are long, and never have a null."
_CAPTURES: Final = ("packets", "flows")
_COLUMNS: Final = {
    "packets": """
        scenario frame:int time_ns:int protocol:int source_port:int destination_port:int ttl:int dscp:int ip_id:int
        ip_length:int tcp_sequence:int tcp_acknowledged:int tcp_flags:int icmp_type:int icmp_code:int
        payload_length:int channel:int stun_type:int ssrc:int sequence:int rtp_timestamp:int payload_type:int
        media_bytes:int forward:bool link source destination kind encapsulation
    """,
    "flows": """
        scenario link forward:bool protocol:int source source_port:int destination destination_port:int kind
        packets:int ip_bytes:int payload_bytes:int first_frame:int first_ns:int last_ns:int
    """,
    "media_streams": """
        scenario ssrc:int sender receiver payload_type:int media what name links from to packets_entered:int
        packets_left:int lost:int reordered:int loss_ratio:number reordered_ratio:number mean_delay_change_ms:number
        mean_delay_change_15s_ms:number one_way_delay_ms_min:number one_way_delay_ms_mean:number
        one_way_delay_ms_max:number one_way_delay_ms_median:number one_way_delay_ms_p90:number
        one_way_delay_ms_p95:number one_way_delay_ms_p99:number pdv_ms_median:number pdv_ms_p90:number
        pdv_ms_p95:number pdv_ms_p99:number ipdv_ms_min:number ipdv_ms_max:number ipdv_ms_std:number
        interarrival_jitter_ms_last:number interarrival_jitter_ms_mean:number interarrival_jitter_ms_max:number
        burst_loss_200ms_ratio:number burst_loss_200ms_lost:int burst_loss_200ms_packets:int loss_15s_ratio:number
        loss_15s_lost:int loss_15s_packets:int mouth_to_ear_ms:number r:number mos:number loss_runs_count:int
        loss_runs_longest:int loss_runs_weighted_mean:number timing_trusted:bool capture_complete:bool
    """,
    "links": """
        scenario link direction together_with packets:int lost:int delay_mean_ns:int delay_std_ns:int
        timing_trusted:bool capture_complete:bool
    """,
    "legs": """
        scenario row flow from to verdict disposition crosses never segments forward return packets_forward:int
        packets_return:int predicted:bool reason
    """,
    "sip_transactions": """
        scenario link method request_uri call_id cseq:int branch source source_port:int destination
        destination_port:int transport requests:int request_ns:int provisional_ns:int final_ns:int final_status:int
        response_ms:number
    """,
    "drops": """
        scenario frame:int time_ns:int firewall rule hook came_in to_go_out protocol:int source source_port:int
        destination destination_port:int
    """,
    "assessment": """
        scenario CallStartTime PacketLossRate:number RoundTripLatencyInMs:number PacketsSent:int PacketsReceived:int
        AverageJitterInMs:number PacketReorderRatio:number From To Media timing_trusted:bool capture_complete:bool
    """,
}


def _typed(table: str, text: str) -> dict[str, str]:
    types = _TYPES_OF_CAPTURES if table in _CAPTURES else _TYPES
    return {name: types[kind] for name, _, kind in (word.partition(":") for word in text.split())}


COLUMNS: Final[Mapping[str, Mapping[str, str]]] = {name: _typed(name, text) for name, text in _COLUMNS.items()}
"Of each table the columns, in order, and their pandas types."
TABLES: Final = tuple(COLUMNS)
