"""The progress of a whole matrix, with the time left: one bar on a terminal, lines in a log file."""

from types import TracebackType

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from reincarnate import ui
from reincarnate.studies.units import Unit


class Watch:
    """`with Watch(title, units, before) as watch: watch.part(run, share); watch.finished(unit)`."""

    def __init__(self, title: str, units: list[Unit], before: int):
        self._title, self._before = title, before
        self._todo = sum(map(len, units))
        self._parts: dict[str, float] = {}
        columns = (
            TextColumn("{task.description}", style="bold", markup=False),
            BarColumn(bar_width=None),
            TextColumn("{task.completed:.1f}/{task.total:.0f} runs"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
        )
        self._bars = Progress(*columns, console=ui.errors, disable=ui.quiet or not ui.errors.is_terminal)
        self._task = self._bars.add_task(title, total=self._todo + before, completed=before, left="")

    def part(self, name: str, share: float) -> None:
        """A run has come so far; a run that begins again after a crash does not count backwards."""
        self._parts[name] = max(share, self._parts.get(name, 0.0))

    def finished(self, unit: Unit) -> None:
        """A unit is over, well or not."""
        self._parts |= {str(cell.directory): 1.0 for cell in unit}
        whole = sum(share == 1.0 for share in self._parts.values())
        ui.plain(f"{self._title}: {self._before + whole} of {self._todo + self._before} runs")

    def draw(self) -> None:
        """Show how far all have come."""
        done = sum(self._parts.values())
        elapsed = self._bars.tasks[0].elapsed or 0.0
        left = f"{elapsed * (self._todo - done) / done / 60:.1f} min left" if done > 0.05 else ""
        self._bars.update(self._task, completed=self._before + done, left=left)

    def __enter__(self) -> "Watch":
        self._bars.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bars.stop()
