"""The command `advise`: what a prior is worth, which method to use it with, why, and at what cost."""

import json
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from reincarnate import ui
from reincarnate.cli.parsing import cli


def advise(args: list[str]) -> None:
    """`advise --env ID --teacher TEACHER …`."""

    def command(
        env: str,
        teacher: str | None = None,
        data: str | None = None,
        weights: str | None = None,
        student: str | None = None,
        budget: int = 50_000,
        episodes: int = 100,
        plays: str = "auto",
        seed: int = 0,
        try_: Annotated[bool, arg(name="try")] = False,
        try_env_steps: int | None = None,
        out: Path | None = None,
        json_: Annotated[bool, arg(name="json")] = False,
    ) -> None:
        """Measure what there is to start from, and recommend a method with its settings, reasons, cost and command.

        Args:
            env: Task.
            teacher: A trained agent of any kind that can be opened.
            data: Logged data of the task; by default the replay that the teacher kept, if it is an agent of ours.
            weights: An agent of ours to start from; by default the teacher, if it is one.
            student: Who is to be trained; by default what the weights are of; pqn under a policy for 300,000
                env steps and more; else dqn.
            budget: Env steps the student may play.
            episodes: Episodes for the teacher's and the random policy's score; measured once, then kept in the store.
            plays: How the teacher plays: auto, greedy or sample.
            seed: Of the recommended runs.
            try_: Train the first two recommendations for a while, and compare.
            try_env_steps: For so many env steps; by default a tenth of the budget, at least 3,000.
            out: Folder that keeps the runs of --try; by default only their scores are kept.
            json_: Print JSON.
        """
        from reincarnate.advice.measure import Question

        question = Question(env, teacher, data, weights, student, budget, episodes, plays, seed)
        _advise(question, _try_budget(try_, try_env_steps, budget, out), out, json_)

    cli(command, args, "reincarnate advise")


def _try_budget(wanted: bool, env_steps: int | None, budget: int, out: Path | None) -> int | None:
    """Env steps of a trial, None for none. Raises UserError where it cannot be, before anything is measured."""
    from reincarnate.advice.facts import LEAST_BUDGET
    from reincarnate.advice.trial import check_out, short_budget
    from reincarnate.errors import UserError

    if not wanted:
        if env_steps is not None or out is not None:
            raise UserError("--try-env-steps and --out are for --try")
        return None
    if env_steps is not None and not LEAST_BUDGET <= env_steps <= budget:
        raise UserError(f"--try-env-steps must lie between {LEAST_BUDGET} and the budget {budget}, not {env_steps}")
    check_out(out)
    return env_steps or short_budget(budget)


def _advise(question, try_budget: int | None, out: Path | None, as_json: bool) -> None:
    from reincarnate.advice import render
    from reincarnate.advice.measure import measure
    from reincarnate.advice.recommend import recommend
    from reincarnate.advice.remarks import remarks
    from reincarnate.advice.trial import run_trial

    with ui.Bars() as tick:
        measured = measure(question, tick)
        found = recommend(measured, tick)
    said, trial = remarks(measured), None
    if not as_json:
        render.show(measured, said, found, ui.console)
    if try_budget is not None and len(found) < 2:
        ui.note("--try: there are no two recommendations to compare")
    elif try_budget is not None:
        with ui.Bars() as tick:
            trial = run_trial(measured, found, try_budget, out, tick, ui.note)
    if as_json:
        print(json.dumps(render.as_json(measured, said, found, trial), indent=1, allow_nan=False))
    elif trial:
        render.show_trial(trial, ui.console)
