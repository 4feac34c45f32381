"""Any Gymnasium task, registered or made by a callable: CartPole, LunarLander, Pendulum, and everybody's own."""

import importlib.util
import re
import warnings
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec

from reincarnate.envs import cartpole
from reincarnate.envs.frames import Framing, framing
from reincarnate.envs.spaces import MASK, Acting, Seeing, acting, flattened, joint_mask, seeing
from reincarnate.envs.task import BULLET, TaskSettings, callable_of, settings_of, wrapper_of
from reincarnate.envs.vector import Copies
from reincarnate.errors import FAILURES, UserError, reason_of
from reincarnate.plugins import imported
from reincarnate.types import TaskSpec, VectorEnv

TAKES_SETTINGS = True
LONGEST = 10_000  # env steps of an episode where nobody names a limit: a policy that walks into a wall must end too
NO_PICTURES = ".*render_mode=.* that is not in the possible render_modes"
PROBE = 1_000  # random steps in which an episode of a task without a limit must end once


class Faces(NamedTuple):
    """What a task shows and takes."""

    seeing: Seeing
    acting: Acting
    framing: Framing


def ids() -> frozenset[str]:
    """Every id Gymnasium has registered by now."""
    return frozenset(gym.registry)


def registered(task: TaskSettings) -> EnvSpec | None:
    """How a task is registered, as it is now; a callable's own registration where that is what its id names."""
    imported(task.modules)
    if task.of_bullet and task.name not in gym.registry and importlib.util.find_spec(BULLET):
        imported([BULLET])
    found = gym.registry.get(task.name) if task.module != "local" else None
    made_by = callable_of(task) if found is None and task.module else None
    return EnvSpec(re.sub(r"[^\w.-]+", "-", task.id), entry_point=made_by) if made_by else found


def spec(env: str | TaskSettings) -> TaskSpec:
    """The task's spec. Raises UserError where it cannot be made, its spaces do not suit, or it would never end."""
    task = settings_of(env)
    registration = _registration(task)
    made, limit = _bare(task, registration)
    try:
        faces = _faces(made, task)
        if limit is None and not _ends(made, task, faces):
            raise UserError(
                f"{task.id} has no time limit, and an episode of random actions did not end in {PROBE:,} env steps: "
                f"name a limit by --max-episode-steps N"
            )
    finally:
        _close(made)
    return _described(task, limit, faces)


def make(env: str | TaskSettings, n: int, view: str) -> VectorEnv:
    """`n` copies. `view`: "student", or a key of the observation where it has several, or "raw" where it is encoded."""
    task = settings_of(env)
    registration = _registration(task)
    first, limit = _bare(task, registration)
    faces = _faces(first, task)
    if view != "student" and view not in faces.seeing.look:
        _close(first)
        offered = f"; it offers {', '.join(faces.seeing.look)}" if faces.seeing.look else ""
        raise UserError(f"{task.id} offers no view {view!r} for a teacher{offered}; only ALE/* tasks offer 'rgb'")
    described = _described(task, limit, faces)
    if cartpole.fits(registration, n, not (task.kwargs or task.wrappers or faces.framing.fresh or faces.seeing.parts)):
        _close(first)
        return cartpole.CartPoles(described, n, described.protocol["max_episode_steps"])
    ready = [first]

    def one() -> _Gym:
        return _Gym(task, registration, faces, ready.pop() if ready else _bare(task, registration)[0])

    return Copies(described, one, n, described.protocol["max_episode_steps"])


def remarks(env: str | TaskSettings) -> list[str]:
    """What a person should know of the task before anything starts."""
    task = settings_of(env)
    registration = _registration(task)
    made, limit = _bare(task, registration)
    try:
        see, first = _faces(made, task).seeing, _first(made)
    finally:
        _close(made)
    said = [f"{task.id}: {key or 'the observation'} is text and is left out" for key in see.left_out]
    said += [f"{task.id}: {told}" for told in filter(None, map(flattened, see.parts))]
    if numbers := _numbering(first):
        said.append(f"{task.id}: {numbers}")
    if limit is None:
        said.append(
            f"{task.id} has no time limit: episodes are cut after {LONGEST:,} env steps; --max-episode-steps changes it"
        )
    return said


def numbering(env: str | TaskSettings) -> str:
    """What to say of actions where a task's own do not begin at 0, as ours do; "" of all others."""
    task = settings_of(env)
    made, _ = _bare(task, _registration(task))
    try:
        return _numbering(_first(made))
    finally:
        _close(made)


def _numbering(first: int) -> str:
    return f"actions are numbered from 0 here, the task's own begin at {first}" if first else ""


def _first(made: Any) -> int:
    return int(made.action_space.start) if isinstance(made.action_space, gym.spaces.Discrete) else 0


def _registration(task: TaskSettings) -> EnvSpec:
    found = registered(task)
    if found is None:
        raise UserError(f"unknown environment {task.id!r}")
    return found


def _faces(env: Any, task: TaskSettings) -> Faces:
    see = seeing(env.observation_space, task.id, task.sees)
    frames = framing(see.shape, see.dtype, task.frame_stack, task.greyscale, task.id)
    return Faces(see, acting(env.action_space, task.id), frames)


def _described(task: TaskSettings, limit: int | None, faces: Faces) -> TaskSpec:
    """The spec. What is not as with a plain task of one vector and one action stands in the protocol."""
    see, act, frames = faces
    protocol: dict[str, Any] = {"env": task.address, "max_episode_steps": limit or LONGEST}
    protocol["reward_clip"] = None
    if frames.fresh:
        protocol |= {"frame_stack": task.frame_stack, "greyscale": task.greyscale}
    if see.parts:
        protocol["observation"] = [[part.key, part.size, list(part.shape), part.dtype] for part in see.parts]
    if act.joint:
        protocol["joint_actions"] = list(act.joint)
    return TaskSpec(task.address, frames.shape, see.dtype, act.actions, frames.stack, None, protocol, act.bounds)


# ---- one environment ---------------------------------------------------------------------------------


def _bare(task: TaskSettings, registration: EnvSpec) -> tuple[Any, int | None]:
    """An environment in its wrappers, without TimeLimit and order checks, which cost more than CartPole itself; and
    its limit: what the task's settings say, or its registration, or the code that makes it."""
    try:
        env, limit = _made(registration, task.kwargs), task.max_episode_steps or registration.max_episode_steps
        env, limit = (_unlimited(env), limit) if limit else (_without_outer(env), _own_limit(env))
        for name in task.wrappers:
            env = _wrapped(env, name)
        _ = env.observation_space, env.action_space  # a task without them says so here
    except UserError:
        raise
    except (gym.error.DependencyNotInstalled, ImportError) as error:
        hint = '; pip install "reincarnate[mujoco]"' if "mujoco" in str(error).lower() else ""
        said = " ".join(str(error).split())
        raise UserError(f"{task.id} needs a package that is not installed: {said}{hint}") from error
    except FAILURES as error:
        said = f"{task.id} cannot be made: {reason_of(error)}"
        words = str(error)
        hint = "; --env-kwargs.NAME VALUE gives it an argument" if "missing" in words and "argument" in words else ""
        raise UserError(said + hint) from error
    return env, limit


def _made(registration: EnvSpec, kwargs: dict[str, Any]) -> Any:
    """What Gymnasium makes. Of a task that is to be drawn and cannot, `envs.watching` says so in a line of its own."""
    if "render_mode" not in kwargs:
        return gym.make(registration, disable_env_checker=True, **kwargs)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=NO_PICTURES)
        return gym.make(registration, disable_env_checker=True, **kwargs)


def _unlimited(env: Any) -> Any:
    """The same without TimeLimit and order checks, wherever among its registration's wrappers they are."""
    env = _without_outer(env)
    if isinstance(env, gym.Wrapper):
        env.env = _unlimited(env.env)
    return env


def _without_outer(env: Any) -> Any:
    """The same without those that nothing else is around: one that skips frames counts other steps than what it has."""
    while isinstance(env, gym.wrappers.TimeLimit | gym.wrappers.OrderEnforcing):
        env = env.env
    return env


def _own_limit(env: Any) -> int | None:
    """The smallest limit of those that the code which makes an environment has put around it."""
    limits = []
    while isinstance(env, gym.Wrapper):
        if isinstance(env, gym.wrappers.TimeLimit):
            limits.append(env._max_episode_steps)  # its only word of it
        env = env.env
    return min(limits, default=None)


def _wrapped(env: Any, name: str) -> Any:
    """The environment in one more wrapper. UserError: that cannot be put around it."""
    try:
        wrapped = wrapper_of(name)(env)
        _ = wrapped.observation_space, wrapped.action_space
    except UserError:
        raise
    except FAILURES as error:
        raise UserError(f"--wrapper {name} cannot be put around it: {reason_of(error)}") from error
    return wrapped


def _close(env: Any) -> None:
    try:
        env.close()
    except Exception:  # whatever it cannot let go of: nobody asks it anything any more
        return


def _ends(env: Any, task: TaskSettings, faces: Faces) -> bool:
    """Whether an episode of random actions ends."""
    rng, act = np.random.default_rng(0), faces.acting
    one = _Gym(task, None, faces, env)
    copies = Copies(_blank(task, faces), lambda: one, 1, None)
    copies.begin(np.array([0]))
    for _ in range(PROBE):
        if act.bounds is None:
            legal = np.flatnonzero(copies.mask[0]) if copies.mask is not None else np.arange(act.actions)
            action = rng.choice(legal, 1)
        else:
            low, high = (np.asarray(bound) for bound in act.bounds)
            action = rng.uniform(low, high, (1, act.actions)).astype(np.float32)
        step = copies.step(action)
        if step.terminated[0] or step.truncated[0]:
            return True
    return False


def _blank(task: TaskSettings, faces: Faces) -> TaskSpec:
    return TaskSpec(
        task.address, faces.framing.shape, faces.seeing.dtype, faces.acting.actions, 1, None, {}, faces.acting.bounds
    )


class _Gym:
    """A Gymnasium environment as `Copies` wants it. `mask`: which actions are legal now, where the task says so."""

    def __init__(self, task: TaskSettings, registration: EnvSpec | None, faces: Faces, env: Any):
        self._task, self._registration, self._env, self._used = task, registration, env, False
        self._encode, self._decode = faces.seeing.encode, faces.acting.decode
        self._faces, self._frames = faces, faces.framing.fresh and faces.framing.fresh()
        self._raw: Any = None
        self._asks = _mask_source(env)
        self.mask: np.ndarray | None = None

    def reset(self, seed: int | None) -> Any:
        if seed is not None and self._used and self._registration:
            _close(self._env)  # some remember more than their generator: Box2D's worlds, contacts
            self._env, _ = _bare(self._task, self._registration)
            self._asks = _mask_source(self._env)
        self._used = True
        found = self._env.reset(seed=seed)
        if not isinstance(found, tuple) or len(found) != 2 or not isinstance(found[1], dict):
            raise UserError("it must return (observation, info), as Gymnasium has it")
        if self._frames:
            self._frames.begin()
        return self._seen(*found)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool]:
        found = self._env.step(action if self._decode is None else self._decode(action))
        if len(found) != 5:
            raise UserError(f"it returned {len(found)} values, and not Gymnasium's five: the task speaks an old API")
        obs, reward, terminated, truncated, info = found
        return self._seen(obs, info), reward, bool(terminated), bool(truncated)

    def _seen(self, raw: Any, info: Any) -> Any:
        self._raw = raw
        if self._asks or (info and MASK in info):
            given = info[MASK] if info and MASK in info else self._asks(raw) if self._asks else None
            self.mask = None if given is None else joint_mask(given, self._faces.acting)
        else:
            self.mask = None  # of a step before: where a task says nothing all is allowed
        seen = raw if self._encode is None else self._encode(raw)
        return self._frames(seen) if self._frames else seen

    def view(self, name: str) -> np.ndarray:
        return self._faces.seeing.look[name](self._raw)

    def picture(self) -> Any:
        """What it renders, where it was made to: `render_mode` "rgb_array"."""
        return self._env.render() if self._env.render_mode == "rgb_array" else None

    def close(self) -> None:
        _close(self._env)


def _mask_source(env: Any) -> Any:
    """Where a task says which actions are legal, but for `info`: in its observation, by a method, or in its space."""
    if isinstance(env.observation_space, gym.spaces.Dict) and MASK in env.observation_space.spaces:
        return lambda raw: raw[MASK]
    if hasattr(env, "has_wrapper_attr") and env.has_wrapper_attr("action_masks"):
        return lambda raw: env.get_wrapper_attr("action_masks")()
    if getattr(env.action_space, MASK, None) is not None:
        return lambda raw: getattr(env.action_space, MASK)
    return None
