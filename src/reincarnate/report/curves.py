"""Learning curves: each method's score by env steps (its offline phase left of zero) or by updates; teacher at 1."""

# ruff: noqa: E402 (a notebook's backend is looked at before matplotlib is imported)
import hashlib
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reincarnate.surroundings import sound_backend

sound_backend()

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from reincarnate.files.atomic import write_bytes
from reincarnate.report.aggregates import matrices, over_all
from reincarnate.report.runs import FinishedRun, by_env, by_label, is_normalised
from reincarnate.report.statistics import iqm, performance_profile, profile_band, stratified_bootstrap
from reincarnate.report.wording import short

INK, MUTED, GRID, SHADE, PAPER = "#1c1e21", "#6a7078", "#e3e5e8", "#f3f4f6", "#fffffe"
COLOURS = {  # told apart by the colour-blind (after Okabe and Ito); a method keeps its colour on every page
    "qdagger": "#d55e00",
    "kickstart": "#0072b2",
    "jsrl": "#009e73",
    "scratch": "#7b828c",
    "dqfd": "#b5508a",
    "rehearsal": "#a6761d",
    "pretrain": "#6a51a3",
    "finetune": "#2a9bc0",
    "dagger": "#8c3a1a",
}
DARK = {  # the same, as a page on a dark ground should show them
    INK: "#e6e8eb", MUTED: "#9aa1aa", GRID: "#33373d", SHADE: "#212429", PAPER: "#17191c",
    "#d55e00": "#ff8b3d", "#0072b2": "#58adf0", "#009e73": "#2fcf9f", "#7b828c": "#a5acb6",
    "#b5508a": "#ee8fc5", "#a6761d": "#ddb04a", "#6a51a3": "#b09be0", "#2a9bc0": "#6bcdec",
    "#8c3a1a": "#d98a66",
}  # fmt: skip
_DASHES = ("-", (0, (6, 1.5, 1.5, 1.5)), (0, (1.5, 1.2)), (0, (8, 2)))
_OFFLINE_SHARE = 0.34  # the offline stretch's width, where the online one's is 1

ENV_STEPS, UPDATES = "env steps", "updates, offline ones included"  # what a curve may run over


_LINE = 13.5 / 72  # inches from one name to the next
_PLOT_SHARE = 0.78  # of a panel's height, the rest being title and ticks

Label = tuple[float, str, str]  # where a line ends, its name, its colour


def figure(runs: Sequence[FinishedRun], rng: np.random.Generator, over: str = ENV_STEPS) -> Figure:
    """One panel a task: the interquartile mean over seeds of each method's evaluations, with its 95% band.

    Methods at one position have spent equally many env steps, or, `over` UPDATES, gradient steps.
    """
    envs = by_env(runs)
    columns = min(2, len(envs))
    rows = -(-len(envs) // columns)
    named = max(len(by_label(group)) for group in envs.values()) + 2  # and the teacher and the random policy
    width, least = (9.2, 4.3) if columns == 1 else (12.0, 3.5)
    size = (width, max(least, height_for(named)) * rows)
    layout = ConstrainedLayoutEngine(h_pad=0.1, w_pad=0.06)
    fig = Figure(figsize=size, layout=layout, facecolor=PAPER)
    FigureCanvasAgg(fig)
    labels = []
    for i, (env, group) in enumerate(envs.items()):
        labels.append(_panel(fig.add_subplot(rows, columns, i + 1), env, group, rng, over))
    for axes, ends in zip(fig.axes, labels, strict=True):
        place_labels(axes, ends, fig.get_figheight() / rows)
    return fig


def save_png(fig: Figure, path: Path) -> None:
    """The figure at 160 dots an inch."""
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=160)
    write_bytes(path, buffer.getvalue())


def as_svg(fig: Figure) -> str:
    """The figure as an `<svg>` element: the same bytes each time, text drawn as paths, nothing fetched."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "reincarnate", "svg.fonttype": "path"}):
        fig.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    svg = re.sub(r"<!--.*?-->", "", buffer.getvalue(), flags=re.DOTALL)
    svg = re.sub(r' id="(arm-[0-9a-f]{8})"', r' class="\1"', svg)  # several parts of a figure have it
    return re.sub(r"\n\s*\n", "\n", svg[svg.index("<svg") :])


def styles(labels: Sequence[str]) -> dict[str, tuple[str, Any]]:
    """A colour and a dash pattern for each label: methods have theirs, others the least used; dashes where shared."""
    names = {label: re.sub(r"[^a-z0-9]", "", label.split(" (")[0].lower()) for label in sorted(set(labels))}
    taken = dict.fromkeys(COLOURS.values(), 0)
    chosen = {}
    for label, name in sorted(names.items(), key=lambda pair: pair[1] not in COLOURS):
        colour = COLOURS.get(name) or min(taken, key=lambda colour: taken[colour])
        chosen[label] = (colour, _DASHES[taken[colour] % len(_DASHES)])
        taken[colour] += 1
    return chosen


# ---- one panel ---------------------------------------------------------------------------------------


def _panel(axes: Axes, env: str, runs: list[FinishedRun], rng: np.random.Generator, over: str) -> list[Label]:
    normalised = is_normalised(runs)
    evaluations = [e for run in runs for e in run.evaluations]
    budget, updates = max([run.env_steps for run in runs] + [1]), 0
    if over == UPDATES:
        budget = max([e.updates for e in evaluations] + [1])
    else:
        updates = max([e.updates for e in evaluations if e.phase == "offline"], default=0)
    _clean(axes, env, normalised)
    _axis(axes, budget, updates, over)
    labels = _references(axes, runs, normalised)
    for label, (colour, dashes) in styles([run.label for run in runs]).items():
        group = by_label(runs)[label]
        curve = _curve(group, normalised, budget, updates, over)
        if curve is not None:
            before = set(axes.get_children())
            labels.append((_draw(axes, *curve, colour, dashes, rng), label, colour))
            for artist in set(axes.get_children()) - before:
                artist.set_gid(arm(label))
    return labels


def arm(label: str) -> str:
    """The class of all that belongs to a method in the page, by which its script finds it."""
    return f"arm-{hashlib.sha256(label.encode()).hexdigest()[:8]}"


def _clean(axes: Axes, env: str, normalised: bool) -> None:
    axes.set_facecolor(PAPER)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(MUTED)
    axes.tick_params(colors=MUTED, labelsize=9, length=3)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_title(shown(env), loc="left", color=INK, fontsize=11, fontweight="bold", parse_math=False)
    scale = "score (random 0, teacher 1)" if normalised else "score"
    axes.set_ylabel(scale, color=MUTED, fontsize=9)


def _axis(axes: Axes, budget: int, updates: int, over: str) -> None:
    """Ticks of what it runs over right of zero; left of it, on a light ground, ticks in offline updates."""
    width = _OFFLINE_SHARE * budget if updates else 0.0
    axes.set_xlim(-width - 0.02 * budget * bool(updates), budget)
    online = [t for t in _nice(budget) if t <= budget]
    offline = [t for t in _nice(updates, 2) if t < 0.8 * updates] if updates else []
    axes.set_xticks([t / updates * width - width for t in offline] + online)
    axes.set_xticklabels([short(t) for t in [*offline, *online]])
    if updates:
        axes.axvspan(-width - 0.02 * budget, 0, color=SHADE, linewidth=0, zorder=0)
        axes.axvline(0, color=MUTED, linewidth=0.8, zorder=1)
        _below(axes, -width / 2, f"{short(updates)} offline updates")
    _below(axes, budget / 2, over)


def _below(axes: Axes, x: float, text: str) -> None:
    at = {
        "xy": (x, 0),
        "xycoords": axes.get_xaxis_transform(),
        "xytext": (0, -20),
        "textcoords": "offset points",
    }
    axes.annotate(text, **at, ha="center", va="top", color=MUTED, fontsize=9, annotation_clip=False)


def _references(axes: Axes, runs: list[FinishedRun], normalised: bool) -> list[Label]:
    """Lines at the teacher's score, with its interval, and the random policy's. -> labels for their ends."""
    zero = runs[0].random
    teacher = next((run.teacher for run in runs if run.teacher is not None), None)
    if teacher is not None and normalised:
        zero, teacher = zero.scaled(zero.point, teacher.point), teacher.scaled(zero.point, teacher.point)
    axes.axhline(zero.point, color=MUTED, linewidth=1, linestyle=(0, (1, 2)))
    labels = [(zero.point, "random policy", MUTED)]
    if teacher is not None:
        if teacher.low is not None and teacher.high is not None:
            axes.axhspan(teacher.low, teacher.high, color=INK, alpha=0.08, linewidth=0)
        axes.axhline(teacher.point, color=INK, linewidth=1.2, linestyle=(0, (5, 3)))
        labels.append((teacher.point, "teacher", INK))
    return labels


def _curve(
    runs: list[FinishedRun], normalised: bool, budget: int, updates: int, over: str
) -> tuple[np.ndarray, np.ndarray] | None:
    """Positions `[points]` and scores `[runs, points]` of one method, seeds brought to common positions."""
    width = _OFFLINE_SHARE * budget
    curves = []
    for run in runs:
        points: dict[float, float] = {}
        for e in run.evaluations:
            score = e.normalised if normalised and e.normalised is not None else e.score
            if over == UPDATES:
                points[float(e.updates)] = score
            elif e.phase == "offline":
                points[min(e.updates / max(updates, 1) * width - width, -1e-9)] = score
            else:
                points[float(e.env_steps)] = score
        curves.append((np.array(sorted(points)), np.array([points[x] for x in sorted(points)])))
    if not all(len(x) for x, _ in curves):
        return None
    first, last = max(x[0] for x, _ in curves), min(x[-1] for x, _ in curves)
    grid = np.unique(np.concatenate([x for x, _ in curves]))
    grid = grid[(grid >= first) & (grid <= last)]
    return grid, np.stack([np.interp(grid, x, y) for x, y in curves])


def _draw(axes: Axes, x: np.ndarray, scores: np.ndarray, colour: str, dashes: Any, rng: np.random.Generator) -> float:
    """The line and band of one method. Offline and online are joined by a thin line. -> the last value."""
    points = [stratified_bootstrap(column[:, None], iqm, rng) for column in scores.T]
    y = np.array([point.point for point in points])
    for part in (x < 0, x >= 0):
        axes.plot(x[part], y[part], color=colour, linewidth=1.9, linestyle=dashes, solid_capstyle="round", zorder=3)
        if all(point.known for point in points):
            low, high = (np.array([getattr(point, end) for point in points], float)[part] for end in ("low", "high"))
            axes.fill_between(x[part], low, high, color=colour, alpha=0.16, linewidth=0, zorder=2)
    if (x < 0).any() and (x >= 0).any():
        join = [np.flatnonzero(x < 0)[-1], np.flatnonzero(x >= 0)[0]]
        axes.plot(x[join], y[join], color=colour, linewidth=0.9, alpha=0.6, zorder=3)
    return float(y[-1])


def _nice(top: int, ticks: int = 5) -> list[float]:
    """Round tick positions from 0 to `top`."""
    raw = top / ticks
    power = 10.0 ** np.floor(np.log10(raw))
    step = next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= raw * 0.999)
    return [float(t) for t in np.arange(0, top * 1.001, step)]


def height_for(names: int) -> float:
    """Inches that a panel must have so that as many names fit beside it."""
    return names * _LINE / _PLOT_SHARE


def place_labels(axes: Axes, labels: list[Label], inches: float) -> None:
    """Names at the right ends of the lines, pushed apart where they would overlap, with leaders."""
    low, high = axes.get_ylim()
    labels = sorted(labels)
    wanted = np.array([(y - low) / (high - low) for y, _, _ in labels])
    places = _spread(wanted, _LINE / (_PLOT_SHARE * inches))
    at: dict[str, Any] = {"transform": axes.transAxes, "clip_on": False}
    for (_, name, colour), end, place in zip(labels, wanted, places, strict=True):
        told: dict[str, Any] = {"color": colour, "gid": arm(name), **at}
        axes.plot([1.005, 1.03], [end, place], linewidth=0.8, **told)
        axes.text(1.037, place, shown(name), va="center", fontsize=9.5, parse_math=False, **told)
    axes.set_ylim(low, high)


def shown(name: str) -> str:
    """A name, or the beginning of a long one."""
    name = " ".join(name.split())
    return name if len(name) <= 30 else name[:29] + "…"


def _spread(wanted: np.ndarray, gap: float) -> np.ndarray:
    """The positions nearest to `wanted` (ascending) at least `gap` apart, within [0, 1] if they fit."""
    groups: list[list[float]] = []  # neighbours that move together: where each wants the first of all to be
    for i, y in enumerate(wanted):
        groups.append([y - i * gap])
        while len(groups) > 1 and np.mean(groups[-2]) > np.mean(groups[-1]):
            groups[-2:] = [groups[-2] + groups[-1]]
    steps = gap * np.arange(len(wanted))
    places = np.array([np.mean(group) for group in groups for _ in group]) + steps
    return np.maximum(np.minimum(places, 1 - steps[::-1]), steps)


POINTS = 101  # thresholds


def profiles(runs: Sequence[FinishedRun], rng: np.random.Generator) -> Figure:
    """One panel over all tasks if every method finished equally often on each; else one for each task too."""
    scopes, together = matrices(runs), over_all(len(by_env(runs)))
    whole = set(scopes.get(together, {})) == {run.label for run in runs}
    shown = {together: scopes[together]} if whole else {k: v for k, v in scopes.items() if v}
    columns = min(2, len(shown))
    rows = -(-len(shown) // columns)
    fig = Figure(figsize=(9.2 if columns == 1 else 12.0, 3.4 * rows), layout=ConstrainedLayoutEngine(), facecolor=PAPER)
    FigureCanvasAgg(fig)
    chosen = styles([run.label for run in runs])
    for i, (scope, methods) in enumerate(shown.items()):
        axes = fig.add_subplot(rows, columns, i + 1)
        _clean_profile(axes, scope)
        _draw_profiles(axes, methods, chosen, rng)
    return fig


def _draw_profiles(axes: Axes, methods: dict[str, np.ndarray], chosen: dict, rng: np.random.Generator) -> None:
    ends = np.concatenate([scores.ravel() for scores in methods.values()])
    low, high = min(float(ends.min()), 0.0), float(ends.max())
    margin = 0.03 * ((high - low) or 1.0)
    thresholds = np.linspace(low - margin, high + margin, POINTS)
    for label, scores in methods.items():
        colour, dashes = chosen[label]
        name = " ".join(label.split())[:40].replace("$", r"\$")
        share = performance_profile(scores, thresholds)
        axes.plot(thresholds, share, color=colour, linestyle=dashes, linewidth=1.9, label=f" {name}", gid=arm(label))
        band = profile_band(scores, thresholds, rng)
        if band is not None:
            axes.fill_between(thresholds, *band, color=colour, alpha=0.16, linewidth=0, gid=arm(label))
    axes.set_xlim(thresholds[0], thresholds[-1])
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, fontsize=9, labelcolor=INK)


def _clean_profile(axes: Axes, scope: str) -> None:
    axes.set_facecolor(PAPER)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(MUTED)
    axes.tick_params(colors=MUTED, labelsize=9, length=3)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_ylim(-0.02, 1.02)
    axes.set_title(scope, loc="left", color=INK, fontsize=11, fontweight="bold", parse_math=False)
    axes.set_xlabel("score τ", color=MUTED, fontsize=9)
    axes.set_ylabel("share of runs above τ", color=MUTED, fontsize=9)
