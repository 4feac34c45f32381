"""Looking at a teacher: what its files say, whether it fits a task, and how it plays there."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from rich.table import Table

from reincarnate import envs
from reincarnate.errors import UserError
from reincarnate.evaluate import Evaluation, evaluate
from reincarnate.prior import Tick
from reincarnate.rollout import TeacherPlayer, way_of_playing
from reincarnate.seeds import stream
from reincarnate.teachers import check_fit, open_teacher
from reincarnate.teachers.lifts import action_gap, entropy
from reincarnate.types import Teacher, VectorEnv

HOWS = ("auto", "greedy", "sample")


@dataclass
class _Watching:
    """A player that remembers the logits it has seen."""

    player: TeacherPlayer
    logits: list[np.ndarray]

    def __call__(self, obs: np.ndarray, begins: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        logits = self.player.logits(begins)
        self.logits.append(logits)
        return self.player.act(logits, rng)


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
    seen: list[np.ndarray] = []

    torch.set_num_threads(1)  # enough for batches of a few dozen observations, and kind to a busy machine

    def policy_at(env: VectorEnv) -> _Watching:
        return _Watching(TeacherPlayer(teacher, env, how), seen)

    def on_episode(done: int) -> None:
        tick("episodes", done, episodes)

    result = evaluate(env_id, policy_at, episodes, stream(seed, "inspect"), teacher.view, on_episode)
    return result, torch.from_numpy(np.concatenate(seen))


def inspect_teacher(
    uri: str, env_id: str | None, episodes: int, how: str, seed: int, temperature: float, tick: Tick
) -> Table:
    """A table of everything; with `env_id` measured on that task. Raises UserError."""
    if not 0 < temperature < math.inf:
        raise UserError(f"--temperature must be above 0 and finite, not {temperature:g}")
    spec = envs.spec(env_id) if env_id else None
    teacher = open_teacher(uri, spec.actions if spec else None)
    table = Table(title=f"teacher {uri}", show_header=False, title_justify="left", min_width=60)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _described(teacher):
        table.add_row(name, value)
    if spec is None:
        return table
    warnings = check_fit(teacher.card, spec)
    table.add_section()
    table.add_row("fits", f"{spec.id}: yes{', with warnings' if warnings else ''}")
    for warning in (*warnings, *teacher.card.warnings):
        table.add_row("[yellow]warning", warning)
    result, logits = play(teacher, spec.id, episodes, how, seed, tick)
    low, high = result.interval()
    gaps = action_gap(logits)
    score = f"{result.mean:.4g}  95 % [{low:.4g}, {high:.4g}] over {episodes} episodes"
    table.add_row("score", f"{score}, plays {way_of_playing(teacher.card, how)}")
    quartiles = torch.quantile(gaps[: 2**20], torch.tensor([0.25, 0.5, 0.75])).tolist()
    table.add_row("action gap", "quartiles {:.3g}, {:.3g}, {:.3g}".format(*quartiles))
    spread = float(entropy(logits, temperature).mean())
    most = float(np.log(logits.shape[-1]))
    table.add_row("policy entropy", f"{spread:.3g} nats at τ = {temperature:g} (uniform: {most:.3g})")
    return table


def _described(teacher: Teacher) -> list[tuple[str, str]]:
    card = teacher.card
    shape = f"{card.obs_dtype or ''}{list(card.obs_shape)}" if card.obs_shape is not None else "its files do not say"
    rows = [
        ("format", card.format),
        ("algorithm", card.algorithm),
        ("network", f"{card.network}; {card.parameters:,} parameters"),
        ("tells", card.tells),
        ("observations", shape + (f", view {teacher.view!r}" if teacher.view != "student" else "")),
        ("actions", str(card.actions) if card.actions is not None else "its files do not say"),
        ("preprocessing", card.preprocessing),
        ("memory", "none" if teacher.initial_state(1) is None else "recurrent"),
        ("trained on", card.env or "its files do not say"),
        (
            "trained for",
            f"{card.trained_env_steps:,} env steps" if card.trained_env_steps else "its files do not say",
        ),
        ("sha256", card.sha256),
        ("safety", card.safety),
    ]
    return rows


def evaluate_agent(
    uri: str,
    env_id: str | None = None,
    episodes: int = 100,
    how: str = "auto",
    seed: int = 0,
    tick: Tick = lambda *_: None,
) -> str:
    """One line: an agent's mean return with its interval. `env_id` None: the task it was made for."""
    probe = open_teacher(uri, envs.spec(env_id).actions if env_id else None)
    env_id = env_id or probe.card.env
    if env_id is None:
        raise UserError(f"{uri} does not say which task it was made for; name one with --env")
    check_fit(probe.card, envs.spec(env_id))
    result, _ = play(probe, env_id, episodes, how, seed, tick)
    low, high = result.interval()
    score = f"{result.mean:.4g}  95 % [{low:.4g}, {high:.4g}]"
    return f"{env_id}: {score} over {episodes} episodes, {result.env_steps:,} env steps"
