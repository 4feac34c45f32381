"""Learning curves as a picture (PNG): a panel a task, or of many methods a panel each."""

# ruff: noqa: E402 (a notebook's backend is looked at before matplotlib is imported)
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reincarnate.surroundings import sound_backend

sound_backend()

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from reincarnate.files.atomic import write_bytes
from reincarnate.report.curves import ENV_STEPS, FEW, Axis, Curve, Panel, cut, panels, spread
from reincarnate.report.palette import GRID, INK, MUTED, PAPER, SHADE, Style, styles
from reincarnate.report.runs import FinishedRun
from reincarnate.report.wording import short

_LINE = 13.5 / 72  # inches from one name to the next
_PLOT_SHARE = 0.78  # of a panel's height, the rest being title and ticks
_ACROSS, _SMALL = 5, 1.5  # small panels in a row, and the height of one in inches

Label = tuple[float, str, str]  # where a line ends, its name, its colour


def figure(runs: Sequence[FinishedRun], rng: np.random.Generator, over: str = ENV_STEPS) -> Figure:
    """The panels of `curves.panels`, two in a row; where one has too many methods for one, small ones."""
    found, chosen = panels(runs, rng, over), styles([run.label for run in runs])
    return _small_multiples(found, chosen) if any(p.crowded for p in found) else _panels(found, chosen)


def save_png(fig: Figure, path: Path) -> None:
    """The figure at 160 dots an inch; one that is taller than a page of A3 at 100."""
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=160 if fig.get_figheight() <= 16.5 else 100)
    write_bytes(path, buffer.getvalue())


def _figure(width: float, height: float) -> Figure:
    layout = ConstrainedLayoutEngine(h_pad=0.1, w_pad=0.06)
    fig = Figure(figsize=(width, height), layout=layout, facecolor=PAPER)
    FigureCanvasAgg(fig)
    return fig


# ---- a panel a task ----------------------------------------------------------------------------------


def _panels(found: Sequence[Panel], chosen: dict[str, Style]) -> Figure:
    columns = min(2, len(found))
    rows = -(-len(found) // columns)
    named = max(len(panel.curves) for panel in found) + 3  # and the teacher, its greedy play and the random policy
    width, least = (9.2, 4.3) if columns == 1 else (12.0, 3.5)
    fig = _figure(width, max(least, height_for(named)) * rows)
    for i, panel in enumerate(found):
        axes = fig.add_subplot(rows, columns, i + 1)
        _frame(axes, panel)
        axes.set_title(cut(panel.title), loc="left", color=INK, fontsize=11, fontweight="bold", parse_math=False)
        axes.set_ylabel(panel.scale, color=MUTED, fontsize=9)
        axes.set_xticks(*zip(*panel.x.ticks(), strict=True))
        if panel.x.offline:
            _below(axes, -panel.x.width / 2, f"{short(panel.x.offline)} offline updates")
        _below(axes, panel.x.high / 2, panel.x.name)
        for curve in panel.curves:
            _draw(axes, curve, chosen[curve.label])
    for axes, panel in zip(fig.axes, found, strict=True):
        place_labels(axes, _ends(panel, chosen), fig.get_figheight() / rows)
    return fig


def _ends(panel: Panel, chosen: dict[str, Style]) -> list[Label]:
    references = (
        ("random policy", MUTED, panel.random),
        ("teacher", INK, panel.teacher),
        ("teacher, greedy", INK, panel.greedy),
    )
    labels = [(x.point, name, colour) for name, colour, x in references if x]
    return labels + [(float(curve.y[-1]), curve.label, chosen[curve.label].colour) for curve in panel.curves]


# ---- a panel a method ----------------------------------------------------------------------------------


def _small_multiples(found: Sequence[Panel], chosen: dict[str, Style]) -> Figure:
    """Each method before all others in grey, best at the end first."""
    rows = [max(1, -(-len(panel.curves) // _ACROSS)) for panel in found]
    fig = _figure(12.0, _SMALL * sum(rows) + 0.5 * len(found))
    parts = fig.subfigures(len(found), 1, height_ratios=rows, squeeze=False)[:, 0]
    for part, panel, down in zip(parts, found, rows, strict=True):
        _task(part, panel, down, chosen)
    return fig


def _task(part: SubFigure, panel: Panel, down: int, chosen: dict[str, Style]) -> None:
    part.set_facecolor(PAPER)
    over = f"{short(panel.x.offline)} offline updates, then {panel.x.name}" if panel.x.offline else panel.x.name
    title = f"{cut(panel.title)}: {panel.scale} by {over}"
    part.suptitle(title, x=0.01, ha="left", color=INK, fontsize=11, fontweight="bold", parse_math=False)
    grid = part.subplots(down, _ACROSS, sharex=True, sharey=True, squeeze=False).ravel()
    order = sorted(panel.curves, key=lambda curve: -curve.y[-1])
    for axes, curve in zip(grid, order, strict=False):
        _frame(axes, panel)
        for other in panel.curves:
            axes.plot(other.x, other.y, color=MUTED, linewidth=0.6, alpha=0.35, zorder=1.5)
        axes.set_title(cut(curve.label), loc="left", color=INK, fontsize=8.5, parse_math=False)
        axes.set_xticks(*zip(*panel.x.ticks(FEW), strict=True))
        axes.tick_params(labelsize=7)
        _draw(axes, curve, chosen[curve.label])
    for axes in grid[len(order) :]:
        axes.set_visible(False)


# ---- parts of both -------------------------------------------------------------------------------------


def _frame(axes: Axes, panel: Panel) -> None:
    axes.set_facecolor(PAPER)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(MUTED)
    axes.tick_params(colors=MUTED, labelsize=9, length=3)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlim(panel.x.low, panel.x.high)
    axes.set_ylim(*panel.y)
    _offline(axes, panel.x)
    if panel.random:
        axes.axhline(panel.random.point, color=MUTED, linewidth=1, linestyle=(0, (1, 2)))
    if panel.teacher:
        if panel.teacher.low is not None and panel.teacher.high is not None:
            axes.axhspan(panel.teacher.low, panel.teacher.high, color=INK, alpha=0.08, linewidth=0)
        axes.axhline(panel.teacher.point, color=INK, linewidth=1.2, linestyle=(0, (5, 3)))
    if panel.greedy:
        axes.axhline(panel.greedy.point, color=INK, linewidth=0.8, linestyle=(0, (2, 3)))


def _offline(axes: Axes, x: Axis) -> None:
    """Left of zero, on a light ground."""
    if x.offline:
        axes.axvspan(x.low, 0, color=SHADE, linewidth=0, zorder=0)
        axes.axvline(0, color=MUTED, linewidth=0.8, zorder=1)


def _below(axes: Axes, x: float, text: str) -> None:
    at: dict[str, Any] = {
        "xy": (x, 0),
        "xycoords": axes.get_xaxis_transform(),
        "xytext": (0, -20),
        "textcoords": "offset points",
    }
    axes.annotate(text, **at, ha="center", va="top", color=MUTED, fontsize=9, annotation_clip=False)


def _draw(axes: Axes, curve: Curve, style: Style) -> None:
    """The line and band of one method. Offline and online are joined by a thin line."""
    x, y = curve.x, curve.y
    dashes = (0, style.dashes) if style.dashes else "-"
    for part in (x < 0, x >= 0):
        axes.plot(
            x[part], y[part], color=style.colour, linewidth=1.9, linestyle=dashes, solid_capstyle="round", zorder=3
        )
        if curve.band:
            low, high = (end[part] for end in curve.band)
            axes.fill_between(x[part], low, high, color=style.colour, alpha=0.16, linewidth=0, zorder=2)
    if (x < 0).any() and (x >= 0).any():
        join = [np.flatnonzero(x < 0)[-1], np.flatnonzero(x >= 0)[0]]
        axes.plot(x[join], y[join], color=style.colour, linewidth=0.9, alpha=0.6, zorder=3)


def height_for(names: int) -> float:
    """Inches that a panel must have so that as many names fit beside it."""
    return names * _LINE / _PLOT_SHARE


def place_labels(axes: Axes, labels: list[Label], inches: float) -> None:
    """Names at the right ends of the lines, pushed apart where they would overlap, with leaders."""
    low, high = axes.get_ylim()
    labels = sorted(labels)
    wanted = np.array([(y - low) / (high - low) for y, _, _ in labels])
    places = spread(wanted, _LINE / (_PLOT_SHARE * inches))
    at: dict[str, Any] = {"transform": axes.transAxes, "clip_on": False}
    for (_, name, colour), end, place in zip(labels, wanted, places, strict=True):
        axes.plot([1.005, 1.03], [end, place], linewidth=0.8, color=colour, **at)
        axes.text(1.037, place, cut(name), va="center", fontsize=9.5, color=colour, parse_math=False, **at)
    axes.set_ylim(low, high)
