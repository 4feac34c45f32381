"""Who does a study's units of work: the protocol of all backends, and processes on this machine."""

import os
import signal
import sys
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import FrameType
from typing import Any, Protocol, runtime_checkable

from reincarnate.errors import UserError
from reincarnate.plugins import asked_imports, imported
from reincarnate.studies.progress import Watch
from reincarnate.studies.units import Unit, work
from reincarnate.surroundings import end_with_parent, see_ended, spawned, starting_up

POLL = 0.5  # seconds between looks at the workers' progress
RETRIES = 3  # of a unit whose process died: it resumes from its checkpoints
ALONE = 2  # of its attempts with nothing else running, so that no neighbour can be the reason (memory that ran out)
UNGUARDED = 87  # exit code of a worker that began the study again instead of working
GRACE = 10.0  # seconds for workers to tidy up when the study is stopped


@runtime_checkable
class Executor(Protocol):
    """Does units of work into `out`, showing progress on `watch`. Returns reasons of runs that failed, by directory.

    A run that raises is a failed run; one whose process died is tried again.
    """

    def __call__(self, units: list[Unit], out: Path, watch: Watch) -> dict[str, str]:
        """Do them all."""
        ...


class LocalProcesses:
    """Processes of one torch thread each, on this machine.

    When a process dies only the unit it was doing is tried again, at last alone and run by run: a run that kills its
    process fails by itself, and takes no other with it.
    """

    def __init__(self, workers: int):
        self.workers = workers

    def __call__(self, units: list[Unit], out: Path, watch: Watch) -> dict[str, str]:
        """Do them all. Raises UserError where workers cannot start: from standard input, or an unguarded script."""
        _refuse_standard_input()
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        with _Pool(out, watch) as pool:
            suspects = pool.do(units, self.workers, RETRIES + 1 - ALONE)
            for unit in [[cell] for suspect in suspects for cell in suspect]:
                if pool.do([unit], 1, ALONE):
                    reason = f"its process died {RETRIES + 1} times, {ALONE} of them with nothing else running"
                    pool.failed[str(unit[0].directory)] = f"{reason}: {pool.last_death}"
                    watch.finished(unit)
            return pool.failed


class _Worker:
    """A process that does one unit after the other, and the pipe to it."""

    def __init__(self, out: Path):
        self.process, self.connection = spawned(_serve, out, asked_imports())
        self.ready = False
        self.unit: Unit | None = None

    def messages(self) -> Iterable[tuple]:
        """What it has said since somebody last asked; the last one is `("died",)` where it is no more."""
        try:
            while self.connection.poll():
                yield self.connection.recv()
        except (EOFError, OSError):
            yield ("died",)
            return
        if not self.process.is_alive() and not self.connection.poll():
            yield ("died",)

    def death(self) -> str:
        """How it ended."""
        self.process.join(GRACE)
        code = self.process.exitcode or 0
        if code < 0:
            name = signal.Signals(-code).name
            return f"killed by {name}{' (the system does that when memory runs out)' if name == 'SIGKILL' else ''}"
        return f"it left with exit code {code}"

    def end(self) -> None:
        """Ask it to stop at once, and see that it does."""
        self.process.terminate()

    def bury(self) -> None:
        """Wait until it has stopped; one that does not is killed."""
        see_ended(self.process, GRACE)
        self.connection.close()


class _Pool:
    """Workers, started as they are needed. `with` it; they are gone afterwards, whatever happens."""

    def __init__(self, out: Path, watch: Watch):
        self._out, self._watch = out, watch
        self._workers: list[_Worker] = []
        self.failed: dict[str, str] = {}
        self.last_death = ""

    def __enter__(self) -> "_Pool":
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        for worker in self._workers:
            worker.end() if kind or worker.unit else _dismiss(worker)
        for worker in self._workers:
            worker.bury()

    def do(self, units: list[Unit], workers: int, attempts: int) -> list[Unit]:
        """Do units on so many workers. Returns those whose process died in each of their attempts."""
        todo, given_up = deque((unit, 1) for unit in units), []
        tried: dict[int, int] = {}
        while todo or any(worker.unit for worker in self._workers):
            self._assign(todo, workers, tried)
            self._wait()
            for worker in list(self._workers):
                unit = self._listen(worker)
                if unit and tried[id(unit)] < attempts:
                    todo.append((unit, tried[id(unit)] + 1))
                elif unit:
                    given_up.append(unit)
            self._watch.draw()
        return given_up

    def _assign(self, todo: deque, workers: int, tried: dict[int, int]) -> None:
        idle = [worker for worker in self._workers if worker.unit is None]
        while todo and len(self._workers) - len(idle) < workers:
            if not idle:
                self._workers.append(_Worker(self._out))
                idle = [self._workers[-1]]
            worker = idle.pop()
            worker.unit, tried_now = todo.popleft()
            tried[id(worker.unit)] = tried_now
            with suppress(OSError):  # it has died since; the next look says so
                worker.connection.send(worker.unit)

    def _wait(self) -> None:
        sources: list[Any] = [worker.connection for worker in self._workers]
        wait(sources + [worker.process.sentinel for worker in self._workers], timeout=POLL)

    def _listen(self, worker: _Worker) -> Unit | None:
        """Take in what a worker says. Returns its unit where it has died over it."""
        for kind, *rest in worker.messages():
            if kind == "ready":
                worker.ready = True
            elif kind == "part":
                self._watch.part(*rest)
            elif kind == "done":
                assert worker.unit is not None
                self.failed |= rest[0]
                self._watch.finished(worker.unit)
                worker.unit = None
            else:
                return self._dead(worker)
        return None

    def _dead(self, worker: _Worker) -> Unit | None:
        self.last_death = worker.death()
        self._workers.remove(worker)
        worker.connection.close()
        if not worker.ready:
            raise UserError(_cannot_start(worker.process.exitcode, self.last_death))
        return worker.unit


def _dismiss(worker: _Worker) -> None:
    try:
        worker.connection.send(None)
    except OSError:
        worker.end()


# ---- starting workers --------------------------------------------------------------------------------


def refuse_starting_up() -> None:
    """End a worker that would begin the study again; the study then says why."""
    if starting_up():
        raise SystemExit(UNGUARDED)


def _cannot_start(code: int | None, how: str) -> str:
    if code == UNGUARDED:
        return (
            "the script that starts this study starts it again in each worker: put what it does under "
            '`if __name__ == "__main__":`, or use `reincarnate study run`'
        )
    return f"a study's worker could not start ({how}): it imports the script that started the study, and that failed"


def _refuse_standard_input() -> None:
    """Workers import the script that started them; there is no second reading of standard input."""
    main = sys.modules.get("__main__")
    file, by_name = getattr(main, "__file__", None), getattr(getattr(main, "__spec__", None), "name", None)
    if file is not None and by_name is None and not Path(file).is_file():
        raise UserError(
            f"a study's workers import the script that started it, and {file} cannot be imported: save it as a file, "
            f'with what it does under `if __name__ == "__main__":`'
        )


# ---- in a worker -------------------------------------------------------------------------------------


def _serve(connection: Connection, out: Path, imports: tuple[str, ...]) -> None:
    """A worker's life: units come in, parts and reasons go out."""
    end_with_parent()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    imported(imports)
    connection.send(("ready",))
    try:
        while (unit := connection.recv()) is not None:
            connection.send(("done", work(unit, out, lambda name, share: connection.send(("part", name, share)))))
    except EOFError:
        return


def _leave(number: int, frame: FrameType | None) -> None:
    """Leave by way of an exception, so that temporary folders go."""
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)
