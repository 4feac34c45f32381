"""Colours that the colour-blind tell apart, light and dark; each method keeps its own on every page and picture."""

import hashlib
import re
from collections.abc import Sequence
from typing import NamedTuple

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
DASHES = ((), (6.0, 1.5, 1.5, 1.5), (1.5, 1.2), (8.0, 2.0))  # in line widths, as matplotlib has them; (): none


class Style(NamedTuple):
    """How a method's line is drawn."""

    colour: str
    dashes: tuple[float, ...]


def styles(labels: Sequence[str]) -> dict[str, Style]:
    """A colour and a dash pattern for each label: methods have theirs, others the least used; dashes where shared."""
    names = {label: re.sub(r"[^a-z0-9]", "", label.split(" (")[0].lower()) for label in sorted(set(labels))}
    taken = dict.fromkeys(COLOURS.values(), 0)
    chosen = {}
    for label, name in sorted(names.items(), key=lambda pair: pair[1] not in COLOURS):
        colour = COLOURS.get(name) or min(taken, key=lambda colour: taken[colour])
        chosen[label] = Style(colour, DASHES[taken[colour] % len(DASHES)])
        taken[colour] += 1
    return chosen


def arm(label: str) -> str:
    """The class of all that belongs to a method in the page, by which its script finds it."""
    return f"arm-{hashlib.sha256(label.encode()).hexdigest()[:8]}"
