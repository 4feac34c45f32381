"""`reincarnate compare`: finished runs side by side."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from reincarnate import ui
from reincarnate.cli.parsing import cli
from reincarnate.files.atomic import disk_errors


def compare(args: list[str]) -> None:
    """`compare DIR … [--out DIR]`."""

    def command(
        directories: Positional[tuple[Path, ...]],
        out: Path = Path("comparison"),
        seed: int = 0,
        by_clock: bool = False,
        title: str = "",
        json_: Annotated[bool, arg(name="json")] = False,
    ) -> None:
        """Finished runs side by side. Refuses to mix priors, protocols or budgets, and says which field differs.

        Args:
            directories: Runs, folders of runs, or reports (folders with an index.json) whose runs are gone.
            out: Folder for index.html, index.png and index.json.
            seed: Of the bootstrap.
            by_clock: Methods may have budgets of env steps of their own: all tell their seconds, on machines alike.
            title: What heads the page.
            json_: Print the page's JSON: rows, aggregates, runs.
        """
        from reincarnate import report

        with disk_errors(out):
            rows = report.compare(list(directories), out, seed=seed, tell=ui.note, by_clock=by_clock, title=title)
        if json_:
            print(report.json_of(out).read_text(), end="")
            return
        ui.console.print(report.as_rich(rows))
        ui.say(f"page: {out / 'index.html'}")

    cli(command, args, "reincarnate compare")
