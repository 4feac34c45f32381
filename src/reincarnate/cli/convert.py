"""The command `convert`: logged data of others as a dataset of ours."""

from pathlib import Path

from tyro.conf import Positional

from reincarnate import ui
from reincarnate.cli.parsing import cli


def convert(args: list[str]) -> None:
    """`convert ADDRESS --out DIR [--env ID]`."""

    def command(address: Positional[str], out: Path, env: str | None = None) -> None:
        """Write logged data as a dataset, in a folder under --out that is named by its content.

        Args:
            address: dopamine:DIR[@N], minari:ID, d3rlpy:FILE.h5, d4rl:FILE, sb3-replay:FILE.pkl, or a plain path.
            out: Folder in which the dataset's own folder is made.
            env: Task it is data of, whose protocol it takes on; without one it stays as its files describe it.
        """
        from reincarnate import envs
        from reincarnate.data.readers import convert as write
        from reincarnate.data.readers import read_logged
        from reincarnate.files.finished import refuse_inside_a_run

        refuse_inside_a_run(out)
        spec = envs.spec(env) if env else None
        logged = read_logged(address, spec)
        for warning in logged.warnings:
            ui.note(f"warning: {warning}")
        with ui.Bars() as tick:
            dataset = write(logged, spec, out, tick)
        size = f"{dataset.transitions:,} transitions of {dataset.spec.id or 'an unnamed task'}"
        line = f"{dataset.path}: {size}, read as {logged.format}"
        ui.say(line)

    cli(command, args, "reincarnate convert")
