"""The command `inspect`: what a trained agent is, or what logged data holds."""

import tyro
from tyro.conf import Positional

from reincarnate import ui


def inspect(args: list[str]) -> None:
    """`inspect TEACHER [--env ID]`."""

    def command(
        teacher: Positional[str],
        env: str | None = None,
        episodes: int = 20,
        plays: str = "auto",
        seed: int = 0,
        temperature: float = 1.0,
    ) -> None:
        """What a trained agent is, and with --env whether it fits, what it scores, its action gap and its entropy.

        Args:
            teacher: sb3:FILE.zip, store:DIR, py:FILE.py:NAME[?key=value], or a plain path.
            env: Task to try it on.
            episodes: Episodes to play there.
            plays: auto, greedy or sample.
            seed: Of the evaluation's random streams.
            temperature: τ for the entropy of softmax(logits/τ).
        """
        from reincarnate.inspection import inspect_teacher

        with ui.Bars() as tick:
            table = inspect_teacher(teacher, env, episodes, plays, seed, temperature, tick)
        ui.console.print(table)

    tyro.cli(command, args=args, prog="reincarnate inspect")
