"""What `advise` would say of a run that ended poorly: below its teacher, or no better than the random policy."""

import shlex
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from reincarnate import envs
from reincarnate.advice.facts import LEAST_BUDGET
from reincarnate.advice.measure import Question, measure
from reincarnate.advice.rules import choose
from reincarnate.advice.settings import fit
from reincarnate.errors import UserError
from reincarnate.priors.played import Tick
from reincarnate.run.prepare import prepare
from reincarnate.run.result import Results, poor
from reincarnate.run.settings import Run, method_name, record
from reincarnate.students import STUDENTS

OF_THE_RUN = ("method", "teacher", "data", "weights", "data_env_steps")
"""Settings of a run that advice is about; of its student those that were fitted to the budget."""


def afterwards(run: Run, results: Results, tick: Tick) -> list[str]:
    """Lines for the end of a poor run: what was poor, what would come first instead and why, and its command.

    Empty where it did well, and of several tasks, which no rule is about. What is measured is kept in the run's store.
    """
    reason = poor(results)
    if not reason or envs.parse(run.env).parts or run.env_steps < LEAST_BUDGET:
        return []
    if not (run.teacher or run.data or run.weights):
        more = f"reincarnate advise --env {shlex.quote(run.env)} --teacher …   (or --data, --weights)"
        return [f"{reason}: more env steps may do it, or something to start from:", more]
    question = Question(
        run.env,
        *(run.teacher, run.data, run.weights, STUDENTS.name_of(type(run.student))),
        *(run.env_steps, max(2, run.reference_episodes), run.teacher_plays, run.seed, Path(run.store)),
    )
    try:
        measured = measure(question, tick)
        found = [(rule, _of(run, fit(rule.method, measured)[0], measured.student)) for rule in choose(measured)]
        refused = [_refused(advised) for _, advised in found]
        advised = [one for one, why in zip(found, refused, strict=True) if not why]
    except UserError as error:  # what can be trained is not always what can be asked about
        return [f"{reason}; advise cannot say more: {error}"]
    if not advised:
        other = f"what advise recommends cannot be: {refused[0]}" if found else "advise has no rule for such a task yet"
        return [f"{reason}; {other}"]
    first, rest = advised[0], [one for one in advised if one[1] != run]
    if not rest or (first[1] == run and rest[0][0].name == "baseline"):
        return [f"{reason}; this is what advise recommends: more env steps may do it (--env-steps)"]
    rule, better = rest[0]
    if first[1] == run:
        reason += "; this is what advise recommends first"
    same = " with other settings" if method_name(better) == method_name(run) else ""
    said = f"{reason}. advise recommends {method_name(better)}{same}: {rule.why(measured)}"
    return [said, record(better)["command"]]


def _refused(run: Run) -> str:
    """Why it cannot be trained; "" where it can."""
    try:
        prepare(run)
    except UserError as error:
        return str(error)
    return ""


def _of(run: Run, advised: Run, usual: Any) -> Run:
    """The advised run with what it does not speak of as it was; it began from a student's `usual` settings."""
    told = {name: getattr(advised, name) for name in OF_THE_RUN}
    if type(advised.student) is not type(run.student):
        return replace(run, student=advised.student, **told)
    names = [f.name for f in fields(usual) if getattr(advised.student, f.name) != getattr(usual, f.name)]
    return replace(run, student=replace(run.student, **{n: getattr(advised.student, n) for n in names}), **told)
