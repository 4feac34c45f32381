"""What a person sees while waiting: one progress line with time left; quiet where nobody is looking."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.markup import escape as escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as TimeLeft

console = Console(width=None if sys.stdout.isatty() else 120)
errors = Console(stderr=True)
PLAIN_EVERY = 10.0  # seconds between lines where the output is not a terminal


class Bars:
    """Progress bars by name, `with Bars() as tick: tick("what", done, total)`; a line now and then in a log file."""

    def __init__(self):
        self._progress = Progress(
            TextColumn("[bold]{task.description:<28}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeLeft(),
            console=errors,
            transient=False,
            disable=not errors.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._last = time.perf_counter()

    def __enter__(self) -> "Bars":
        self._progress.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            for task in self._tasks.values():
                total = self._progress.tasks[self._progress.task_ids.index(task)].total
                self._progress.update(task, completed=total or 0)
        self._progress.stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        if not errors.is_terminal:
            self._plain(what, done, total)
            return
        if what not in self._tasks:
            self._finish_others()
            self._tasks[what] = self._progress.add_task(what, total=total)
        self._progress.update(self._tasks[what], completed=done, total=total)

    def _finish_others(self) -> None:
        for task in self._progress.tasks:
            self._progress.update(task.id, completed=task.total or 0)

    def _plain(self, what: str, done: int, total: int) -> None:
        now = time.perf_counter()
        if now - self._last > PLAIN_EVERY:
            self._last = now
            print(f"{what}: {done:,} / {total:,}", file=sys.stderr, flush=True)


def note(text: str) -> None:
    """Something a person should know; warnings stand out."""
    errors.print(f"[yellow]{text}[/]" if text.startswith("warning") else text, highlight=False)


def plain(text: str) -> None:
    """A line of progress for a log file; a terminal has bars instead."""
    if not errors.is_terminal:
        print(text, file=sys.stderr, flush=True)
