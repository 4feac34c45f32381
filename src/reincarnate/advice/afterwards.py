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

AS_IT_WAS = (
    "imports",
    "device",
    "compile",
    "final_episodes",
    "store",
    "metric",
    "label",
    "log",
    "seed",
    "eval_episodes",
    "evaluations",
    "envs",
)
"""Settings of a run that no advice is about."""
OF_THE_STUDENT = ("hidden", "width", "torso")


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
        found = [(rule, _of(run, fit(rule.method, measured)[0])) for rule in choose(measured)]
        advised = [one for one in found if _can_be(one[1])]
    except UserError as error:  # what can be trained is not always what can be asked about
        return [f"{reason}; advise cannot say more: {error}"]
    if not advised:
        return [f"{reason}; advise has no rule for such a task yet"]
    first, rest = advised[0], [one for one in advised if one[1] != run]
    if not rest or (first[1] == run and rest[0][0].name == "baseline"):
        return [f"{reason}; this is what advise recommends: more env steps may do it (--env-steps)"]
    rule, better = rest[0]
    if first[1] == run:
        reason += "; this is what advise recommends first"
    same = " with other settings" if method_name(better) == method_name(run) else ""
    said = f"{reason}. advise recommends {method_name(better)}{same}: {rule.why(measured)}"
    return [said, record(better)["command"]]


def _can_be(run: Run) -> bool:
    """Whether its student can follow its method."""
    try:
        prepare(run)
    except UserError:
        return False
    return True


def _of(run: Run, advised: Run) -> Run:
    """The advised run with what it does not speak of as it was."""
    kept: dict[str, Any] = {name: getattr(run, name) for name in AS_IT_WAS}
    if type(advised.student) is type(run.student):
        shape = {f.name: getattr(run.student, f.name) for f in fields(run.student) if f.name in OF_THE_STUDENT}
        kept["student"] = replace(advised.student, **shape)
    return replace(advised, **kept)
