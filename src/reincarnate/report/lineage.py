"""What compared runs stand on, as a picture: ancestors on the left, the runs on the right, seeds of a method as one."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from html import escape

import numpy as np

from reincarnate.errors import UserError
from reincarnate.files import limits
from reincarnate.report.aggregates import Aggregates
from reincarnate.report.palette import GRID, INK, MUTED, PAPER, SHADE, styles
from reincarnate.report.runs import FinishedRun, by_env, by_label
from reincarnate.report.style import group_row, row, table
from reincarnate.report.wording import count, duration, interval, number
from reincarnate.store.lineage import read_agent
from reincarnate.store.nodes import AGENT, DATA, Node, Parent, ancestors_in, of_agent, total
from reincarnate.store.render import amount

WIDE, HIGH, ACROSS, DOWN = 216, 78, 92, 22  # of a box, and the gaps between boxes
AROUND = 28  # left of the boxes, for arrows that go around one
FITS = 33  # letters in a box's line
MOST = 60  # ancestors in a picture, and arrows to a box
DASHES = {"data": "5 4", "player": "1.5 4", "replay": "1.5 4"}
ROLES = {"player": "plays", "replay": "replay"}


@dataclass(frozen=True)
class Box:
    """A node of the picture: an ancestor, or all seeds of a method. `colour` is a compared method's."""

    key: str
    lines: tuple[str, str, str]
    kind: str
    colour: str
    parents: tuple[Parent, ...]


def picture(runs: Sequence[FinishedRun]) -> tuple[str, str] | None:
    """An `<svg>` of the lineage of these runs and a sentence that says the same; None where none stands on anything."""
    boxes, more = _boxes(runs)
    if not any(box.parents for box in boxes.values()):
        return None
    linked = {parent.sha256 for box in boxes.values() for parent in box.parents}
    boxes = {key: box for key, box in boxes.items() if box.parents or key in linked}
    places = _places(boxes)
    width = max(x for x, _ in places.values()) + WIDE + 2 + AROUND
    height = max(y for _, y in places.values()) + HIGH + 2
    parts = [_edge(box, parent, places) for box in boxes.values() for parent in box.parents]
    parts += [_draw(box, *places[key]) for key, box in boxes.items()]
    further = f"{more:,} more ancestor{'s' * (more > 1)}, further back, {'are' if more > 1 else 'is'} not drawn."
    if more:
        height += DOWN
        parts.append(f'<text x="1" y="{height - 4}" fill="{MUTED}">{further}</text>')
    style = f"width:{width}px;max-width:100%;min-width:0"
    svg = f'<svg viewBox="{-AROUND} 0 {width} {height}" style="{style}" font-size="12.5">{"".join(parts)}</svg>'
    told = [_sentence(box, boxes) for box in boxes.values() if box.parents]
    return svg, " ".join([*told, further] if more else told)


def _boxes(runs: Sequence[FinishedRun]) -> tuple[dict[str, Box], int]:
    """By hash of an ancestor; seeds of one method that stand on the same are one box, by the first one's hash.

    And how many ancestors are left out, the furthest back.
    """
    nodes: dict[str, Node] = {}
    groups: dict[tuple[str, str, tuple[Parent, ...]], list[tuple[FinishedRun, Node]]] = {}
    for run in runs:
        with suppress(UserError):  # the agent was deleted, or is not one of ours: the rest of the page stands
            value = read_agent(run.path / "agent")
            node = of_agent(value)
            nodes = {**ancestors_in(value), **nodes}
            groups.setdefault((run.env, run.label, _bare(node)), []).append((run, node))
    first = {node.sha256: own[0][1].sha256 for own in groups.values() for _, node in own}
    chosen = styles([run.label for run in runs])
    drawn, more = _nearest(nodes, [parent for own in groups.values() for parent in own[0][1].parents], first)
    boxes = {key: _of_ancestor(nodes[key]) for key in drawn}
    for (_, label, parents), own in groups.items():
        boxes[own[0][1].sha256] = _of_group(label, parents, own, chosen[label].colour)
    for key, box in boxes.items():
        known = [parent._replace(sha256=first.get(parent.sha256, parent.sha256)) for parent in box.parents]
        kept = dict.fromkeys(parent for parent in known if parent.sha256 in boxes)
        boxes[key] = replace(box, parents=tuple(kept)[:MOST])
    return boxes, more


def _nearest(nodes: dict[str, Node], parents: Iterable[Parent], runs: Iterable[str]) -> tuple[list[str], int]:
    """The ancestors that a picture has room for, by generations, and how many more there are; `runs` are none."""
    own = set(runs)
    seen, drawn, generation = set(own), list[str](), 0
    while level := {p.sha256: None for p in parents if p.sha256 in nodes and p.sha256 not in seen}:
        drawn += list(level) if generation < limits.DRAWN else []
        seen |= level.keys()
        parents = [parent for key in level for parent in nodes[key].parents]
        generation += 1
    return drawn[:MOST], len(seen) - len(own) - len(drawn[:MOST])


def _bare(node: Node) -> tuple[Parent, ...]:
    return tuple(parent._replace(address=None) for parent in node.parents)


def _of_ancestor(node: Node) -> Box:
    steps = amount("env_steps", node.cost["env_steps"])
    score = "" if node.score is None else f"score {number(node.score)}, "
    own = "paid for by its agent" if any(parent.role == "replay" for parent in node.parents) else f"{steps} env steps"
    second = node.detail if node.kind != DATA else node.task
    return Box(node.sha256, (node.name, second, score + own), node.kind, INK, _bare(node))


def _of_group(label: str, parents: tuple[Parent, ...], own: Sequence[tuple[FinishedRun, Node]], colour: str) -> Box:
    seeds = "1 seed" if len(own) == 1 else f"{len(own)} seeds"
    score = number(float(np.mean([run.score for run, _ in own])))
    steps = amount("env_steps", own[0][1].cost["env_steps"])
    third = f"score {score}, {steps} env steps"
    return Box(own[0][1].sha256, (f"{label}, {seeds}", own[0][1].detail, third), AGENT, colour, parents)


# ---- where everything is -------------------------------------------------------------------------------


def _places(boxes: dict[str, Box]) -> dict[str, tuple[int, int]]:
    """Upper left corners. Each box is right of all that it stands on, but data under the agent that it is from."""
    columns = _columns(boxes)
    places: dict[str, tuple[int, int]] = {}
    for i in range(max(columns.values()) + 1):
        inside = [key for key in boxes if columns[key] == i]
        agents = sorted((key for key in inside if not _hangs(boxes[key])), key=lambda key: _middle(boxes[key], places))
        order = [key for agent in agents for key in (agent, *_under(agent, inside, boxes))]
        for j, key in enumerate(dict.fromkeys([*order, *inside])):
            places[key] = 1 + i * (WIDE + ACROSS), 1 + j * (HIGH + DOWN)
    return places


def _columns(boxes: dict[str, Box]) -> dict[str, int]:
    """How far right each box is: right of the deepest that it stands on. Records that run in a circle end."""
    columns: dict[str, int] = {}
    for start in boxes:
        way = [] if start in columns else [start]  # from there down
        while way:
            parents = [parent.sha256 for parent in boxes[way[-1]].parents]
            below = next((parent for parent in parents if parent not in columns and parent not in way), None)
            if below is not None:
                way.append(below)
                continue
            key, known = way.pop(), [columns[parent] for parent in parents if parent in columns]
            columns[key] = max(known, default=-1) + (not known or not _hangs(boxes[key]))
    return columns


def _hangs(box: Box) -> bool:
    """Whether it is data from an agent or teacher in the picture."""
    return box.kind == DATA and bool(box.parents)


def _under(agent: str, inside: Sequence[str], boxes: dict[str, Box]) -> list[str]:
    return [key for key in inside if _hangs(boxes[key]) and agent in (p.sha256 for p in boxes[key].parents)]


def _middle(box: Box, places: dict[str, tuple[int, int]]) -> float:
    above = [places[parent.sha256][1] for parent in box.parents if parent.sha256 in places]
    return float(np.mean(above)) if above else 0.0


# ---- drawing -------------------------------------------------------------------------------------------


def _edge(box: Box, parent: Parent, places: dict[str, tuple[int, int]]) -> str:
    """An arrow with its role: to the right, or down to data in the same column."""
    (x0, y0), (x1, y1) = places[parent.sha256], places[box.key]
    if x0 == x1:
        return _down(x0, y0, y1, parent)
    x0, y0, y1 = x0 + WIDE, y0 + HIGH // 2, y1 + _port(box, parent)
    bend = max(30, (x1 - x0) // 2)
    line = _line(f"M{x0} {y0}C{x0 + bend} {y0} {x1 - bend} {y1} {x1 - 5} {y1}", parent)
    return f"{line}{_head(f'M{x1 - 7} {y1 - 4}L{x1} {y1}L{x1 - 7} {y1 + 4}Z')}{_word(x1 - 12, y1 - 6, 'end', parent)}"


def _down(x: int, y0: int, y1: int, parent: Parent) -> str:
    """To the box below straight; to one further down around those between."""
    x, y0 = x + 20, y0 + HIGH
    way = f"M{x} {y0}V{y1 - 5}" if y1 - y0 == DOWN else f"M{x} {y0}C{x - 60} {y0 + 60} {x - 60} {y1 - 60} {x} {y1 - 5}"
    head = _head(f"M{x - 4} {y1 - 7}L{x} {y1}L{x + 4} {y1 - 7}Z")
    return _line(way, parent) + head + _word(x + 10, y1 - 7, "start", parent)


def _line(way: str, parent: Parent) -> str:
    dash = f' stroke-dasharray="{DASHES[parent.role]}"' if parent.role in DASHES else ""
    thick = 2.6 if parent.role == "weights" else 1.4
    return f'<path d="{way}" fill="none" stroke="{MUTED}" stroke-width="{thick}"{dash}/>'


def _head(way: str) -> str:
    return f'<path d="{way}" fill="{MUTED}"/>'


def _word(x: int, y: int, anchor: str, parent: Parent) -> str:
    """An edge's role, with the page's ground around it where lines cross it."""
    words, ground = (
        escape(ROLES.get(parent.role, parent.role)),
        f'paint-order="stroke" stroke="{PAPER}" stroke-width="3"',
    )
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="11" fill="{MUTED}" {ground}>{words}</text>'


def _port(box: Box, parent: Parent) -> int:
    """How far down its side an edge meets a box: each has a place of its own."""
    return HIGH * (1 + box.parents.index(parent)) // (1 + len(box.parents))


def _draw(box: Box, x: int, y: int) -> str:
    ground = SHADE if box.colour == INK else PAPER
    frame = f'fill="{ground}" stroke="{GRID if box.colour == INK else box.colour}" stroke-width="1.6"'
    parts = [f'<rect x="{x}" y="{y}" width="{WIDE}" height="{HIGH}" rx="7" {frame}/>']
    for i, (line, shade, weight) in enumerate(zip(box.lines, (box.colour, MUTED, INK), (600, 400, 400), strict=True)):
        text = line if len(line) <= FITS else f"{line[: FITS - 1]}…"
        parts.append(
            f'<text x="{x + 12}" y="{y + 23 + 20 * i}" fill="{shade}" font-weight="{weight}">{escape(text)}</text>'
        )
    return f"<g><title>{escape('; '.join(filter(None, box.lines)))}; {box.key[:12]}</title>{''.join(parts)}</g>"


def _sentence(box: Box, boxes: dict[str, Box]) -> str:
    verb = "is from" if _hangs(box) else "stands on"
    named = [(p.role if verb == "stands on" else "", boxes[p.sha256].lines[0]) for p in box.parents]
    return f"{box.lines[0]} {verb} {', '.join(' '.join(filter(None, words)) for words in named)}."


AGGREGATES = (
    "Over final scores, with stratified bootstrap intervals: interquartile mean; mean; median over tasks of the mean "
    "over seeds; optimality gap, by how much scores miss the teacher's on average; and how likely a run of the method "
    "beats one of the method named."
)
COST = (
    "Of one run, the median over seeds; the evaluation's env steps are not learned from. With priors: the run's own "
    "env steps and those of all it stands on, generation after generation, each counted once; ≥ where files do not "
    "say, and for runs whose records go back one generation only."
)
TRAINED = ("teacher", "weights")


def aggregates_table(found: Sequence[Aggregates]) -> str:
    """One row a method, grouped by task."""
    body = []
    for scope in dict.fromkeys(x.scope for x in found):
        body.append(group_row(scope, 6))
        for x in (x for x in found if x.scope == scope):
            cells = [interval(part, 0) for part in (x.iqm, x.mean, x.median, x.gap)]
            beats = "–" if x.improvement is None else f"{interval(x.improvement, 0)} over {x.over}"
            body.append(row([escape(cell) for cell in (x.method, *cells, beats)]))
    return table(
        ["method", "IQM", "mean", "median", "optimality gap", "probability of improvement"],
        body,
        "Every aggregate over all tasks",
    )


def named(label: str, env: str, runs: Sequence[FinishedRun]) -> str:
    """The method, and the task where there are several, as HTML."""
    return escape(label) + (f' <span class="muted">{escape(env)}</span>' if len(by_env(runs)) > 1 else "")


def cost_table(runs: Sequence[FinishedRun]) -> str:
    """One row a method and task."""
    groups = [(env, label, own) for env, x in by_env(runs).items() for label, own in by_label(x).items()]
    body = [row([named(label, env, runs), *map(escape, _cost(own))]) for env, label, own in groups]
    heads = ["method", "env steps", "… in prior data", "… of the teacher's training", "… of the first weights'"]
    heads += ["with priors", "… for evaluation", "offline updates", "online updates", "time"]
    return table(heads, body, "What one run costs")


def with_priors(run: FinishedRun) -> tuple[int, bool]:
    """Env steps of a run and of all it stands on, and whether those are all known."""
    prior = run.prior
    if "ancestors" in prior:
        steps = total(node.cost for node in ancestors_in({"about": {"prior": prior}}).values())["env_steps"]
        return int(run.env_steps + steps.value), steps.whole
    known = run.env_steps + (prior.get("data_env_steps") or 0)
    whole = True
    for kind in TRAINED:
        trained = prior.get(f"{kind}_trained_env_steps")
        known += trained or 0
        whole &= trained is not None or not _used(run, kind)
    return known, whole


def _used(run: FinishedRun, kind: str) -> bool:
    """Whether a run learnt from this prior: a teacher may only set the scale. Older runs do not say."""
    return run.prior.get(kind) is not None and run.prior.get(f"uses_{kind}", run.method != "scratch")


def _cost(own: Sequence[FinishedRun]) -> list[str]:
    totals = [with_priors(run) for run in own]
    least = "" if all(whole for _, whole in totals) else "≥ "
    return [
        _median([run.env_steps for run in own]),
        _median([run.prior.get("data_env_steps") for run in own]),
        *(_median([run.prior.get(f"{kind}_trained_env_steps") for run in own]) for kind in TRAINED),
        least + _median([total for total, _ in totals]),
        _median([run.result.get("eval_env_steps") for run in own]),
        _median([run.offline_updates for run in own]),
        _median([run.updates for run in own]),
        duration(float(np.median([run.seconds for run in own]))),
    ]


def _median(values: Sequence[int | None]) -> str:
    known = [value for value in values if value is not None]
    return count(int(np.median(known)) if known else None)
