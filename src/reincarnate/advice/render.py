"""The same advice for people, as tables, and for tools, as JSON."""

from dataclasses import asdict
from typing import Any

from rich.console import Console, Group
from rich.markup import escape
from rich.table import Table

from reincarnate.advice.facts import DataFacts, Measurement, Score, TeacherFacts, WeightsFacts
from reincarnate.advice.recommend import Cost, Recommendation
from reincarnate.advice.remarks import Said
from reincarnate.advice.trial import Trial
from reincarnate.config import to_dict
from reincarnate.files.atomic import FORMAT
from reincarnate.run.settings import NAMES
from reincarnate.ui import with_interval


def as_json(
    measured: Measurement, said: list[Said], found: list[Recommendation], trial: Trial | None
) -> dict[str, Any]:
    """Everything, as JSON values."""
    return {
        "format": FORMAT,
        "kind": "advice",
        "measured": {**asdict(measured), "student": to_dict(measured.student, NAMES), "updates": measured.updates},
        "remarks": [asdict(one) for one in said],
        "recommendations": [_recommendation(one) for one in found],
        "trial": {**asdict(trial), "verdict": trial.verdict} if trial else None,
    }


def _recommendation(one: Recommendation) -> dict[str, Any]:
    return {
        "rank": one.rank,
        "method": one.method,
        "why": one.why,
        "source": one.rule.source,
        "plan": one.plan,
        "settings": [asdict(setting) for setting in one.settings],
        "cost": asdict(one.cost),
        "command": one.command,
        "run": to_dict(one.run, NAMES),
    }


def show(measured: Measurement, said: list[Said], found: list[Recommendation], console: Console) -> None:
    """Print it. Commands are lines of their own, whole, to be copied."""
    console.print(_measured(measured))
    for one in said:
        colour = "bold red" if one.grave else "yellow"
        console.print(f"[{colour}]{escape(one.name)}[/]: {escape(one.text)}", highlight=False)
        console.print(f"  [dim]{escape(one.source)}[/]", highlight=False)
    for one in found:
        console.print(_table(one))
        console.print(one.command, highlight=False, markup=False, soft_wrap=True)


def show_trial(trial: Trial, console: Console) -> None:
    """Print how the two came out."""
    table = Table(title=f"tried for {trial.budget:,} env steps, seed {trial.seed}", title_justify="left")
    for column in ("method", "score, 95 %", "normalised", "seconds"):
        table.add_column(column)
    for one in trial.tried:
        normalised = "" if one.normalised is None else f"{one.normalised:.3f}"
        table.add_row(one.method, score_text(one.score), normalised, f"{one.seconds:.0f}")
    console.print(Group(table, trial.verdict))


# ---- what was measured ----------------------------------------------------------------------------------


def _measured(m: Measurement) -> Table:
    table = _two_columns(f"measured on {m.task}")
    table.add_row("student", f"{m.student_name}, {m.budget:,} env steps: {m.updates:,} updates online")
    table.add_row("random policy", score_text(m.random) + (", always the same" if m.blind else ""))
    sections = [
        (_of_teacher(m.teacher), m.teacher.warnings) if m.teacher else None,
        (_of_data(m.data), m.data.warnings) if m.data else None,
        (_of_weights(m.weights), ()) if m.weights else None,
    ]
    for rows, warnings in filter(None, sections):
        table.add_section()
        for name, value in (*rows, *(("[yellow]warning", warning) for warning in warnings)):
            table.add_row(name, escape(value))
    return table


def _of_teacher(facts: TeacherFacts) -> list[tuple[str, str]]:
    kind = f"tells {facts.tells}, plays {facts.plays}"
    kind += ", has a memory" if facts.memory else ""
    kind += f", has a view of its own ({facts.view})" if facts.view != "student" else ""
    rows = [("teacher", f"{facts.uri}: {kind}"), ("teacher's score", score_text(facts.score))]
    if facts.trained_env_steps:
        rows.append(("trained for", f"{facts.trained_env_steps:,} env steps"))
    if facts.gap is not None:
        rows.append(("action gap", f"median {facts.gap:.3g}"))
    if facts.entropy is not None and facts.top is not None:
        told = f"entropy {facts.entropy:.2g} nats, its best action {facts.top:.0%} on average"
        rows.append(("policy", f"{told}, at τ = {facts.own_temperature:g}"))
    return rows


def _of_data(facts: DataFacts) -> list[tuple[str, str]]:
    ends = f"{facts.terminated:,} terminated, {facts.truncated:,} cut"
    size = f"{facts.transitions:,} transitions, {facts.episodes:,} episodes ({ends})"
    rows = [("data", f"{facts.address}: {size}")]
    rows.append(("data's returns", score_text(facts.returns) if facts.returns else "not comparable with scores"))
    if facts.agreement is not None:
        low, high = facts.agreement_interval or (facts.agreement, facts.agreement)
        rows.append(("agrees with the teacher", f"{facts.agreement:.0%} [{low:.0%}, {high:.0%}]"))
    return rows


def _of_weights(facts: WeightsFacts) -> list[tuple[str, str]]:
    network = "the student's network" if facts.same_network else f"another network: {facts.misfit}"
    kept = "kept its replay and optimiser" if facts.kept else "kept no replay of this task"
    score = score_text(facts.score) if facts.score else f"unknown here; it was made for {facts.task}"
    return [("weights", f"{facts.address}: {network}; {kept}"), ("their agent's score", score)]


# ---- what is recommended --------------------------------------------------------------------------------


def _table(one: Recommendation) -> Table:
    table = _two_columns(f"{one.rank}: {one.method}")
    sourced = [(setting.why, setting.source) for setting in one.settings]
    table.add_row("why", _sourced(one.why, one.rule.source))
    table.add_row("plan", escape("\n".join(one.plan)))
    if sourced:
        table.add_row("settings", "\n".join(_sourced(why, source) for why, source in sourced))
    table.add_row("cost", cost_text(one.cost))
    return table


def _sourced(text: str, source: str) -> str:
    return f"{escape(text)}\n[dim]  {escape(source)}[/]"


def cost_text(cost: Cost) -> str:
    """What it takes, in words."""
    parts = [f"{cost.env_steps:,} env steps, {cost.updates:,} updates"]
    if cost.offline_updates:
        parts.append(f"{cost.offline_updates:,} offline updates first")
    if cost.data_env_steps:
        parts.append(f"{cost.data_env_steps:,} env steps of the teacher's play, once")
    parts.append(f"about {cost.seconds:,.0f} s of training here, and {cost.evaluation_episodes} evaluation episodes")
    return "; ".join(parts)


def score_text(score: Score) -> str:
    """A mean with its interval."""
    return with_interval(score.mean, (score.low, score.high), score.episodes)


def _two_columns(title: str) -> Table:
    table = Table(title=escape(title), show_header=False, title_justify="left", min_width=60)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    return table
