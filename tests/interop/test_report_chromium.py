"""A real browser reads the page: it fits a telephone, its buttons work, it opens what a link points at, it prints."""

import json
import re
import shutil
import subprocess
import sys
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from testbed.report import write_report

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from report_samples import ALL, write_run

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


def browse(tmp_path: Path, *arguments: str) -> str:
    """Run Chromium without a window and without a network; return what it prints."""
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
        f"--user-data-dir={tmp_path / 'profile'}",
        *arguments,
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=True).stdout


def ask(tmp_path: Path, report: Path, script: str, *, width: int = 1280, fragment: str = "") -> Any:
    """Run *script*, which returns a value, in the page once it is loaded, and return that value."""
    probe = report.with_name("probe.html")
    tail = (
        f"<script>addEventListener('load', () => {{ const answer = (() => {{ {script} }})();"
        " document.body.insertAdjacentHTML('beforeend', '<pre id=answer></pre>');"
        " document.getElementById('answer').textContent = JSON.stringify(answer); });</script></body>"
    )
    probe.write_text(report.read_text(encoding="utf-8").replace("</body>", tail), encoding="utf-8")
    dom = browse(tmp_path, f"--window-size={width},900", "--dump-dom", f"{probe.as_uri()}{fragment}")
    found = re.search(r'<pre id="answer">(.*?)</pre>', dom, re.DOTALL)
    assert found, "the page's scripts did not run"
    return json.loads(unescape(found[1]))


def test_a_telephone_scrolls_tables_and_pictures_but_never_the_page(tmp_path: Path, report: Path) -> None:
    script = """
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
    assert "frame 17 on msee1-er-pe1" in words
