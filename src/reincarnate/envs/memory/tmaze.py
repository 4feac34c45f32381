"""T-Maze: a sign at the start of a corridor says which way to turn at its end (after Bakker, 2001)."""

from dataclasses import dataclass

import numpy as np

from reincarnate.envs.memory.batch import State, within

NORTH, EAST, SOUTH, WEST = range(4)
SIGNS = np.array([[0, 1, 1], [1, 1, 0]], np.float32)  # go north, go south
CORRIDOR, JUNCTION = np.array([1, 0, 1], np.float32), np.array([0, 1, 0], np.float32)
RIGHT, WRONG, BUMP = 4.0, -0.1, -0.1


@dataclass(frozen=True)
class TMaze:
    """Cells 0 … length; the sign is seen in cell 0 of a new episode alone, the junction is cell `length`.

    Actions: north, east, south, west. Turning the right way at the junction +4, the other way −0.1, both the end;
    a step against a wall −0.1. Best: east `length` times, then the turn: return 4. Without memory: 1.95 at best.
    Observations, float32 [3]: 011 or 110 the sign, 101 the corridor, 010 the junction. Differs from Bakker (2001):
    the time limit, and that a sign once left is not shown again.

    Attributes:
        length: steps from the sign to the junction.
    """

    length: int = 10
    obs_shape = (3,)
    obs_dtype = "float32"
    actions = 4

    def __post_init__(self):
        within("Memory/TMaze-v0", "length", self.length, 1, 10_000)

    @property
    def limit(self) -> int:
        return 10 * self.length + 20

    def begin(self, n: int, rng: np.random.Generator) -> State:
        return {"cell": np.zeros(n, np.int64), "south": rng.integers(2, size=n), "fresh": np.ones(n, bool)}

    def act(self, state: State, actions: np.ndarray) -> tuple[State, np.ndarray, np.ndarray]:
        turns = (actions == NORTH) | (actions == SOUTH)
        over = turns & (state["cell"] == self.length)
        right = over & ((actions == SOUTH) == state["south"].astype(bool))
        cell = np.clip(state["cell"] + (actions == EAST) - (actions == WEST), 0, self.length)
        bumped = (cell == state["cell"]) & ~over
        reward = np.where(right, RIGHT, np.where(over, WRONG, np.where(bumped, BUMP, 0.0)))
        fresh = state["fresh"] & (cell == 0)
        return {**state, "cell": cell, "fresh": fresh}, reward, over

    def look(self, state: State) -> np.ndarray:
        obs = np.where(state["cell"][:, None] == self.length, JUNCTION, CORRIDOR)
        return np.where(state["fresh"][:, None], SIGNS[state["south"]], obs)
