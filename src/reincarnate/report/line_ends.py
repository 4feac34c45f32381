"""Names at the right ends of a plot's lines, instead of a legend: none over another, whatever the lines do."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

_LINE = 13.5 / 72  # inches from one name to the next
_PLOT_SHARE = 0.78  # of a panel's height, the rest being title and ticks

Label = tuple[float, str, str]  # where a line ends, its name, its colour


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
        axes.plot([1.005, 1.03], [end, place], color=colour, linewidth=0.8, **at)
        axes.text(1.037, place, shown(name), va="center", fontsize=9.5, color=colour, parse_math=False, **at)
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
