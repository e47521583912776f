"""Agents in a small world (agent_world.py): real calls through a default-DROP firewall, a Front End and coturn."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from testbed.emulation.tools import sealed

pytestmark = pytest.mark.emulation

ROOT = Path(__file__).parents[2]
SECRET = "a secret of the pool"
FRONT_END = {"address": "198.51.101.2", "port": 5060, "transport": "tcp"}
RELAY = {"address": "198.51.100.2", "udp_port": 3478, "tcp_port": 443}
TONES = {"alice": 400, "bob": 500, "phone": 900}
HEARD_DBOV = -45
MEDIA: dict[str, dict[str, Any]] = {
    "audio": {"ports": "50000-50019", "dscp": 46},
    "video": {"ports": "50020-50039", "dscp": 34},
    "application-sharing": {"ports": "50040-50059", "dscp": 18},
    "file-transfer": {"ports": "50040-50059", "dscp": 10},
}
Said = dict[str, list[dict[str, Any]]]


def play(tmp_path: Path, **spec: Any) -> Said:
    """Carry out *spec* in a sealed world; return what each agent said."""
    played = subprocess.run(
        sealed(sys.executable, "tests/emulation/agent_world.py", str(tmp_path)),
        input=json.dumps({"relay_secret": SECRET.replace(" ", "-"), "calls": [], "ends": [], **spec}),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=90,
        check=False,
    )
    assert played.returncode == 0, played.stderr
    said: Said = json.loads(played.stdout)
    return said


def front_end(**changes: Any) -> dict[str, Any]:
    return {
        "name": "fe",
        "program": "front_end",
        "node": "server",
        "domains": ["contoso.example"],
        "users": {f"sip:{name}@contoso.example": f"{name}'s" for name in ("alice", "bob")},
        "listen": [{"transport": "tcp", "port": 5060}],
        "relay_secret": SECRET.replace(" ", "-"),
        "relays": [{**RELAY, "internal_address": None}],
        "routes": [],
        **changes,
    }


def client(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "program": "client",
        "node": name,
        "uri": f"sip:{name}@contoso.example",
        "password": f"{name}'s",
        "server": FRONT_END,
        "relay": "by SIP",
        "tone_hz": TONES[name],
        "tones": TONES,
        "media": MEDIA,
        "setup_limit_ns": 8_000_000_000,
        **changes,
    }


def call(party: str, target: str, **changes: Any) -> dict[str, Any]:
    changes = {"media": ["audio"], "bundled": True, "duration_ns": 2_500_000_000, **changes}
    return {"party": party, "call": "c1", "target": target, **changes}


def routed_to(port: int, match: str) -> list[dict[str, Any]]:
    return [{"match": match, "next": {"address": "198.51.101.2", "port": port, "transport": "tcp"}}]


def result_of(said: Said, name: str) -> dict[str, Any]:
    result = said[name][-1]
    assert result["type"] == "result", said[name]
    only: dict[str, Any] = result["calls"][0]
    return only


def events(said: Said, name: str) -> list[str]:
    return [line["event"] for line in said[name] if line["type"] == "event"]


def relayed(measured: dict[str, Any]) -> set[str]:
    """Relayed addresses in the selected pair."""
    pair = measured["selected_pair"]
    return {pair[f"{end}_address"] for end in ("local", "remote") if pair[end] == "relay"}


def heard(said: Said, name: str) -> set[str]:
    """Names (or frequencies) that agent *name* heard in its first call."""
    levels = result_of(said, name)["audio"]["tone_hz"]
    return {who for who, level in levels.items() if level is not None and level >= HEARD_DBOV}


def test_two_clients_behind_a_firewall_hear_each_other_through_the_relay(tmp_path: Path) -> None:
    said = play(
        tmp_path,
        jobs=[front_end(), client("alice"), client("bob")],
        # A round trip takes a report and the one that answers it: up to 1.5 s for each (aiortc).
        calls=[call("alice", "sip:bob@contoso.example", duration_ns=4_000_000_000)],
        ends=["alice", "bob"],
    )
    assert heard(said, "alice") == {"bob"}
    assert heard(said, "bob") == {"alice"}
    for name in ("alice", "bob"):
        measured = result_of(said, name)
        assert "relay" in (measured["selected_pair"]["local"], measured["selected_pair"]["remote"])
        assert measured["rtp"]["received"] > 100
        assert measured["rtt_ms"] is not None
    assert relayed(result_of(said, "alice")) == relayed(result_of(said, "bob")), "the two ends selected different pairs"
    told = events(said, "alice")
    wanted = ["registered", "relay", "calling", "ringing", "answered", "ice", "media", "established", "terminated"]
    assert told == wanted
    assert result_of(said, "alice")["cause"] == "hangup"
    assert result_of(said, "bob")["cause"] == "remote-hangup"
    assert said["exits"] == [{"fe": 0, "alice": 0, "bob": 0}]


def test_without_a_firewall_between_them_media_goes_directly(tmp_path: Path) -> None:
    said = play(
        tmp_path,
        accept=["-s 10.0.0.0/8 -d 10.0.0.0/8"],
        jobs=[front_end(), client("alice"), client("bob")],
        calls=[call("alice", "sip:bob@contoso.example")],
        ends=["alice", "bob"],
    )
    for name in ("alice", "bob"):
        pair = result_of(said, name)["selected_pair"]
        assert (pair["local"], pair["remote"]) == ("host", "host")


def test_a_client_may_reach_its_relay_over_tcp(tmp_path: Path) -> None:
    said = play(
        tmp_path,
        drop=["-s 10.1.0.2 -p udp"],
        jobs=[front_end(), client("alice", turn_transports=["tcp"]), client("bob")],
        calls=[call("alice", "sip:bob@contoso.example")],
        ends=["alice", "bob"],
    )
    assert heard(said, "alice") == {"bob"}
    assert result_of(said, "alice")["selected_pair"]["local"] == "relay"


def test_when_the_way_to_the_relay_is_blocked_the_call_fails_and_says_why(tmp_path: Path) -> None:
    said = play(
        tmp_path,
        drop=["-s 10.1.0.2 -p udp --dport 3478"],
        jobs=[front_end(), client("alice"), client("bob")],
        calls=[call("alice", "sip:bob@contoso.example")],
        ends=["alice", "bob"],
    )
    assert result_of(said, "alice")["cause"] == "relay-unreachable"
    assert "established" not in events(said, "alice")
    assert result_of(said, "alice")["audio"]["received_level_dbov"] is None
    assert heard(said, "bob") == set()


def test_a_relay_that_knows_another_secret_refuses(tmp_path: Path) -> None:
    said = play(
        tmp_path,
        jobs=[front_end(relay_secret="another"), client("alice", setup_limit_ns=4_000_000_000), client("bob")],
        calls=[call("alice", "sip:bob@contoso.example")],
        ends=["alice"],
    )
    assert result_of(said, "alice")["cause"] == "relay-refused"


def test_calling_who_is_not_there_ends_with_the_sip_status(tmp_path: Path) -> None:
    said = play(
        tmp_path,
        jobs=[front_end(), client("alice")],
        calls=[call("alice", "sip:bob@contoso.example")],
        ends=["alice"],
    )
    assert result_of(said, "alice")["cause"] == "480"


def test_a_wrong_password_is_an_error_line_and_no_crash(tmp_path: Path) -> None:
    said = play(tmp_path, jobs=[front_end(), client("alice", password="wrong", is_awaited=False)])
    assert "403" in said["alice"][0]["what"]
    assert not any(line["type"] == "ready" for line in said["alice"])
    assert said["exits"] == [{"fe": 0, "alice": 0}]


@pytest.mark.parametrize("bundled", [True, False])
def test_participants_of_a_conference_hear_see_and_get_files_of_the_others(tmp_path: Path, bundled: bool) -> None:
    conference = {
        "name": "conf",
        "program": "conference",
        "node": "server",
        "uri_prefix": "conf-",
        "listen": [{"transport": "tcp", "port": 5070}],
        "relay": {**RELAY, "secret": SECRET.replace(" ", "-")},
        "relay_only": True,
        "tones": TONES,
    }
    said = play(
        tmp_path,
        jobs=[front_end(routes=routed_to(5070, "^conf-[0-9]+$")), conference, client("alice"), client("bob")],
        calls=[call(name, "sip:conf-1@contoso.example", media=[*MEDIA], bundled=bundled) for name in ("alice", "bob")],
        ends=["alice", "bob"],
    )
    assert "bob" in heard(said, "alice")
    assert "alice" not in heard(said, "alice")
    assert "alice" in heard(said, "bob")
    assert "bob" not in heard(said, "bob")
    media = result_of(said, "alice")["media"]
    for kind in ("video", "application-sharing"):
        assert media[kind]["seen"]["bob"] > 5
        assert media[kind]["seen"]["alice"] == media[kind]["unreadable"] == 0
    received = media["file-transfer"]["received"]
    assert [(file["from"], file["bytes"], file["is_whole"]) for file in received] == [("bob", 65536, True)]
    pairs = {kind: told["selected_pair"] for kind, told in media.items()}
    assert len({pair["local_address"] for pair in pairs.values()}) == (1 if bundled else 4)
    for kind, pair in pairs.items():
        if pair["local"] == "host":
            first = MEDIA["audio" if bundled else kind]["ports"].partition("-")[0]
            assert 0 <= int(pair["local_address"].rpartition(":")[2]) - int(first) < 20
    assert {c["selected_pair"]["local"] for c in said["conf"][-1]["calls"]} == {"relay"}


def test_a_kind_of_media_that_is_blocked_is_told_and_leaves_the_others(tmp_path: Path) -> None:
    said = play(
        tmp_path,
        drop=["-p udp --sport 50020:50039"],
        accept=["-s 10.0.0.0/8 -d 10.0.0.0/8"],
        jobs=[front_end(), client("alice"), client("bob")],
        calls=[call("alice", "sip:bob@contoso.example", media=[*MEDIA], bundled=False)],
        ends=["alice", "bob"],
    )
    for name, peer in (("alice", "bob"), ("bob", "alice")):
        failed = [line for line in said[name] if line.get("event") == "media-failed"]
        assert [(line["media"], line["cause"]) for line in failed] == [("video", "ice-failed")]
        media = result_of(said, name)["media"]
        assert media["video"]["failed"] == "ice-failed"
        assert media["video"]["seen"] == dict.fromkeys(TONES, 0)
        assert media["application-sharing"]["seen"][peer] > 0
        assert [file["is_whole"] for file in media["file-transfer"]["received"]] == [True]
        assert heard(said, name) == {peer}
    assert result_of(said, "alice")["cause"] == "hangup"


def mediation() -> dict[str, Any]:
    return {
        "name": "med",
        "program": "mediation",
        "node": "server",
        "listen": [{"transport": "tcp", "port": 5070}],
        "front_end": FRONT_END,
        "relay": {**RELAY, "secret": SECRET.replace(" ", "-")},
        "gateway": {"address": "203.0.113.2", "port": 5060},
    }


def telephone(**changes: Any) -> dict[str, Any]:
    return {
        "name": "phone",
        "program": "phone",
        "node": "phone",
        "uri": "sip:+4684001234@pstn.example",
        "listen": [{"transport": "udp", "port": 5060}],
        "tone_hz": TONES["phone"],
        "tones": TONES,
        **changes,
    }


def test_a_telephone_is_called_through_the_mediation_server(tmp_path: Path) -> None:
    said = play(
        tmp_path,
        jobs=[front_end(routes=routed_to(5070, r"^\+[0-9]+$")), mediation(), telephone(), client("alice")],
        calls=[call("alice", "sip:+4684001234@contoso.example")],
        ends=["alice", "phone"],
    )
    assert heard(said, "alice") == {"phone"}
    assert heard(said, "phone") == {"alice"}
    assert result_of(said, "phone")["rtp"]["lost"] == 0


def test_a_telephone_calls_a_user_through_the_mediation_server(tmp_path: Path) -> None:
    server = {"address": "198.51.101.2", "port": 5070, "transport": "tcp"}
    said = play(
        tmp_path,
        jobs=[front_end(), mediation(), telephone(server=server), client("alice")],
        calls=[call("phone", "sip:alice@contoso.example")],
        ends=["alice", "phone"],
    )
    assert heard(said, "alice") == {"phone"}
    assert heard(said, "phone") == {"alice"}
    assert result_of(said, "alice")["cause"] == "remote-hangup"


def test_a_call_the_telephone_does_not_get_is_refused_to_the_caller_too(tmp_path: Path) -> None:
    said = play(
        tmp_path,
        drop=["-d 203.0.113.2"],
        jobs=[
            front_end(routes=routed_to(5070, r"^\+[0-9]+$")),
            {**mediation(), "setup_limit_ns": 1_000_000_000},
            telephone(),
            client("alice"),
        ],
        calls=[call("alice", "sip:+4684001234@contoso.example")],
        ends=["alice"],
    )
    assert result_of(said, "alice")["cause"] == "504"
    assert said["phone"][-1]["calls"] == []


def test_an_unknown_command_is_one_error_line_and_exit_status_1(tmp_path: Path) -> None:
    said = play(
        tmp_path, jobs=[front_end(), client("alice")], calls=[{"party": "alice", "do": "sing"}], failing=["alice"]
    )
    assert said["alice"][-1] == {**said["alice"][-1], "type": "error"}
    assert "sing" in said["alice"][-1]["what"]
    assert said["exits"] == [{"alice": 1, "fe": 0}]


def test_told_to_stop_in_a_call_a_client_hangs_up_and_ends_within_a_second(tmp_path: Path) -> None:
    said = play(
        tmp_path,
        jobs=[front_end(), client("bob"), client("alice")],
        calls=[call("alice", "sip:bob@contoso.example", duration_ns=600_000_000_000)],
        established=["alice", "bob"],
    )
    assert result_of(said, "alice")["cause"] == "stopped"
    assert result_of(said, "bob")["cause"] == "remote-hangup"
    assert said["stop_ns"][0]["alice"] < 1_000_000_000
    assert result_of(said, "alice")["rtp"]["received"] > 0


def test_agents_end_with_the_forkserver_that_made_them(tmp_path: Path) -> None:
    said = play(tmp_path, jobs=[front_end(), client("alice")], is_abandoned=True)
    assert said["closed"] == [{"name": "fe"}, {"name": "alice"}]


def forkserver(fd: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "agents.forkserver", str(fd)],
        pass_fds=[fd],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_forkserver_answers_a_bad_request_in_one_line_and_goes_on() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, forkserver(theirs.fileno()) as server:
        theirs.close()
        ours.settimeout(60)
        fds = [ours.fileno()] * 3
        answers = []
        for request, passed in (
            ('{"program": "client", "name": "a"}', fds[:2]),
            ('{"program": "juggler", "name": "a"}', fds),
            ("not JSON", fds),
        ):
            socket.send_fds(ours, [request.encode()], passed)
            answers.append(json.loads(ours.recv(65536))["error"])
        ours.close()
        assert server.wait(60) == 0
    assert "3 file descriptors" in answers[0]
    assert "no agent program 'juggler'" in answers[1]
    assert "JSONDecodeError" in answers[2]


def test_the_forkserver_refuses_another_kind_of_socket() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, forkserver(theirs.fileno()) as server:
        _, told = server.communicate(timeout=60)
    assert server.returncode == 2
    assert "no SEQPACKET socket" in told
