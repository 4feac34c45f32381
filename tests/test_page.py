"""The page as people meet it: plots without a script, and with one in a browser; axe finds nothing to complain of."""

import json
import os
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from test_compare import fake_run, quiet

from reincarnate.report import compare, figure, load_runs
from reincarnate.report.curves import MOST, panels
from reincarnate.report.palette import arm

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
AXE = Path(os.environ.get("AXE_CORE", "node_modules/axe-core/axe.min.js"))
FLAGS = "--headless --no-sandbox --disable-gpu --disable-background-networking --no-first-run --hide-scrollbars"
in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt install chromium")


def study(root: Path, methods: tuple[str, ...], envs: tuple[str, ...] = ("a",)) -> str:
    """A page's text on two seeds of each."""
    for env in envs:
        for method in methods:
            for seed in range(2):
                fake_run(root / "runs", method, seed, env=env)
    compare([root / "runs"], root / "out", tell=quiet)
    return (root / "out" / "index.html").read_text()


THREE = ("qdagger", "kickstart", "scratch")
MANY = (*THREE, *"abcd")


def test_the_page_tells_the_final_evaluation_and_the_versions_that_its_runs_record(tmp_path):
    fake_run(tmp_path / "runs", config={"final_episodes": 50, "versions": {"torch": "2.13.0"}})
    compare([tmp_path / "runs"], tmp_path / "out", tell=quiet)
    text = unescape((tmp_path / "out" / "index.html").read_text())
    assert "<dt>final evaluation</dt><dd><code>50 episodes</code>" in text and '{"torch": "2.13.0"}' in text


def run_in_browser(page: str, script: str, folder: Path, *flags: str):
    """What a script leaves as JSON in the page's title."""
    assert CHROMIUM
    caught = "onerror = (...told) => { document.title = JSON.stringify(told.map(String)) };"
    wrapped = f"<script>{caught}</script><script>{script}</script></body>"
    (folder / "probe.html").write_text(page.replace("</body>", wrapped))
    where = [f"--user-data-dir={folder / 'profile'}", "--dump-dom", (folder / "probe.html").as_uri()]
    done = subprocess.run([CHROMIUM, *FLAGS.split(), *flags, *where], capture_output=True, timeout=120, check=True)
    title = re.search(r"<title>(.*?)</title>", done.stdout.decode(), re.DOTALL)
    assert title
    return json.loads(unescape(title[1]))


def test_the_same_runs_give_the_same_page_whose_values_are_told_to_who_cannot_see_them(tmp_path):
    text = study(tmp_path, THREE)
    compare([tmp_path / "runs"], tmp_path / "again", tell=quiet)
    assert (tmp_path / "again" / "index.html").read_text() == text
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids)) and set(re.findall(r'href="#([^"]+)"', text)) == set(ids)
    shares = text[text.index("Performance profiles") : text.index("At equal updates")]
    assert all(way.count("M") == 1 for way in re.findall(r'class="line" d="([^"]+)"', shares))  # whole, also across 0
    assert text.count("<table") == text.count("<caption>") and "<th>" not in text and '<th scope="row">' in text
    last = panels(load_runs([tmp_path / "runs"]).runs, np.random.default_rng(0))[0].curves[1].last
    assert re.search(rf'aria-label="a, score[^"]*qdagger {last.point:.2f} \[{last.low:.2f}, {last.high:.2f}\]', text)
    assert 'class="arms" role="group" aria-label="Methods shown in the plots" hidden' in text


def test_many_methods_get_a_panel_each_best_first_before_the_others(tmp_path):
    assert len(MANY) > MOST
    text = study(tmp_path, MANY)
    first = text[text.index('<div class="crowd">') : text.index("<figcaption>")]
    small = re.findall(r'class="plot small arm (arm-\w+)"', first)
    assert len(small) == len(MANY) == len(re.findall(r'<path class="arm-\w+"', first)) and small[-1] == arm("scratch")
    assert len(set(re.findall(r'data-axes="([^"]+)"', first))) == 1  # one scale, so that they can be compared
    fig = figure(load_runs([tmp_path / "runs"]).runs, np.random.default_rng(0))
    assert sum(axes.get_visible() for axes in fig.axes) == len(MANY)
    assert len(text) < 150_000


PROBE = """
const all = (s, inside = document) => [...inside.querySelectorAll(s)], told = {};
const fire = (part, type, x = 0, y = 0) =>
  part.dispatchEvent(new PointerEvent(type, { clientX: x, clientY: y, pointerId: 1, button: 0 }));
const press = key => document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
const plot = all(".plot")[0], marks = plot.querySelector(".marks"), area = marks.getBoundingClientRect();
const seen = () => [marks.getAttribute("viewBox"), plot.querySelector(".xs").innerText.split("\\n")];
told.whole = seen();
fire(marks, "pointermove", area.right - 2, area.top + 9);
told.tip = document.querySelector(".tip").innerText.split("\\n");
told.dots = all(".at", marks).length;
fire(marks, "pointerleave");
told.hidden = document.querySelector(".tip").hidden && !all(".at").length;
marks.setPointerCapture = () => {};
fire(marks, "pointerdown", area.left + area.width / 2, area.top + 9);
fire(marks, "pointermove", area.right, area.top + 9);
fire(marks, "pointerup", area.right, area.top + 9);
told.zoomed = seen();
fire(marks, "dblclick");
told.back = seen();
plot.focus(); press("ArrowLeft"); press("+");
told.said = document.querySelector("[role=status]").textContent;
told.nearer = seen()[0];
press("Escape"); press("ArrowDown");
told.below = document.activeElement.dataset.scale;
const button = all(".arms [data-arm]")[1];
button.click();
told.off = all(".off").every(part => part.matches("." + button.dataset.arm)) && all(".off").length;
told.left = all("path.line", marks).filter(line => line.getBoundingClientRect().width).length;
all("[data-all]").map(one => one.click());
told.none = all("path.line", marks).filter(line => line.getBoundingClientRect().width).length;
all("[data-all]")[0].click();
fire(button, "pointerenter");
told.lit = [getComputedStyle(all(".curve")[1]).opacity, getComputedStyle(all(".curve")[0]).opacity];
told.wide = document.documentElement.scrollWidth <= innerWidth;
document.title = JSON.stringify(told);
"""


@in_a_browser
def test_in_a_browser_plots_are_read_zoomed_and_switched_by_pointer_and_keyboard(tmp_path):
    text = study(tmp_path, THREE, ("a", "b"))
    told = run_in_browser(text, PROBE, tmp_path, "--window-size=390,900")
    runs = [run for run in load_runs([tmp_path / "runs"]).runs if run.env == "a"]
    best = max(panels(runs, np.random.default_rng(0))[0].curves, key=lambda curve: curve.y[-1])
    low, high = best.last.low, best.last.high
    head, name, value = told["tip"][:3]
    assert (head, name, value) == ("20k env steps", best.label, f"{best.last.point:.2f} [{low:.2f}, {high:.2f}]")
    assert told["dots"] == 3 and told["hidden"] is True
    assert told["whole"][0] == "0 0 1000 1000" and told["back"] == told["whole"]
    assert float(told["zoomed"][0].split()[0]) == pytest.approx(500, abs=2)
    assert "20k" in told["zoomed"][1] and "0" not in told["zoomed"][1]
    assert told["said"].startswith("4k env steps: ")  # left of the middle, where the drag began
    assert told["said"].count("[") == 3
    assert told["nearer"].split()[2] == "800" and told["below"] == "steps-1"
    assert told["off"] > 3 and told["left"] == 2 and told["none"] == 0 and told["lit"] == ["1", "0.18"]
    assert told["wide"], "the page is wider than a telephone"


AUDIT = """
for (const part of document.querySelectorAll("details")) part.open = true;
axe.run(document).then(found => {
  const seen = found.passes.find(rule => rule.id === "color-contrast");
  document.title = JSON.stringify([seen ? seen.nodes.length : 0,
    found.violations.map(rule => [rule.id, rule.nodes[0].html, rule.nodes[0].failureSummary])]);
});
"""


@pytest.mark.slow
@in_a_browser
@pytest.mark.skipif(not AXE.exists(), reason="no axe-core here: npm install --no-save axe-core, or AXE_CORE=axe.min.js")
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("methods", [THREE, MANY])
def test_axe_finds_nothing(tmp_path, width, dark, methods):
    page = study(tmp_path, methods).replace("</body>", f"<script>{AXE.read_text()}</script></body>")
    flags = [f"--window-size={width},1500", "--virtual-time-budget=60000"]
    flags += ["--blink-settings=preferredColorScheme=0"] * dark
    seen, violations = run_in_browser(page, AUDIT, tmp_path, *flags)
    assert seen > 100 and not violations
