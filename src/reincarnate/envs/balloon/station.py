"""The task: keep a balloon within 50 km of a station for two days by choosing its altitude, and so its wind."""

import difflib
from dataclasses import dataclass
from urllib.parse import parse_qsl

import numpy as np

from reincarnate.envs.balloon import start, wind
from reincarnate.envs.balloon.compressor import TABLES
from reincarnate.envs.balloon.constants import DOWN, EPISODE, STATION_RADIUS, STAY
from reincarnate.envs.balloon.dynamics import OK
from reincarnate.envs.balloon.features import OBSERVATION
from reincarnate.envs.balloon.simulator import Simulator
from reincarnate.envs.vector import IDLE, SEED_LIMIT
from reincarnate.errors import UserError
from reincarnate.types import Step, TaskSpec

ID = "Balloon/Station-v0"
ACTIONS = 3  # down, stay, up
WINDS = ("decoder", "simplex")
OUTSIDE, HALF_DISTANCE = 0.4, 100.0  # reward just outside the radius; km in which it halves
DESCENT, DEARER = 0.95, 0.3  # what a descent leaves of the reward, and what 200 W more of it take


@dataclass(frozen=True)
class Variant:
    """What may follow the id as a query, `Balloon/Station-v0?wind=simplex&compressor=meant&seeds=0-99`.

    wind: "decoder" for forecasts of the published decoder, "simplex" for a calm forecast and the noise alone.
    compressor: the table of efficiencies as everything published flew with it ("flown"), or as it was "meant".
    seeds: official seeds FIRST-LAST, flown in turn; without them weather is drawn from the generator given.
    """

    wind: str = "decoder"
    compressor: str = "flown"
    seeds: tuple[int, int] | None = None


def variant(env_id: str) -> Variant:
    """The variant that an id asks for. UserError: unknown keys or values, seeds without official weather."""
    asked = dict(parse_qsl(env_id.partition("?")[2], keep_blank_values=True))
    choices = {"wind": WINDS, "compressor": tuple(TABLES)}
    for key, value in asked.items():
        if key not in (*choices, "seeds"):
            near = difflib.get_close_matches(key, (*choices, "seeds"), n=1, cutoff=0.4)
            hint = f"did you mean {near[0]}? " if near else ""
            raise UserError(f"{env_id}: unknown setting {key!r}; {hint}there are wind, compressor and seeds")
        if key in choices and value not in choices[key]:
            raise UserError(f"{env_id}: {key} is one of {', '.join(choices[key])}, not {value!r}")
    seeds = _seeds(env_id, asked.pop("seeds")) if "seeds" in asked else None
    return Variant(**asked, seeds=seeds)


def _seeds(env_id: str, text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    if not first.isdecimal() or (dash and not last.isdecimal()):
        raise UserError(f"{env_id}: seeds are one number or FIRST-LAST, such as 0-99, not {text!r}")
    low, high = int(first), int(last) if dash else int(first)
    if low > high:
        raise UserError(f"{env_id}: seeds are FIRST-LAST with the smaller one first, not {text!r}")
    start.official(np.array([low, high]))
    return low, high


def spec(env_id: str) -> TaskSpec:
    """The task's spec: float32[1099], down, stay, up; `score` names what it is measured by beside the return."""
    asked = variant(env_id)
    protocol = {
        "env": ID,
        "wind": asked.wind,
        "compressor": asked.compressor,
        "seeds": None if asked.seeds is None else list(asked.seeds),
        "max_episode_steps": EPISODE,
        "reward_clip": None,
        "score": "twr50",
    }
    return TaskSpec(env_id, (OBSERVATION,), "float32", ACTIONS, 1, None, protocol, codec="balloon")


def reward(x: np.ndarray, y: np.ndarray, commanded: np.ndarray, power: np.ndarray, excess: np.ndarray) -> np.ndarray:
    """The published reward [n] of the state after a step; places in metres, the compressor's power in W.

    One within 50 km of the station, outside 0.4 and half of that every 100 km. A commanded descent without energy to
    spare leaves 65 to 95 % of it.
    """
    distance = np.hypot(x, y)
    beyond = np.maximum(distance - STATION_RADIUS, 0) / 1000
    near = np.where(distance <= STATION_RADIUS, 1.0, OUTSIDE * np.exp(-0.69314718056 / HALF_DISTANCE * beyond))
    kept = DESCENT - DEARER * np.clip((power - 100) / 200, 0, 1)
    return near * np.where((commanded == DOWN) & ~excess, kept, 1.0)


class Stations:
    """n copies of the task, each with a balloon of its own; each starts anew the moment its flight ends.

    After each step `score` [n] holds that step's share of TWR50, the time within 50 km: its sum over the 960 steps
    of a flight is the flight's TWR50. (The original divides by the steps flown, which differs for lost balloons.)
    """

    def __init__(self, env_id: str, n: int):
        self.spec, self.n, self._variant = spec(env_id), n, variant(env_id)
        self.seeded_apart = self._variant.seeds is None
        layers = wind.decoder() if self._variant.wind == "decoder" else None
        self.simulator = Simulator(n, layers, self._variant.compressor)
        self.score = np.zeros(n, np.float32)
        self._obs = np.zeros((n, OBSERVATION), np.float32)
        self._rngs: list[np.random.Generator] = []
        self._seeds = np.zeros(n, np.int64)

    def reset(self, rng: np.random.Generator) -> np.ndarray:
        """Begin anew everywhere, from seeds drawn from `rng` or the first official ones. Returns obs [n, 1099]."""
        if self._variant.seeds is None:
            return self.begin(rng.integers(SEED_LIMIT, size=self.n))
        return self.begin(self._wrapped(self._variant.seeds[0] + np.arange(self.n)))

    def begin(self, seeds: np.ndarray) -> np.ndarray:
        """Begin anew everywhere, each copy from its seed [n]; where the task has official seeds they are those."""
        self._seeds = np.asarray(seeds)
        if self._variant.seeds is None:
            self._rngs = [np.random.default_rng(seed) for seed in self._seeds.tolist()]
        self._obs = self._launch(np.arange(self.n))
        return self._obs

    def _wrapped(self, seeds: np.ndarray) -> np.ndarray:
        assert self._variant.seeds is not None
        low, high = self._variant.seeds
        return low + (seeds - low) % (high - low + 1)

    def _launch(self, rows: np.ndarray) -> np.ndarray:
        """First observations [m, 1099] of new flights; a copy's next official seed is n further on."""
        if self._variant.seeds is None:
            flights = start.join([start.draw(self._rngs[row]) for row in rows])
        else:
            flights = start.official(self._seeds[rows])
            self._seeds[rows] = self._wrapped(self._seeds[rows] + self.n)
        self.simulator.launch(rows, flights)
        return self.simulator.observe(rows).obs

    def step(self, actions: np.ndarray) -> Step:
        """One action in each copy: 0 down, 1 stay, 2 up, for three minutes; IDLE leaves a copy as it is."""
        actions = np.asarray(actions)
        busy = actions != IDLE
        rows = np.flatnonzero(busy)
        self.simulator.fly(np.where(busy, actions, STAY), busy)
        seen = self.simulator.observe(rows)
        next_obs = self._obs.copy()
        next_obs[rows] = seen.obs
        state = self.simulator.state
        earned, self.score = np.zeros(self.n, np.float32), np.zeros(self.n, np.float32)
        x, y = state.x[rows], state.y[rows]
        earned[rows] = reward(x, y, actions[rows], state.power[rows], seen.excess)
        self.score[rows] = (np.hypot(x, y) <= STATION_RADIUS) / EPISODE
        terminated = busy & (state.status != OK)
        truncated = busy & ~terminated & (self.simulator.age >= EPISODE)
        done = np.flatnonzero(terminated | truncated)
        obs = next_obs
        if len(done):
            obs = next_obs.copy()
            obs[done] = self._launch(done)
        self._obs = obs
        return Step(obs, next_obs, earned, terminated, truncated)

    def view(self, name: str) -> np.ndarray:
        """The observation to act on; there is only the task's own."""
        return self._obs

    def close(self) -> None:
        """Nothing to close."""
