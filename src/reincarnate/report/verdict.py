"""Who beat the teacher, in a sentence that claims no more than the intervals bear."""

from collections.abc import Sequence

from reincarnate.report.statistics import Interval
from reincarnate.report.table import METHOD, RANDOM, TEACHER, Row
from reincarnate.report.wording import interval, number

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


def verdict(score: Interval, teacher: Interval) -> str:
    """What a method's normalised score says beside the teacher's own, each with its interval."""
    if score.low is None or score.high is None:
        return "ran once, which decides nothing"
    if score.low > (teacher.point if teacher.high is None else teacher.high):
        return "beat the teacher"
    if score.high < (teacher.point if teacher.low is None else teacher.low):
        return "fell short of the teacher"
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
        said.setdefault(verdict(row.score, teacher.score), []).append(_named(row))
    return f"{env}: " + "; ".join(f"{_and(names)} {what}" for what, names in said.items()) + "."


def _tally(groups: dict[str, list[Row]]) -> list[str]:
    """On how many tasks each method did what; those that did the same in one sentence."""
    said: dict[str, dict[str, int]] = {}
    for rows in groups.values():
        teacher = next((row for row in rows if row.kind == TEACHER and row.normalised), None)
        for row in (row for row in rows if row.kind == METHOD):
            what = verdict(row.score, teacher.score) if teacher else "had no teacher to compare with"
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
