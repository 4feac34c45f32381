"""Where those act who act for a learner (`--actors --backend ray`): actors of Ray, on one machine or several."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from reincarnate.errors import UserError
from reincarnate.run.cluster import ADDRESS, connected
from reincarnate.run.seats import Part, parts
from reincarnate.run.settings import Run
from reincarnate.training.crew import Died
from reincarnate.training.performer import Answer, Mind, Order, Performer, Shapes, shapes_of
from reincarnate.types import TaskSpec


class RaySeats:
    """Seats in actors (`training.crew.Seats`); weights go to each node once. Raises UserError without Ray."""

    def __init__(self, run: Run, spec: TaskSpec):
        self.shapes: Shapes = shapes_of(run.student.newborn(spec, run.birth_seed))
        self._run, self._spec = run, spec
        self._connection = connected(max(run.actors, os.cpu_count() or 1), os.environ.get(ADDRESS))
        self.ray = self._connection.__enter__()
        self.weights: Any = None

    def seats(self, copies: Sequence[int]) -> "list[RaySeat]":
        """One for each number of copies. Raises UserError where the cluster has too few CPUs."""
        if (there := int(self.ray.cluster_resources().get("CPU", 0))) < len(copies):
            self.close()
            raise UserError(f"--actors {len(copies)} needs a CPU for each; the cluster has {there}")
        return [RaySeat(self, part) for part in parts(self._run, self._spec, copies)]

    def publish(self, weights: np.ndarray) -> None:
        """Put them where Ray passes them on from."""
        self.weights = self.ray.put(weights)

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        self._connection.__exit__(None, None, None)


class RaySeat:
    """An actor (`training.crew.Seat`)."""

    def __init__(self, seats: RaySeats, part: Part):
        self._seats, self._part = seats, part
        self.actor: Any = None
        self._owed: Any = None

    def take(self) -> None:
        """Ask for an actor."""
        self.close()
        self.actor = self._seats.ray.remote(num_cpus=1, max_restarts=0)(Acting).remote(self._part)

    def begin(self, rng: np.random.Generator) -> None:
        """Let a stretch begin."""
        self._owed = self.actor.begin.remote(rng)

    def catch_up(self, actions: Sequence[np.ndarray], mind: Mind) -> None:
        """Let it repeat what was done."""
        self.actor.catch_up.remote(list(actions), mind)

    def act(self, order: Order) -> None:
        """Let it play."""
        self._owed = self.actor.act.remote(order, self._seats.weights)

    def obs(self) -> np.ndarray:
        """What its copies show as the stretch begins."""
        return self._receive(np.array)

    def answer(self) -> Answer:
        """What it experienced."""
        return self._receive(lambda answer: answer)

    def _receive(self, own: Callable[[Any], Any]) -> Any:
        ray = self._seats.ray
        try:
            return own(ray.get(self._owed))
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, UserError):
                raise error.cause from None
            raise
        except ray.exceptions.RayError as error:
            raise Died(f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"[:200]) from None

    def close(self) -> None:
        """See that nothing of it is left."""
        if self.actor is not None:
            self._seats.ray.kill(self.actor)
            self.actor = None


class Acting:
    """The actor: makes its copies when it is first told to begin, so that what they refuse is an answer."""

    def __init__(self, part: Part):
        self._part = part
        self._performer: Performer | None = None

    def begin(self, rng: np.random.Generator) -> np.ndarray:
        """A stretch."""
        if self._performer is None:
            self._performer = self._part.performer()
        return self._performer.begin(rng)

    def catch_up(self, actions: Sequence[np.ndarray], mind: Mind) -> None:
        """Be where another stood."""
        assert self._performer is not None
        self._performer.catch_up(actions, mind)

    def act(self, order: Order, weights: np.ndarray) -> Answer:
        """Play."""
        assert self._performer is not None
        return self._performer.act(order, weights)
