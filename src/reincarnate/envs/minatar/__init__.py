"""The five MinAtar games (Young & Tian, 2019), sticky actions 0.1, difficulty ramping, minimal action sets."""

import functools
from collections.abc import Callable
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
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


def _rules(game: str) -> Any:
    """The package's own game, with difficulty ramping."""
    return game_module(game).Env(ramping=True)


@functools.cache
def game_module(game: str) -> ModuleType:
    """The package's file of a game, by itself: `import minatar` takes seconds, for libraries that draw."""
    package = find_spec("minatar")
    folder = Path(next(iter(package.submodule_search_locations or ()), "")) if package else Path()
    path = folder / "environments" / f"{game}.py"
    found = spec_from_file_location(f"{__name__}._{game}", path) if path.is_file() else None
    if found is None or found.loader is None:
        raise UserError(f"the package minatar has no {path.name} among its environments: install minatar 1.0.15 anew")
    module = module_from_spec(found)
    found.loader.exec_module(module)
    return module


@functools.cache
def spec(env_id: str) -> TaskSpec:
    """The game's spec: bool[10, 10, C] observations, minimal actions."""
    game = _rules(GAMES[env_id])
    minimal = game.minimal_action_set()
    protocol = {
        "env": env_id,
        "sticky_actions": STICKY,
        "difficulty_ramping": True,
        "minimal_actions": True,
        "max_episode_steps": MAX_STEPS,
        "reward_clip": None,
    }
    return TaskSpec(env_id, tuple(game.state_shape()), "bool", len(minimal), 1, None, protocol)


@functools.cache
def action_names(env_id: str) -> tuple[str, ...]:
    """The minimal actions of a game by MinAtar's letters: n(one), l(eft), u(p), r(ight), d(own), f(ire)."""
    game = _rules(GAMES[env_id])
    return tuple(game.action_map[action] for action in game.minimal_action_set())


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
    """One game with sticky actions. Seeding also forgets the last action, which these would carry over."""

    def __init__(self, game: str):
        self._game = _rules(game)
        self._actions = self._game.minimal_action_set()
        self._random = np.random.RandomState()
        self._last = 0

    def picture(self) -> np.ndarray:
        """Its grid, uint8 [10, 10, 3]."""
        return drawn(self._game.state())

    def reset(self, seed: int | None) -> np.ndarray:
        if seed is not None:
            self._random = self._game.random = np.random.RandomState(seed)
            self._last = 0
        self._game.reset()
        return self._game.state()

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool]:
        if self._random.rand() >= STICKY:
            self._last = self._actions[action]
        reward, terminated = self._game.act(self._last)
        return self._game.state(), float(reward), bool(terminated), False

    def close(self) -> None:
        pass
