"""Atari by ale-py's native vector environment, under the protocol of Machado et al. (2018) that the paper uses.

The protocol is stated here and never inherited: ale-py's own defaults are no sticky actions, clipped rewards, up to
30 no-ops and a fire at reset.
"""

import functools
from typing import Any

import gymnasium as gym
import numpy as np

from reincarnate.envs.vector import SEED_LIMIT, GymVector
from reincarnate.errors import UserError
from reincarnate.types import Step, TaskSpec, VectorEnv

PROTOCOL = {
    "sticky_actions": 0.25,
    "frame_skip": 4,
    "max_pool": True,
    "screen": [84, 84],
    "grayscale": True,
    "stack": 4,
    "noop_max": 0,
    "fire_reset": False,
    "life_loss_terminal": False,
    "minimal_actions": True,
    "max_episode_frames": 108_000,
    "reward_clip": 1.0,  # what the student learns from; reported returns are not clipped
}
FULL_SCREEN = (210, 160)  # rows, columns; PAL games have 250 rows and are resized


@functools.cache
def ids() -> frozenset[str]:
    """Every `ALE/<Game>-v5`."""
    import ale_py

    gym.register_envs(ale_py)
    return frozenset(name for name in gym.registry if name.startswith("ALE/") and "-ram" not in name)


def _vector(env_id: str, n: int, **changes: Any) -> Any:
    from ale_py.vector_env import AtariVectorEnv

    settings: dict[str, Any] = {
        "repeat_action_probability": PROTOCOL["sticky_actions"],
        "frameskip": PROTOCOL["frame_skip"],
        "maxpool": PROTOCOL["max_pool"],
        "stack_num": PROTOCOL["stack"],
        "noop_max": PROTOCOL["noop_max"],
        "use_fire_reset": PROTOCOL["fire_reset"],
        "episodic_life": PROTOCOL["life_loss_terminal"],
        "full_action_space": not PROTOCOL["minimal_actions"],
        "max_num_frames_per_episode": PROTOCOL["max_episode_frames"],
        "reward_clipping": False,
        "autoreset_mode": "SameStep",
    }
    try:
        from ale_py import ALEInterface, LoggerMode

        ALEInterface.setLoggerMode(LoggerMode.Error)
        return AtariVectorEnv(gym.spec(env_id).kwargs["game"], n, **{**settings, **changes})
    except (AssertionError, RuntimeError, OSError) as error:
        raise UserError(f"{env_id}: ale-py cannot start it: {error}") from error


@functools.cache
def spec(env_id: str) -> TaskSpec:
    """The game's spec: uint8[4, 84, 84] observations, minimal actions."""
    env = _vector(env_id, 1)
    actions = int(env.single_action_space.n)
    env.close()
    shape = (PROTOCOL["stack"], *PROTOCOL["screen"])
    protocol = {"env": env_id, **PROTOCOL}
    return TaskSpec(env_id, shape, "uint8", actions, PROTOCOL["stack"], PROTOCOL["reward_clip"], protocol)


def make(env_id: str, n: int, view: str) -> VectorEnv:
    """`n` copies; with `view="rgb"` their full colour screens as well."""
    if view not in ("student", "rgb"):
        raise UserError(f"{env_id} offers the views 'student' and 'rgb', not {view!r}")
    own = GymVector(spec(env_id), _vector(env_id, n))
    if view == "student":
        return own
    rows, columns = FULL_SCREEN
    colour = _vector(env_id, n, grayscale=False, img_height=rows, img_width=columns, stack_num=1)
    return _Twins(own, GymVector(spec(env_id), colour))


class _Twins:
    """Two emulators in lockstep from one seed: the task's own view, and full colour for a teacher's eyes.

    Emulation is paid twice, and the student sees exactly the pixels it would see without such a teacher.
    """

    def __init__(self, own: GymVector, colour: GymVector):
        self.spec, self.n, self._own, self._colour = own.spec, own.n, own, colour

    def reset(self, rng: np.random.Generator) -> np.ndarray:
        seed = int(rng.integers(SEED_LIMIT - self.n))  # as GymVector draws it: the student's play is the same
        self._colour.begin(seed)
        return self._own.begin(seed)

    def step(self, actions: np.ndarray) -> Step:
        step, colour = self._own.step(actions), self._colour.step(actions)
        same = (step.reward == colour.reward) & (step.terminated == colour.terminated)
        assert same.all(), "the two emulators have parted ways"
        return step

    def view(self, name: str) -> np.ndarray:
        """ "rgb": uint8[n, 210, 160, 3], the newest frame; "student": the task's own observation."""
        return self._colour.view(name)[:, -1] if name == "rgb" else self._own.view(name)

    def picture(self) -> np.ndarray:
        """The first copy's screen, uint8 [210, 160, 3]."""
        return self.view("rgb")[0]

    def close(self) -> None:
        self._own.close()
        self._colour.close()
