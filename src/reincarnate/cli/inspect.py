"""The command `inspect`: what a trained agent is, or what logged data holds."""

from typing import Annotated

from tyro.conf import Positional, arg

from reincarnate import envs, ui
from reincarnate.cli.parsing import cli, print_json
from reincarnate.errors import UserError
from reincarnate.priors.data_report import DataReport, data_table, describe_data, open_data
from reincarnate.priors.teacher_report import describe_teacher, teacher_table
from reincarnate.seeds import check_seed, stream
from reincarnate.teachers.fit import open_for


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
        json_: Annotated[bool, arg(name="json")] = False,
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
            json_: Print JSON.
        """
        if agent and teacher:
            raise UserError(f"two teachers, {agent} and {teacher}; name one")
        agent = agent or teacher
        if data is not None:
            report = _inspected(data, env, agent, seed)
            if json_:
                print_json(report.as_json())
            else:
                ui.console.print(data_table(report, f"data {data}"))
            return
        if agent is None:
            raise UserError("nothing to inspect: name a teacher, or data with --data")
        with ui.Bars() as tick:
            told = describe_teacher(agent, env, episodes, plays, seed, temperature, tick)
        if json_:
            print_json(told.as_json())
        else:
            ui.console.print(teacher_table(told))

    cli(command, args, "reincarnate inspect")


def _inspected(address: str, env: str | None, uri: str | None, seed: int) -> DataReport:
    """What data holds. Raises UserError."""
    check_seed(seed)
    spec = envs.spec(env) if env else None
    data = open_data(address, spec)
    teacher = open_for(uri, spec or data.spec) if uri else None
    return describe_data(data, stream(seed, "data"), teacher)
