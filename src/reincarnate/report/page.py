"""One self-contained HTML page on a comparison: nothing fetched, light and dark, every number's origin."""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from reincarnate.files.atomic import write_bytes
from reincarnate.files.text import visible
from reincarnate.report.aggregates import Aggregates, aggregate
from reincarnate.report.areas import Areas
from reincarnate.report.comparable import gaps
from reincarnate.report.curves import ENV_STEPS, SECONDS, UPDATES, Panel, across, panels, profiles
from reincarnate.report.films import films
from reincarnate.report.lineage import AGGREGATES, COST, aggregates_table, cost_table, named, picture
from reincarnate.report.palette import MUTED, arm, styles
from reincarnate.report.panels import arm_styles, plots
from reincarnate.report.runs import FinishedRun, Missing, by_env, by_label
from reincarnate.report.statistics import LEVEL, REPS, mean_interval
from reincarnate.report.style import colour, document, group_row, note, row, section, switches, table, themed
from reincarnate.report.table import METHOD, Row, caption, columns_of, forest_scale, headline, summarise
from reincarnate.report.wording import duration, interval, number

_BAND = (
    "Interquartile mean over seeds with its 95% bootstrap band, of evaluations during training; the table has the "
    "final one. "
)
_LINES = (
    "Dashed: the teacher, with the interval of its own score; in short dashes its greedy play, where it samples and "
    "that was measured. Dotted: the random policy."
)
_CROWD = " Each method before all others in grey, best at the end first; the numbers are of the last evaluation."
_HOW = (
    "Point at a plot to read its values, drag in it to zoom, double click to go back. By keyboard: ← and → read, "
    "↑ and ↓ go from plot to plot, + and − zoom, Esc goes back."
)
_PROFILES = "For each score τ the share of final runs above it, with its 95% bootstrap band; further right is better."
_FILMS = (
    "One episode each, of the first seed that kept a film: no score can be told from it. `reincarnate play` shows "
    "more, also side by side."
)
_STANDS = (
    "Each box is an agent (all seeds of a method in one), a teacher or data, with the env steps of its own; an arrow "
    "leads to what stands on it. `reincarnate lineage show` has every number."
)
_BY_UPDATES = (
    "The same evaluations by gradient steps, those on prior data included: methods at one position have computed "
    "equally long, not seen equally much."
)
_BY_SECONDS = (
    "By the clock from where training began: evaluations are included, scores and data that are made once for all runs "
    "are not. Clocks can be compared where the runs had the same machine to themselves. "
)
_BY_STEPS = "Left of zero: learning from prior data. "
_CURVES = {ENV_STEPS: _BAND + _BY_STEPS + _LINES, SECONDS: _BAND + _BY_SECONDS + _LINES}
_OTHERS = {ENV_STEPS: "By env steps", SECONDS: "By the clock"}
_AREAS = (
    "The area under the curve, as a mean score: over the run's own env steps; over as many updates, and seconds, "
    "as the task's longest method takes. A run that ends earlier keeps its last score."
)


def write_page(
    runs: Sequence[FinishedRun],
    path: Path,
    rng: np.random.Generator,
    title: str,
    missing: Sequence[Missing] = (),
    under: Sequence[Areas] = (),
) -> None:
    """Write the page on comparable `runs` to `path`, whole or not at all; `missing` ones are but listed.

    `under` are the areas under their curves.
    """
    seed = getattr(getattr(rng.bit_generator, "seed_seq", None), "entropy", None)
    rows, chosen = summarise(runs, rng, missing), styles([run.label for run in runs])
    parts = [
        f"<h1>{escape(title)}</h1>",
        *(f'<p class="verdict">{escape(sentence)}</p>' for sentence in headline(rows)),
        switches([(arm(label), label) for label in chosen]),
        f'<p class="note how" hidden>{escape(_HOW)}</p>',
        _plots(panels(runs, rng, across(runs)), "steps", _CURVES[across(runs)]),
        section("Final scores", _scores(rows, runs), note(caption(rows)), *map(note, gaps(runs, missing))),
        section("Every aggregate", aggregates_table(aggregate(runs, rng, missing)), note(AGGREGATES)),
        section("Performance profiles", _plots(profiles(runs, rng), "shares", _PROFILES)),
        section("At equal updates", _folded(panels(runs, rng, UPDATES), "updates", _BY_UPDATES)),
        *_other_axis(runs, rng),
        *([section("On the way", _areas_table(under), note(_AREAS))] if under else []),
        *_films(runs, path.parent),
        section("What each method did", *_plans(runs)),
        section("Cost of one run", cost_table(runs), note(COST)),
        *_lineage(runs),
        section("Every run", _every_run(runs, missing, path.parent, rng)),
        section("Where every number came from", *_origins(runs), _commands(runs), note(_bootstrap(seed))),
    ]
    write_bytes(path, visible(document(title, "\n".join(parts), arm_styles(chosen))).encode())


def _plots(found: Sequence[Panel], group: str, text: str) -> str:
    text += _CROWD if any(panel.crowded for panel in found) else ""
    return f"<figure>{plots(found, group)}<figcaption>{escape(text)}</figcaption></figure>"


def _other_axis(runs: Sequence[FinishedRun], rng: np.random.Generator) -> Iterable[str]:
    """Curves by seconds where all runs tell theirs; by env steps where those by seconds came first."""
    over = SECONDS if across(runs) == ENV_STEPS else ENV_STEPS
    drawn = panels(runs, rng, over)
    if drawn:
        yield section(_OTHERS[over], _folded(drawn, "other", _CURVES[over]))


def _areas_table(found: Sequence[Areas]) -> str:
    body = []
    for env in dict.fromkeys(x.env for x in found):
        group = [x for x in found if x.env == env]
        span = f", {group[0].seconds:,.0f} s" if group[0].seconds else ""
        body.append(group_row(f"{env}: {group[0].updates:,.0f} updates{span}", 4))
        for x in group:
            cells = [interval(part, 0) for part in (x.by_env_steps, x.by_updates, x.by_seconds)]
            body.append(row([escape(cell) for cell in (x.method, *cells)]))
    return table(["method", "by env steps", "by updates", "by the clock"], body, "Areas under the curves")


def _folded(found: Sequence[Panel], group: str, text: str) -> str:
    """Plots that take much room only where they are asked for."""
    drawn = _plots(found, group, text)
    if not any(panel.crowded for panel in found):
        return drawn
    return f"<details><summary>The curves over {found[0].x.name.partition(',')[0]}</summary>{drawn}</details>"


# ---- scores ------------------------------------------------------------------------------------------


def _scores(rows: Sequence[Row], runs: Sequence[FinishedRun]) -> str:
    chosen = styles([run.label for run in runs])
    body, columns = [], columns_of(rows)
    for env in dict.fromkeys(x.env for x in rows):
        group = [x for x in rows if x.env == env]
        body.append(group_row(env, len(columns) + 1))
        for x in group:
            shade = colour(chosen[x.method].colour if x.kind == METHOD else MUTED)
            name, *cells = (escape(column.cell(x)) for column in columns)
            dot = f'<span class="dot" style="background:{shade}"></span>'
            body.append(row([dot + name, *cells[:2], _forest(x, group, shade), *cells[2:]], _kind(x)))
    headings = [column.heading for column in columns]
    return table([*headings[:3], "", *headings[3:]], body, "Final scores by task and method")


def _kind(x: Row) -> str:
    return f"{x.kind} {arm(x.method)}" if x.kind == METHOD else x.kind


def _forest(x: Row, group: Sequence[Row], shade: str) -> str:
    """The interval drawn to the scale of its group, a dashed line at the teacher's score."""
    position, teacher = forest_scale(group)

    def at(score: float | None) -> str:
        return f"{4 + 136 * position(x.score.point if score is None else score):.1f}"

    line = f'<path d="M{at(teacher)} 0V18" stroke="{colour(MUTED)}" stroke-dasharray="2 2"/>'
    bar = f'<path d="M{at(x.score.low)} 9H{at(x.score.high)}" stroke="{shade}" stroke-width="2.5"/>'
    dot = f'<circle cx="{at(x.score.point)}" cy="9" r="3.6" fill="{shade}"/>'
    parts = [line] * (teacher is not None) + [bar, dot]
    return f'<svg class="forest" viewBox="0 0 144 18" aria-hidden="true">{"".join(parts)}</svg>'


# ---- what was done, and what it cost -----------------------------------------------------------------


def _plans(runs: Sequence[FinishedRun]) -> Iterable[str]:
    for label, own in by_label(runs).items():
        students = _distinct((run.config.get("student") or {}).get("name") for run in own)
        yield f'<h3>{escape(label)} <span class="muted">student: {escape(students)}</span></h3>'
        plans: dict[tuple[str, ...], list[str]] = {}
        for run in own:
            plans.setdefault(tuple(map(str, run.result.get("plan") or ())), []).append(run.env)
        for plan, envs in plans.items():
            yield note(_distinct(envs)) if len(plans) > 1 else ""
            yield "<ol>" + "".join(f"<li>{escape(line)}</li>" for line in plan) + "</ol>"


def _films(runs: Sequence[FinishedRun], folder: Path) -> Iterable[str]:
    shown = list(films(runs, folder))
    if shown:
        yield section("How they play", *shown, note(_FILMS))


def _lineage(runs: Sequence[FinishedRun]) -> Iterable[str]:
    drawn = picture(runs)
    if drawn:
        svg = f'<div class="scroll" tabindex="0">{themed(*drawn)}</div>'
        text = f"<figcaption>{escape(_STANDS)}</figcaption>"
        yield section("What these runs stand on", f"<figure>{svg}{text}</figure>")


# ---- provenance --------------------------------------------------------------------------------------


def _every_run(runs: Sequence[FinishedRun], missing: Sequence[Missing], folder: Path, rng: np.random.Generator) -> str:
    body = []
    for run in sorted(runs, key=lambda run: (run.env, run.label, run.seed)):
        score = interval(mean_interval(np.array(run.returns), rng), 0)
        cells = [str(run.seed), score, number(run.normalised), duration(run.seconds), "finished"]
        body.append(row([named(run.label, run.env, runs), *map(escape, cells), _link(run.path, folder)]))
    for lost in missing:
        state = escape(f"{lost.state}: {lost.reason}" if lost.reason else lost.state)
        where = _link(lost.path, folder) if lost.path.is_dir() else escape(lost.path.name)
        body.append(row([escape(lost.label or "–"), *["–"] * 4, state, where]))
    heads = ["method", "seed", f"raw score, {LEVEL:.0%} over episodes", "normalised", "time", "state"]
    return table([*heads, "directory"], body, "Every run of the comparison", "runs")


def _link(directory: Path, folder: Path) -> str:
    if not directory.is_dir():
        return "–"
    relative = os.path.relpath(directory, folder).replace(os.sep, "/")
    return f'<a href="{escape(quote(relative))}/">{escape(relative)}</a>'


def _origins(runs: Sequence[FinishedRun]) -> Iterable[str]:
    for env, own in by_env(runs).items():
        teachers = [run.result["reference"]["teacher"] for run in own]
        facts = {
            "teacher": _distinct(run.config.get("teacher") for run in own),
            "hash of the teacher": _distinct(run.prior.get("teacher") for run in own),
            "hash of the data": _distinct(run.prior.get("data") for run in own),
            "final evaluation": f"{own[0].config.get('final_episodes')} episodes",
            "random policy's score": json.dumps(own[0].result["reference"]["random"]),
            "teacher's score": _distinct(json.dumps(x) for x in teachers if x),
            **_greedy(own),
            "protocol": json.dumps(own[0].result.get("protocol")),
            "hash of the protocol": _distinct(run.result.get("protocol_hash") for run in own),
            "versions": _distinct(json.dumps(run.config.get("versions")) for run in own),
        }
        pairs = "".join(f"<dt>{k}</dt><dd><code>{escape(fact)}</code></dd>" for k, fact in facts.items())
        yield f"<h3>{escape(env)}</h3><dl>{pairs}</dl>"


def _greedy(own: Sequence[FinishedRun]) -> dict[str, str]:
    """The score of the teacher's greedy play, where it was measured."""
    told = _distinct(json.dumps(run.result["reference"]["greedy"]) for run in own if run.greedy)
    return {"teacher's score, greedy": told} if any(run.greedy for run in own) else {}


def _commands(runs: Sequence[FinishedRun]) -> str:
    text = escape("\n".join(str(run.config.get("command", "")) for run in runs))
    return f"<details><summary>The {len(runs)} commands</summary><pre>{text}</pre></details>"


def _bootstrap(seed: object) -> str:
    return (
        f"Intervals over seeds: {LEVEL:.0%} percentile bootstrap, {REPS:,} resamples of the runs within each "
        f"task (Agarwal et al., 2021), random seed {seed}. Those of one run resample its final episodes."
    )


def _distinct(values: Iterable[object]) -> str:
    return ", ".join(dict.fromkeys(str(value) for value in values if value is not None)) or "none"


def as_json(
    rows: Sequence[Row],
    runs: Sequence[FinishedRun],
    aggregates: Sequence[Aggregates] = (),
    under: Sequence[Areas] = (),
    missing: Sequence[Missing] = (),
    notes: Sequence[str] = (),
    folder: Path = Path(),
    title: str = "",
    by_clock: bool = False,
) -> str:
    """Rows, aggregates, areas `under` curves and the runs they came from, as JSON text; with what is left out.

    `folder` is where the text will lie: it names the runs left out from there, as the page beside it does.
    """
    record = {
        "format": 1,
        "title": title,
        **({"by_clock": True} if by_clock else {}),
        "bootstrap": {"kind": "percentile, stratified by task", "reps": REPS, "level": LEVEL},
        "rows": [asdict(row) for row in rows],
        "aggregates": [asdict(row) for row in aggregates],
        "areas": [asdict(row) for row in under],
        "missing": [asdict(run) | {"path": Path(os.path.relpath(run.path, folder)).as_posix()} for run in missing],
        "notes": list(notes),
        "runs": [_run(run) for run in runs],
    }
    return json.dumps(record, indent=2, sort_keys=True, allow_nan=False) + "\n"


def _run(run: FinishedRun) -> dict[str, Any]:
    """What a run asked for, what came out, and its curve."""
    curve = [
        [e.phase, e.env_steps, e.updates, e.score, e.normalised, *([] if e.seconds is None else [e.seconds])]
        for e in run.evaluations
    ]
    return {"label": run.label, "config": run.config, "result": run.result, "curve": curve}
