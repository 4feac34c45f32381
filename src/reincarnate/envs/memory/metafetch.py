"""Meta-Fetch: objects to be fetched in an order that each episode hides anew.

After the task of Parisotto & Salakhutdinov (2021), whose environment was not released; the rules are those of Numpad in
Parisotto et al. (2019).
"""

from dataclasses import dataclass

import numpy as np

from reincarnate.envs.memory.batch import State, within

MOVES = np.array([[-1, 0], [0, 1], [1, 0], [0, -1]])  # up, right, down, left: row, column
AGENT, OBJECT, FETCHED = range(3)
LIMIT = 100


@dataclass(frozen=True)
class MetaFetch:
    """`objects` on a grid of `size` × `size`, places and order drawn for each episode; the agent starts elsewhere.

    Stepping on the next object of the order +1, and it counts as fetched; on another that is not fetched yet 0, and
    none is fetched any more; on a fetched one nothing. With the last one fetched, all are to be fetched again, in the
    same order. The episode is 100 steps. Actions: up, right, down, left; against the edge nothing moves. Observations,
    bool [size, size, 3]: planes agent, objects, fetched objects. Best, with the order known: the shortest way
    through the objects in order, again and again; the return says how well the order was found out and kept.
    Differs from the paper, as far as that tells: sizes, limit, the plane of fetched objects.

    Attributes:
        size: rows and columns.
        objects: how many.
    """

    size: int = 5
    objects: int = 3
    obs_dtype = "bool"
    actions = 4

    def __post_init__(self):
        within("Memory/MetaFetch-v0", "size", self.size, 3, 100)
        within("Memory/MetaFetch-v0", "objects", self.objects, 2, min(10, self.size**2 - 1))

    @property
    def obs_shape(self) -> tuple[int, ...]:
        return (self.size, self.size, 3)

    @property
    def limit(self) -> int:
        return LIMIT

    def begin(self, n: int, rng: np.random.Generator) -> State:
        cells = np.argsort(rng.random((n, self.size**2)), 1)[:, : self.objects + 1]  # all different
        places = np.stack(np.divmod(cells, self.size), -1)  # [n, 1 + objects, 2]; objects stand in their order
        return {"place": places[:, 0], "objects": places[:, 1:], "fetched": np.zeros(n, np.int64)}

    def act(self, state: State, actions: np.ndarray) -> tuple[State, np.ndarray, np.ndarray]:
        place = np.clip(state["place"] + MOVES[actions], 0, self.size - 1)
        moved = (place != state["place"]).any(1)
        on = (place[:, None] == state["objects"]).all(2) & moved[:, None]  # [n, objects]
        order = np.arange(self.objects)
        right = (on & (order == state["fetched"][:, None])).any(1)
        wrong = (on & (order > state["fetched"][:, None])).any(1)
        fetched = np.where(wrong, 0, state["fetched"] + right) % self.objects
        return {**state, "place": place, "fetched": fetched}, right.astype(np.float32), np.zeros(len(place), bool)

    def look(self, state: State) -> np.ndarray:
        n, order = len(state["place"]), np.arange(self.objects)
        obs = np.zeros((n, self.size, self.size, 3), bool)
        obs[np.arange(n), state["place"][:, 0], state["place"][:, 1], AGENT] = True
        rows, columns = state["objects"][..., 0], state["objects"][..., 1]
        copies = np.arange(n)[:, None]
        obs[copies, rows, columns, OBJECT] = True
        obs[copies, rows, columns, FETCHED] = order < state["fetched"][:, None]
        return obs
