"""The arithmetic of a run, estimated: floating-point operations of acting, of learning and of asking the teacher.

    acting   = cost.act · (env steps + env steps of all evaluations)
    learning = cost.online · updates online + cost.offline · updates offline + cost.prepare · env steps
    teacher  = operations for one observation · observations that it was asked about

A student says what each of its steps costs (`Student.cost`). Random actions are counted as if they were chosen.
"""

import torch

from reincarnate.data import Dataset
from reincarnate.nets.flops import Counter
from reincarnate.nets.probe import blank
from reincarnate.teachers.by_task import ByTask
from reincarnate.training.counting import Counters
from reincarnate.training.training import Training
from reincarnate.types import Phase, TaskSpec, Teacher, TimeStep


def flops_of_run(
    training: Training, at: Counters, eval_env_steps: int, data: Dataset | None = None
) -> dict[str, float | None]:
    """`acting`, `learning` and `teacher` of a training as far as `at`; None where something cannot be counted.

    `data` is the prior data, which the teacher may have been asked about.
    """
    spec, cost = training.student.spec, training.student.cost(training.copies)
    asked = observations_asked(training, data)
    teacher = teacher_flops(training.teacher, spec) if training.teacher and asked else 0.0
    told = None if teacher is None else teacher * asked
    offline = at.offline_updates(training.phases)
    acting = cost.act * (at.env_steps + eval_env_steps)
    learning = cost.online * (at.updates - offline) + cost.offline * offline + cost.prepare * at.env_steps
    for name in training.cast.keys() - {"student"}:
        pace, other = training.pace_of(name), training.cast[name].cost(training.copies)
        learning += other.online * pace.updates * (at.env_steps // pace.env_steps) + other.prepare * at.env_steps
    return {"acting": acting, "learning": learning, "teacher": told}


def teacher_flops(teacher: Teacher, spec: TaskSpec) -> float | None:
    """Operations for one of a teacher's observations; None where that cannot be told.

    Counted where it is torch's and sees what the student sees; else two for each parameter, which convolutions exceed.
    Of the teachers of several tasks, which are asked equally often, their mean.
    """
    if isinstance(teacher, ByTask):
        each = [teacher_flops(place.teacher, place.seat.task) for place in teacher.places]
        return None if None in each else sum(filter(None, each)) / len(each)
    if teacher.view == "student":
        with torch.no_grad(), Counter() as counter:
            teacher.predict(TimeStep(blank(spec), torch.ones(1, dtype=torch.bool)), teacher.initial(1))
        if counter.total:
            return float(counter.total)
    return 2.0 * teacher.card.parameters if teacher.card.parameters else None


def observations_asked(training: Training, data: Dataset | None) -> int:
    """How many observations the run's own teacher was asked about: each stored row once, each guided step."""
    guided = sum(phase.env_steps for phase in training.phases if phase.guide)
    rows = data.transitions if data and data.logits else 0
    memory = training.memory
    if not memory.fresh:
        return guided + rows + int(memory.rows.predicted.get("teacher", memory.rows.added[:0]).sum())
    return guided + rows + sum(phase.env_steps for phase in training.phases if _asks(phase) and not phase.offline)


def _asks(phase: Phase) -> bool:
    return "teacher" in phase.listens
