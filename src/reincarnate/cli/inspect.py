"""The command `inspect`: what a trained agent is, or what logged data holds."""

import tyro
from rich.table import Table
from tyro.conf import Positional

from reincarnate import ui
from reincarnate.errors import UserError


def inspect(args: list[str]) -> None:
    """`inspect TEACHER [--env ID]`, `inspect --data ADDRESS [--env ID] [--teacher URI]`."""

    def command(
        agent: Positional[str | None] = None,
        env: str | None = None,
        episodes: int = 20,
        plays: str = "auto",
        seed: int = 0,
        temperature: float = 1.0,
        data: str | None = None,
        teacher: str | None = None,
    ) -> None:
        """What a trained agent is, and with --env whether it fits, what it scores, its action gap and its entropy.

        With --data what logged data holds, and with a teacher too how often that would have acted the same.

        Args:
            agent: sb3:FILE.zip, store:DIR, py:FILE.py:NAME[?key=value], or a plain path.
            env: Task to try it on; of data, the task it is of.
            episodes: Episodes to play there.
            plays: auto, greedy or sample.
            seed: Of all random streams.
            temperature: τ for the entropy of softmax(logits/τ).
            data: A dataset, store:DIR (an agent that kept its replay), or logged data of others, unconverted.
            teacher: The same as naming it first.
        """
        if agent and teacher:
            raise UserError(f"two teachers, {agent} and {teacher}; name one")
        agent = agent or teacher
        if data is not None:
            ui.console.print(_inspected(data, env, agent, seed))
            return
        if agent is None:
            raise UserError("nothing to inspect: name a teacher, or data with --data")
        from reincarnate.priors.teacher_report import inspect_teacher

        with ui.Bars() as tick:
            table = inspect_teacher(agent, env, episodes, plays, seed, temperature, tick)
        ui.console.print(table)

    tyro.cli(command, args=args, prog="reincarnate inspect")


def _inspected(address: str, env: str | None, uri: str | None, seed: int) -> Table:
    """The table of what data holds. Raises UserError."""
    from reincarnate import envs
    from reincarnate.priors.data_report import data_table, describe_data, open_data
    from reincarnate.seeds import stream
    from reincarnate.teachers.fit import open_for

    if seed < 0:
        raise UserError(f"--seed must not be negative: {seed}")
    spec = envs.spec(env) if env else None
    data = open_data(address, spec)
    teacher = open_for(uri, spec or data.spec) if uri else None
    return data_table(describe_data(data, stream(seed, "data"), teacher), f"data {address}")
