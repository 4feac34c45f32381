"""A study's units of work on a Ray cluster: tasks that Ray tries again when their worker dies."""

import os
from pathlib import Path
from typing import Any

from reincarnate.plugins import asked_imports, go_to
from reincarnate.run.cluster import connected, import_ray
from reincarnate.studies.executors import POLL, RETRIES
from reincarnate.studies.progress import Watch
from reincarnate.studies.units import Unit, work


class RayCluster:
    """An `Executor`. Tasks of one CPU each, on the cluster at `address`, or on a Ray of `workers` CPUs started here.

    The study's directory, the store and the teachers' files must lie on a filesystem that all nodes share, under the
    same names: a unit that is tried again on another node resumes from the checkpoints it finds there. Where Ray has
    been started in this process already, that one is used, and left as it is. Raises UserError without Ray.
    """

    def __init__(self, workers: int, address: str | None = None):
        self._ray = import_ray()
        self._workers, self._address = workers, address

    def __call__(self, units: list[Unit], out: Path, watch: Watch) -> dict[str, str]:
        """Do all units. One whose worker died more often than Ray tries again has failed, with Ray's reason."""
        with connected(self._workers, self._address) as ray:
            parts = ray.remote(num_cpus=0, max_restarts=-1)(Parts).remote()
            task = ray.remote(num_cpus=1, max_retries=RETRIES)(do_unit)
            where, imports = Path.cwd(), asked_imports()
            pending = {task.remote(unit, out.resolve(), where, parts, imports): unit for unit in units}
            try:
                return self._collect(pending, parts, watch)
            except KeyboardInterrupt:
                for ref in pending:
                    ray.cancel(ref, force=True)
                raise

    def _collect(self, pending: dict[Any, Unit], parts: Any, watch: Watch) -> dict[str, str]:
        failed: dict[str, str] = {}
        while pending:
            finished, _ = self._ray.wait(list(pending), num_returns=1, timeout=POLL)
            for ref in finished:
                unit = pending.pop(ref)
                failed |= self._result(ref, unit)
                watch.finished(unit)
            self._progress(parts, watch)
        return failed

    def _result(self, ref: Any, unit: Unit) -> dict[str, str]:
        try:
            return self._ray.get(ref)
        except self._ray.exceptions.RayError as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            return {str(cell.directory): reason for cell in unit}

    def _progress(self, parts: Any, watch: Watch) -> None:
        """Show it; if the actor that holds it is being restarted, the work goes on unseen."""
        try:
            for name, share in self._ray.get(parts.take.remote(), timeout=POLL).items():
                watch.part(name, share)
        except self._ray.exceptions.RayError:
            pass
        watch.draw()


class Parts:
    """An actor: how far each run has come since somebody last asked."""

    def __init__(self):
        self._shares: dict[str, float] = {}

    def put(self, name: str, share: float) -> None:
        """A run has come so far."""
        self._shares[name] = share

    def take(self) -> dict[str, float]:
        """What has changed."""
        shares, self._shares = self._shares, {}
        return shares


def do_unit(unit: Unit, out: Path, where: Path, parts: Any, imports: tuple[str, ...] = ()) -> dict[str, str]:
    """The task. Relative paths, of teachers and the store, are those of the command, as in processes here."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    go_to(where, imports)
    return work(unit, out, lambda name, share: parts.put.remote(name, share))
