"""coturn's configuration as the Edge's job asks for it, and jobs that are wrong."""

from pathlib import Path
from typing import Any

import pytest

from agents.edge import AccessEdge, turnserver_configuration
from agents.front_end import FrontEnd

JOB: dict[str, Any] = {
    "external_address": "198.51.100.7",
    "internal_address": "10.0.0.7",
    "relay_ports": "50000-59999",
    "relay_secret": "se#cret",
    "realm": "contoso.example",
    "access_edge": None,
}
FRONT_END: dict[str, Any] = {"domains": ["a.example"], "users": {}, "listen": [{"transport": "udp", "port": 5060}]}


def configuration(**changes: Any) -> list[str]:
    return turnserver_configuration({**JOB, **changes}, Path("/run/edge")).splitlines()


def test_coturn_listens_on_both_sides_and_relays_on_the_outer_one() -> None:
    lines = configuration()
    assert [line for line in lines if line.startswith(("listening-ip", "aux-server", "relay-ip"))] == [
        "listening-ip=198.51.100.7", "listening-ip=10.0.0.7", "aux-server=198.51.100.7:443", "aux-server=10.0.0.7:443",
        "relay-ip=198.51.100.7",
    ]  # fmt: skip
    assert {"min-port=50000", "max-port=59999", "listening-port=3478"} <= set(lines)


def test_with_a_certificate_the_tcp_port_speaks_tls_too_and_without_one_coturn_has_no_tls() -> None:
    tls = {"authority": "a", "certificate": "c", "key": "k"}
    lines = configuration(tls=tls)
    assert {"tls-listening-port=443", "cert=/run/edge/certificate.pem", "pkey=/run/edge/key.pem"} <= set(lines)
    assert not [line for line in lines if line == "no-tls" or line.startswith("aux-server")]
    assert "no-tls" in configuration()


def test_an_edge_with_one_address_listens_on_it_once() -> None:
    assert [line for line in configuration(internal_address="198.51.100.7") if "listening-ip" in line] == [
        "listening-ip=198.51.100.7"
    ]


def test_credentials_are_time_limited_and_nothing_is_written_outside_the_edges_directory() -> None:
    lines = configuration()
    assert {"use-auth-secret", "static-auth-secret=se#cret", "realm=contoso.example", "log-file=stdout"} <= set(lines)
    assert {line for line in lines if "/" in line} == {"userdb=/run/edge/turndb", "pidfile=/run/edge/turnserver.pid"}
    assert "allow-loopback-peers" not in lines


@pytest.mark.parametrize("ports", ["", "a-b", "50000-", "50000:50010"])
def test_relay_ports_that_are_no_range_are_an_error_that_says_so(ports: str) -> None:
    with pytest.raises(ValueError, match="relay_ports must be like '50000-59999'"):
        configuration(relay_ports=ports)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"routes": [{"match": "(", "next": {"address": "10.0.0.1"}}]}, "no regular expression"),
        ({"routes": [{"match": "a", "next": {"port": 1}}]}, "a hop needs the key 'address'"),
        ({"routes": [{"match": "a"}]}, "a route needs the key 'next'"),
        ({"listen": [{"transport": "sctp", "port": 1}]}, "transport must be udp, tcp or tls"),
        ({"relays": [{"udp_port": 1}]}, "not a relay"),
        ({"digest_algorithms": ["SHA-1"]}, "known are MD5, SHA-256"),
    ],
)
def test_a_front_ends_job_that_is_wrong_says_what(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FrontEnd({**FRONT_END, **change}, lambda line: None)


def test_an_access_edges_job_that_is_wrong_says_what() -> None:
    access_edge = {"listen": [{"transport": "tcp", "port": 5060}], "next": {"port": 5060}}
    with pytest.raises(ValueError, match="a hop needs the key 'address'"):
        AccessEdge({**JOB, "access_edge": access_edge}, print)
