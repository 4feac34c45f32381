"""Who does a study's units of work: the protocol of all backends, and processes on this machine."""

import multiprocessing
import os
import queue
import threading
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing.managers import SyncManager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from reincarnate.studies.progress import Watch
from reincarnate.studies.units import Unit, work

POLL = 0.5  # seconds between looks at the workers' progress
RETRIES = 3  # of a unit whose process died: it resumes from its checkpoints


@runtime_checkable
class Executor(Protocol):
    """Does units of work into `out`, showing progress on `watch`. Returns reasons of runs that failed, by directory.

    A run that raises is a failed run; one whose process died is tried again.
    """

    def __call__(self, units: list[Unit], out: Path, watch: Watch) -> dict[str, str]:
        """Do them all."""
        ...


class LocalProcesses:
    """Processes of one torch thread each, on this machine."""

    def __init__(self, workers: int):
        self.workers = workers

    def __call__(self, units: list[Unit], out: Path, watch: Watch) -> dict[str, str]:
        """When a process dies, the pool dies with it: what it had not finished goes to another."""
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        failed, reason = {}, ""
        for _ in range(RETRIES + 1):
            units, reason = self._round(units, out, watch, failed)
            if not units:
                return failed
        for unit in units:
            watch.finished(unit)
        return failed | {str(cell.directory): reason for unit in units for cell in unit}

    def _round(self, units: list[Unit], out: Path, watch: Watch, failed: dict[str, str]) -> tuple[list[Unit], str]:
        """Returns the units whose processes died, and what is known of why."""
        context = multiprocessing.get_context("spawn")
        manager = SyncManager(ctx=context)
        manager.start(_end_with_parent)
        with manager, ProcessPoolExecutor(self.workers, context, _end_with_parent) as pool:
            ticks = manager.Queue()
            futures = {pool.submit(_work, unit, out, ticks): unit for unit in units}
            try:
                return self._collect(futures, ticks, watch, failed)
            except KeyboardInterrupt:
                for process in list((pool._processes or {}).values()):
                    process.terminate()
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _collect(
        self, futures: dict[Future[dict[str, str]], Unit], ticks: Any, watch: Watch, failed: dict[str, str]
    ) -> tuple[list[Unit], str]:
        broken, reason, pending = [], "", set(futures)
        while pending:
            finished, pending = wait(pending, timeout=POLL, return_when=FIRST_COMPLETED)
            for future in finished:
                error = future.exception()
                if error:
                    broken.append(futures[future])
                    reason = f"its process died {RETRIES + 1} times: {error}"
                else:
                    failed |= future.result()
                    watch.finished(futures[future])
            _drain(ticks, watch)
            watch.draw()
        return broken, reason


def _end_with_parent() -> None:
    """A worker whose study was killed would go on alone, and hold the run that the study, begun again, needs."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait_for_end() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait_for_end, daemon=True).start()


def _work(unit: Unit, out: Path, ticks: Any) -> dict[str, str]:
    return work(unit, out, lambda name, share: ticks.put((name, share)))


def _drain(ticks: Any, watch: Watch) -> None:
    while True:
        try:
            watch.part(*ticks.get_nowait())
        except queue.Empty:
            return
