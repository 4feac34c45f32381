"""Somebody's own tasks, with the habits of people's tasks: ten steps long, action 0 gives +1, all others −1."""

import sys

import gymnasium as gym
import numpy as np
from gymnasium import spaces

LENGTH = 10


class Plain(gym.Env):
    observation_space: spaces.Space = spaces.Box(-np.inf, np.inf, (3,), np.float32)
    action_space: spaces.Space = spaces.Discrete(2)

    def __init__(self, scale: float = 1.0, length: int = LENGTH):
        self.scale, self.length, self.t = scale, length, 0

    def look(self):
        return self.np_random.random(3).astype(np.float32)

    def info(self):
        return {}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self.look(), self.info()

    def reward(self, action):
        return (1.0 if np.all(np.equal(action, 0)) else -1.0) * self.scale

    def step(self, action):
        self.t += 1
        return self.look(), self.reward(action), self.t >= self.length, False, self.info()


class Three(Plain):
    """Of five numbers and three actions, to stand beside others."""

    observation_space: spaces.Space = spaces.Box(-np.inf, np.inf, (5,), np.float32)
    action_space: spaces.Space = spaces.Discrete(3)

    def look(self):
        return self.np_random.random(5).astype(np.float32)


class Drawless(Plain):
    """Takes a way to be drawn, and draws nothing."""

    def __init__(self, render_mode: str | None = None):
        super().__init__()
        self.render_mode = render_mode

    def render(self):
        return None


class Never(Plain):
    def __init__(self):
        super().__init__(length=10**9)


class Wall(Plain):
    """Ends only where action 1 is taken: random play ends it, a greedy policy may not."""

    def step(self, action):
        return self.look(), 0.0, bool(action == 1), False, {}


class ArrayReward(Plain):
    def reward(self, action):
        return np.array([super().reward(action)])


class TwoRewards(Plain):
    def reward(self, action):
        return np.zeros(2)


class WordReward(Plain):
    def reward(self, action):
        return "plenty"


class NanReward(Plain):
    def reward(self, action):
        return float("nan") if self.t == 3 else 1.0


class HugeReward(Plain):
    def reward(self, action):
        return np.inf if self.t == 4 else 1.0


class NanObs(Plain):
    def look(self):
        return np.array([0, np.nan if self.t == 5 else 0, 0], np.float32)


class InfiniteStart(Plain):
    def look(self):
        return np.array([np.inf, 0, 0], np.float32)


class Shrinks(Plain):
    def look(self):
        return np.zeros(3 if self.t == 0 else 1, np.float32)


class Words(Plain):
    def look(self):
        return "a room with two doors"


class Listed(Plain):
    def look(self):
        return [0.5, self.t, 2]


class Raises(Plain):
    def step(self, action):
        if self.t == 4:
            raise RuntimeError("the simulator lost its connection")
        return super().step(action)


class Exits(Plain):
    def step(self, action):
        if self.t == 2:
            sys.exit(0)
        return super().step(action)


class Unborn(Plain):
    def __init__(self):
        sys.exit("no licence")


class OldReset(Plain):
    def reset(self):  # pyright: ignore
        return self.look()


class OldStep(Plain):
    def step(self, action):
        return self.look(), 0.0, False, {}


class BareReset(Plain):
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.look()


class NoSeed(Plain):
    def reset(self, *, seed=None, options=None):
        if seed is not None:
            raise ValueError("this machine cannot be seeded")
        return super().reset(seed=seed)


class Single(Plain):
    alive = 0

    def __init__(self):
        super().__init__()
        if Single.alive:
            raise RuntimeError("address already in use")
        Single.alive = 1

    def close(self):
        Single.alive = 0


class Needs(Plain):
    def __init__(self, port):
        super().__init__()
        self.port = port


class Legal(Plain):
    """Even steps allow actions 0 and 1, odd ones 1 and 2; said in `info`."""

    action_space = spaces.Discrete(3)

    def legal(self):
        return np.array([1, 1, 0] if self.t % 2 == 0 else [0, 1, 1], np.int8)

    def info(self):
        return {"action_mask": self.legal()}


class LegalAtFirst(Legal):
    """Only as an episode begins is something not allowed, and only there is it said."""

    def info(self):
        return super().info() if self.t == 0 else {}


class LegalLater(Legal):
    """Nothing is said as an episode begins. What is not allowed afterwards must not be done."""

    def info(self):
        return super().info() if self.t else {}

    def step(self, action):
        assert self.t == 0 or self.legal()[action], "that was not allowed"
        return super().step(action)


class LegalByMethod(Legal):
    def info(self):
        return {}

    def action_masks(self):
        return self.legal().astype(bool)


class LegalInSight(Legal):
    observation_space = spaces.Dict(
        {"board": spaces.Box(0, 1, (3,), np.float32), "action_mask": spaces.Box(0, 1, (3,), np.int8)}
    )

    def info(self):
        return {}

    def look(self):
        return {"board": super().look(), "action_mask": self.legal()}


class TwoSights(Plain):
    """A student sees one, its teacher perhaps the other."""

    observation_space = spaces.Dict(
        {name: spaces.Box(0, 1, (size,), np.float32) for name, size in (("mine", 3), ("its", 1))}
    )

    def look(self):
        seen = super().look()
        return {"mine": seen, "its": seen[:1]}


class LegalChoices(Plain):
    action_space = spaces.MultiDiscrete([2, 3])

    def info(self):
        return {"action_mask": np.array([1, 0, 1, 0, 1])}


class NothingLegal(Legal):
    def legal(self):
        return np.zeros(3) if self.t == 2 else np.ones(3)


class Rooms(Plain):
    """As MiniGrid shows itself: a picture, a direction, a mission in words."""

    observation_space = spaces.Dict(
        {
            "direction": spaces.Discrete(4),
            "image": spaces.Box(0, 255, (2, 2, 3), np.uint8),
            "mission": spaces.Text(50),
        }
    )

    def look(self):
        picture = np.arange(12, dtype=np.uint8).reshape(2, 2, 3) + self.t
        return {"image": picture.astype(np.uint8), "direction": self.t % 4, "mission": "find the key"}


class Nested(Plain):
    observation_space = spaces.Tuple(
        [spaces.MultiBinary(2), spaces.Dict({"a": spaces.MultiDiscrete([2, 3]), "b": spaces.Box(-1, 1, (2, 2))})]
    )

    def look(self):
        return np.array([1, 0]), {"a": np.array([1, 2]), "b": np.array([[0.1, 0.2], [0.3, 0.4]])}


class Screen(Plain):
    observation_space = spaces.Box(0, 255, (96, 96, 3), np.uint8)

    def look(self):
        return np.full((96, 96, 3), self.t, np.uint8)


class Pictures(Plain):
    """Of any shape and type."""

    def __init__(self, shape=(4, 84, 84), dtype="uint8"):
        super().__init__()
        self.observation_space = spaces.Box(0, 255 if dtype == "uint8" else 1, tuple(shape), np.dtype(dtype))

    def look(self):
        return np.full(self.observation_space.shape, self.t, self.observation_space.dtype)


class Doom(Plain):
    """As ViZDoom shows itself: a screen in colour, and numbers of the game beside it; buttons pressed together."""

    observation_space = spaces.Dict(
        {"gamevariables": spaces.Box(-99, 99, (2,), np.float32), "screen": spaces.Box(0, 255, (60, 80, 3), np.uint8)}
    )
    action_space = spaces.MultiBinary(3)

    def look(self):
        screen = self.np_random.integers(0, 256, (60, 80, 3), dtype=np.uint8)
        return {"screen": screen, "gamevariables": np.array([100, self.t], np.float32)}


class Joint(Plain):
    action_space = spaces.MultiDiscrete([2, 3])
    asked: list = []  # noqa: RUF012

    def step(self, action):
        Joint.asked.append(np.asarray(action).tolist())
        return super().step(action)


class Whole(Joint):
    """Whole numbers said as a Box."""

    action_space = spaces.Box(np.array([0, -1]), np.array([1, 1]), dtype=np.int32)


class FromOne(Plain):
    action_space = spaces.Discrete(2, start=1)

    def reward(self, action):
        return float(action)


class Many(Plain):
    action_space = spaces.MultiDiscrete([50, 50, 50])


class Graphs(Plain):
    observation_space = spaces.Graph(spaces.Box(-1, 1, (2,)), None)


class Doubled(gym.RewardWrapper):
    def reward(self, reward):
        return 2 * float(reward)


gym.register("OwnPlain-v0", entry_point=Plain, max_episode_steps=50)
gym.register("OwnNever-v0", entry_point=Never)
