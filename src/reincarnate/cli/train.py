"""The commands `train` and `resume`: one run, or several seeds of it."""

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from tyro.conf import Positional

from reincarnate import ui
from reincarnate.cli.parsing import cli
from reincarnate.cli.train_flags import directories, overview, parse
from reincarnate.config import to_dict, to_yaml
from reincarnate.files.records import Record
from reincarnate.run.budget import budget_remarks
from reincarnate.run.directory import RunDirectory, unfinished
from reincarnate.run.execute import execute, execute_together, gains, refuse_apart
from reincarnate.run.plan import describe, estimates
from reincarnate.run.prepare import prepare, threads
from reincarnate.run.result import poor
from reincarnate.run.settings import NAMES, Run, from_record
from reincarnate.store.trust import check as check_trust
from reincarnate.store.trust import imported_for


def train(args: list[str]) -> None:
    """`train METHOD [--config FILE] [flags]`."""
    if args and args[0] in ("-h", "--help"):
        print(overview(), end="")
        return
    run, out, options = parse(args)
    if options.print_config:
        print(to_yaml(to_dict(run, NAMES)), end="")
        return
    runs = directories(run, out, options)
    together = _go_together(runs, options.together)
    if run.population > 1:
        ui.note(f"a population of {len(runs)} learners")
    elif len(runs) > 1:
        ui.note(f"{len(runs)} seeds, {'together' if together else 'one after another'}")
    if options.dry_run:
        _dry_run(run, options.chosen)
        return
    with _saying_how_to_go_on(out if len(runs) > 1 and options.out else runs[0][1], [where for _, where in runs]):
        trained = _train(runs, together, options.chosen)
        for result, where in trained:
            _say_result(result, where)
    _advise(run, [result for result, _ in trained])


@contextmanager
def _saying_how_to_go_on(whole: Path, places: list[Path]) -> Iterator[None]:
    """Within, an interruption is told the exact command that continues, or that nothing was begun.

    `whole` is what that command names where all of `places` lie in it; else each is resumed by its own.
    """
    try:
        yield
    except KeyboardInterrupt as interruption:
        begun = [where for where in places if (where / "config.json").exists() and not (where / "done").exists()]
        named = [whole] if len(begun) > 1 and whole not in places else begun
        commands = " && ".join(f"reincarnate resume {shlex.quote(str(where))}" for where in named)
        said = f"to go on from the last checkpoint: {commands}" if commands else "no run was begun"
        if commands and (waiting := [where.name for where in places if not where.exists()]):
            said += f" (not begun: {', '.join(waiting)})"
        interruption.add_note(said)
        raise


def _go_together(runs: list, choice: str) -> bool:
    """Whether several seeds are trained in one process. Raises UserError where that was asked for and cannot be."""
    if runs[0][0].population > 1:
        return True
    if len(runs) == 1 or choice == "off":
        return False
    prepared = prepare(runs[0][0])
    if choice == "auto":
        return gains(prepared)
    refuse_apart(prepared)
    return True


def _train(runs: list, together: bool, chosen: str) -> list[tuple[dict, Path]]:
    """One run, or several seeds: together, or one after another."""
    with ui.Bars() as bars:
        tick = _after_checks(bars, runs[0][0], chosen)
        if together:
            seeds, places = zip(*runs, strict=True)
            return list(zip(execute_together(seeds, places, tick=tick, note=ui.note), places, strict=True))
        return [(execute(run, where, tick=tick, note=ui.note), where) for run, where in runs]


def _after_checks(tick: Callable[..., None], run: Run, chosen: str) -> Callable[..., None]:
    """A progress call that first remarks on the budget: nothing is said of a run that is refused."""
    left = [run]

    def ticked(*args: Any, **named: Any) -> None:
        while left:
            _say_budget(left.pop(), chosen)
        tick(*args, **named)

    return ticked


def _say_budget(run: Run, chosen: str) -> None:
    """What was chosen for its env steps, and what somebody set that does not fit them."""
    if chosen:
        ui.note(chosen)
    for line in budget_remarks(run):
        ui.note(f"warning: {line}")


def _dry_run(run: Run, chosen: str) -> None:
    prepared = prepare(run)
    for warning in prepared.warnings:
        ui.note(f"warning: {warning}")
    _say_budget(run, chosen)
    run = prepared.run  # as its teacher suits it
    for line in describe(run.phases(), run.student, run.copies):
        print(line)
    evaluations = 1 + sum(phase.evaluations for phase in run.phases())
    torch.set_num_threads(threads(run, prepared.spec))  # as the run will have it
    trials = estimates(run.phases(), run.student, prepared.spec, run.copies)
    print(f"evaluation: {evaluations} × {run.eval_episodes} episodes, then {run.final_episodes} for the final score")
    if "data" in run.method.needs and run.data is None:
        print(f"teacher's data: {run.data_env_steps:,} env steps, collected once and kept in {run.store}")
    spread = f" ({min(trials):,.0f} to {max(trials):,.0f} in {len(trials)} trials)" if len(trials) > 1 else ""
    print(f"about {median(trials):,.0f} s of training on this machine{spread}, evaluation not counted")
    print("nothing was written")


def _advise(run: Run, results: list[dict]) -> None:
    """What `advise` would say, after a run that ended poorly."""
    if not poor(results):
        return
    from reincarnate.advice.afterwards import afterwards  # much to import, for runs that did well

    with ui.Bars() as tick:
        lines = afterwards(run, results, tick)
    for line in lines:
        ui.note(line, whole=line.startswith("reincarnate "))


def _say_result(result: dict, out: Path) -> None:
    text = f"score {ui.with_interval(result['score'], result['interval'], len(result['returns']))}"
    if result["normalised"] is not None:
        text += f"; normalised {result['normalised']:.3f} (random 0, teacher 1)"
    for name, told in result.get("measures", {}).items():
        text += f"; {name} {told['mean']:.4g} [{told['low']:.4g}, {told['high']:.4g}]" * (name != result["metric"])
    text += f"\n{out} is done: the agent is `store:{out}`"
    if result["best"]:
        better = f"{result['best']['score']:.4g}, at {result['best']['env_steps']:,} env steps"
        text += f"; its best evaluation ({better}) is `store:{out / 'agent-best'}`"
    ui.say(text)


def resume(args: list[str]) -> None:
    """`resume DIR`: the same run goes on, exactly; or each unfinished one in DIR, as several seeds leave them."""

    def command(directory: Positional[Path], trust: bool = False) -> None:
        """Continue an interrupted run, or every unfinished one in a folder, to the same bits.

        Args:
            directory: The run's folder, or one with several.
            trust: Also run the code that a run names which did not begin on this machine. Look at that code first.
        """
        places = unfinished(directory) or [directory]  # where nothing is left, opening it says why
        with _saying_how_to_go_on(directory, places):
            _resume(places, trust)

    cli(command, args, "reincarnate resume")


def _resume(places: list[Path], trust: bool) -> None:
    for unit in _units(places, trust):
        runs, wheres = zip(*unit, strict=True)
        with ui.Bars() as tick:
            if len(unit) > 1:
                made = [(place / "config.json").exists() for place in wheres]
                results = execute_together(runs, wheres, made, tick, ui.note)
            else:
                results = [execute(runs[0], wheres[0], resume=True, tick=tick, note=ui.note)]
        for result, where in zip(results, wheres, strict=True):
            _say_result(result, where)


def _units(places: list[Path], trust: bool) -> list[list[tuple[Run, Path]]]:
    """The runs in these places: those that began together are one, unless some are done; others each alone."""
    alike: dict[tuple[str, tuple[int, ...]], list[tuple[Run, Path]]] = {}
    for where in places:
        config = RunDirectory.reopen(where).config
        check_trust(where, config, trust)
        imported_for(Record(config, where / "config.json").texts("imports", ()), str(where))
        run = from_record(config)
        alike.setdefault((repr(replace(run, seed=0)), tuple(config["together"])), []).append((run, where))
    units = []
    for (_, seeds), same in alike.items():
        same = sorted(same + _never_made(*same[0], seeds), key=lambda pair: seeds.index(pair[0].seed))
        whole = len(same) == len(seeds) or same[0][0].exchange.processes != "one"
        units += [same] if whole else [[pair] for pair in same]
    return units


def _never_made(run: Run, where: Path, seeds: tuple[int, ...]) -> list[tuple[Run, Path]]:
    """Runs that began together with this one, and were killed before they had directories, which lie beside it."""
    stem = where.name.removesuffix(str(run.seed))
    places = [(replace(run, seed=seed), where.with_name(f"{stem}{seed}")) for seed in seeds if seed != run.seed]
    return [(other, place) for other, place in places if not place.exists()]
