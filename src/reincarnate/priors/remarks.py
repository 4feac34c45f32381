"""All that a person should know of a teacher on a task before believing a number: said here, for every command."""

import numpy as np
import torch
from jaxtyping import Float32

from reincarnate import envs
from reincarnate.seeds import stream
from reincarnate.teachers.by_task import ByTask, short
from reincarnate.teachers.fit import check_fit
from reincarnate.teachers.lifts import look_like_probabilities
from reincarnate.training.players import RandomPlayer, Stage
from reincarnate.types import LOGITS, TaskSpec, Teacher

UNSURE = ("ONNX", "TorchScript", "Python")
"""Formats that leave it to their maker, or to a guess, what a network tells."""
STEPS = 16  # of random play, on which an unsure teacher is asked
PROBABILITIES = (
    "what it tells is never negative and sums to 1: probabilities, it seems, not logits; "
    "if so, say tells=probabilities, or it plays and teaches something flatter than itself"
)


def remarks(teacher: Teacher, spec: TaskSpec, told: Float32[np.ndarray, "N A"] | None = None) -> tuple[str, ...]:
    """What differs from the teacher's own task, what its card warns of, and whether its logits look like other numbers.

    `told` is what it has told on this task, if it has played; otherwise a teacher of unsure kind is asked on a few
    steps of random play. UserError: it does not fit.
    """
    if isinstance(teacher, ByTask):
        told_by = {short(place.seat.task.id): remarks(place.teacher, place.seat.task) for place in teacher.places}
        return tuple(f"{task}: {line}" for task, lines in told_by.items() for line in lines)
    card = teacher.card
    lines = [*check_fit(card, spec), *card.warnings]
    if told is None and card.tells == LOGITS and card.format.startswith(UNSURE):
        told = _asked(teacher, spec)
    if told is not None and card.tells == LOGITS and look_like_probabilities(torch.from_numpy(told)):
        lines.append(PROBABILITIES)
    return tuple(dict.fromkeys(lines))


def _asked(teacher: Teacher, spec: TaskSpec) -> np.ndarray:
    """What it tells in the first steps of random play."""
    rng, env = stream(0, "remarks"), envs.make(spec.id, 1, teacher.view)
    try:
        stage, told = Stage(env, RandomPlayer(spec), env.reset(rng), {"teacher": teacher}), []
        for _ in range(STEPS):
            told.append(stage.play(0.0, rng).predictions["teacher"].x.cpu().numpy())
        return np.concatenate(told)
    finally:
        env.close()
