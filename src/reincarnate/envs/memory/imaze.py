"""I-Maze: a tile in the foot of an I-shaped corridor says which goal in its head is the right one.

After the mazes of Oh et al. (2016) and the 7 × 7 one of the Yender tutorial, which gives rewards, actions and limit.
"""

from dataclasses import dataclass

import numpy as np

from reincarnate.envs.memory.batch import State, within

FORWARD, BACK, LEFT, RIGHT = range(4)
WALL, YELLOW, GREEN, RED, BLUE = range(5)
HEADINGS = np.array([[0, 1], [1, 0], [0, -1], [-1, 0]])  # north (to the head), east, south, west: x, y
WINDOW = np.array([[x, y] for y in (1, 0, -1) for x in (-1, 0, 1)])  # to the right of, and before, whoever looks
GOAL, MISTAKE, STEP = 1.0, -1.0, -0.04
WAIT = 20  # steps allowed beside ten for each cell of the corridor


@dataclass(frozen=True)
class IMaze:
    """Foot (−1 … 1, 0), corridor (0, 1 … length), head (−1 … 1, length + 1); the start is (0, 0), the heading random.

    The indicator (yellow or green) lies in one end of the foot, the red and the blue goal in the ends of the head,
    sides at random. Yellow means red, green means blue: the right goal +1, the wrong one −1, both the end; every step
    −0.04.
    Actions: forward, back, turn left, turn right. Observations, bool [3, 3, 5]: the window round the agent, the way it
    faces up; planes wall, yellow, green, red, blue. Best: at most 2 turns to face north, length + 1 steps, a turn
    and a step: at most length + 5 steps. Differs from the tutorial's maze: ends one cell from the middle instead of
    two, so that a window of 3 × 3 shows them from there, and a limit that grows with the corridor (50 at length 3).

    Attributes:
        length: cells of the corridor between foot and head.
    """

    length: int = 3
    obs_shape = (3, 3, 5)
    obs_dtype = "bool"
    actions = 4

    def __post_init__(self):
        within("Memory/IMaze-v0", "length", self.length, 1, 10_000)

    @property
    def limit(self) -> int:
        return 10 * self.length + WAIT

    def begin(self, n: int, rng: np.random.Generator) -> State:
        return {
            "place": np.zeros((n, 2), np.int64),
            "heading": rng.integers(4, size=n),
            "green": rng.integers(2, size=n),
            "side": 2 * rng.integers(2, size=n) - 1,  # of the indicator, x
            "red": 2 * rng.integers(2, size=n) - 1,  # side of the red goal, x; the blue one's is the other
        }

    def act(self, state: State, actions: np.ndarray) -> tuple[State, np.ndarray, np.ndarray]:
        heading = (state["heading"] + (actions == RIGHT) - (actions == LEFT)) % 4
        pace = (actions == FORWARD).astype(np.int64) - (actions == BACK)
        place = state["place"] + pace[:, None] * HEADINGS[heading]
        place = np.where(self._free(place)[:, None], place, state["place"])
        over = (place[:, 1] == self.length + 1) & (place[:, 0] != 0)
        right = place[:, 0] == np.where(state["green"], -state["red"], state["red"])
        reward = STEP + np.where(over, np.where(right, GOAL, MISTAKE), 0.0)
        return {**state, "place": place, "heading": heading}, reward, over

    def look(self, state: State) -> np.ndarray:
        ahead = HEADINGS[state["heading"]]  # [n, 2]
        aside = np.stack([ahead[:, 1], -ahead[:, 0]], 1)
        cells = state["place"][:, None] + WINDOW[:, :1] * aside[:, None] + WINDOW[:, 1:] * ahead[:, None]  # [n, 9, 2]
        x, y = cells[..., 0], cells[..., 1]
        obs = np.zeros((len(x), 9, 5), bool)
        obs[..., WALL] = ~self._free(cells)
        tile = (y == 0) & (x == state["side"][:, None])
        obs[..., YELLOW], obs[..., GREEN] = tile & (state["green"] == 0)[:, None], tile & (state["green"] == 1)[:, None]
        head = y == self.length + 1
        obs[..., RED], obs[..., BLUE] = head & (x == state["red"][:, None]), head & (x == -state["red"][:, None])
        return obs.reshape(-1, 3, 3, 5)

    def _free(self, cells: np.ndarray) -> np.ndarray:
        """Whether cells [*B, 2] are floor."""
        x, y = cells[..., 0], cells[..., 1]
        ends = (np.abs(x) <= 1) & ((y == 0) | (y == self.length + 1))
        return ends | ((x == 0) & (y >= 0) & (y <= self.length + 1))
