"""Bad files: each fault is one line with file, key, problem and what is allowed."""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spec_samples import FILES, write_samples

from testbed.errors import SpecError
from testbed.plan import make_plan
from testbed.scenario import Change
from testbed.spec.faults import SHOWN
from testbed.spec.reader import read_spec, read_topology
from testbed.spec.toml import read_document

SECOND_LINK = '[links.again]\nends = ["r1", "lan"]\naddresses = { r1 = "10.0.7.1/24" }\n'
LOOP_LINK = '[links.loop]\nends = ["r1", "r1"]\n'

# What is written instead of what; the file and key that are blamed; words of the problem.
SCHEMA_FAULTS = [
    (
        'kind = "switch"',
        'kind = "swich"',
        "office.toml: nodes.lan.kind",
        "must be 'host', 'router', 'firewall' or 'switch'",
    ),
    (
        'kind = "switch"',
        'kynd = "switch"',
        "office.toml: nodes.lan.kynd",
        "unknown key; did you mean 'kind'? allowed: certificate, kind,",
    ),
    ("[nodes.lan]", "[node.lan]", "office.toml: node", "unknown key; did you mean 'nodes'?"),
    ("[nodes.ben]", "[nodes.benjamin-the-first]", "office.toml: nodes.benjamin-the-first", "15 characters at most"),
    ("[nodes.ben]", "[nodes.Ben]", "office.toml: nodes.Ben", "must be lower-case letters"),
    ('ends = ["ann", "lan"]', 'ends = ["ann"]', "office.toml: links.ann-lan.ends.1", "missing"),
    (
        'ann = "10.0.1.2/24"',
        'ann = "10.0.1.2.3"',
        "office.toml: links.ann-lan.addresses.ann",
        "must be an IPv4 address with",
    ),
    ("asn = 12076", "asn = 0", "cloud.toml: bgp.r2.asn", "greater than or equal to 1, not 0"),
    ("asn = 12076", "asn = true", "cloud.toml: bgp.r2.asn", "must be a whole number, not True"),
    ("asn = 12076", "", "cloud.toml: bgp.r2.asn", "missing"),
    (
        '["3478"]',
        '["turn"]',
        "office.toml: firewalls.fw1.rules.turn.destination_ports.0",
        "must be a port or a range of ports",
    ),
    (
        'prefix = "192.0.2.64/26"',
        'prefix = "192.0.2.65/26"',
        "cloud.toml: announcements.pool.prefix",
        "no bit set beyond its length",
    ),
    ('table = "online"', 'table = "onlin"', "call.toml: table", "must be 'online', 'hybrid'"),
    ('flow = "media"', 'flow = "medium"', "call.toml: legs.1.flow", "or 'stream', not 'medium'"),
    ('callee = "ben"', 'calee = "ben"', "call.toml: calls.0.calee", "did you mean 'callee'?"),
    ('title = "Ann calls Ben"', "", "call.toml: title", "missing"),
    (
        'row = "X-1"',
        'row = "X-1"\nsip_t1 = 500',
        "call.toml: sip_t1",
        "must be a number with a unit (ns, us, ms, s, min)",
    ),
    ('row = "X-1"', 'row = "X-1"\nid = "other"', "call.toml: id", "must be 'own/call'"),
    (
        "[segment.cloud]",
        "[segment.c]\n[segment.cloud]",
        "cloud.toml: nodes.r2.segment",
        "must be named: one of c, cloud",
    ),
    (
        'includes = ["office.toml"',
        'includes = ["offise.toml"',
        "offise.toml",
        "cannot be read: No such file or directory",
    ),
    ('includes = ["office.toml"', 'includes = ["tiny.toml"', "tiny.toml: includes", "'tiny.toml' would be read twice"),
    (
        'includes = ["office.toml", "cloud.toml"]',
        "includes = 1",
        "tiny.toml: includes",
        "must be an array of file names",
    ),
    ("[nodes.fe]", "[nodes.ann]", "cloud.toml: nodes.ann", "already defined in"),
    ('kind = "p2p"', 'kind = "p2p"\nbundled = "yes"', "call.toml: calls.0.bundled", "must be true or false, not 'yes'"),
    ('kind = "p2p"', 'kind = "p2p"\nbundled = 1', "call.toml: calls.0.bundled", "must be true or false, not 1"),
    (
        'kind = "p2p"',
        'kind = "p2p"\ncodec = "G.729"',
        "call.toml: calls.0.codec",
        "must be 'PCMU' or 'opus', not 'G.729'",
    ),
    ('topology = "tiny"', 'topology = "tny"', "call.toml: topology", "no topology 'tny'; did you mean 'tiny'?"),
]

SERVICES = """
[services.names]
kind = "name-server"
node = "ann"
clients = ["contoso"]

[services.inside]
kind = "resolver"
node = "ben"
forward = "names"

"""


def services(old: str, new: str) -> str:
    """Return the name servers of the samples, with one thing wrong."""
    assert old in SERVICES
    return SERVICES.replace(old, new, 1)


SERVICE_FAULTS = [
    ("[segment.office]", services(*edit) + "[segment.office]", f"office.toml: services.{where}", problem)
    for edit, where, problem in (
        (('node = "ann"', 'node = "anna"'), "names.node", "no host 'anna'; did you mean 'ann'?"),
        (('node = "ann"', 'node = "r1"'), "names.node", "no host 'r1'"),
        (("services.names", "services.fe"), "fe", "is the name of another node"),
        (("services.names", "services.online-edge"), "online-edge", "is the name of a role too"),
        (('["contoso"]', '["contosso"]'), "names.clients", "no organisation 'contosso'; did you mean 'contoso'?"),
        (("forward", 'clients = ["contoso"]\nforward'), "inside.clients", "contoso's machines ask 'names' already"),
        (('forward = "names"', ""), "inside.forward", "missing"),
        (('forward = "names"', 'forward = "name"'), "inside.forward", "no name server 'name'"),
        (('forward = "names"', 'forward = "inside"'), "inside.forward", "would come back"),
        (('clients = ["contoso"]', 'forward = "inside"'), "names.forward", "belongs to kind 'resolver'"),
        (('kind = "resolver"', 'kind = "dns"'), "inside.kind", "'portal' or 'telemetry', not 'dns'"),
    )
]
REFERENCE_FAULTS = [
    *SERVICE_FAULTS,
    (
        'ends = ["ann", "lan"]',
        'ends = ["ann", "lam"]',
        "office.toml: links.ann-lan.ends",
        "no node 'lam'; did you mean 'lan'?",
    ),
    ("[links.r1-fw1]", LOOP_LINK + "[links.r1-fw1]", "office.toml: links.loop.ends", "both ends are 'r1'"),
    (
        "[links.r1-fw1]",
        SECOND_LINK + "[links.r1-fw1]",
        "office.toml: links.again.ends",
        "r1 and lan are joined by 'r1-lan' already",
    ),
    (
        'ann = "10.0.1.2/24"',
        'ann = "10.0.1.3/24"',
        "office.toml: links.ben-lan.addresses.ben",
        "10.0.1.3 is the address of ann",
    ),
    ('ann = "10.0.1.2/24"', 'ann = "10.0.2.2/24"', "office.toml: links.ben-lan.addresses.ben", "outside 10.0.2.0/24"),
    (
        'fe = "198.18.64.10/24"',
        'fe = "198.18.65.10/24"',
        "cloud.toml: links.fe-r2.addresses.r2",
        "outside 198.18.65.0/24",
    ),
    (
        'ann = "10.0.1.2/24"',
        'ann = "8.8.8.8/24"',
        "office.toml: links.ann-lan.addresses.ann",
        "8.8.8.8 is not in a private",
    ),
    ('ann = "10.0.1.2/24"', 'ann = "10.0.1.255/24"', "office.toml: links.ann-lan.addresses.ann", "broadcast address"),
    ('addresses.ann = "10.0.1.2/24"', "", "office.toml: links.ann-lan.addresses", "ann has no address"),
    (
        'addresses.ann = "10.0.1.2/24"',
        'addresses = { ann = "10.0.1.2/24", lan = "10.0.1.9/24" }',
        "office.toml: links.ann-lan.addresses.lan",
        "is a switch, which has no address",
    ),
    (
        'addresses.ann = "10.0.1.2/24"',
        'addresses = { ann = "10.0.1.2/24", ben = "10.0.1.9/24" }',
        "office.toml: links.ann-lan.addresses",
        "no end 'ben'",
    ),
    (
        'routes.default = "fw1"',
        'routes.default = "fe"',
        "office.toml: nodes.r1.routes.default",
        "'fe' is no neighbour of r1; its",
    ),
    ('routes.default = "fw1"', 'routes.default = "fw2"', "office.toml: nodes.r1.routes.default", "no node 'fw2'"),
    (
        'routes."10.0.1.0/24"',
        'routes."10.0.1.1/24"',
        'office.toml: nodes.fw1.routes."10.0.1.1/24"',
        "must be 'default' or",
    ),
    (
        'kind = "switch"',
        'kind = "switch"\nsegment = "ofice"',
        "office.toml: nodes.lan.segment",
        "did you mean 'office'?",
    ),
    ('kind = "firewall"', 'kind = "router"', "office.toml: firewalls.fw1", "only a 'firewall' has a policy"),
    (
        '[nodes.r2]\nkind = "router"',
        '[nodes.r2]\nkind = "firewall"',
        "cloud.toml: nodes.r2.kind",
        "write [firewalls.r2]",
    ),
    ('inside = ["r1"]', 'inside = ["lan"]', "office.toml: firewalls.fw1.zones.inside", "no node cabled to fw1 'lan'"),
    (
        'outside = ["r2"]',
        'outside = ["r2", "r1"]',
        "office.toml: firewalls.fw1.zones.outside",
        "r1 is in zone 'inside' already",
    ),
    (
        'rules.turn = { from = "inside"',
        'rules.turn = { from = "insde"',
        "office.toml: firewalls.fw1.rules.turn.from",
        "no zone 'insde'; did you mean 'inside'?",
    ),
    ('to_zone = "outside"', 'to_zone = "internet"', "office.toml: firewalls.fw1.nat.out.to_zone", "no zone 'internet'"),
    ('["3478"]', '["3481-3478"]', "office.toml: firewalls.fw1.rules.turn.destination_ports", "lowest first"),
    ('["3478"]', '["70000"]', "office.toml: firewalls.fw1.rules.turn.destination_ports", "from 1 to 65535"),
    (
        'protocol = "udp"',
        'protocol = "icmp"',
        "office.toml: firewalls.fw1.rules.turn.destination_ports",
        "has no ports",
    ),
    (
        "192.0.2.65-192.0.2.70",
        "192.0.2.70-192.0.2.65",
        "office.toml: firewalls.fw1.nat.out.pool",
        "ends before it begins",
    ),
    (
        'pool = "192.0.2.65-192.0.2.70"',
        'pool = "masquerade", filtering = "endpoint-independent"',
        "office.toml: firewalls.fw1.nat.out.host",
        "needs the host that gets what strangers send",
    ),
    (
        'pool = "192.0.2.65-192.0.2.70"',
        'pool = "masquerade", filtering = "endpoint-independent", host = "172.16.0.9"',
        "office.toml: firewalls.fw1.nat.out.host",
        "172.16.0.9 is outside 10.0.0.0/8",
    ),
    (
        'protocol = "udp"',
        'protocol = "udp", payload = "stun"',
        "office.toml: firewalls.fw1.rules.turn.payload",
        "for rules with action 'drop'",
    ),
    ("192.0.2.65-192.0.2.70", "mascarade", "office.toml: firewalls.fw1.nat.out.pool", "'masquerade', not 'mascarade'"),
    ("192.0.2.65-192.0.2.70", "1.1.1.1", "office.toml: firewalls.fw1.nat.out.pool", "1.1.1.1 is not in a private"),
    ('to = ["r2"]', 'to = ["fe"]', "cloud.toml: announcements.pool.to", "no neighbour with a session with fw1 'fe'"),
    ('at = "fw1"', 'at = "fe"', "cloud.toml: announcements.pool.at", "no BGP speaker 'fe'"),
    ("[bgp.fw1]", "[bgp.lan]", "cloud.toml: bgp.lan", "is a switch"),
    ("[bgp.fw1]", "[bgp.fw2]", "cloud.toml: sessions.fw1-r2.ends", "no BGP speaker 'fw1'"),
    (
        "accept_communities.fw1",
        "accept_communities.fe",
        "cloud.toml: sessions.fw1-r2.accept_communities",
        "no end 'fe'",
    ),
    ('"12076:5030"', '"12076"', "cloud.toml: sessions.fw1-r2.accept_communities.fw1", "is no BGP community"),
    (
        'roles.edge = ["fe"]',
        'roles.edge = ["fee"]',
        "cloud.toml: pools.online.roles.edge",
        "no node 'fee'; did you mean 'fe'?",
    ),
    ('roles.edge = ["fe"]', "roles.edge = []", "cloud.toml: pools.online.roles.edge", "names no node"),
]


def message(sender: str, receiver: str) -> str:
    return f'[[messages]]\nfrom = "{sender}"\nto = "{receiver}"\ntext = "Hello"\n'


DEATH_FAULTS = [
    ('to = "ben"', f'to = "ben"\ndies = {{ disposition = "DENIED_BY_RULE", {dies} }}', f"legs.1.dies.{key}", problem)
    for dies, key, problem in (
        ('symptom = "("', "symptom", "is no regular expression: missing )"),
        ('symptom = "timeout", symptom_of = "bob"', "symptom_of", "no party 'bob'"),
        ('at = "fw2"', "at", "no firewall 'fw2'; did you mean 'fw1'?"),
        ('at = "fw1", rule = "defalt"', "rule", "no rule of fw1 'defalt'; did you mean 'default'?"),
    )
]
SCENARIO_FAULTS = [
    ("[parties.ben]", "[parties.online-edge]", "parties.online-edge", "is the name of a role too"),
    ("[parties.ben]", "[parties.fe]", "parties.fe", "is the name of a server too"),
    ('node = "ann"', 'node = "anne"', "parties.ann.node", "no host 'anne'; did you mean 'ann'?"),
    ('node = "ann"', 'node = "r1"', "parties.ann.node", "no host 'r1'"),
    ('home = "online"', 'home = "on-line"', "parties.ann.home", "no pool 'on-line'; did you mean 'online'?"),
    ("sip:ann@contoso.example", "ann@contoso.example", "parties.ann.uri", "must be an address of record"),
    ("sip:ann@contoso.example", "sip:ann@contosa.example", "parties.ann.uri", "did you mean 'contoso.example'?"),
    ('node = "ann"', 'node = "ann"\ntransport = "https"', "calls.0", "'ann' signals by https, which carries messages"),
    ('callee = "ben"', 'callee = "bob"', "calls.0.callee", "no party 'bob'"),
    ('kind = "p2p"', 'kind = "pstn"\ncodec = "opus"', "calls.0.codec", "must be 'PCMU' in a call of kind 'pstn'"),
    ("[[calls]]", message("ann", "bob") + "[[calls]]", "messages.0.to", "no user of a pool 'bob'"),
    ("[[calls]]", message("ann", "ann") + "[[calls]]", "messages.0.to", "'ann' writes to itself"),
    ("[[calls]]", message("ann", "ben") + message("ben", "ann") + "[[calls]]", "messages.1.text", "is that of another"),
    ('callee = "ben"', 'callee = "ann"', "calls.0.callee", "'ann' calls itself"),
    ('callee = "ben"', "", "calls.0.callee", "missing; a call of kind 'p2p' needs"),
    ('callee = "ben"', 'callee = "ben"\nhost = "online-edge"', "calls.0.host", "belongs to kind 'conference'"),
    ('kind = "p2p"', 'kind = "conference"', "calls.0.participants", "names nobody"),
    ('kind = "p2p"', 'kind = "conference"\nhost = "online-mcu"', "calls.0.host",
     "no role of a conference server 'online-mcu'"),
    ('kind = "p2p"', 'kind = "conference"\nhost = "online-edge"', "calls.0.host",
     "no role of a conference server 'online-edge'; there are: none"),
    ('kind = "p2p"', 'kind = "conference"', "calls.0.caller", "belongs to kind 'p2p' or 'pstn'; who joins"),
    ('kind = "p2p"', 'kind = "conference"\nparticipants = ["ann", "ann"]', "calls.0.participants", "names 'ann' twice"),
    ('kind = "p2p"', 'kind = "pstn"', "calls.0", "neither end is a telephone"),
    ('node = "ben"', 'node = "ann"', "parties.ben.node", "'ann' is that of 'ann'; each party needs its own"),
    ("sip:ben@contoso.example", "sip:ann@contoso.example", "parties.ben.uri", "is that of 'ann'"),
    ('row = "X-1"', 'row = "X-1"\nrelay_transports = { bob = "tcp" }', "relay_transports", "no party 'bob'; there"),
    ('kind = "p2p"', 'kind = "conference"', "calls.0.organiser", "missing; a conference is hosted by the home of"),
    ('kind = "p2p"', 'kind = "conference"\norganiser = "bob"', "calls.0.organiser", "no user of a pool 'bob'"),
    ('kind = "p2p"', 'kind = "conference"\norganiser = "ann"', "calls.0.organiser", "online, which has no conference"),
    ('kind = "p2p"', 'kind = "p2p"\norganiser = "ann"', "calls.0.organiser", "belongs to kind 'conference'"),
    *DEATH_FAULTS,
    ('to = "online-front-end"', 'to = "online-frontend"', "legs.0.to",
     "no party, role or node 'online-frontend'; did you mean 'online-front-end'? there are: ann, ben, online-edge"),
    ('to = "ben"', 'to = "ann"', "legs.1.to", "to itself"),
    ('to = "ben"', 'to = "ben"\nover = ["ann-lam"]', "legs.1.over", "no link of a kind in `crosses` 'ann-lam'"),
    ('to = "ben"', 'to = "ben"\nover = ["fe-r2"]', "legs.1.over", "no link of a kind in `crosses` 'fe-r2'"),
    ('crosses = ["customer"]', "crosses = []", "legs.1.crosses", "nothing would be judged"),
    ('crosses = ["customer"]', 'crosses = ["pstn"]', "legs.1.crosses", "no segment of kind 'pstn'"),
    ('never = ["internet"]', 'never = ["customer"]', "legs.0.never", "'customer' stands in `crosses` too"),
    ('row = "X-1"', 'row = "X-1"\nrelays = [-1]', "relays", "0 or more"),
    ('row = "X-1"', 'row = "X-1"\nselected_pair = ["host", "relayed"]', "selected_pair", "did you mean 'relay'?"),
    ('row = "X-1"', 'row = "X-1"\narticle.media.bob = "local"', "article.media", "no party 'bob'"),
    ('reason = "never sent"', 'reason = "("', "controls.cable-cut.reason", "is no regular expression"),
    ('set = { "links.ann-lan.up" = false }', "", "controls.cable-cut", "changes nothing"),
]  # fmt: skip


def fault_of(tmp_path: Path, *edits: tuple[str, str]) -> list[str]:
    """Read the samples with the edits made; return the error's lines."""
    with pytest.raises(SpecError) as caught:
        read_spec(write_samples(tmp_path, *edits))
    assert caught.value.exit_code == 2
    return str(caught.value).splitlines()


@pytest.mark.parametrize(("old", "new", "where", "problem"), SCHEMA_FAULTS + REFERENCE_FAULTS)
def test_a_fault_of_a_file_is_told_with_its_key(tmp_path: Path, old: str, new: str, where: str, problem: str) -> None:
    lines = fault_of(tmp_path, (old, new))
    assert any(f"{where}: " in line and problem in line for line in lines), lines


@pytest.mark.parametrize(("old", "new", "key", "problem"), SCENARIO_FAULTS)
def test_a_fault_of_a_scenario_is_told_with_its_key(tmp_path: Path, old: str, new: str, key: str, problem: str) -> None:
    lines = fault_of(tmp_path, (old, new))
    assert any(f"scenarios/own/call.toml: {key}: " in line and problem in line for line in lines), lines


TELEPHONE_NETWORK = '\n[segment.telephony]\nkind = "pstn"\norganisation = "carrier"\ntitle = "Telephones"\n'
BEN_IS_A_TELEPHONE = [
    ('"cloud.toml"]\n', '"cloud.toml"]\n' + TELEPHONE_NETWORK),
    ('[nodes.ben]\nkind = "host"', '[nodes.ben]\nkind = "host"\nsegment = "telephony"'),
]


@pytest.mark.parametrize(
    ("edit", "key"),
    [
        (("ben", "ben"), "calls.0.callee"),
        (('caller = "ann"\ncallee = "ben"', 'caller = "ben"\ncallee = "ann"'), "calls.0.caller"),
        (('kind = "p2p"', 'kind = "conference"\nparticipants = ["ben"]'), "calls.0.participants"),
    ],
)
def test_a_telephone_takes_part_in_calls_of_kind_pstn_alone(tmp_path: Path, edit: tuple[str, str], key: str) -> None:
    lines = fault_of(tmp_path, *BEN_IS_A_TELEPHONE, edit)
    assert any(f"{key}: 'ben' is a telephone; calls with one are of kind 'pstn'" in line for line in lines), lines


def test_a_control_may_take_away_the_rule_by_which_a_leg_dies(tmp_path: Path) -> None:
    dies = 'dies = { disposition = "DENIED_BY_RULE", at = "fw1", rule = "sip" }'
    path = write_samples(tmp_path, ('to = "ben"', f'to = "ben"\n{dies}'))
    without = read_spec(path, (Change(remove=("firewalls.fw1.rules.sip",)),))
    assert "sip" not in without.topology.firewalls["fw1"].rules


def test_a_scenario_needs_parties_calls_and_legs(tmp_path: Path) -> None:
    path = write_samples(tmp_path)
    path.write_text(
        'row = "X"\ntable = "online"\ntitle = "T"\ntopology = "tiny"\nparties = {}\ncalls = []\nlegs = []\n'
    )
    with pytest.raises(SpecError) as caught:
        read_spec(path)
    keys = [line.split(": ")[1] for line in str(caught.value).splitlines()]
    assert keys == ["parties", "calls", "legs"]


def test_the_first_faults_are_told_at_once_and_the_rest_counted(tmp_path: Path) -> None:
    nodes = "".join(f'[nodes.x{n}]\nkind = "box"\n' for n in range(SHOWN + 3))
    lines = fault_of(tmp_path, ("[nodes.lan]", nodes + "[nodes.lan]"))
    assert len(lines) == SHOWN + 1 and lines[-1] == "... and 3 more"
    assert all("office.toml: nodes.x" in line for line in lines[:-1])


def test_a_line_says_file_key_and_problem_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = fault_of(tmp_path, ('kind = "switch"', 'kind = "swich"'))
    assert lines == [
        "topologies/office.toml: nodes.lan.kind: must be 'host', 'router', 'firewall' or 'switch', not 'swich'"
    ]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"a = \n", "is not TOML: Invalid value (at line 1, column 5)"),
        (b"a = 1\n[b\n", "is not TOML: Expected ']'"),
        (b"a = 1\nb = '\xff'\n", "is not UTF-8: byte 0xff in line 2"),
        (b"\xff\xfea\x00", "is not UTF-8: byte 0xff in line 1"),
        (b"a = " + b"[" * 100_000, "is not TOML: nested too deeply"),
    ],
)
def test_a_file_that_is_no_toml_is_told_in_one_line(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    with pytest.raises(SpecError) as caught:
        read_document(path)
    assert problem in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot be read: Is a directory"):
        read_document(tmp_path)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_document_or_a_clear_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(content)
    try:
        assert isinstance(read_document(path), dict)
    except SpecError as error:
        assert "any.toml: is not" in str(error)


_VALUES = st.recursive(
    st.one_of(st.integers(), st.booleans(), st.text(max_size=5), st.just("ann")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["ann", "kind", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(st.sampled_from(["nodes", "links", "segment", "bgp", "firewalls", "pools", "includes", "name"]), _VALUES)
def test_any_value_of_a_table_is_taken_or_refused_clearly(
    tmp_path_factory: pytest.TempPathFactory, table: str, value: object
) -> None:
    path = tmp_path_factory.getbasetemp() / "odd.toml"
    path.write_text(f"{table} = {_toml(value)}\n", encoding="utf-8")
    with pytest.raises(SpecError):
        read_topology(path)


def _leaves(value: object, key: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the key of everything in a document, tables and arrays too."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for part, below in pairs:
        yield (*key, part)
        yield from _leaves(below, (*key, part))


_PLACES = [(name, key) for name, text in FILES.items() for key in _leaves(tomllib.loads(text))]
_ODD = st.one_of(
    _VALUES,
    st.sampled_from(["ann", "lan", "fw1", "r2", "fe", "10.0.1.2/24", "0.0.0.0/0", "online-edge", "5ms", "default"]),
)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(_PLACES), _ODD)
def test_one_odd_value_anywhere_is_taken_or_refused_clearly(
    tmp_path_factory: pytest.TempPathFactory, place: tuple[str, tuple[Any, ...]], value: object
) -> None:
    root = tmp_path_factory.getbasetemp() / "anywhere"
    scenario = write_samples(root)
    name, key = place
    document = tomllib.loads(FILES[name])
    holder: Any = document
    for part in key[:-1]:
        holder = holder[part]
    holder[key[-1]] = value
    text = "".join(f"{top} = {_toml(one)}\n" for top, one in document.items())
    (root / name).write_text(text, encoding="utf-8")
    try:
        make_plan(read_spec(scenario), duration_ns=1, seed=1)
    except SpecError as error:
        assert all(": " in line or line.startswith("... and ") for line in str(error).splitlines())


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml(key)} = {_toml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(letter):08x}" for letter in value) + '"'
    return str(value).lower()
