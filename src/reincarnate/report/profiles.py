"""Performance profiles: for every score, the share of runs that reach beyond it (Agarwal et al., 2021)."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from reincarnate.report.aggregates import matrices, over_all
from reincarnate.report.curves import GRID, INK, MUTED, PAPER, styles
from reincarnate.report.runs import FinishedRun, by_env
from reincarnate.report.statistics import performance_profile, profile_band

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
        _clean(axes, scope)
        _draw(axes, methods, chosen, rng)
    return fig


def _draw(axes: Axes, methods: dict[str, np.ndarray], chosen: dict, rng: np.random.Generator) -> None:
    ends = np.concatenate([scores.ravel() for scores in methods.values()])
    low, high = min(float(ends.min()), 0.0), float(ends.max())
    margin = 0.03 * ((high - low) or 1.0)
    thresholds = np.linspace(low - margin, high + margin, POINTS)
    for label, scores in methods.items():
        colour, dashes = chosen[label]
        name = " ".join(label.split())[:40].replace("$", r"\$")
        share = performance_profile(scores, thresholds)
        axes.plot(thresholds, share, color=colour, linestyle=dashes, linewidth=1.9, label=f" {name}")
        band = profile_band(scores, thresholds, rng)
        if band is not None:
            axes.fill_between(thresholds, *band, color=colour, alpha=0.16, linewidth=0)
    axes.set_xlim(thresholds[0], thresholds[-1])
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, fontsize=9, labelcolor=INK)


def _clean(axes: Axes, scope: str) -> None:
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
