"""`reincarnate compare`: finished runs side by side."""

from pathlib import Path

import tyro
from tyro.conf import Positional

from reincarnate import ui
from reincarnate.files.atomic import disk_errors


def compare(args: list[str]) -> None:
    """`compare DIR … [--out DIR]`."""

    def command(directories: Positional[tuple[Path, ...]], out: Path = Path("comparison"), seed: int = 0) -> None:
        """Finished runs side by side. Refuses to mix priors, protocols or budgets, and says which field differs.

        Args:
            directories: Runs, or folders of runs.
            out: Folder for index.html, index.png and index.json.
            seed: Of the bootstrap.
        """
        from reincarnate import report

        with disk_errors(out):
            rows = report.compare(list(directories), out, seed=seed, tell=ui.note)
        ui.console.print(report.as_rich(rows))
        ui.say(f"page: {out / 'index.html'}")

    tyro.cli(command, args=args, prog="reincarnate compare")
