"""What the methods reached, with intervals: one list of rows, and three ways to print it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import NamedTuple

import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text

from reincarnate.report.aggregates import limited, over_all
from reincarnate.report.areas import area
from reincarnate.report.runs import (
    FinishedRun,
    Missing,
    by_env,
    by_label,
    is_normalised,
    reference_beside,
    references,
    unscored,
)
from reincarnate.report.statistics import LEVEL, Interval, iqm, stratified_bootstrap
from reincarnate.report.wording import brief, count, duration, interval, number, short

TEACHER, GREEDY, RANDOM, METHOD = "teacher", "greedy", "random", "method"
BEAT, FELL_SHORT = "beat the teacher", "fell short of"


@dataclass(frozen=True)
class Row:
    """One method on one task or on all; or what it is measured against: teacher, its greedy play, random policy.

    `score` is the interquartile mean over seeds of the final evaluation: random 0, teacher 1 where
    `normalised`, else raw. `raw` is the mean raw score (None over several tasks), `area` the mean normalised
    score over the online env steps. Counts and seconds are of one run, the median over seeds. `seeds` is 0 for
    a reference. `beside` is the mean by the task's other measure with its name, where it has two.
    """

    env: str
    method: str
    kind: str
    seeds: int
    score: Interval
    normalised: bool
    raw: float | None = None
    env_steps: int | None = None
    updates: int | None = None
    offline_updates: int | None = None
    seconds: float | None = None
    area: Interval | None = None
    beside: tuple[str, float] | None = None


def summarise(runs: Sequence[FinishedRun], rng: np.random.Generator, missing: Sequence[Missing] = ()) -> list[Row]:
    """A row for the teacher, the random policy and each method, per task and, with several, over all tasks.

    Methods come best first; where a run ended without a score there is no interval. Runs passed `check_comparable`.
    """
    envs = by_env(runs)
    rows = [row for env, group in envs.items() for row in _task(env, group, rng)]
    rows += _overall(envs, rng) if len(envs) > 1 else []
    return [_limited(row, envs, missing) for row in rows]


def _limited(row: Row, envs: Iterable[str], missing: Sequence[Missing]) -> Row:
    lost = sum(unscored(missing, env, row.method) for env in ([row.env] if row.env in envs else envs))
    if row.kind != METHOD or not lost:
        return row
    return replace(row, score=limited(row.score, lost), area=limited(row.area, lost) if row.area else None)


def _task(env: str, runs: list[FinishedRun], rng: np.random.Generator) -> list[Row]:
    methods = [_method(env, label, group, is_normalised(runs), rng) for label, group in by_label(runs).items()]
    return _references(env, runs) + sorted(methods, key=lambda row: -row.score.point)


def _references(env: str, runs: list[FinishedRun]) -> list[Row]:
    random, teacher, greedy = references(runs)
    found = [(TEACHER, teacher), (GREEDY, greedy), (RANDOM, random)]
    rows = [
        Row(env, kind, kind, 0, x, False, raw=x.point, beside=reference_beside(runs, kind))
        for kind, x in found
        if x is not None
    ]
    if teacher is None or not is_normalised(runs):
        return rows
    zero, one = random.point, teacher.point
    return [replace(row, score=row.score.scaled(zero, one), normalised=True) for row in rows]


def _method(env: str, label: str, runs: list[FinishedRun], normalised: bool, rng: np.random.Generator) -> Row:
    scores = [run.normalised if normalised and run.normalised is not None else run.score for run in runs]
    areas = [x for x in map(area, runs) if x is not None]
    return Row(
        env=env,
        method=label,
        kind=METHOD,
        seeds=len(runs),
        score=stratified_bootstrap(np.array([scores]).T, iqm, rng),
        normalised=normalised,
        raw=float(np.mean([run.score for run in runs])),
        env_steps=runs[0].env_steps,
        updates=int(np.median([run.updates for run in runs])),
        offline_updates=int(np.median([run.offline_updates for run in runs])),
        seconds=float(np.median([run.seconds for run in runs])),
        area=stratified_bootstrap(np.array([areas]).T, iqm, rng) if normalised and len(areas) == len(runs) else None,
        beside=_beside(runs),
    )


def _beside(runs: Sequence[FinishedRun]) -> tuple[str, float] | None:
    told = [run.beside for run in runs if run.beside]
    return (told[0][0], float(np.mean([value for _, value in told]))) if len(told) == len(runs) else None


def _overall(envs: dict[str, list[FinishedRun]], rng: np.random.Generator) -> list[Row]:
    """A row over all tasks for each method that ran equally many seeds on each, where all are normalised."""
    if not all(map(is_normalised, envs.values())):
        return []
    rows, name = [], over_all(len(envs))
    for label in sorted({run.label for group in envs.values() for run in group}):
        columns = [[run.normalised for run in group if run.label == label] for group in envs.values()]
        if len({len(column) for column in columns}) == 1:
            score = stratified_bootstrap(np.array(columns, float).T, iqm, rng)
            rows.append(Row(name, label, METHOD, len(columns[0]), score, True))
    return sorted(rows, key=lambda row: -row.score.point)


def _name(row: Row) -> str:
    return {RANDOM: "random policy", GREEDY: "teacher, greedy"}.get(row.kind, row.method)


def _area(row: Row) -> str:
    return number(row.area.point) if row.area and row.seeds == 1 else interval(row.area, row.seeds)


def _updates(row: Row, write: Callable[[int | None], str]) -> str:
    return (f"{write(row.offline_updates)} + " if row.offline_updates else "") + write(row.updates)


class Column(NamedTuple):
    """A heading, what it says of a row, and the same where room is scarce."""

    heading: str
    cell: Callable[[Row], str]
    narrow: Callable[[Row], str]


COLUMNS = (
    Column("method", _name, _name),
    Column("seeds", lambda row: str(row.seeds or "–"), lambda row: str(row.seeds or "–")),
    Column(f"score [{LEVEL:.0%}]", *[lambda row: interval(row.score, row.seeds)] * 2),
    Column("raw", lambda row: number(row.raw), lambda row: number(row.raw)),
    Column("area", _area, lambda row: number(row.area.point if row.area else None)),
    Column("env steps", lambda row: count(row.env_steps), lambda row: short(row.env_steps)),
    Column("updates", lambda row: _updates(row, count), lambda row: _updates(row, short).replace(" ", "")),
    Column("time", lambda row: duration(row.seconds), lambda row: brief(row.seconds)),
)


BESIDE = Column("beside", *[lambda row: f"{row.beside[0]} {row.beside[1]:.3g}" if row.beside else "–"] * 2)


def columns_of(rows: Sequence[Row]) -> tuple[Column, ...]:
    """The columns, with one more where a task has a second measure."""
    return (*COLUMNS, BESIDE) if any(row.beside for row in rows) else COLUMNS


def caption(rows: Sequence[Row]) -> str:
    """What the columns mean."""
    scale = "random policy 0, teacher 1" if all(row.normalised for row in rows) else "raw without a teacher"
    return (
        f"score: interquartile mean over seeds of the final evaluation ({scale}), with its interval; raw: mean "
        "over seeds of the raw score; area: mean normalised score over the online env steps; updates: offline "
        "+ online; counts and time: of one run, the median over seeds."
    ) + (" beside: the mean by the task's other measure." if any(row.beside for row in rows) else "")


_WIDTH = 9  # of the drawn intervals
_HEADINGS = ("method", "seeds", f"score [{LEVEL:.0%}]", "", "raw", "area", "steps", "updates", "time")
_WIDTHS = (13, 5, 18, _WIDTH, 5, 4, 5, 7, 6)


def as_rich(rows: Sequence[Row]) -> Table:
    """The rows for a terminal of 80 columns or more, each score drawn to scale beside its interval."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=0, caption=caption(rows), caption_justify="left")
    columns = columns_of(rows)
    more = [(column.heading, len(column.heading)) for column in columns[len(COLUMNS) :]]
    for i, (heading, width) in enumerate([*zip(_HEADINGS, _WIDTHS, strict=True), *more]):
        justify = "right" if i else "left"
        table.add_column(Text(heading), justify=justify, min_width=width, overflow="fold")
    for env in dict.fromkeys(row.env for row in rows):
        group = [row for row in rows if row.env == env]
        table.add_row(Text(env, style="bold"))
        for row in group:
            cells = [Text(column.narrow(row)) for column in columns]
            style = {TEACHER: "yellow", GREEDY: "yellow", RANDOM: "dim"}.get(row.kind, "")
            table.add_row(*cells[:3], _forest(row, group), *cells[3:], style=style)
        table.add_section()
    return table


def _forest(row: Row, group: Sequence[Row]) -> str:
    """`┊ ├──●──┤`: the interval to the group's common scale, a dotted line at the teacher's score."""
    position, teacher = forest_scale(group)
    cells = [" "] * _WIDTH

    def at(score: float) -> int:
        return round(position(score) * (_WIDTH - 1))

    if teacher is not None:
        cells[at(teacher)] = "┊"
    if row.score.low is not None and row.score.high is not None:
        left, right = at(row.score.low), at(row.score.high)
        cells[left : right + 1] = ["├", *"─" * (right - left - 1), "┤"] if right > left else ["│"]
    cells[at(row.score.point)] = "●"
    return "".join(cells)


def forest_scale(group: Sequence[Row]) -> tuple[Callable[[float], float], float | None]:
    """Where on a line from 0 to 1 to draw a score of this group; and the teacher's score, if it has one."""
    ends = [x for row in group for x in (row.score.low, row.score.point, row.score.high) if x is not None]
    teacher = next((row.score.point for row in group if row.kind == TEACHER), None)
    if all(row.normalised for row in group):
        ends, teacher = [*ends, 0.0, 1.0], 1.0
    low, span = min(ends), (max(ends) - min(ends)) or 1.0
    return lambda score: (score - low) / span, teacher


def as_markdown(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table, a column for the task in front, with a caption below."""

    def line(cells: Sequence[str]) -> str:
        safe = [escape(" ".join(cell.split()), quote=False).replace("|", "\\|") for cell in cells]
        return "| " + " | ".join(safe) + " |"

    columns = columns_of(rows)
    body = [line([row.env, *(column.cell(row) for column in columns)]) for row in rows]
    head = line(["task", *(column.heading for column in columns)])
    rule = line(["---", "---", *["---:"] * (len(columns) - 1)])
    return "\n".join([head, rule, *body, "", caption(rows), ""])


FEW_SEEDS = 5
MANY_TASKS = 3


def headline(rows: Sequence[Row]) -> list[str]:
    """A sentence for each task (with many, for methods alike), and a last one where seeds are few.

    `rows` are those of `summarise`.
    """
    tasks = dict.fromkeys(row.env for row in rows if row.kind == RANDOM)
    groups = {env: [row for row in rows if row.env == env] for env in tasks}
    sentences = [_sentence(env, group) for env, group in groups.items()]
    if len(tasks) > MANY_TASKS:
        sentences = _tally(groups)
    seeds = [row.seeds for row in rows if row.kind == METHOD and 1 < row.seeds < FEW_SEEDS]
    if seeds:
        sentences.append(f"Intervals from {min(seeds)} seeds are too narrow: more seeds may change the verdict.")
    return sentences


def judged(score: Interval, rows: Sequence[Row]) -> str:
    """What a method's normalised score says beside its teacher's, and beside its greedy play where that is known."""
    teacher, greedy = (next((row for row in rows if row.kind == kind), None) for kind in (TEACHER, GREEDY))
    if teacher is None or not teacher.normalised:
        return "had no teacher to compare with"
    said = verdict(score, teacher.score)
    if greedy is None or said != BEAT:
        return said
    too = verdict(score, greedy.score)
    if too == BEAT:
        return f"{BEAT}, its greedy play too"
    less = FELL_SHORT if too.startswith(FELL_SHORT) else "not surely"
    return f"{BEAT} as it plays, sampling, but {less} its greedy play"


def verdict(score: Interval, teacher: Interval) -> str:
    """What a method's normalised score says beside the teacher's own, each with its interval."""
    if score.low is None or score.high is None:
        return "ran once, which decides nothing"
    if score.low > (teacher.point if teacher.high is None else teacher.high):
        return BEAT
    if score.high < (teacher.point if teacher.low is None else teacher.low):
        return f"{FELL_SHORT} the teacher"
    if score.low > teacher.point:
        return "scored above the teacher, but within the uncertainty of the teacher's own score"
    if score.high < teacher.point:
        return "scored below the teacher, but within the uncertainty of the teacher's own score"
    return "cannot be told from the teacher"


def _sentence(env: str, rows: list[Row]) -> str:
    methods = [row for row in rows if row.kind == METHOD]
    teacher = next((row for row in rows if row.kind == TEACHER), None)
    if teacher is None or not teacher.normalised:
        missing = "no teacher to compare with" if teacher is None else "no scale to compare with the teacher on"
        return f"{env}: {missing}; raw scores: {_and([_named(row) for row in methods])}."
    said: dict[str, list[str]] = {}
    for row in methods:
        said.setdefault(judged(row.score, rows), []).append(_named(row))
    return f"{env}: " + "; ".join(f"{_and(names)} {what}" for what, names in said.items()) + "."


def _tally(groups: dict[str, list[Row]]) -> list[str]:
    """On how many tasks each method did what; those that did the same in one sentence."""
    said: dict[str, dict[str, int]] = {}
    for rows in groups.values():
        for row in (row for row in rows if row.kind == METHOD):
            what = judged(row.score, rows)
            counts = said.setdefault(row.method, {})
            counts[what] = counts.get(what, 0) + 1
    alike: dict[str, list[str]] = {}
    for method, counts in said.items():
        most_first = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        words = "; ".join(f"on {n} of {len(groups)} tasks {what}" for what, n in most_first)
        alike.setdefault(words, []).append(method)
    return [f"{' · '.join(methods)}: {words}." for words, methods in alike.items()]


def _named(row: Row) -> str:
    if not row.score.known:
        return f"{row.method} ({number(row.score.point)}, 1 seed)"
    return f"{row.method} ({interval(row.score, row.seeds)}, {row.seeds} seeds)"


def _and(names: list[str]) -> str:
    return ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + names[-1]
