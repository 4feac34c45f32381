"""n copies of one MinAtar game at once: sticky actions, the time limit, restarts, copies left alone."""

from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from reincarnate.envs.minatar.streams import Decoder, Streams
from reincarnate.envs.vector import IDLE, Copies
from reincarnate.types import Step, TaskSpec

NEGATIVE = b"\xff"  # a byte of IDLE, and of no action


@runtime_checkable
class Game(Protocol):
    """The rules of one game as structure of arrays; actions are indices into the game's minimal action set."""

    fields: ClassVar[tuple[str, ...]]
    """The names of its arrays with one entry a copy; what else it holds it hands over in `others`."""

    decoders: ClassVar[tuple[Decoder, ...]]
    """What it draws, decoded ahead; `streams` gives them in this order."""

    def begin(self, rows: np.ndarray, streams: Streams) -> np.ndarray:
        """A new episode in some copies. Returns what they see first, bool [len(rows), 10, 10, C], or 1 for all."""
        ...

    def act(self, actions: np.ndarray, age: np.ndarray, streams: Streams) -> tuple[np.ndarray, np.ndarray]:
        """One step in all copies, `age` steps into their episodes. Returns rewards and who terminates, bool [n]."""
        ...

    def observe(self) -> np.ndarray:
        """What all copies see, a new bool array [n, 10, 10, C]."""
        ...

    def others(self, idle: np.ndarray) -> Any:
        """What belongs to the idle copies (bool [n]) beside `fields`."""
        ...

    def put_back(self, idle: np.ndarray, others: Any) -> None:
        """Undo a step: replace what belongs to the idle copies by what `others` returned."""
        ...


class Games(Copies):
    """n copies of a game that step together, to the bit as n environments of the `minatar` package would.

    Each copy has its own random stream, seeded as theirs, and draws from it what theirs draw, in the same order.
    With few copies the time of a step is the number of NumPy calls, about a microsecond each; a Python number among
    arrays costs half a call more. Hence what looks unusual here: constants of n entries, checks made on bytes, limits
    looked for only when one may be reached.
    """

    def __init__(self, spec: TaskSpec, game: Game, n: int, sticky: float, max_steps: int):
        self.spec, self.n, self._game = spec, n, game
        self._streams = Streams(n, (*game.decoders, lambda _, doubles: doubles >= sticky))
        self._sticky = len(game.decoders)
        self._all, self._one, self._limit = np.arange(n), np.ones(n, np.intp), max_steps
        self._until_limit = 0  # steps in which no copy reaches it
        self._last, self._ages = np.zeros(n, np.intp), np.zeros(n, np.intp)
        self._obs = np.zeros((n, *spec.obs_shape), bool)

    def begin(self, seeds: np.ndarray) -> np.ndarray:
        """Begin anew everywhere, each copy from its seed. Seeding also forgets the last action."""
        self._streams.seed(seeds)
        self._last[:] = self._ages[:] = self._until_limit = 0
        self._game.begin(self._all, self._streams)
        self._obs = self._game.observe()
        return self._obs

    def step(self, actions: np.ndarray) -> Step:
        """One action in each copy; IDLE leaves a copy as it is, its random stream too."""
        self._streams.top_up()
        actions = np.asarray(actions, np.intp)
        some_idle = NEGATIVE in actions.tobytes()
        reward, terminated = self._act_but(actions == IDLE, actions) if some_idle else self._act(actions)
        truncated, over = np.zeros(self.n, bool), terminated
        self._until_limit -= 1
        if self._until_limit < 0:
            truncated = (self._ages == self._limit) & ~terminated
            over = terminated | truncated
            self._until_limit = self._limit - 1 - int(np.where(over, 0, self._ages).max())
        self._obs = next_obs = self._game.observe()
        rows = over.nonzero()[0]
        if rows.size:
            self._ages[rows] = 0
            self._obs = next_obs.copy()
            self._obs[rows] = self._game.begin(rows, self._streams)
        return Step(self._obs, next_obs, reward.astype(np.float32), terminated, truncated)

    def close(self) -> None:
        """Nothing is held open."""

    def _act(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        np.putmask(self._last, self._streams.decoded(self._sticky), actions)
        result = self._game.act(self._last, self._ages, self._streams)
        self._ages += self._one
        return result

    def _act_but(self, idle: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """All copies step together, and the idle ones are put back to where they were."""
        game, streams = self._game, self._streams
        fields = {name: getattr(game, name)[idle] for name in game.fields}
        others, own = game.others(idle), (self._last[idle], self._ages[idle], streams.at[idle])
        reward, terminated = self._act(np.where(idle, 0, actions))
        for name, before in fields.items():
            getattr(game, name)[idle] = before
        game.put_back(idle, others)
        self._last[idle], self._ages[idle], streams.at[idle] = own
        return np.where(idle, 0, reward), terminated & ~idle
