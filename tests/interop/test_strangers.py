"""Programs that are not ours in an emulated world: SIPp at each Front End, and a softphone that calls our client."""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from strangers import World, file_says, world_of

pytestmark = [pytest.mark.interop, pytest.mark.emulation]
HERE = Path(__file__).parent
SCENARIO = "hybrid/p2p-mixed-homes"
"alice is homed Online, bob on-premises: a call of theirs passes both Front Ends and the Access Edge between."
ONLINE, ONPREM = "198.18.64.10", "10.1.24.20"
ALICE, BOB = "10.1.16.10", "10.1.17.10"
TONE_HZ = 400
"What the plan gives alice to play, so that our client names her."
CONFIGURATION = (
    "module_path /usr/lib/baresip/modules",
    *(f"module {name}.so" for name in ("g711", "ausine", "aubridge", "dtls_srtp", "ice")),
    # These read the accounts, whose keys the modules above must know by then.
    *(f"module_app {name}.so" for name in ("account", "menu")),
    f"audio_source ausine,{TONE_HZ}",
    "ausrc_srate 48000",
    "ausrc_channels 2",
    "audio_player aubridge,nobody",
    "rtcp_mux yes",
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world_of(SCENARIO, tmp_path_factory.mktemp("world")) as world:
        yield world


def password(world: World, party: str) -> str:
    return str(world.job(party).arguments["password"])


def sipp(scenario: str, address: str, port: int, server: str, *more: str) -> str:
    """Return the command that runs one of our SIPp scenarios once."""
    options = f"-i {address} -p {port} -m 1 -nostdin -t t1 -timeout 20 -timeout_error {' '.join(more)}"
    log = f"{scenario}-{port}.log"
    return f"sipp {server}:5060 -sf {HERE / scenario}.xml {options} > {log} 2>&1; echo sipp {scenario} status $?"


def register(
    world: World, user: str, address: str, server: str, port: int, *, secret: str = "", scenario: str = "register"
) -> str:
    credentials = ("-s", user, "-au", user, "-ap", secret or password(world, user))
    return world.run(user, sipp(scenario, address, port, server, *credentials))


@pytest.mark.skipif(shutil.which("sipp") is None, reason="needs sipp (Debian package sip-tester)")
def test_sipp_registers_at_each_front_end_and_calls_from_the_one_to_the_other(world: World) -> None:
    assert "sipp register status 0" in register(world, "alice", ALICE, ONLINE, 5070)
    assert "sipp register status 0" in register(world, "bob", BOB, ONPREM, 5070)
    world.run("bob", f"({sipp('called', BOB, 5070, ONPREM)}) > called.out 2>&1 &")
    assert "sipp caller status 0" in world.run("alice", sipp("caller", ALICE, 5071, ONLINE))
    assert "sipp called status 0" in file_says(world.folder / "called.out", "status")
    # Whoever registers next is to be the only one whom calls reach.
    for user, address, server in (("alice", ALICE, ONLINE), ("bob", BOB, ONPREM)):
        done = register(world, user, address, server, 5073, scenario="unregister")
        assert "sipp unregister status 0" in done


@pytest.mark.skipif(shutil.which("sipp") is None, reason="needs sipp (Debian package sip-tester)")
@pytest.mark.parametrize(("user", "address", "server"), [("alice", ALICE, ONLINE), ("bob", BOB, ONPREM)])
def test_each_front_end_refuses_sipp_with_a_wrong_password(user: str, address: str, server: str, world: World) -> None:
    assert "sipp register status 0" not in register(world, user, address, server, 5072, secret="wrong")


NEEDS_BARESIP = pytest.mark.skipif(shutil.which("baresip") is None, reason="needs baresip (package baresip-core)")


@NEEDS_BARESIP
def test_baresip_registers_online_and_calls_our_client_on_premises(world: World) -> None:
    client = OurClient(world, "bob", "plain", ice=False, relay=None)
    try:
        with Baresip(world, "alice", "plain", command="/dial sip:bob@contoso.example") as softphone:
            softphone.says("Call established: sip:bob@contoso.example")
            file_says(client.said, '"established"')
        file_says(client.said, "remote-hangup")
    finally:
        (told,) = client.stop()["calls"]
    assert told["cause"] == "remote-hangup"
    assert told["rtp"]["sent"] > 0
    assert told["rtp"]["received"] > 0


@NEEDS_BARESIP
def test_our_client_calls_baresip_with_ice_and_dtls_srtp_and_hears_its_tone(world: World) -> None:
    client = OurClient(world, "bob", "ice")
    try:
        with Baresip(world, "alice", "ice", media=";mediaenc=dtls_srtp;medianat=ice"):
            call = {"call": "call1", "target": "sip:alice@contoso.example", "media": ["audio"], "bundled": True}
            client.tell({"do": "call", **call, "duration_ns": 2_000_000_000})
            file_says(client.said, '"terminated"')
    finally:
        (told,) = client.stop()["calls"]
    assert world.job("alice").arguments["tone_hz"] == TONE_HZ
    assert told["cause"] == "hangup"
    assert {told["selected_pair"][end] for end in ("local", "remote")} == {"host"}
    assert told["audio"]["tone_hz"]["alice"] > -50


class Baresip:
    """A softphone with a tone for a microphone, registered Online."""

    def __init__(self, world: World, user: str, name: str, *, media: str = "", command: str = "") -> None:
        self._world, self._user, self._name = world, user, f"baresip-{name}"
        folder = world.folder / self._name
        folder.mkdir()
        account = (
            f"<sip:{user}@contoso.example>;auth_user={user};auth_pass={password(world, user)};answermode=auto"
            f';outbound="sip:{ONLINE}:5060;transport=tcp";audio_codecs=PCMU{media}'
        )
        (folder / "accounts").write_text(f"{account}\n")
        (folder / "contacts").write_text("")
        (folder / "config").write_text("\n".join(CONFIGURATION) + "\n")
        self._execute = f"-e '{command}'" if command else ""

    def __enter__(self) -> "Baresip":
        run = f"baresip -f {self._name} {self._execute} > {self._name}.log 2>&1 & echo $! > {self._name}.pid"
        self._world.run(self._user, run)
        self.says("200 OK")
        self.says("[1 binding]")
        return self

    def says(self, text: str) -> None:
        """Wait until it says *text*."""
        file_says(self._world.folder / f"{self._name}.log", text)

    def __exit__(self, *error: object) -> None:
        self._world.run(self._user, f"kill -INT $(cat {self._name}.pid)")
        self.says("ua: stop all")


class OurClient:
    """One of our clients, started by hand in its node."""

    def __init__(self, world: World, party: str, name: str, **changed: Any) -> None:
        job = world.job(party)
        commands, self.said = world.folder / f"{name}.in", world.folder / f"{name}.out"
        run = f"{sys.executable} -P -m agents client < {name}.in > {name}.out 2> {name}.err &"
        world.run(party, f"mkfifo {name}.in; {run}")
        self._pipe = commands.open("w", buffering=1)
        self.tell({"name": party, "node": job.node, **job.arguments, **changed})
        file_says(self.said, '"ready"')

    def tell(self, message: dict[str, Any]) -> None:
        """Write its job or a command."""
        self._pipe.write(json.dumps(message) + "\n")

    def stop(self) -> dict[str, Any]:
        """Have it end; return its result."""
        self.tell({"do": "stop"})
        lines = file_says(self.said, '"result"').splitlines()
        self._pipe.close()
        found: dict[str, Any] = next(line for line in map(json.loads, lines) if line["type"] == "result")
        return found
