"""The arithmetic of a run, estimated: floating-point operations of acting, of learning and of asking the teacher.

A forward pass is counted once per network for one observation: matrix products and convolutions, a multiplication and
its addition as two operations; all else is small. From that, for a run:

    acting   = f_act · (env steps + env steps of all evaluations)
    learning = f_learn · batch · updates · (3 + 1 + [double])   forward and twice that backward, the target's pass
    teacher  = f_teacher · observations that it was asked about

f_learn differs from f_act for IQN, which learns at other fractions than it acts at. Learners on λ-returns (PQN) have no
target network online: there it is 3, and one pass more for every env step. Random actions are counted as if chosen.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from reincarnate.data import Dataset, Replay
from reincarnate.students import ValueStudent
from reincarnate.training.counting import Counters
from reincarnate.training.loop import Training
from reincarnate.types import Phase, TaskSpec, Teacher

LEARNING_PASSES = 3  # forward, and the backward pass's two products for each of the forward's


def flops_of_run(
    training: Training, at: Counters, eval_env_steps: int, data: Dataset | None = None
) -> dict[str, float | None]:
    """`acting`, `learning` and `teacher` of a training as far as `at`; None where something cannot be counted.

    `data` is the prior data, which the teacher may have been asked about.
    """
    student, spec, on_policy = training.student, training.env.spec, training.memory.on_policy
    asked = observations_asked(training, data)
    teacher = teacher_flops(training.teacher, spec) if training.teacher and asked else 0.0
    told = None if teacher is None else teacher * asked
    if not isinstance(student, ValueStudent):
        return {"acting": None, "learning": None, "teacher": told}
    module, critic = student.online.module, student.critic
    act = forward_flops(module, _zeros(spec), *critic.at_rest(1))
    learn = forward_flops(module, _zeros(spec), *critic.draw(1, np.random.default_rng(0))[0])
    passes, offline = LEARNING_PASSES + 1 + student.config.double, at.offline_updates(training.phases)
    seen = offline * passes + (at.updates - offline) * (LEARNING_PASSES if on_policy else passes)
    steps = at.env_steps * (2 if on_policy else 1) + eval_env_steps
    return {"acting": float(act * steps), "learning": float(learn * student.batch_size * seen), "teacher": told}


def forward_flops(module: nn.Module, *inputs: Tensor) -> int:
    """Operations of one forward pass of these inputs."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        module(*inputs)
    return counter.get_total_flops()


def teacher_flops(teacher: Teacher, spec: TaskSpec) -> float | None:
    """Operations for one of a teacher's observations; None where that cannot be told.

    Counted where it is torch's and sees what the student sees; else two for each parameter, which convolutions exceed.
    """
    if teacher.view == "student":
        counter = FlopCounterMode(display=False)
        with torch.no_grad(), counter:
            teacher.logits(_zeros(spec), teacher.initial_state(1))
        if counter.get_total_flops():
            return float(counter.get_total_flops())
    return 2.0 * teacher.card.parameters if teacher.card.parameters else None


def observations_asked(training: Training, data: Dataset | None) -> int:
    """How many observations the run's own teacher was asked about: each stored row once, each guided step."""
    guided = sum(phase.env_steps for phase in training.phases if phase.guide)
    rows = data.transitions if data and data.logits else 0
    if isinstance(training.memory, Replay):
        return guided + rows + int(training.memory.annotated.sum())
    return guided + rows + sum(phase.env_steps for phase in training.phases if _asks(phase) and not phase.offline)


def _asks(phase: Phase) -> bool:
    return any(weighted.term.needs_teacher for weighted in phase.terms)


def _zeros(spec: TaskSpec) -> Tensor:
    return torch.zeros(1, *spec.obs_shape, dtype=getattr(torch, spec.obs_dtype))
