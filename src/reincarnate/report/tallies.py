"""Two tables of the page: every aggregate of the scores, and what a run cost with the priors it stood on."""

from collections.abc import Sequence
from html import escape

import numpy as np

from reincarnate.report.aggregates import Aggregates
from reincarnate.report.runs import FinishedRun, by_env, by_label
from reincarnate.report.style import row, table
from reincarnate.report.wording import count, duration, interval
from reincarnate.store.nodes import ancestors_in, total

AGGREGATES = (
    "Over final scores, with stratified bootstrap intervals: interquartile mean; mean; median over tasks of the mean "
    "over seeds; optimality gap, by how much scores miss the teacher's on average; and how likely a run of the method "
    "beats one of the method named."
)
COST = (
    "Of one run, the median over seeds; the evaluation's env steps are not learned from. With priors: the run's own "
    "env steps and those of all it stands on, generation after generation, each counted once; ≥ where files do not "
    "say, and for runs whose records go back one generation only."
)
TRAINED = ("teacher", "weights")


def aggregates_table(found: Sequence[Aggregates]) -> str:
    """One row a method, grouped by task."""
    body = []
    for scope in dict.fromkeys(x.scope for x in found):
        body.append(f'<tr class="task"><td colspan="6">{escape(scope)}</td></tr>')
        for x in (x for x in found if x.scope == scope):
            cells = [interval(part, 0) for part in (x.iqm, x.mean, x.median, x.gap)]
            beats = "–" if x.improvement is None else f"{interval(x.improvement, 0)} over {x.over}"
            body.append(row([escape(cell) for cell in (x.method, *cells, beats)]))
    return table(["method", "IQM", "mean", "median", "optimality gap", "probability of improvement"], body)


def named(label: str, env: str, runs: Sequence[FinishedRun]) -> str:
    """The method, and the task where there are several, as HTML."""
    return escape(label) + (f' <span class="muted">{escape(env)}</span>' if len(by_env(runs)) > 1 else "")


def cost_table(runs: Sequence[FinishedRun]) -> str:
    """One row a method and task."""
    groups = [(env, label, own) for env, x in by_env(runs).items() for label, own in by_label(x).items()]
    body = [row([named(label, env, runs), *map(escape, _cost(own))]) for env, label, own in groups]
    heads = ["method", "env steps", "… in prior data", "… of the teacher's training", "… of the first weights'"]
    heads += ["with priors", "… for evaluation", "offline updates", "online updates", "time"]
    return table(heads, body)


def with_priors(run: FinishedRun) -> tuple[int, bool]:
    """Env steps of a run and of all it stands on, and whether those are all known."""
    prior = run.prior
    if "ancestors" in prior:
        steps = total(node.cost for node in ancestors_in({"about": {"prior": prior}}).values())["env_steps"]
        return int(run.env_steps + steps.value), steps.whole
    known = run.env_steps + (prior.get("data_env_steps") or 0)
    whole = True
    for kind in TRAINED:
        trained = prior.get(f"{kind}_trained_env_steps")
        known += trained or 0
        whole &= trained is not None or not _used(run, kind)
    return known, whole


def _used(run: FinishedRun, kind: str) -> bool:
    """Whether a run learnt from this prior: a teacher may only set the scale. Older runs do not say."""
    return run.prior.get(kind) is not None and run.prior.get(f"uses_{kind}", run.method != "scratch")


def _cost(own: Sequence[FinishedRun]) -> list[str]:
    totals = [with_priors(run) for run in own]
    least = "" if all(whole for _, whole in totals) else "≥ "
    return [
        _median([run.env_steps for run in own]),
        _median([run.prior.get("data_env_steps") for run in own]),
        *(_median([run.prior.get(f"{kind}_trained_env_steps") for run in own]) for kind in TRAINED),
        least + _median([total for total, _ in totals]),
        _median([run.result.get("eval_env_steps") for run in own]),
        _median([run.offline_updates for run in own]),
        _median([run.updates for run in own]),
        duration(float(np.median([run.seconds for run in own]))),
    ]


def _median(values: Sequence[int | None]) -> str:
    known = [value for value in values if value is not None]
    return count(int(np.median(known)) if known else None)
