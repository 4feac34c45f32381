"""n copies of a task as arrays: time limits, restarts, idle copies. What happens in a step is the task's own page."""

from typing import Protocol, runtime_checkable

import numpy as np

from reincarnate.envs.vector import IDLE, SEED_LIMIT
from reincarnate.errors import UserError
from reincarnate.types import Step, TaskSpec

State = dict[str, np.ndarray]
"""What the copies are in, each array [n, …]."""


@runtime_checkable
class Rules(Protocol):
    """A task. `act` and `look` are told of any number of copies, in any state; `begin` starts n of them."""

    @property
    def obs_shape(self) -> tuple[int, ...]: ...
    @property
    def obs_dtype(self) -> str: ...
    @property
    def actions(self) -> int: ...
    @property
    def limit(self) -> int: ...
    def begin(self, n: int, rng: np.random.Generator) -> State: ...
    def act(self, state: State, actions: np.ndarray) -> tuple[State, np.ndarray, np.ndarray]: ...
    def look(self, state: State) -> np.ndarray: ...


class Batched:
    """A vector environment over a task's rules. All copies draw their episodes from one generator, in order."""

    def __init__(self, spec: TaskSpec, rules: Rules, n: int):
        self.spec, self.n, self._rules = spec, n, rules
        self._age = np.zeros(n, np.int64)

    def reset(self, rng: np.random.Generator) -> np.ndarray:
        """Begin anew everywhere, from a seed drawn from `rng`. Returns obs [n, *O]."""
        return self.begin(int(rng.integers(SEED_LIMIT)))

    def begin(self, seed: int) -> np.ndarray:
        """Begin anew everywhere."""
        self._rng = np.random.default_rng(seed)
        self._state, self._age = self._rules.begin(self.n, self._rng), np.zeros(self.n, np.int64)
        self._obs = self._rules.look(self._state)
        return self._obs

    def step(self, actions: np.ndarray) -> Step:
        """One action in each copy; IDLE leaves a copy as it is."""
        rows = np.flatnonzero(np.not_equal(actions, IDLE))
        reward, terminated, truncated = np.zeros(self.n, np.float32), np.zeros(self.n, bool), np.zeros(self.n, bool)
        after, reward[rows], terminated[rows] = self._rules.act(_of(self._state, rows), np.asarray(actions)[rows])
        self._put(rows, after)
        self._age[rows] += 1
        truncated[rows] = ~terminated[rows] & (self._age[rows] >= self._rules.limit)
        next_obs = obs = self._rules.look(self._state)
        over = np.flatnonzero(terminated | truncated)
        if len(over):
            self._put(over, self._rules.begin(len(over), self._rng))
            self._age[over] = 0
            obs = next_obs.copy()
            obs[over] = self._rules.look(_of(self._state, over))
        self._obs = obs
        return Step(obs, next_obs, reward, terminated, truncated)

    def _put(self, rows: np.ndarray, new: State) -> None:
        for key, values in new.items():
            self._state[key][rows] = values

    def view(self, name: str) -> np.ndarray:
        """The observation to act on; here only the task's own."""
        return self._obs

    def close(self) -> None:
        """Nothing to close."""


def _of(state: State, rows: np.ndarray) -> State:
    return {key: values[rows] for key, values in state.items()}


def within(task: str, name: str, value: int, least: int, most: int) -> None:
    """Raise UserError for a setting out of bounds."""
    if not least <= value <= most:
        raise UserError(f"{task}: {name} is {value}; needed: {least} to {most}")
