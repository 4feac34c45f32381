"""Looking at a teacher: what its files say, whether it fits a task, and how it plays there."""

import math
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from reincarnate import envs
from reincarnate.envs.several import names_of
from reincarnate.errors import UserError
from reincarnate.priors.reference import Tick
from reincarnate.priors.remarks import remarks
from reincarnate.seeds import stream
from reincarnate.store.trust import bring, refuse_strange_task
from reincarnate.surroundings import own_torch
from reincarnate.teachers.fit import check_fit, open_for, suited
from reincarnate.teachers.lifts import action_gap, entropy
from reincarnate.training.evaluate import Evaluation, evaluate
from reincarnate.training.players import Player, way_of_playing
from reincarnate.types import MEANS, ActorOutput, TaskSpec, Teacher, TeacherCard, TimeStep

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
    if seed < 0:
        raise UserError(f"--seed must not be negative: {seed}")
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


@own_torch()
def inspect_teacher(
    uri: str, env_id: str | None, episodes: int, how: str, seed: int, temperature: float, tick: Tick
) -> Table:
    """A table of everything; with `env_id` measured on that task. Raises UserError."""
    if not 0 < temperature < math.inf:
        raise UserError(f"--temperature must be above 0 and finite, not {temperature:g}")
    spec = envs.spec(env_id) if env_id else None
    teacher = open_for(uri, spec)
    table = Table(title=f"teacher {uri}", show_header=False, title_justify="left", min_width=60)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _described(teacher):
        table.add_row(name, value)
    if spec is None:
        _add_warnings(table, teacher.card.warnings)
        return table
    fit = check_fit(teacher.card, spec)
    result, logits = play(teacher, spec.id, episodes, how, seed, tick)
    table.add_section()
    table.add_row("fits", f"{spec.id}: yes{', with warnings' if fit else ''}")
    _add_warnings(table, remarks(teacher, spec, logits.numpy()))
    low, high = result.interval()
    score = f"{result.mean:.4g}  95 % [{low:.4g}, {high:.4g}] over {episodes} episodes"
    table.add_row("score", f"{score}, plays {way_of_playing(teacher.card, how)}")
    if beside := result.beside():
        table.add_row("beside it", beside)
    rows = _decisions(logits, temperature) if spec.bounds is None else _sizes(logits[:, : spec.actions])
    for name, value in rows:
        table.add_row(name, value)
    return table


def _add_warnings(table: Table, warnings: Iterable[str]) -> None:
    for warning in warnings:
        table.add_row("[yellow]warning", Text(warning))


def _decisions(logits: torch.Tensor, temperature: float) -> list[tuple[str, str]]:
    """How sure it was of its choices, from logits or values [N, A]."""
    spread, most = float(entropy(logits, temperature).mean()), float(np.log(logits.shape[-1]))
    return [
        ("action gap", f"quartiles {_quartiles(action_gap(logits))}"),
        ("policy entropy", f"{spread:.3g} nats at τ = {temperature:g} (uniform: {most:.3g})"),
    ]


def _sizes(actions: torch.Tensor) -> list[tuple[str, str]]:
    """How far its actions [N, A] went from the middle (0) to the task's bounds (1) or beyond, each number apart."""
    way = actions.abs().flatten()
    at = 100 * float((way >= AT_BOUNDS).float().mean())
    return [("action size", f"quartiles {_quartiles(way)} of the way to the bounds; {at:.3g} % at them")]


def _quartiles(numbers: torch.Tensor) -> str:
    parts = torch.quantile(numbers[: 2**20], torch.tensor([0.25, 0.5, 0.75])).tolist()
    return "{:.3g}, {:.3g}, {:.3g}".format(*parts)


def _described(teacher: Teacher) -> list[tuple[str, str]]:
    card = teacher.card
    shape = f"{card.obs_dtype or ''}{list(card.obs_shape)}" if card.obs_shape is not None else "its files do not say"
    rows = [
        ("format", card.format),
        ("algorithm", card.algorithm),
        ("network", f"{card.network}; {card.parameters:,} parameters"),
        ("tells", card.tells),
        ("observations", shape + (f", view {teacher.view!r}" if teacher.view != "student" else "")),
        ("actions", _actions(card)),
        ("preprocessing", escape(card.preprocessing)),
        ("memory", "recurrent" if teacher.initial(1).shape[-1] else "none"),
        ("trained on", card.env or "its files do not say"),
        (
            "trained for",
            f"{card.trained_env_steps:,} env steps" if card.trained_env_steps else "its files do not say",
        ),
        ("sha256", card.sha256),
        ("safety", card.safety),
    ]
    return rows


def _actions(card: TeacherCard) -> str:
    if card.actions is None:
        return "its files do not say"
    if card.bounds is None:
        return str(card.actions)
    low, high = min(card.bounds[0]), max(card.bounds[1])
    return f"{card.actions}, from {low:g} to {high:g}"


@own_torch()
def evaluate_agent(
    uri: str,
    env_id: str | None = None,
    episodes: int = 100,
    how: str = "auto",
    seed: int = 0,
    tick: Tick = lambda *_: None,
    warn: Callable[[str], None] = lambda _: None,
    trust: bool = False,
) -> str:
    """One line: an agent's mean return with its interval. `env_id` None: the task it was made for.

    `warn` is told what to know before believing it, one line at a time. `trust` also runs code that an agent names
    which was not made here: its task, what it was registered by. Raises UserError.
    """
    probe, spec = _brought(uri, env_id, trust)
    env_id = spec.id
    result, logits = play(probe, env_id, episodes, how, seed, tick)
    for line in remarks(probe, spec, logits.numpy()):
        warn(line)
    low, high = result.interval()
    score = f"{result.mean:.4g}  95 % [{low:.4g}, {high:.4g}]"
    own = f"; {result.beside()}" if result.name else ""
    each = ", ".join(f"{name} {part.mean:.4g}" for name, part in zip(names_of(spec), result.parts, strict=True))
    own += f"; each: {each}" if each else ""
    return f"{env_id}: {score} over {episodes} episodes, {result.env_steps:,} env steps{own}"


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
    if seed < 0:
        raise UserError(f"--seed must not be negative: {seed}")
    teacher, spec = _brought(uri, env_id, trust)
    player, rng = Player.of_teacher(teacher, spec, how), stream(seed, "render")
    carry, begins = player.initial(1), True

    def act(obs: np.ndarray) -> np.ndarray:
        nonlocal carry, begins
        acted = player.act(TimeStep(torch.from_numpy(obs), torch.tensor([begins])), carry, 0.0, rng)
        carry, begins = acted.carry, False
        return acted.action

    return envs.render(spec.id, act, path, seed)
