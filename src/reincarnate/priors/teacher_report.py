"""Looking at a teacher: what its files say, whether it fits a task, and how it plays there."""

import html
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from reincarnate import envs
from reincarnate.agents.addresses import address_of
from reincarnate.envs.several import names_of
from reincarnate.errors import UserError
from reincarnate.files.finished import videos_of
from reincarnate.priors.played import Tick
from reincarnate.priors.remarks import remarks
from reincarnate.seeds import check_seed, stream
from reincarnate.store.trust import bring, refuse_strange_task
from reincarnate.surroundings import own_torch
from reincarnate.teachers.fit import check_fit, open_for, suited
from reincarnate.teachers.lifts import action_gap, entropy
from reincarnate.training.evaluate import Evaluation, evaluate
from reincarnate.training.players import Player, way_of_playing
from reincarnate.types import MEANS, ActorOutput, TaskSpec, Teacher, TeacherCard, TimeStep
from reincarnate.ui import with_interval

HOWS = ("auto", "greedy", "sample")
AT_BOUNDS = 0.999  # of the way from the middle of an action's range to its end


class _Remembering(Player):
    """A player that keeps all its predictions."""

    predictions: list[torch.Tensor]

    def act(self, step: TimeStep, carry: torch.Tensor, explore: float, rng: np.random.Generator) -> ActorOutput:
        output = Player.act(self, step, carry, explore, rng)
        assert self.said is not None
        self.predictions.append(self.said.x)
        return output


def play(
    teacher: Teacher, env_id: str, episodes: int, how: str, seed: int, tick: Tick
) -> tuple[Evaluation, torch.Tensor]:
    """The teacher's evaluation, and its logits [N, A] on everything it saw. Raises UserError where it does not fit."""
    if how not in HOWS:
        raise UserError(f"--plays {how!r} is unknown; known: {', '.join(HOWS)}")
    if episodes < 1:
        raise UserError(f"--episodes must be at least 1, not {episodes}")
    check_seed(seed)
    if how == "sample" and teacher.card.tells == MEANS:
        raise UserError("--plays sample: continuous actions are taken as they are told; leave it out")

    torch.set_num_threads(1)  # enough for batches of a few dozen observations, and kind to a busy machine

    spec = envs.spec(env_id)
    player = _Remembering(teacher, spec, teacher.card.tells, way_of_playing(teacher.card, how))
    player.predictions = []

    def on_episode(done: int) -> None:
        tick("episodes", done, episodes)

    result = evaluate(env_id, player, episodes, stream(seed, "inspect"), teacher.view, on_episode)
    return result, torch.cat(player.predictions).cpu()


@dataclass(frozen=True)
class TeacherReport:
    """What a teacher is, and where a task was named what it does there.

    `action_gap` are quartiles of the difference between its best two actions' logits or values, `entropy` is in nats,
    of softmax(x / `temperature`) over `choices` actions; of continuous actions there are `action_size`, quartiles of
    the way to the bounds, and `at_bounds`, the share of numbers at them.
    """

    uri: str
    card: TeacherCard
    view: str
    recurrent: bool
    warnings: tuple[str, ...]
    env: str | None = None
    fits_with_warnings: bool = False
    evaluation: Evaluation | None = None
    plays: str = ""
    temperature: float = 1.0
    action_gap: tuple[float, ...] | None = None
    entropy: float | None = None
    choices: int = 0
    action_size: tuple[float, ...] | None = None
    at_bounds: float | None = None
    videos: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """All of it, as JSON values; the score with its interval and its returns."""
        told = {field.name: getattr(self, field.name) for field in fields(self)}
        told |= {"card": asdict(self.card), "evaluation": self.evaluation and _numbers(self.evaluation)}
        return told


@own_torch()
def describe_teacher(
    uri: str, env_id: str | None, episodes: int, how: str, seed: int, temperature: float, tick: Tick
) -> TeacherReport:
    """Open a teacher and say what it is; with `env_id` measured on that task. Raises UserError."""
    if not 0 < temperature < math.inf:
        raise UserError(f"--temperature must be above 0 and finite, not {temperature:g}")
    spec = envs.spec(env_id) if env_id else None
    teacher = open_for(uri, spec)
    card, recurrent = teacher.card, teacher.initial(1).shape[-1] > 0
    report = TeacherReport(
        uri, card, teacher.view, recurrent, tuple(card.warnings), temperature=temperature, videos=_videos(teacher)
    )
    if spec is None:
        return report
    fit = check_fit(card, spec)
    result, said = play(teacher, spec.id, episodes, how, seed, tick)
    report = replace(
        report,
        warnings=tuple(remarks(teacher, spec, said.numpy())),
        env=spec.id,
        fits_with_warnings=bool(fit),
        evaluation=result,
        plays=way_of_playing(card, how),
    )
    if spec.bounds is None:
        spread = float(entropy(said, temperature).mean())
        return replace(report, action_gap=_quartiles(action_gap(said)), entropy=spread, choices=said.shape[-1])
    way = said[:, : spec.actions].abs().flatten()
    at = float((way >= AT_BOUNDS).float().mean())
    return replace(report, action_size=_quartiles(way), at_bounds=at)


def _videos(teacher: Teacher) -> tuple[str, ...]:
    """Films that the run of an agent of ours kept."""
    agent = getattr(teacher, "agent", None)
    path = getattr(agent, "path", None)
    return tuple(map(str, videos_of(path.parent))) if isinstance(path, Path) else ()


def inspect_teacher(
    uri: str, env_id: str | None, episodes: int, how: str, seed: int, temperature: float, tick: Tick
) -> Table:
    """A table of everything that `describe_teacher` finds."""
    return teacher_table(describe_teacher(uri, env_id, episodes, how, seed, temperature, tick))


def teacher_table(report: TeacherReport) -> Table:
    """All of a report, one line a thing."""
    table = Table(title=f"teacher {escape(report.uri)}", show_header=False, title_justify="left", min_width=60)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _described(report):
        table.add_row(name, value)
    result = report.evaluation
    if result is None:
        _add_warnings(table, report.warnings)
        return table
    table.add_section()
    table.add_row("fits", f"{report.env}: yes{', with warnings' if report.fits_with_warnings else ''}")
    _add_warnings(table, report.warnings)
    score = with_interval(result.mean, result.interval(), len(result.returns))
    table.add_row("score", f"{score}, plays {report.plays}")
    if beside := result.beside():
        table.add_row("beside it", beside)
    for name, value in _decisions(report) if report.action_gap else _sizes(report):
        table.add_row(name, value)
    return table


def _add_warnings(table: Table, warnings: Iterable[str]) -> None:
    for warning in warnings:
        table.add_row("[yellow]warning", Text(warning))


def _decisions(report: TeacherReport) -> list[tuple[str, str]]:
    """How sure it was of its choices."""
    spread, most = report.entropy, float(np.log(report.choices))
    return [
        ("action gap", f"quartiles {_listed(report.action_gap)}"),
        ("policy entropy", f"{spread:.3g} nats at τ = {report.temperature:g} (uniform: {most:.3g})"),
    ]


def _sizes(report: TeacherReport) -> list[tuple[str, str]]:
    """How far its actions went from the middle (0) to the task's bounds (1) or beyond, each number apart."""
    at = 100 * (report.at_bounds or 0.0)
    return [("action size", f"quartiles {_listed(report.action_size)} of the way to the bounds; {at:.3g} % at them")]


def _quartiles(numbers: torch.Tensor) -> tuple[float, ...]:
    return tuple(torch.quantile(numbers[: 2**20], torch.tensor([0.25, 0.5, 0.75])).tolist())


def _listed(numbers: Iterable[float] | None) -> str:
    return ", ".join(f"{number:.3g}" for number in numbers or ())


def _numbers(evaluation: Evaluation) -> dict[str, Any]:
    """An evaluation as JSON values."""
    low, high = evaluation.interval()
    told = {"score": evaluation.mean, "interval": [low, high], "episodes": len(evaluation.returns)}
    return told | {"env_steps": evaluation.env_steps, "returns": list(evaluation.returns)}


def _described(report: TeacherReport) -> list[tuple[str, str]]:
    card = report.card
    shape = f"{card.obs_dtype or ''}{list(card.obs_shape)}" if card.obs_shape is not None else "its files do not say"
    rows = [
        ("format", card.format),
        ("algorithm", card.algorithm),
        ("network", f"{card.network}; {card.parameters:,} parameters"),
        ("tells", card.tells),
        ("observations", shape + (f", view {report.view!r}" if report.view != "student" else "")),
        ("actions", _actions(card)),
        ("preprocessing", escape(card.preprocessing)),
        ("memory", "recurrent" if report.recurrent else "none"),
        ("trained on", card.env or "its files do not say"),
        (
            "trained for",
            f"{card.trained_env_steps:,} env steps" if card.trained_env_steps else "its files do not say",
        ),
        ("sha256", card.sha256),
        ("safety", card.safety),
    ]
    if report.videos:
        *earlier, last = report.videos
        more = f" (and {len(earlier)} of earlier evaluations)" if earlier else ""
        rows.append(("film", escape(last) + more))
    return rows


def _actions(card: TeacherCard) -> str:
    if card.actions is None:
        return "its files do not say"
    if card.bounds is None:
        return str(card.actions)
    low, high = min(card.bounds[0]), max(card.bounds[1])
    return f"{card.actions}, from {low:g} to {high:g}"


@dataclass(frozen=True)
class AgentScore:
    """What an agent scored: `score` is the mean of `returns`, `interval` its 95 % interval; printed, one line."""

    env: str
    score: float
    interval: tuple[float, float]
    returns: tuple[float, ...]
    env_steps: int
    plays: str
    warnings: tuple[str, ...] = ()
    beside: str = ""  # another measure of the task's, or each of several tasks'

    def as_json(self) -> dict[str, Any]:
        """All of it, as JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        score = with_interval(self.score, self.interval, len(self.returns))
        line = f"{self.env}: {score}, {self.env_steps:,} env steps"
        return f"{line}; {self.beside}" if self.beside else line

    def _repr_html_(self) -> str:
        return f"<code>{html.escape(str(self))}</code>"


@own_torch()
def evaluate_agent(
    uri: Any,
    env_id: str | None = None,
    episodes: int = 100,
    how: str = "auto",
    seed: int = 0,
    tick: Tick = lambda *_: None,
    trust: bool = False,
) -> AgentScore:
    """An agent's mean return with its interval. `env_id` None: the task it was made for.

    `uri` is an address, a path, what was opened, or a function or class at the top of a file.

    `warnings` of the result say what to know before believing it. `trust` also runs code that an agent names which
    was not made here: its task, what it was registered by. Raises UserError.
    """
    probe, spec = _brought(address_of(uri, "agent") or "", env_id, trust)
    result, said = play(probe, spec.id, episodes, how, seed, tick)
    warnings, plays = tuple(remarks(probe, spec, said.numpy())), way_of_playing(probe.card, how)
    own = [result.beside()] if result.name else []
    each = ", ".join(f"{name} {part.mean:.4g}" for name, part in zip(names_of(spec), result.parts, strict=True))
    beside = "; ".join([*own, *([f"each: {each}"] if each else [])])
    told = (result.mean, result.interval(), result.returns, result.env_steps, plays, warnings)
    return AgentScore(spec.id, *told, beside=beside)


def _brought(uri: str, env_id: str | None, trust: bool) -> tuple[Teacher, TaskSpec]:
    """An agent and the task that it is to be looked at on. Raises UserError where it does not fit."""
    known = bring(uri, trust)
    probe = open_for(uri, envs.spec(env_id) if env_id else None)
    asked, env_id = env_id, env_id or probe.card.env
    if env_id is None:
        raise UserError(f"{uri} does not say which task it was made for; name one with --env")
    if asked is None:
        refuse_strange_task(uri, env_id, known)
    spec = envs.spec(env_id)
    check_fit(probe.card, spec)
    return suited(probe, spec), spec


@own_torch()
def render_agent(
    uri: str, env_id: str | None, path: Path, how: str = "auto", seed: int = 0, trust: bool = False
) -> str:
    """Draw one episode of an agent; a line about it. As `evaluate_agent`; see `envs.render`. Raises UserError."""
    check_seed(seed)
    teacher, spec = _brought(uri, env_id, trust)
    player, rng = Player.of_teacher(teacher, spec, how), stream(seed, "render")
    carry, begins = player.initial(1), True

    def act(obs: np.ndarray) -> np.ndarray:
        nonlocal carry, begins
        acted = player.act(TimeStep(torch.from_numpy(obs), torch.tensor([begins])), carry, 0.0, rng)
        carry, begins = acted.carry, False
        return acted.action

    return envs.render(spec.id, act, path, seed)
