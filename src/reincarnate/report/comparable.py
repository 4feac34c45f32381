"""The refusal to compare what is not comparable."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from reincarnate.errors import UserError
from reincarnate.report.curves import clocked
from reincarnate.report.runs import FinishedRun, Missing, by_env, by_label, is_normalised, settings_of, unscored

_HELD_EQUAL: dict[str, Callable[[FinishedRun], Any]] = {
    "protocol_hash": lambda run: run.result.get("protocol_hash"),
    "env_steps": lambda run: run.env_steps,
    "eval_episodes": lambda run: run.config.get("eval_episodes"),
    "eval_epsilon": lambda run: run.config.get("eval_epsilon"),
    "final_episodes": lambda run: run.config.get("final_episodes"),
    "metric": lambda run: run.config.get("metric", "return"),
    "evaluations": lambda run: run.config.get("evaluations"),  # weaning by score looks at each
    "prior.teacher": lambda run: run.prior.get("teacher"),
    "prior.data": lambda run: run.prior.get("data"),
    "prior.weights": lambda run: run.prior.get("weights"),
    "reference.random": lambda run: run.result["reference"]["random"],
    "reference.teacher": lambda run: run.result["reference"]["teacher"],
    "reference.greedy": lambda run: run.result["reference"].get("greedy"),
}
_HELD_BY_CLOCK = {name: value for name, value in _HELD_EQUAL.items() if name != "env_steps"} | {
    "machine": lambda run: run.result.get("machine"),
    "threads": lambda run: run.result.get("threads"),
    "device": lambda run: run.config.get("device"),
}
_MAY_LACK = {"prior.teacher", "prior.data", "prior.weights", "reference.teacher", "reference.greedy"}


def check_comparable(runs: Sequence[FinishedRun], by_clock: bool = False) -> None:
    """Nothing, if runs of one task differ only in method, student and seed; else UserError says in what more.

    Held equal: the environment's protocol, the budget of env steps, evaluations (how many, their episodes and
    ε, the final episodes), within a method its settings and the copies of the task, the hashes of
    teacher, data and weights, and the reference scores. A run without one of these goes with any. A seed
    that one method ran twice is refused too: a copy is not an independent run. `by_clock`: methods may have budgets of
    their own, where all tell their seconds, on machines that call themselves alike.
    """
    if by_clock and (silent := [run for run in runs if not run.evaluations or not clocked([run])]):
        raise UserError(f"{silent[0].path} does not tell its evaluations' seconds: it cannot be compared by the clock")
    held = _HELD_BY_CLOCK if by_clock else _HELD_EQUAL
    for group in by_env(runs).values():
        for key in sorted({key for run in group for key in run.result.get("protocol") or {}}):
            _refuse(group, f"protocol.{key}", lambda run, key=key: (run.result.get("protocol") or {}).get(key))
        for field, value in held.items():
            _refuse([run for run in group if value(run) is not None or field not in _MAY_LACK], field, value)
        for same in by_label(group).values():
            _refuse(same, "envs (copies of the task)", lambda run: run.config.get("envs"))
            _refuse(same, "env_steps", lambda run: run.env_steps)
            _refuse_other_settings(same)
        _refuse_copies(group)
        _refuse_members(group)


def _refuse(runs: list[FinishedRun], field: str, value: Callable[[FinishedRun], Any]) -> None:
    seen: dict[str, FinishedRun] = {}
    for run in runs:
        seen.setdefault(json.dumps(value(run), sort_keys=True), run)
    if len(seen) > 1:
        each = "; ".join(f"{text} in {run.path}" for text, run in seen.items())
        raise UserError(f"these runs of {runs[0].env} cannot be compared, {field} differs: {each}")


def _refuse_other_settings(same: list[FinishedRun]) -> None:
    """What goes by one name is one thing; of a setting that older runs do not know nothing can be said."""
    told = {id(run): settings_of(run) for run in same}
    for key in sorted({key for settings in told.values() for key in settings}):
        known = [run for run in same if key in told[id(run)]]
        _refuse(known, f"{key} within {same[0].label!r}", lambda run, key=key: told[id(run)][key])


def _refuse_copies(runs: list[FinishedRun]) -> None:
    seen: dict[tuple[str, int], FinishedRun] = {}
    for run in runs:
        first = seen.setdefault((run.label, run.seed), run)
        if first is not run:
            both = f"{first.path} and {run.path}"
            raise UserError(f"seed {run.seed} of {run.label} on {run.env} is there twice, leave one out: {both}")


def _refuse_members(runs: list[FinishedRun]) -> None:
    """Learners of one population told each other what they learnt: they are no independent seeds."""
    seen: dict[tuple[str, str], FinishedRun] = {}
    for run in runs:
        if run.config.get("population", 1) == 1:
            continue
        first = seen.setdefault((run.label, json.dumps(run.config.get("first_seed"))), run)
        if first is not run:
            both = f"{first.path} and {run.path}"
            raise UserError(f"{both} are members of one population, no independent seeds: leave all but one out")


def gaps(runs: Sequence[FinishedRun], missing: Sequence[Missing] = ()) -> list[str]:
    """What cannot be said for want of runs: a line for each method and task it concerns."""
    lines = [line for env, group in by_env(runs).items() for line in _thin(env, group, missing)]
    known = {(run.env, run.label) for run in runs}
    for env, label in sorted({(run.env, run.label) for run in missing if run.env}):
        if not any(e == env and (name == label or name.startswith(f"{label} (")) for e, name in known):
            states = Counter(run.state for run in missing if run.would_be(env, label))
            told = ", ".join(f"{n} {state}" for state, n in states.items())
            lines.append(f"{label} on {env}: no finished run to count ({told})")
    return lines + _incomplete(runs)


def _thin(env: str, runs: Sequence[FinishedRun], missing: Sequence[Missing]) -> list[str]:
    lines = []
    for label, own in by_label(runs).items():
        lost = unscored(missing, env, label)
        absent = sum(run.would_be(env, label) for run in missing)
        if lost:
            lines.append(f"{label} on {env}: {lost} of {len(own) + lost} runs without a finite score, so no interval")
        elif absent:
            lines.append(f"{label} on {env}: {len(own)} of {len(own) + absent} seeds finished")
        if len(own) == 1:
            lines.append(f"{label} on {env}: one seed, so no interval")
    return lines


def _incomplete(runs: Sequence[FinishedRun]) -> list[str]:
    """Which methods have no row over all tasks, and why."""
    envs = by_env(runs)
    raw = [env for env, group in envs.items() if not is_normalised(group)]
    if len(envs) > 1 and raw:
        return [f"no row over all tasks: no teacher better than the random policy on {', '.join(raw)}"]
    lines = []
    for label in by_label(runs) if len(envs) > 1 else ():
        seeds = {env: sum(run.label == label for run in group) for env, group in envs.items()}
        if len(set(seeds.values())) > 1:
            told = ", ".join(f"{n or 'no'} seed{'s' * (n != 1)} on {env}" for env, n in seeds.items())
            lines.append(f"{label}: no row over all tasks: {told}")
    return lines
