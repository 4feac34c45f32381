"""`reincarnate watch`: a page that follows runs while they go on."""

from pathlib import Path

from tyro.conf import Positional

from reincarnate import ui
from reincarnate.cli.parsing import cli


def watch(args: list[str]) -> None:
    """`watch DIR`."""

    def command(directory: Positional[Path], every: float = 30.0, once: bool = False) -> None:
        """A page on a study's folder, or any folder of runs, that is kept up to date until all are done.

        Args:
            directory: Folder of a study, or of runs; the page is live.html in it, of a run alone RUN-live.html beside.
            every: Seconds between two states of the page.
            once: Write it once and stop.
        """
        from reincarnate.studies import live

        live.watch(directory, every, once, ui.note)

    cli(command, args, "reincarnate watch")
