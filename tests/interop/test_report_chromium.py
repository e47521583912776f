"""A real browser reads the page: it fits a telephone, its buttons work, it opens what a link points at, it prints."""

import json
import re
import shutil
import subprocess
import sys
from html import unescape
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from testbed.analysis.packets import decode
from testbed.report import write_report

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from analysis_samples import Wire
from quality_samples import SHAPED, send, shaped_plan
from report_samples import ALL, write_run
from story_samples import call_wire, half_way_wire, write_story

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DEADLINE_S = 120
"A browser's start on a busy machine."

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: apt install chromium"),
]


@pytest.fixture
def report(tmp_path: Path) -> Path:
    return write_report(write_run(tmp_path / "run", ALL))


_CONSOLE = re.compile(r"^\[[^]]*:CONSOLE[:(]\d+\)?\] ?(.*)", re.MULTILINE)
"""What Chromium logs of a page from before its first script: errors nobody caught, what the page's policy forbids, what
scripts write on the console."""


def browse(tmp_path: Path, *arguments: str) -> str:
    """Run Chromium without a window and without a network; return what it prints. The console must stay empty."""
    assert CHROMIUM is not None
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        "--enable-logging=stderr",
        f"--user-data-dir={tmp_path / 'profile'}",
        *arguments,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=True)
    assert _CONSOLE.findall(done.stderr) == []
    return done.stdout


def ask(
    tmp_path: Path,
    report: Path,
    script: str,
    *options: str,
    width: int = 1280,
    fragment: str = "",
    patient: bool = True,
    library: str = "",
) -> Any:
    """Run *script*, which returns a value, in the page once it is loaded, and return that value.

    *options* are the browser's; *library* is a script that *script* needs.

    A *patient* browser draws all that is open first and waits for timers, on a clock of its own; one that is not has
    the real clock.
    """
    probe = report.with_name("probe.html")
    # Parts are drawn when a frame shows them near the window; without a window there is no frame, so they are told to.
    tail = (
        f"<script>{library}</script>"
        "<script>const until = async (fact) => { while (!fact()) await new Promise((done) => setTimeout(done, 20)); };"
        " const parts = [...document.querySelectorAll('details[open] [data-story], [data-boxes]')];"
        " const told = () => parts.every((one) => one.dataset.state === 'done');"
        f" const asked = async () => {{ {script} }};"
        f" const patient = {json.dumps(patient)};"
        " const drawn = async () => { if (patient) { parts.forEach(drawPart); await until(told); } };"
        " addEventListener('load', async () => { await drawn(); const answer = await asked();"
        " document.body.insertAdjacentHTML('beforeend', '<pre id=answer></pre>');"
        " document.getElementById('answer').textContent = JSON.stringify(answer); });</script></body>"
    )
    clock = ["--virtual-time-budget=8000"] if patient else []
    probe.write_text(report.read_text(encoding="utf-8").replace("</body>", tail), encoding="utf-8")
    size = f"--window-size={width},900"
    dom = browse(tmp_path, size, *options, *clock, "--dump-dom", f"{probe.as_uri()}{fragment}")
    found = re.search(r'<pre id="answer">(.*?)</pre>', dom, re.DOTALL)
    assert found, "the page's scripts did not run"
    return json.loads(unescape(found[1]))


@pytest.mark.parametrize("which", ["report", "story"])
def test_a_telephone_scrolls_tables_and_pictures_but_never_the_page(
    tmp_path: Path, which: str, request: pytest.FixtureRequest
) -> None:
    report: Path = request.getfixturevalue(which)
    script = """
      document.querySelectorAll('.sign').forEach((one, at) => { if (at < 1) one.dispatchEvent(new Event('click')); });
      for (const one of document.querySelectorAll('details')) one.open = true;
      const page = document.documentElement;
      const wide = [...document.querySelectorAll('body *')].filter(one => !one.closest('.scroll, .unseen, .skip')
        && one.getBoundingClientRect().right > page.clientWidth + 1);
      return [page.clientWidth, page.scrollWidth, wide.map(one => one.outerHTML.slice(0, 80))];
    """
    width, scrolled, wide = ask(tmp_path, report, script, width=360)
    assert width <= 500  # Chromium may refuse to make a window narrower than that
    assert wide == []
    assert scrolled <= width


@pytest.mark.parametrize(
    ("which", "scheme"), [("report", "light"), ("story", "light"), ("story", "dark"), ("damaged", "light")]
)
def test_an_audit_finds_no_obstacle_to_keyboard_or_screen_reader(
    tmp_path: Path, which: str, scheme: str, request: pytest.FixtureRequest
) -> None:
    """By axe-core: names, roles, order of headings, contrast, WCAG 2.1 A and AA and its best practices."""
    page: Path = request.getfixturevalue("report" if which == "damaged" else which)
    if which == "damaged":
        page.write_text(
            re.sub(r"(?s)<h1.*?</h1>", "<img src='data:,'><button></button>", page.read_text(encoding="utf-8"))
        )
    axe = (files("axe_core_python") / "axe.min.js").read_text(encoding="utf-8")
    script = """
      for (const one of document.querySelectorAll('details')) one.open = true;
      const found = await axe.run();
      const dark = matchMedia('(prefers-color-scheme: dark)').matches;
      return [dark, found.passes.length, found.violations.flatMap(({id, nodes}) => nodes.map(
        one => `${id}: ${one.html.slice(0, 120)} ${one.any.map(why => why.message).join(' ').slice(0, 200)}`))];
    """
    prefers = f"--blink-settings=preferredColorScheme={int(scheme == 'light')}"
    is_dark, passed, violations = ask(tmp_path, page, script, prefers, library=axe)
    assert is_dark is (scheme == "dark")
    assert passed > 20
    if which == "damaged":
        assert {one.partition(":")[0] for one in violations} >= {"image-alt", "button-name"}
    else:
        assert violations == []


def test_a_filter_leaves_only_its_verdict(tmp_path: Path, report: Path) -> None:
    script = """
      document.querySelector('[data-filter=FAIL]').click();
      const parts = [...document.querySelectorAll('[data-verdict]')];
      return parts.filter(one => !one.hidden).map(one => one.dataset.verdict);
    """
    assert set(ask(tmp_path, report, script)) == {"FAIL"}


def test_a_link_from_the_matrix_opens_the_scenario(tmp_path: Path, report: Path) -> None:
    script = "return [...document.querySelectorAll('details.scenario[open]')].map(one => one.id);"
    closed_before = ask(tmp_path, report, script)
    assert "online-p2p-internal" not in closed_before
    assert "online-p2p-internal" in ask(tmp_path, report, script, fragment="#online-p2p-internal")


def test_all_can_be_opened_and_closed_at_once(tmp_path: Path, report: Path) -> None:
    count = "document.querySelectorAll('details.scenario[open]').length"
    script = f"""
      document.querySelector('[data-open]').click(); const opened = {count};
      document.querySelector('[data-close]').click(); return [opened, {count}];
    """
    assert ask(tmp_path, report, script) == [len(ALL), 0]


def test_names_in_a_picture_do_not_lie_on_each_other(tmp_path: Path, report: Path) -> None:
    script = """
      for (const one of document.querySelectorAll('details')) one.open = true;
      const clashes = [];
      for (const picture of document.querySelectorAll('svg.picture')) {
        const words = [...picture.querySelectorAll('.name, .role, .segment-title')];
        const names = words.map(word => [word.textContent, word.getBBox()]);
        names.forEach(([one, a], index) => names.slice(index + 1).forEach(([other, b]) => {
          const across = Math.min(a.x + a.width, b.x + b.width) - Math.max(a.x, b.x);
          const down = Math.min(a.y + a.height, b.y + b.height) - Math.max(a.y, b.y);
          if (across > 4 && down > 4) clashes.push(`${one} / ${other}`);
        }));
      }
      return [document.querySelectorAll('svg.picture').length, clashes];
    """
    pictures, clashes = ask(tmp_path, report, script)
    assert pictures == sum(sample.manifest for sample in ALL)
    assert clashes == []


def test_it_prints_with_every_scenario_open(tmp_path: Path, report: Path) -> None:
    printed = tmp_path / "report.pdf"
    browse(tmp_path, f"--print-to-pdf={printed}", "--no-pdf-header-footer", report.as_uri())
    content = printed.read_bytes()
    assert content.startswith(b"%PDF-")
    # One page for the matrix and at least one for each scenario, which starts on a fresh one.
    assert len(re.findall(rb"/Type /Page\b(?!s)", content)) > len(ALL)


def test_a_principles_cell_shows_its_evidence_and_gives_the_focus_back(tmp_path: Path, report: Path) -> None:
    script = """
      const cell = document.querySelector('a[data-evidence].broken');
      cell.focus(); cell.click();
      const box = document.getElementById('evidence');
      const shown = [box.matches(':popover-open'), box.textContent, box.contains(document.activeElement)];
      box.hidePopover();
      return shown;
    """
    is_open, words, has_focus = ask(tmp_path, report, script)
    assert is_open
    assert has_focus
    assert "broken" in words
    assert "frame 17 on er-pe1-msee1" in words


@pytest.fixture
def story(tmp_path: Path) -> Path:
    return write_report(write_story(tmp_path / "run", call_wire(packets=60)))


def test_a_packet_of_the_timeline_shows_its_headers_and_its_links(tmp_path: Path, story: Path) -> None:
    script = """
      const first = document.querySelector('.sign[tabindex="0"]');
      first.focus();
      const press = (key) => document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}));
      press('ArrowRight'); press('ArrowRight'); press('ArrowRight');
      const label = document.activeElement.getAttribute('aria-label');
      press('Enter');
      const panel = document.querySelector('[data-packet]');
      return [label, panel.hidden, panel.innerText, panel.querySelectorAll('tbody tr').length,
        document.querySelectorAll('.wire.lit').length];
    """
    label, hidden, words, rows, lit = ask(tmp_path, story, script)
    assert "alice to fe" in label
    assert not hidden
    assert "core → fw-er" in words
    assert rows == lit == 4


def test_the_replay_moves_a_packet_along_the_links(tmp_path: Path, story: Path) -> None:
    script = """
      const on = document.querySelector('[data-step="1"]'), scrub = document.querySelector('[data-scrub]');
      on.click(); on.click();
      const words = document.querySelector('[data-told]').textContent;
      const lit = [...document.querySelectorAll('.wire.lit')].map(one => one.dataset.link);
      scrub.value = scrub.max; scrub.dispatchEvent(new Event('input'));
      const last = document.querySelector('[data-told]').textContent;
      document.querySelector('[data-play]').click();
      const playing = document.querySelector('[data-play]').textContent;
      await until(() => document.querySelector('[data-scrub]').value !== '0');
      document.querySelector('[data-play]').click();
      return [words, lit, last, playing, document.querySelector('[data-play]').textContent,
        document.querySelector('.traveller').classList.contains('shown')];
    """
    words, lit, last, playing, paused, dot = ask(tmp_path, story, script)
    assert words.startswith("3 of 20, ")
    assert "TCP SYN" in words
    assert lit == ["er"]
    assert last.startswith("20 of 20, ")
    assert (playing, paused, dot) == ("Pause", "Play", True)


def test_the_mark_of_a_drop_shows_the_dropped_packets_headers(tmp_path: Path) -> None:
    story = write_report(write_story(tmp_path / "run", half_way_wire()))
    script = """
      const mark = document.querySelector('.way.shown [data-dropped-at]');
      mark.dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', bubbles: true}));
      const words = document.querySelector('[data-packet]').innerText;
      document.querySelector('.wire[data-link="ms-fe"]').dispatchEvent(new Event('click'));
      const first = document.querySelector('[data-packet]').innerText;
      document.querySelector('[data-source=predicted]').click();
      const shown = [...document.querySelectorAll('.way.shown')].map(one => one.dataset.source);
      return [mark.getAttribute('role'), words, shown, first];
    """
    role, words, shown, first = ask(tmp_path, story, script)
    assert first.startswith("TCP SYN: alice → fe")
    assert (role, shown) == ("button", ["predicted"])
    assert "TCP SYN-ACK" in words
    assert "Dropped by fw-inet, rule invalid" in words


def test_the_ladder_is_saved_as_a_picture_that_needs_no_page(tmp_path: Path, story: Path) -> None:
    script = """
      document.querySelector('.ladder-box').open = true;
      const saved = saveSvg(document.querySelector('[data-save]'));
      return new XMLSerializer().serializeToString(saved);
    """
    picture = ask(tmp_path, story, script)
    assert "REGISTER sip:contoso.example" in picture
    assert "10.0.0.10:50010 → 198.18.64.3:5060" in picture
    assert "var(--" not in picture


def test_without_scripts_the_first_way_and_the_ladder_are_still_there(tmp_path: Path, story: Path) -> None:
    plain = story.with_name("plain.html")
    plain.write_text(re.sub(r"<script>.*?</script>", "", story.read_text(encoding="utf-8"), flags=re.DOTALL))
    dom = browse(tmp_path, "--dump-dom", plain.as_uri())
    assert 'class="way observed shown"' in dom
    assert "REGISTER sip:contoso.example" in dom


@pytest.mark.parametrize(
    ("injected", "told"),
    [
        ("<script>throw new Error('early')</script>", "Uncaught Error: early"),
        ("<script>not a script</script>", "Uncaught SyntaxError"),
        ("<script>Promise.reject(new Error('nobody waits'))</script>", "Uncaught (in promise) Error: nobody waits"),
        ("<script>console.error('wrong')</script>", "wrong"),
        ("<script>eval('1')</script>", "Uncaught EvalError: Evaluating a string"),
        ("<img src='https://elsewhere.example/a.png' alt=''>", "violates the following Content Security Policy"),
    ],
)
def test_nothing_that_goes_wrong_while_a_page_loads_escapes_these_tests(
    tmp_path: Path, report: Path, injected: str, told: str
) -> None:
    page = report.read_text(encoding="utf-8")
    first = page.index("<script") if "<script" in injected else page.index("</main>")
    report.write_text(page[:first] + injected + page[first:], encoding="utf-8")
    with pytest.raises(AssertionError, match=re.escape(told)):
        ask(tmp_path, report, "return 1;")


def charted_wire(packets: int) -> Wire:
    """Return a relayed call on shaped links, whose figures are drawn; the called party's media is missing."""
    wire = call_wire(packets=0)
    wire.plan = shaped_plan(*SHAPED)
    send(wire, range(packets), lambda link, number: 10_000_000 + number % 7 * 1_000_000 if link == "er" else 0)
    return wire


def write_25_scenarios(directory: Path) -> tuple[Path, int]:
    """Write a run as runs are: calls that passed, broken ones, figures with charts; return it and its packets."""
    late = {"wire": {"lateness_ns": {"p50": 100_000, "p99": 20_000_000, "max": 20_000_000}}, "agents": {}}
    made: list[tuple[str, Wire, dict[str, Any], dict[str, str], int]] = [
        ("passed", call_wire(packets=600), {}, {"verdict": "PASS"}, 12),
        ("charted", charted_wire(1000), {}, {}, 2),
        ("late", charted_wire(1000), {"health": late}, {}, 2),
        ("half-way", half_way_wire(), {}, {}, 2),
    ]
    write_run(directory, ALL)
    run, packets = json.loads((directory / "run.json").read_text()), 0
    for name, wire, emulation, told, times in made:
        story = write_story(directory / "made" / name, wire, **emulation)
        (story / "test-one").rename(directory / name)
        packets += times * len(decode(directory / name / "capture.pcapng"))
        (entry,) = json.loads((story / "run.json").read_text())["scenarios"]
        run["scenarios"] += [{**entry, **told, "name": f"test/{name}@{n}", "directory": name} for n in range(times)]
    (directory / "run.json").write_text(json.dumps(run))
    return directory, packets


def test_a_page_of_25_scenarios_and_100000_packets_opens_within_two_seconds(tmp_path: Path) -> None:
    directory, packets = write_25_scenarios(tmp_path / "run")
    verdicts = [entry["verdict"] for entry in json.loads((directory / "run.json").read_text())["scenarios"]]
    assert len(verdicts) == 25 and set(verdicts) == {"PASS", "FAIL", "INCONCLUSIVE", "ERROR"}
    assert packets >= 100_000
    page = write_report(directory)
    assert ask(tmp_path, page, "return performance.now();", patient=False) < 2000
    # Then all that stands open, the scenarios that did not pass, is drawn.
    counts = ("details.scenario", "details.scenario[open]", "details.scenario[open] [data-chart] svg")
    script = f"return {list(counts)}.map(one => document.querySelectorAll(one).length);"
    scenarios, is_open, charts = ask(tmp_path, page, script)
    assert (scenarios, is_open) == (25, 25 - verdicts.count("PASS"))
    assert charts == 4 * 4


@pytest.mark.parametrize(("p99_ns", "struck"), [(200_000, False), (20_000_000, True)])
def test_every_figure_of_an_overloaded_run_is_struck_through(tmp_path: Path, p99_ns: int, struck: bool) -> None:
    wire = Wire(shaped_plan(*SHAPED))
    send(wire, range(60), lambda link, number: 10_000_000 if link == "er" else 0)
    lateness = {"p50": 100_000, "p99": p99_ns, "max": p99_ns}
    health = {"wire": {"lateness_ns": lateness}, "agents": {}}
    page = write_report(write_story(tmp_path / "run", wire, health=health))
    script = """
      for (const one of document.querySelectorAll('details')) one.open = true;
      const lines = [...document.querySelectorAll('table.figures .value, [data-spread] .value')].map(one => [
        one.textContent, getComputedStyle(one).textDecorationLine]);
      const words = [...document.querySelectorAll('.notice')].map(one => one.innerText).join();
      return [lines, words];
    """
    lines, words = ask(tmp_path, page, script)
    assert len(lines) > 20
    assert {line for _, line in lines} == {"line-through" if struck else "none"}, lines
    assert ("Not to be trusted" in words and "wire lateness p99 is 20.0 ms" in words) is struck


def test_charts_are_drawn_in_the_page_without_eval(tmp_path: Path) -> None:
    page = write_report(write_story(tmp_path / "run", charted_wire(60)))
    assert "unsafe-eval" not in page.read_text(encoding="utf-8")
    script = """
      const drawn = [...document.querySelectorAll('[data-chart] svg')];
      return [drawn.map(one => one.getAttribute('aria-label')), drawn[1].textContent];
    """
    labels, words = ask(tmp_path, page, script)
    assert len(labels) == 5
    assert all(label and "figures" in label for label in labels)
    assert "p90 below 50" in words
