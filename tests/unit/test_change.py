"""Changes: parsed, made, refused."""

from pathlib import Path

import pytest
from spec_samples import write_samples

from testbed.errors import SpecError
from testbed.scenario import Change
from testbed.spec.change import apply_edits, edits_of, parse_change, split_key
from testbed.spec.reader import read_spec
from testbed.topology import Document, Topology


@pytest.mark.parametrize(
    ("text", "change"),
    [
        ("links.a-b.up=false", Change(set={"links.a-b.up": False})),
        ("links.a-b.shape.delay=20ms", Change(set={"links.a-b.shape.delay": "20ms"})),
        ("links.a-b.shape.delay = '20ms'", Change(set={"links.a-b.shape.delay": "20ms"})),
        ("links.a-b.addresses.a=10.0.0.1/24", Change(set={"links.a-b.addresses.a": "10.0.0.1/24"})),
        ('announcements.x.to=["a", "b"]', Change(set={"announcements.x.to": ["a", "b"]})),
        ('nodes.a.sysctl."net.ipv4.x"="1"', Change(set={'nodes.a.sysctl."net.ipv4.x"': "1"})),
        ('nodes.a.sysctl."odd=name"="1"', Change(set={'nodes.a.sysctl."odd=name"': "1"})),
        ("-firewalls.fw-er.rules.turn", Change(remove=("firewalls.fw-er.rules.turn",))),
    ],
)
def test_an_expression_on_the_command_line_is_a_change(text: str, change: Change) -> None:
    assert parse_change(text) == change


def test_a_file_may_hold_a_change(tmp_path: Path) -> None:
    path = tmp_path / "cut.toml"
    path.write_text('remove = ["links.x"]\n[set]\n"links.a-b.up" = false\n')
    assert parse_change(str(path)) == Change(set={"links.a-b.up": False}, remove=("links.x",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "change: '' says nothing; must be key=value, -key or the path of a TOML file"),
        (" ", "change: ' ' says nothing"),
        ("up", "must be key=value, -key or the path of a TOML file"),
        ("nowhere.toml", "cannot be read: No such file"),
        ("links..up=1", "'links..up' is no dotted key"),
        ("-links.", "'links.' is no dotted key"),
        ("-", "'' is no dotted key"),
        ("links.a.up={", "is no TOML value"),
        ("a\nb=1", "is no dotted key"),
    ],
)
def test_an_expression_that_is_none_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_change(text)
    assert message in str(caught.value)


def test_a_misspelt_key_of_a_change_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "cut.toml"
    path.write_text('removes = ["links.x"]\n')
    with pytest.raises(SpecError, match="removes: unknown key; did you mean 'remove'"):
        parse_change(str(path))


def test_a_quoted_part_of_a_key_keeps_its_dots() -> None:
    assert split_key('nodes.a.sysctl."net.ipv4.ip_forward"', "here") == ("nodes", "a", "sysctl", "net.ipv4.ip_forward")


DOCUMENT: Document = {
    "links": {"a-b": {"ends": ["a", "b"]}},
    "nodes": {"a": {"kind": "host"}},
    "firewalls": {"fw": {"zones": {}, "rules": {"turn": {"from": "any", "to": "any"}}}},
    "announcements": {"p": {"prefix": "10.0.0.0/8", "at": "a", "to": ["x", "y"]}},
}


def changed(change: Change) -> Document:
    return apply_edits(DOCUMENT, edits_of(change, "test"), Topology)


def test_setting_a_key_leaves_the_given_document_alone() -> None:
    assert changed(Change(set={"links.a-b.up": False}))["links"]["a-b"]["up"] is False
    assert "up" not in DOCUMENT["links"]["a-b"]


def test_a_table_that_the_schema_has_and_the_file_leaves_out_is_made() -> None:
    assert changed(Change(set={"links.a-b.shape.delay": "5ms"}))["links"]["a-b"]["shape"] == {"delay": "5ms"}
    assert changed(Change(set={"nodes.a.routes.default": "b"}))["nodes"]["a"]["routes"] == {"default": "b"}


def test_a_whole_table_adds_a_name() -> None:
    rule = {"from": "inside", "to": "outside"}
    assert changed(Change(set={"firewalls.fw.rules.open": rule}))["firewalls"]["fw"]["rules"]["open"] == rule
    assert changed(Change(set={"pools.own": {"title": "Own"}}))["pools"] == {"own": {"title": "Own"}}


def test_arrays_are_changed_by_place_and_shortened_by_value() -> None:
    assert changed(Change(set={"announcements.p.to.1": "z"}))["announcements"]["p"]["to"] == ["x", "z"]
    assert changed(Change(set={"announcements.p.to.2": "z"}))["announcements"]["p"]["to"] == ["x", "y", "z"]
    assert changed(Change(remove=("announcements.p.to.x",)))["announcements"]["p"]["to"] == ["y"]


def test_segments_may_be_named_as_in_the_file() -> None:
    document = {"segments": {"wan": {"kind": "customer"}}}
    edits = edits_of(Change(set={"segment.wan.kind": "internet"}), "test")
    assert apply_edits(document, edits, Topology)["segments"]["wan"]["kind"] == "internet"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (Change(set={"links.a-c.up": False}), "there is no 'a-c' in links; did you mean 'a-b'?"),
        (Change(set={"links.a-c": 1}), "there is no 'a-c' in links"),
        (
            Change(set={"firewalls.fw.rules.turm.to": "x"}),
            "there is no 'turm' in firewalls.fw.rules; did you mean",
        ),
        (Change(remove=("firewalls.fw.rules.sip",)), "there is no 'sip' in firewalls.fw.rules"),
        (Change(remove=("links.a-b.up",)), "there is no 'up' in links.a-b"),
        (Change(set={"announcements.p.to.7": "z"}), "announcements.p.to has no element '7'; it has 2, counted from 0"),
        (Change(set={"links.a-b.ends.0.x": 1}), "links.a-b.ends.0 is no table"),
        (Change(set={"link.a-b.up": False}), "no table 'link'; did you mean 'links'?"),
        (Change(set={"links": {"a-b": {"up": False}}}), "would replace the whole table"),
        (Change(remove=("nodes",)), "would replace the whole table"),
        (Change(remove=("controls.x",)), "no table 'controls'"),
    ],
)
def test_a_change_that_points_at_nothing_is_an_error(change: Change, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        changed(change)
    assert message in str(caught.value)


def test_what_a_change_breaks_is_blamed_on_the_change(tmp_path: Path) -> None:
    path = write_samples(tmp_path)
    with pytest.raises(SpecError, match=r"^change: links\.ann-lan\.up: must be true or false, not 'maybe'$"):
        read_spec(path, (Change(set={"links.ann-lan.up": "maybe"}),))
    with pytest.raises(SpecError, match=r"office\.toml: nodes\.ann\.routes\.default: 'r1' is no neighbour"):
        read_spec(path, (Change(remove=("links.ann-lan",)),))
    with pytest.raises(SpecError, match=r"call\.toml: legs\.0\.to: no party, role or node 'online-front-end'"):
        read_spec(path, (Change(remove=("pools.online.roles.front-end",)),))
