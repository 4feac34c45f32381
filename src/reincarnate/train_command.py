"""The commands `train` and `resume`: one run, or several seeds of it."""

from pathlib import Path

import tyro
from tyro.conf import Positional

from reincarnate import ui
from reincarnate.config import to_dict, to_yaml
from reincarnate.execution import execute, execute_together, gains, refuse_apart
from reincarnate.plan import describe, estimate
from reincarnate.run import NAMES, from_record, prepare
from reincarnate.rundir import RunDirectory
from reincarnate.train_flags import directories, parse


def train(args: list[str]) -> None:
    """`train METHOD [--config FILE] [flags]`."""
    run, out, options = parse(args)
    if options.print_config:
        print(to_yaml(to_dict(run, NAMES)), end="")
        return
    runs = directories(run, out, options)
    together = _go_together(runs, options.together)
    if len(runs) > 1:
        ui.note(f"{len(runs)} seeds, {'together' if together else 'one after another'}")
    if options.dry_run:
        _dry_run(run)
        return
    for result, where in _train(runs, together):
        _say_result(result, where)


def _go_together(runs: list, choice: str) -> bool:
    """Whether several seeds are trained in one process. Raises UserError where that was asked for and cannot be."""
    if len(runs) == 1 or choice == "off":
        return False
    prepared = prepare(runs[0][0])
    if choice == "auto":
        return gains(prepared)
    refuse_apart(prepared)
    return True


def _train(runs: list, together: bool) -> list[tuple[dict, Path]]:
    """One run, or several seeds: together, or one after another."""
    with ui.Bars() as tick:
        if together:
            seeds, places = zip(*runs, strict=True)
            return list(zip(execute_together(seeds, places, tick=tick, note=ui.note), places, strict=True))
        return [(execute(run, where, tick=tick, note=ui.note), where) for run, where in runs]


def _dry_run(run) -> None:
    prepared = prepare(run)
    for warning in prepared.warnings:
        ui.note(f"warning: {warning}")
    for line in describe(run.phases(), run.student, run.copies):
        print(line)
    evaluations = 1 + sum(phase.evaluations for phase in run.phases())
    seconds = estimate(run.phases(), run.student, prepared.spec, run.copies)
    print(f"evaluation: {evaluations} × {run.eval_episodes} episodes, then {run.final_episodes} for the final score")
    if "data" in run.method.needs and run.data is None:
        print(f"teacher's data: {run.data_env_steps:,} env steps, collected once and kept in {run.store}")
    print(f"about {seconds:,.0f} s of training on this machine, evaluation not counted; nothing was written")


def _say_result(result: dict, out: Path) -> None:
    low, high = result["interval"]
    text = f"score {result['score']:.4g} [{low:.4g}, {high:.4g}] over {len(result['returns'])} episodes"
    if result["normalised"] is not None:
        text += f"; normalised {result['normalised']:.3f} (random 0, teacher 1)"
    ui.console.print(f"{text}\n{out} is done: the agent is `store:{out}`", highlight=False, soft_wrap=True)


def resume(args: list[str]) -> None:
    """`resume DIR`: the same run goes on, exactly; or each unfinished one in DIR, as several seeds leave them."""

    def command(directory: Positional[Path]) -> None:

        seeds = sorted(path.parent for path in directory.glob("*/config.json") if not (path.parent / "done").exists())
        for where in [directory] if (directory / "config.json").exists() or not seeds else seeds:
            run = from_record(RunDirectory.reopen(where).config)
            with ui.Bars() as tick:
                result = execute(run, where, resume=True, tick=tick, note=ui.note)
            _say_result(result, where)

    tyro.cli(
        command,
        args=args,
        prog="reincarnate resume",
        description="Continue an interrupted run, or every unfinished one in a folder, to the same bits.",
    )
