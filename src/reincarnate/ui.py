"""What a person sees while waiting: one progress line with time left; quiet where nobody is looking."""

import html
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape as escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as TimeLeft
from rich.segment import Segment

from reincarnate.files.text import clean_lines


class SafeConsole(Console):
    """A console on which no text commands the terminal: names and messages of strangers reach it from many places.

    Nor does `:name:` become a picture: addresses are full of colons.
    """

    def __init__(self, **settings: Any):
        super().__init__(**settings, emoji=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """What rich makes of it, all that cannot be printed as spaces."""
        for segment in super().render(renderable, options):
            plain = segment.control is not None or segment.text.replace("\n", "").isprintable()
            yield segment if plain else Segment(clean_lines(segment.text), segment.style)


console = SafeConsole(width=None if sys.stdout.isatty() else 120)
errors = SafeConsole(stderr=True)
quiet = False  # set by --quiet: neither progress nor notes, but results, warnings and errors
ending: KeyboardInterrupt | None = None  # asked for by a signal (`cli.commands`): raised again at the next progress
NOTEBOOK_EVERY = 0.5  # seconds between lines in a notebook
PLAIN_EVERY = 10.0  # seconds between lines where the output is not a terminal


class Bars:
    """Progress bars by name, `with Bars() as tick: tick("what", done, total)`; a line now and then in a log file."""

    def __init__(self):
        self._progress = Progress(
            TextColumn("{task.description:<28}", style="bold", markup=False),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[said]}", style="dim", markup=False),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeLeft(),
            console=errors,
            transient=False,
            disable=quiet or not errors.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self.said = ""  # further words of whoever ticks: scores, speed
        self._cell: Any = None  # of a notebook: one line that is written over
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
        if ending is not None:
            raise ending
        if quiet:
            return
        if "ipykernel" in sys.modules:
            self._in_notebook(what, done, total)
            return
        if not errors.is_terminal:
            self._plain(what, done, total)
            return
        if what not in self._tasks:
            self._finish_others()
            self._tasks[what] = self._progress.add_task(what, total=total, said="")
        self._progress.update(self._tasks[what], completed=done, total=total, said=clean_lines(self.said))
        self.said = ""

    def _finish_others(self) -> None:
        for task in self._progress.tasks:
            self._progress.update(task.id, completed=task.total or 0)

    def _in_notebook(self, what: str, done: int, total: int) -> None:
        """One line of the cell's output, written over twice a second."""
        from IPython.display import display  # pyright: ignore[reportMissingImports]

        now = time.perf_counter()
        if self._cell is not None and done < total and now - self._last < NOTEBOOK_EVERY:
            return
        self._last = now
        shown = {"text/plain": self._line(what, done, total)}
        if self._cell is None:
            self._cell = display(shown, raw=True, display_id=True)
        else:
            self._cell.update(shown, raw=True)

    def _plain(self, what: str, done: int, total: int) -> None:
        now = time.perf_counter()
        if now - self._last > PLAIN_EVERY:
            self._last = now
            print(self._line(what, done, total), file=sys.stderr, flush=True)

    def _line(self, what: str, done: int, total: int) -> str:
        said, self.said = clean_lines(self.said), ""
        return f"{what}: {done:,} / {total:,}{f' ({said})' if said else ''}"


def table_of(told: Mapping[str, object]) -> str:
    """A small HTML table, for notebooks."""
    rows = "".join(
        f"<tr><th scope='row'>{html.escape(str(key))}</th><td>{html.escape(clean_lines(str(said)))}</td></tr>"
        for key, said in told.items()
    )
    return f"<table>{rows}</table>"


def note(text: str, whole: bool = False) -> None:
    """Something a person should know, as it is: brackets in it are no markup; warnings stand out.

    A command to be copied stays `whole`: its lines are not broken.
    """
    style = "yellow" if text.startswith("warning") else None
    if quiet and style is None:
        return
    errors.print(clean_lines(text), style=style, markup=False, highlight=False, emoji=False, soft_wrap=whole)


def say(text: str) -> None:
    """A result in words, as they are, on lines as long as they are."""
    console.print(clean_lines(text), markup=False, highlight=False, emoji=False, soft_wrap=True)


def plain(text: str) -> None:
    """A line of progress for a log file; a terminal has bars instead."""
    if not errors.is_terminal and not quiet:
        print(clean_lines(text), file=sys.stderr, flush=True)


def with_interval(mean: float, interval: Sequence[float], episodes: int) -> str:
    """A mean over episodes with its 95 % interval, in words; a single episode has none."""
    if episodes < 2:
        return f"{mean:.4g} in one episode, which has no interval"
    return f"{mean:.4g}  95 % [{interval[0]:.4g}, {interval[1]:.4g}] over {episodes} episodes"
