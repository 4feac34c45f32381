"""Plots of the page: text that never scales around an SVG that fills its place, so that one form suits every screen.

Many methods are drawn a panel each, the others grey behind it, on common scales. Curves are plain paths on a square of
1000 by 1000; the page's script reads values off them and needs no data of its own.
"""

from collections.abc import Sequence
from html import escape

import numpy as np

from reincarnate.report.curves import FEW, FULL, Axis, Curve, Panel, cut, round_between, spread
from reincarnate.report.palette import Style, arm
from reincarnate.report.statistics import Interval
from reincarnate.report.wording import interval, short

SIDE = 1000  # of the square that every panel's curves lie in
_LINE, _LEAST = 1.15, 15.0  # rem from one name to the next, and of a panel's height
_THICK = 1.9  # pixels


def plots(found: Sequence[Panel], group: str) -> str:
    """Panels side by side, or a task's methods side by side where they are many. `group` makes ids of this plot."""
    parts = [_crowd(p, f"{group}-{i}") if p.crowded else _panel(p, f"{group}-{i}") for i, p in enumerate(found)]
    return f'<div class="plots">{"".join(parts)}</div>'


def arm_styles(chosen: dict[str, Style]) -> str:
    """The style sheet's rules for methods: `--c` the colour, `--d` the dashes of their lines."""
    return "".join(
        f".{arm(label)} {{ --c: var(--{style.colour[1:]}); --d: {_dashes(style)} }}\n"
        for label, style in chosen.items()
    )


def _dashes(style: Style) -> str:
    return " ".join(f"{part * _THICK:.1f}" for part in style.dashes) or "none"


# ---- one panel, one task -------------------------------------------------------------------------------


def _panel(panel: Panel, scale: str) -> str:
    """All methods of a task in one system of axes, their names at the right ends of their lines."""
    names = _ends(panel)
    height = max(_LEAST, _LINE * (len(names) + 1))
    low, high = panel.y
    wanted = np.array([(y - low) / (high - low) for y, _, _ in names])
    places = spread(wanted, _LINE / height)
    leaders = "".join(
        f'<path class="leader {kind}" d="M0 {_n(1 - end)}H2L10 {_n(1 - place)}"/>'
        for (_, _, kind), end, place in zip(names, wanted, places, strict=True)
    )
    labels = "".join(_label(*ends[1:], place) for ends, place in zip(names, places, strict=True))
    curves = "".join(_curve(panel, curve) for curve in panel.curves)
    body = _frame(panel, scale, "") + _marks(scale, curves) + _ticks(panel, FULL)
    side = f'<svg class="leaders" viewBox="0 0 10 {SIDE}" preserveAspectRatio="none">{leaders}</svg>'
    head = f'<p class="head"><b>{escape(panel.title)}</b> <span class="muted">{escape(panel.scale)}</span></p>'
    under = f'<p class="under muted">{escape(_over(panel.x))}</p>'
    data = f'{_data(panel, scale)} style="--h:{height:.1f}rem"'
    told = f"{panel.title}, {_told(panel)}: {_values(panel.curves)}"
    return (
        f'<div class="plot wide" {data} role="group" aria-label="{escape(told)}">{head}'
        f'<div class="box" aria-hidden="true">{body}<div class="names">{side}{labels}</div></div>{under}</div>'
    )


def _label(name: str, kind: str, place: float) -> str:
    title = f'style="bottom:{100 * place:.1f}%" title="{escape(name)}"'
    return f'<span class="label {kind}" {title}>{escape(cut(name))}</span>'


def _ends(panel: Panel) -> list[tuple[float, str, str]]:
    """Where each line ends, its name, its class; lowest first."""
    references = (
        ("random policy", "random", panel.random),
        ("teacher", "teacher", panel.teacher),
        ("teacher, greedy", "greedy", panel.greedy),
    )
    names = [(x.point, name, kind) for name, kind, x in references if x]
    return sorted(names + [(float(c.y[-1]), c.label, f"arm {arm(c.label)}") for c in panel.curves])


def _crowd(panel: Panel, scale: str) -> str:
    """A panel a method, best at the end first, on the task's scales."""
    behind = "".join(f'<path class="{arm(c.label)}" d="{_line(panel, c)}"/>' for c in panel.curves)
    order = sorted(panel.curves, key=lambda curve: -curve.y[-1])
    each = "".join(_small(panel, curve, scale) for curve in order)
    head = f'<p class="head"><b>{escape(panel.title)}</b> <span class="muted">{escape(_told(panel))}</span></p>'
    return f'<div class="crowd">{head}{_frame(panel, scale, behind)}<div class="smalls">{each}</div></div>'


def _small(panel: Panel, curve: Curve, scale: str) -> str:
    name, last = escape(curve.label), escape(interval(curve.last, 0))
    head = (
        f'<p class="head" title="{name}"><span class="key"></span><b>{escape(cut(curve.label))}</b>'
        f'<span class="now muted">{last}</span></p>'
    )
    body = _marks(scale, _curve(panel, curve)) + _ticks(panel, FEW)
    return (
        f'<div class="plot small arm {arm(curve.label)}" {_data(panel, scale)} role="group" '
        f'aria-label="{name}: {last}">{head}<div class="box" aria-hidden="true">{body}</div></div>'
    )


# ---- what they are made of -----------------------------------------------------------------------------


def _data(panel: Panel, scale: str) -> str:
    """What the script must know: the scale's name, and which values the square's sides stand for."""
    x, (low, high) = panel.x, panel.y
    numbers = " ".join(f"{value:.6g}" for value in (x.low, x.high, low, high, x.offline, x.width))
    return f'data-scale="{scale}" data-axes="{numbers}" data-over="{escape(x.name)}"'


def _told(panel: Panel) -> str:
    return f"{panel.scale} by {_over(panel.x)}"


def _over(x: Axis) -> str:
    return f"{short(x.offline)} offline updates, then {x.name}" if x.offline else x.name


def _values(curves: Sequence[Curve]) -> str:
    """What each comes to, best first, for those who do not see it."""
    best = sorted(curves, key=lambda curve: -curve.y[-1])
    return "; ".join(f"{curve.label} {interval(curve.last, 0)}" for curve in best)


def _frame(panel: Panel, scale: str, behind: str) -> str:
    """What all panels on one scale have behind their curves, drawn once and used by each."""
    parts = []
    if panel.x.offline:
        zero = _x(panel.x, 0.0)
        parts.append(f'<path class="shade" d="M0 0H{zero}V{SIDE}H0Z"/><path class="zero" d="M{zero} 0V{SIDE}"/>')
    at = "".join(f"M0 {_y(panel, y)}H{SIDE}" for y in round_between(*panel.y, FULL))
    parts.append(f'<path class="grid" d="{at}"/>')
    parts += _reference(panel, panel.teacher, "teacher") + _reference(panel, panel.random, "random")
    parts += _reference(panel, panel.greedy, "greedy")
    if behind:
        parts.append(f'<g class="others">{behind}</g>')
    return f'<svg class="shared" aria-hidden="true"><g id="{scale}" class="frame">{"".join(parts)}</g></svg>'


def _reference(panel: Panel, value: Interval | None, kind: str) -> list[str]:
    if value is None:
        return []
    line = [f'<path class="{kind}" d="M0 {_y(panel, value.point)}H{SIDE}"/>']
    if kind == "teacher" and value.low is not None and value.high is not None:
        sides = f"M0 {_y(panel, value.high)}H{SIDE}V{_y(panel, value.low)}H0Z"
        return [f'<path class="around" d="{sides}"/>', *line]
    return line


def _marks(scale: str, curves: str) -> str:
    square = f'viewBox="0 0 {SIDE} {SIDE}" preserveAspectRatio="none"'
    return f'<svg class="marks" {square}><use href="#{scale}"/>{curves}</svg>'


def _curve(panel: Panel, curve: Curve) -> str:
    """The band, the line, and where there are both the thin line that joins offline and online."""
    band = ""
    if curve.band:
        low, high = curve.band
        sides = (
            _way(panel, curve.x[p], low[p]) + _way(panel, curve.x[p], high[p], -1) + "Z" for p in _parts(panel, curve)
        )
        band = f'<path class="band" d="{"".join(sides)}"/>'
    join, parts = "", _parts(panel, curve)
    if len(parts) > 1:
        two = slice(parts[0].stop - 1, parts[0].stop + 1)
        join = f'<path class="join" d="{_way(panel, curve.x[two], curve.y[two])}"/>'
    return f'<g class="curve arm {arm(curve.label)}">{band}{join}<path class="line" d="{_line(panel, curve)}"/></g>'


def _parts(panel: Panel, curve: Curve) -> list[slice]:
    """Offline and online, those that there are."""
    first = int((curve.x < 0).sum()) if panel.x.offline else 0
    return [part for part in (slice(0, first), slice(first, len(curve.x))) if part.start < part.stop]


def _line(panel: Panel, curve: Curve) -> str:
    return "".join(_way(panel, curve.x[part], curve.y[part]) for part in _parts(panel, curve))


def _way(panel: Panel, x: np.ndarray, y: np.ndarray, step: int = 1) -> str:
    """Through points, from the first or (going on) from the last."""
    points = [f"{_x(panel.x, a)} {_y(panel, b)}" for a, b in zip(x[::step], y[::step], strict=True)]
    return ("M" if step > 0 else "L") + " ".join(points)


def _x(axis: Axis, value: float) -> str:
    return _n((value - axis.low) / (axis.high - axis.low))


def _y(panel: Panel, value: float) -> str:
    low, high = panel.y
    return _n((high - value) / (high - low))


def _n(share: float) -> str:
    """A share of the square's side, in a tenth of its thousandth."""
    return f"{round(SIDE * float(share), 1):g}"


def _ticks(panel: Panel, most: int) -> str:
    x, (low, high) = panel.x, panel.y
    ys = "".join(
        f'<span style="bottom:{100 * (y - low) / (high - low):.1f}%">{short(y)}</span>'
        for y in round_between(*panel.y, most)
    )
    xs = "".join(
        f'<span style="left:{100 * (at - x.low) / (x.high - x.low):.1f}%">{told}</span>' for at, told in x.ticks(most)
    )
    return f'<div class="ys">{ys}</div><div class="xs">{xs}</div>'
