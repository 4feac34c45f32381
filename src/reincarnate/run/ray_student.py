"""Where a student learns beside the others of its cast (`--backend ray`): an actor of Ray, maybe elsewhere."""

from typing import Any

import numpy as np

from reincarnate.errors import UserError
from reincarnate.run.cluster import for_run, received
from reincarnate.training.distant import Done, Job, Pupil, PupilSpec


class RayHome:
    """An actor (`training.distant.Home`); states go through the object store. `beside` it the run asks for so many
    CPUs more. Raises UserError without Ray, and where the cluster has too little."""

    def __init__(self, part: PupilSpec, beside: int):
        cuda = part.device != "cpu"
        self._part = part._replace(device="cuda" if cuda else "cpu")  # the one that Ray lets it see
        self._needs = {"num_cpus": 1, "num_gpus": int(cuda)}
        self._connection = for_run(beside + 1)
        self.ray = self._connection.__enter__()
        self.actor: Any = None
        self._owed: Any = None
        if lack := _lack(self.ray.cluster_resources(), beside, cuda):
            self.close()
            raise UserError(lack)

    def start(self) -> None:
        """Ask for an actor; of one that was there before nothing is left."""
        self._end()
        self.actor = self.ray.remote(max_restarts=0, **self._needs)(RayPupil).remote(self._part)

    def send(self, state: np.ndarray, job: Job) -> None:
        """Tell it from where to go on, and what is due."""
        self._owed = self.actor.work.remote(state, job)

    def done(self) -> tuple[np.ndarray, Done]:
        """What came of it."""
        state, done = received(self.ray, self._owed)
        return np.array(state), done

    def close(self) -> None:
        """See that nothing of it is left, and leave the cluster; one that was started here ends."""
        self._end()
        self._connection.__exit__(None, None, None)

    def _end(self) -> None:
        if self.actor is not None:
            self.ray.kill(self.actor)
            self.actor = None


def _lack(there: dict[str, float], beside: int, cuda: bool) -> str | None:
    """What a cluster of these resources has too little of, in words; it would be waited for without end."""
    if (cpus := int(there.get("CPU", 0))) <= beside:
        others = f" beside those of --actors {beside}" if beside else ""
        return f"--processes two with --backend ray needs a CPU for the student{others}; the cluster has {cpus}"
    if cuda and not there.get("GPU"):
        return "--processes two with --backend ray and a GPU needs one in the cluster, which has none: --device cpu"
    return None


class RayPupil:
    """The actor: makes its student with the first job, so that what that refuses is a reply."""

    def __init__(self, part: PupilSpec):
        self._part = part
        self._pupil: Pupil | None = None

    def work(self, state: np.ndarray, job: Job) -> tuple[np.ndarray, Done]:
        """The updates of a job; arguments of Ray's are not to be written to."""
        if self._pupil is None:
            self._pupil = self._part.pupil()
        return self._pupil.work(np.array(state), job)
