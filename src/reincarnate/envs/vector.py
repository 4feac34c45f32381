"""The only place that knows about autoreset and time limits: lists of environments, Gymnasium's vector ones."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from gymnasium.vector import AutoresetMode

from reincarnate.types import Step, TaskSpec, VectorEnv

SEED_LIMIT = 2**31 - 1
IDLE = -1  # as an action: leave this copy alone (evaluation, once a copy has played its share)


class Single(Protocol):
    """One environment, without a time limit of its own."""

    def reset(self, seed: int | None) -> np.ndarray: ...
    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool]: ...
    def close(self) -> None: ...


class Copies:
    """n single environments in one process, each restarted the moment its episode ends."""

    seeded_apart = True

    def __init__(self, spec: TaskSpec, make: Callable[[], Single], n: int, max_steps: int | None):
        self.spec, self.n = spec, n
        self._envs = [make() for _ in range(n)]
        self._max_steps = max_steps
        self._age = [0] * n
        self._obs = np.zeros((n, *spec.obs_shape), spec.obs_dtype)

    def reset(self, rng: np.random.Generator) -> np.ndarray:
        """Begin anew everywhere, from seeds drawn from `rng`. Returns obs [n, *O]."""
        return self.begin(rng.integers(SEED_LIMIT, size=self.n))

    def begin(self, seeds: np.ndarray) -> np.ndarray:
        """Begin anew everywhere, each copy from its seed."""
        self._obs = np.stack([env.reset(int(s)) for env, s in zip(self._envs, seeds, strict=True)])
        self._obs = self._obs.astype(self.spec.obs_dtype, copy=False)
        self._age = [0] * self.n
        return self._obs

    def step(self, actions: np.ndarray) -> Step:
        """One action in each copy; IDLE (continuous: NaN) leaves a copy as it is."""
        idle = np.isnan(actions[:, 0]) if self.spec.continuous else np.equal(actions, IDLE)
        next_obs = np.empty_like(self._obs)
        reward = np.zeros(self.n, np.float32)
        terminated, truncated = np.zeros(self.n, bool), np.zeros(self.n, bool)
        for i, env in enumerate(self._envs):
            if idle[i]:
                next_obs[i] = self._obs[i]
                continue
            action = actions[i] if self.spec.continuous else int(actions[i])
            next_obs[i], reward[i], terminated[i], cut = env.step(action)
            self._age[i] += 1
            truncated[i] = not terminated[i] and (cut or self._age[i] == self._max_steps)
        obs = next_obs
        for i in np.flatnonzero(terminated | truncated):
            obs = next_obs.copy() if obs is next_obs else obs
            obs[i] = self._envs[i].reset(None)
            self._age[i] = 0
        self._obs = obs
        return Step(obs, next_obs, reward, terminated, truncated)

    def view(self, name: str) -> np.ndarray:
        """The observation to act on, as a teacher with eyes of its own sees it; here only the task's own."""
        return self._obs

    def close(self) -> None:
        """Close every copy."""
        for env in self._envs:
            env.close()


class GymVector:
    """A Gymnasium vector environment in any of its three autoreset modes."""

    def __init__(self, spec: TaskSpec, envs: Any):
        self.spec, self.n, self._envs = spec, envs.num_envs, envs
        self._mode = AutoresetMode(envs.metadata["autoreset_mode"])
        self._obs = np.zeros((self.n, *spec.obs_shape), spec.obs_dtype)

    def reset(self, rng: np.random.Generator) -> np.ndarray:
        """Begin anew everywhere, from a seed drawn from `rng`. Returns obs [n, *O]."""
        return self.begin(int(rng.integers(SEED_LIMIT - self.n)))

    def begin(self, seed: int) -> np.ndarray:
        """Begin anew everywhere; copy i from `seed` + i."""
        self._obs = np.array(self._envs.reset(seed=seed)[0])
        return self._obs

    def step(self, actions: np.ndarray) -> Step:
        """One action in each copy. Episodes that ended are restarted before this returns, whatever the mode.

        Native environments step together, so an IDLE copy plays its action 0.
        """
        actions = np.where(actions == IDLE, 0, actions).astype(np.int64)
        obs, reward, terminated, truncated, info = self._envs.step(actions)
        obs, done = np.array(obs), terminated | truncated
        next_obs = obs
        if done.any():
            next_obs = obs.copy()
            if self._mode == AutoresetMode.SAME_STEP:
                for i in np.flatnonzero(done):
                    next_obs[i] = info["final_obs"][i]
            else:
                obs = np.array(self._envs.reset(options={"reset_mask": done})[0])
        self._obs = obs
        reward = np.asarray(reward, np.float32)
        return Step(obs, next_obs, reward, np.array(terminated, bool), np.array(truncated & ~terminated, bool))

    def view(self, name: str) -> np.ndarray:
        """The observation to act on; here only the task's own."""
        return self._obs

    def close(self) -> None:
        """Close the vector environment."""
        self._envs.close()


class Fleet:
    """Environments side by side as one, for those whose copies cannot be seeded apart."""

    def __init__(self, members: Sequence[VectorEnv]):
        self.members, self.spec, self.n = list(members), members[0].spec, sum(env.n for env in members)
        self._cuts = np.cumsum([env.n for env in members])[:-1]

    def reset(self, rng: np.random.Generator) -> np.ndarray:
        """Begin anew everywhere, all from one generator."""
        return np.concatenate([env.reset(rng) for env in self.members])

    def step(self, actions: np.ndarray) -> Step:
        """One action in each copy."""
        steps = [env.step(part) for env, part in zip(self.members, np.split(actions, self._cuts), strict=True)]
        return Step(*(np.concatenate(column) for column in zip(*steps, strict=True)))

    def view(self, name: str) -> np.ndarray:
        """All members' views."""
        return np.concatenate([env.view(name) for env in self.members])

    def close(self) -> None:
        """Close every member."""
        for env in self.members:
            env.close()


def shares_seeds(env: VectorEnv) -> bool:
    """Whether an environment's copies can each begin from a seed of its own (`begin(seeds)`)."""
    return getattr(env, "seeded_apart", False)


def begin_together(env: VectorEnv, rngs: Sequence[np.random.Generator]) -> np.ndarray:
    """Begin anew everywhere, each equal part of the copies from its own generator, as it would alone."""
    if len(rngs) == 1:
        return env.reset(rngs[0])
    if isinstance(env, Fleet):
        return np.concatenate([member.reset(rng) for member, rng in zip(env.members, rngs, strict=True)])
    seeds = [rng.integers(SEED_LIMIT, size=env.n // len(rngs)) for rng in rngs]
    return env.begin(np.concatenate(seeds))  # pyright: ignore[reportAttributeAccessIssue]
