"""Where those act who act for a learner (`--actors --backend ray`): actors of Ray, on one machine or several."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from reincarnate.errors import UserError
from reincarnate.run.cluster import for_run, received
from reincarnate.run.process_actors import WorkerSpec, worker_specs
from reincarnate.run.settings import Run
from reincarnate.training.rollout_worker import Reply, Request, RolloutWorker, WorkerState
from reincarnate.types import TaskSpec


class RayBackend:
    """Actors of Ray (`training.remote_actors.ActorBackend`); weights go to each node once. UserError: no Ray."""

    def __init__(self, run: Run, spec: TaskSpec):
        self._run, self._spec = run, spec
        self._connection = for_run(run.actors)
        self.ray = self._connection.__enter__()
        self.weights: Any = None

    def handles(self, copies: Sequence[int]) -> "list[RayHandle]":
        """One for each number of copies. Raises UserError where the cluster has too few CPUs."""
        if (there := int(self.ray.cluster_resources().get("CPU", 0))) < len(copies):
            self.close()
            raise UserError(f"--actors {len(copies)} needs a CPU for each; the cluster has {there}")
        return [RayHandle(self, part) for part in worker_specs(self._run, self._spec, copies)]

    def publish(self, weights: np.ndarray) -> None:
        """Put them where Ray passes them on from."""
        self.weights = self.ray.put(weights)

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        self._connection.__exit__(None, None, None)


class RayHandle:
    """An actor (`training.remote_actors.ActorHandle`)."""

    def __init__(self, backend: RayBackend, part: WorkerSpec):
        self._backend, self._part = backend, part
        self.actor: Any = None
        self._owed: Any = None

    def start(self) -> None:
        """Ask for an actor."""
        self.close()
        self.actor = self._backend.ray.remote(num_cpus=1, max_restarts=0)(RayWorker).remote(self._part)

    def begin(self, rng: np.random.Generator) -> None:
        """Let a stretch begin."""
        self._owed = self.actor.begin.remote(rng)

    def catch_up(self, actions: Sequence[np.ndarray], state: WorkerState) -> None:
        """Let it repeat what was done."""
        self.actor.catch_up.remote(list(actions), state)

    def act(self, request: Request) -> None:
        """Let it play."""
        self._owed = self.actor.act.remote(request, self._backend.weights)

    def obs(self) -> np.ndarray:
        """What its copies show as the stretch begins."""
        return self._receive(np.array)

    def reply(self) -> Reply:
        """What it experienced."""
        return self._receive(lambda reply: reply)

    def _receive(self, own: Callable[[Any], Any]) -> Any:
        return own(received(self._backend.ray, self._owed))

    def close(self) -> None:
        """See that nothing of it is left."""
        if self.actor is not None:
            self._backend.ray.kill(self.actor)
            self.actor = None


class RayWorker:
    """The actor: makes its copies when it is first told to begin, so that what they refuse is a reply."""

    def __init__(self, part: WorkerSpec):
        self._part = part
        self._worker: RolloutWorker | None = None

    def begin(self, rng: np.random.Generator) -> np.ndarray:
        """A stretch."""
        if self._worker is None:
            self._worker = self._part.worker()
        return self._worker.begin(rng)

    def catch_up(self, actions: Sequence[np.ndarray], state: WorkerState) -> None:
        """Be where another stood."""
        assert self._worker is not None
        self._worker.catch_up(actions, state)

    def act(self, request: Request, weights: np.ndarray) -> Reply:
        """Play."""
        assert self._worker is not None
        return self._worker.act(request, weights)
