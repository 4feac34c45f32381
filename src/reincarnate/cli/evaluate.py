"""`reincarnate evaluate`: what any agent scores."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from reincarnate import ui
from reincarnate.cli.parsing import cli, print_json


def evaluate(args: list[str]) -> None:
    """`evaluate AGENT --env ID`."""

    def command(
        agent: Positional[str],
        env: str | None = None,
        episodes: int = 100,
        plays: str = "auto",
        seed: int = 0,
        trust: bool = False,
        render: Path | None = None,
        json_: Annotated[bool, arg(name="json")] = False,
    ) -> None:
        """The mean return of an agent (ours or anybody's) with its 95 % interval.

        Args:
            agent: A run or agent of ours, or any teacher's address.
            env: Task; by default the one the agent was made for.
            episodes: Episodes to play.
            plays: auto, greedy or sample.
            seed: Of the evaluation's random streams.
            trust: Also run the code that an agent names which was not made on this machine. Look at that code first.
            render: Instead of scoring it, draw one episode from --seed: a picture (.png) or an animation (.gif).
            json_: Print JSON: the score, its interval, every return.
        """
        from reincarnate.priors.teacher_report import evaluate_agent, render_agent

        if render is not None:
            ui.say(render_agent(agent, env, render, plays, seed, trust))
            return
        with ui.Bars() as tick:
            scored = evaluate_agent(agent, env, episodes, plays, seed, tick, trust)
        for warning in scored.warnings:
            ui.note(f"warning: {warning}")
        if json_:
            print_json(scored.as_json())
        else:
            ui.say(str(scored))

    cli(command, args, "reincarnate evaluate")
