"""The five MinAtar games (Young & Tian, 2019), sticky actions 0.1, difficulty ramping, minimal action sets."""

import functools
import logging
from collections.abc import Callable
from typing import Any

import numpy as np

from reincarnate.envs.minatar.asterix import Asterix
from reincarnate.envs.minatar.batch import Games
from reincarnate.envs.minatar.breakout import Breakout
from reincarnate.envs.minatar.drawing import drawn
from reincarnate.envs.minatar.freeway import Freeway
from reincarnate.envs.minatar.seaquest import Seaquest
from reincarnate.envs.minatar.space_invaders import SpaceInvaders
from reincarnate.envs.vector import Copies
from reincarnate.errors import UserError
from reincarnate.types import TaskSpec, VectorEnv

GAMES = {
    "MinAtar/Asterix-v1": "asterix",
    "MinAtar/Breakout-v1": "breakout",
    "MinAtar/Freeway-v1": "freeway",
    "MinAtar/Seaquest-v1": "seaquest",
    "MinAtar/SpaceInvaders-v1": "space_invaders",
}
STICKY = 0.1  # MinAtar's own default
MAX_STEPS = 5000  # MinAtar has no limit of its own; without one a student that only survives plays for ever
TOGETHER_FROM = 16  # copies, from which on stepping them together is faster (benchmarks/minatar_steps.py)
RULES: dict[str, Callable[[int], Any]] = {
    "asterix": lambda n: Asterix(n, MAX_STEPS),
    "breakout": Breakout,
    "freeway": Freeway,
    "seaquest": lambda n: Seaquest(n, MAX_STEPS),
    "space_invaders": SpaceInvaders,
}


def ids() -> frozenset[str]:
    """The ids of the five games, as MinAtar registers them with Gymnasium."""
    return frozenset(GAMES)


def _environment(game: str) -> Any:
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # minatar warns on import that it cannot draw; nothing here draws
    try:
        from minatar.environment import Environment
    finally:
        root.setLevel(level)
    return Environment(game, sticky_action_prob=STICKY, difficulty_ramping=True)


@functools.cache
def spec(env_id: str) -> TaskSpec:
    """The game's spec: bool[10, 10, C] observations, minimal actions."""
    env = _environment(GAMES[env_id])
    minimal = env.minimal_action_set()
    protocol = {
        "env": env_id,
        "sticky_actions": STICKY,
        "difficulty_ramping": True,
        "minimal_actions": True,
        "max_episode_steps": MAX_STEPS,
        "reward_clip": None,
    }
    return TaskSpec(env_id, tuple(env.state_shape()), "bool", len(minimal), 1, None, protocol)


@functools.cache
def action_names(env_id: str) -> tuple[str, ...]:
    """The minimal actions of a game by MinAtar's letters: n(one), l(eft), u(p), r(ight), d(own), f(ire)."""
    env = _environment(GAMES[env_id])
    return tuple(env.env.action_map[action] for action in env.minimal_action_set())


def make(env_id: str, n: int, view: str) -> VectorEnv:
    """`n` copies: few of them as a list of the package's own, more of them stepped together. They play the same."""
    if view != "student":
        raise UserError(f"{env_id} offers no view {view!r} for a teacher; only ALE/* tasks offer 'rgb'")
    return listed(env_id, n) if n < TOGETHER_FROM else together(env_id, n)


def listed(env_id: str, n: int) -> Copies:
    """`n` environments of the `minatar` package in a list."""
    return Copies(spec(env_id), lambda: _MinAtar(GAMES[env_id]), n, MAX_STEPS)


def together(env_id: str, n: int) -> Games:
    """`n` copies as structure of arrays, to the bit what `listed` plays from the same seeds and actions."""
    return Games(spec(env_id), RULES[GAMES[env_id]](n), n, STICKY, MAX_STEPS)


class _MinAtar:
    """One game. Seeding also forgets the last action, which sticky actions would carry over."""

    def __init__(self, game: str):
        self._env = _environment(game)
        self._actions = self._env.minimal_action_set()

    def picture(self) -> np.ndarray:
        """Its grid, uint8 [10, 10, 3]."""
        return drawn(self._env.state())

    def reset(self, seed: int | None) -> np.ndarray:
        if seed is not None:
            self._env.seed(seed)
            self._env.last_action = 0
        self._env.reset()
        return self._env.state()

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool]:
        reward, terminated = self._env.act(self._actions[action])
        return self._env.state(), float(reward), bool(terminated), False

    def close(self) -> None:
        pass
