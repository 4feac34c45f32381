"""Our side of the benchmarks: a student raised by the library's own loop, with a clock that starts when all is warm."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from reincarnate import envs
from reincarnate.students import ValueSettings
from reincarnate.students.exploration import Exploration
from reincarnate.training.evaluate import Evaluation, Scale
from reincarnate.training.loop import Training
from reincarnate.types import Phase, Source, Teacher

WARMUP = 100  # env steps before the first update


class Clock:
    """Watches one phase from the moment it is `begin` env steps (or updates) old; give it to `Training.run` as tick."""

    def __init__(self, training: Training, phase: str, begin: int):
        self._training, self._phase, self._begin = training, phase, begin
        self._marks: list[tuple[int, float, float]] = []

    def __call__(self, phase: Phase) -> None:
        if phase.name == self._phase and self._training.at.done(phase) >= self._begin:
            mark = (self._training.at.done(phase), time.perf_counter(), time.process_time())
            self._marks[1:] = [mark]

    def read(self) -> dict[str, float]:
        """Env steps (or updates) per second, and how many cores the process kept busy."""
        (before, start, busy), (after, end, busy_end) = self._marks
        return {"per_second": (after - before) / (end - start), "cores_busy": (busy_end - busy) / (end - start)}


def training(
    config: ValueSettings,
    task: str,
    phases: list[Phase],
    copies: int = 1,
    warmup: int = WARMUP,
    final_epsilon: float = 0.05,
    epsilon_steps: int = 1000,
    prior: Source | None = None,
    teacher: Teacher | None = None,
    prepare: Callable[[Any], None] = lambda student: None,
    seed: int = 0,
    shared: tuple[Any, Any] | None = None,
) -> Training:
    """A newborn about to be raised, without evaluations (a score of 0 is reported, so λ by score stays 1).

    `shared` is the memory and environment of seeds that train together. As in the library, screens are stepped and the
    target network is passed beside the learner.
    """
    spec = envs.spec(task)
    student = config.newborn(spec, seed)
    if spec.stack > 1:
        student.overlap()
    prepare(student)
    memory, env = shared or (config.memory(spec, copies), envs.make(task, copies))
    return Training(
        student=student,
        env=env,
        phases=[replace(phase, evaluations=1) for phase in phases],
        memory=memory,
        prior=prior,
        teacher=teacher,
        scale=Scale(0.0, 1.0),
        exploration=Exploration(warmup, epsilon_steps, final_epsilon),
        evaluate=lambda index: Evaluation((0.0,), 0),
        seed=seed,
        pace=config.pace(copies),
        overlap=spec.stack > 1,
    )


def timed(raised: Training, phase: str, begin: int) -> dict[str, float]:
    """Raise it to the end, and read the clock of a phase."""
    clock = Clock(raised, phase, begin)
    raised.run(lambda line: None, lambda: None, clock)
    raised.env.close()
    return clock.read()
