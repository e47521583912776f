"""The columns of every table, in order: what docs/tables.md describes, and tests hold against it and against runs."""

from collections.abc import Mapping
from typing import Final

FORMAT: Final = 1
"Of all tables together: a new one where a column is renamed, removed, or means something else."

_COLUMNS: Final = {
    "packets": """
        scenario frame time_ns protocol source_port destination_port ttl dscp ip_id ip_length tcp_sequence
        tcp_acknowledged tcp_flags icmp_type icmp_code payload_length channel stun_type ssrc sequence
        rtp_timestamp payload_type media_bytes forward link source destination kind encapsulation
    """,
    "flows": """
        scenario link forward protocol source source_port destination destination_port kind packets ip_bytes
        payload_bytes first_frame first_ns last_ns
    """,
    "media_streams": """
        scenario ssrc sender receiver payload_type media what name links from to packets_entered
        packets_left lost reordered loss_ratio reordered_ratio mean_delay_change_ms mean_delay_change_15s_ms
        one_way_delay_ms_min one_way_delay_ms_mean one_way_delay_ms_max one_way_delay_ms_median
        one_way_delay_ms_p90 one_way_delay_ms_p95 one_way_delay_ms_p99 pdv_ms_median pdv_ms_p90 pdv_ms_p95
        pdv_ms_p99 ipdv_ms_min ipdv_ms_max ipdv_ms_std interarrival_jitter_ms_last
        interarrival_jitter_ms_mean interarrival_jitter_ms_max burst_loss_200ms_ratio burst_loss_200ms_lost
        burst_loss_200ms_packets loss_15s_ratio loss_15s_lost loss_15s_packets mouth_to_ear_ms r mos
        loss_runs_count loss_runs_longest loss_runs_weighted_mean
    """,
    "links": """
        scenario link direction together_with packets lost delay_mean_ns delay_std_ns
    """,
    "legs": """
        scenario row flow from to verdict disposition crosses never segments forward return packets_forward
        packets_return predicted reason
    """,
    "sip_transactions": """
        scenario link method request_uri call_id cseq branch source source_port destination destination_port
        transport requests request_ns provisional_ns final_ns final_status response_ms
    """,
    "drops": """
        scenario frame time_ns firewall rule hook came_in to_go_out protocol source source_port destination
        destination_port
    """,
    "assessment": """
        scenario CallStartTime PacketLossRate RoundTripLatencyInMs PacketsSent PacketsReceived
        AverageJitterInMs PacketReorderRatio From To Media
    """,
}
COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {name: tuple(text.split()) for name, text in _COLUMNS.items()}
TABLES: Final = tuple(COLUMNS)
