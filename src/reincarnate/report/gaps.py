"""What a comparison cannot say for want of runs."""

from collections import Counter
from collections.abc import Sequence

from reincarnate.report.missing import Missing, unscored
from reincarnate.report.runs import FinishedRun, by_env, by_label, is_normalised


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
