"""Our side of the benchmarks: a student raised by the library's own loop, with a clock that starts when all is warm."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from reincarnate import envs
from reincarnate.data.memory import Memory, memory_for
from reincarnate.students import ValueSettings
from reincarnate.training.evaluate import Evaluation, Scale
from reincarnate.training.loop import Loop
from reincarnate.training.population import Alone
from reincarnate.training.training import Training
from reincarnate.types import Phase, Source, Teacher

WARMUP = 100  # env steps before the first update


class Clock:
    """Watches one phase from the moment it is `begin` env steps (or updates) old; give it to `Loop.run` as tick."""

    def __init__(self, training: Training, phase: str, begin: int):
        self._training, self._phase, self._begin = training, phase, begin
        self._marks: list[tuple[int, float]] = []
        self._busy = 0.0

    def __call__(self, phase: Phase) -> None:
        if phase.name == self._phase and self._training.at.done(phase) >= self._begin:
            if not self._marks:
                self._busy = time.process_time()  # of all threads: too dear to be asked at every step
            self._marks[1:] = [(self._training.at.done(phase), time.perf_counter())]

    def read(self) -> dict[str, float]:
        """Env steps (or updates) per second, and how many cores the process kept busy."""
        (before, start), (after, end) = self._marks
        busy = time.process_time() - self._busy
        return {"per_second": (after - before) / (end - start), "cores_busy": busy / (time.perf_counter() - start)}


def settings(config: ValueSettings, warmup: int = WARMUP, final_epsilon: float = 0.05, epsilon_steps: int = 1000):
    """A student's settings with this way of exploring."""
    return replace(config, warmup=warmup, epsilon=final_epsilon, epsilon_steps=epsilon_steps)


def memory_of(config: ValueSettings, task: str, copies: int = 1) -> Memory:
    """An empty memory, as the library makes it."""
    spec = envs.spec(task)
    return memory_for(spec, config.layout(), config.storage(spec, copies), copies)


def training(
    config: ValueSettings,
    task: str,
    phases: list[Phase],
    copies: int = 1,
    prior: Source | None = None,
    teacher: Teacher | None = None,
    prepare: Callable[[Any], None] = lambda student: None,
    seed: int = 0,
    memory: Memory | None = None,
) -> Training:
    """A newborn about to be raised, without evaluations (a score of 0 is reported, so λ by score stays 1).

    As in the library, the target network of screens is passed beside the learner.
    """
    spec = envs.spec(task)
    student = config.newborn(spec, seed)
    if spec.stack > 1:
        student.overlap()
    prepare(student)
    return Training(
        cast={"student": student},
        memories={"student": memory_of(config, task, copies) if memory is None else memory},
        phases=[replace(phase, evaluations=1) for phase in phases],
        prior=prior,
        teacher=teacher,
        scale=Scale(0.0, 1.0),
        evaluate=lambda index: Evaluation((0.0,), 0),
        seed=seed,
        copies=copies,
    )


def loop(raised: Training, task: str) -> Loop:
    """The library's loop for one; screens are stepped beside the learner."""
    env = envs.make(task, raised.copies)
    return Loop([raised], {"student": Alone(raised)}, env, overlap=env.spec.stack > 1)


def timed(raised: Training, task: str, phase: str, begin: int) -> dict[str, float]:
    """Raise it to the end, and read the clock of a phase."""
    clock, whole = Clock(raised, phase, begin), loop(raised, task)
    whole.run([lambda line: None], [lambda: None], clock)
    whole.env.close()
    return clock.read()
