"""The only place that knows about autoreset and time limits: lists of environments, Gymnasium's vector ones."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from gymnasium.vector import AutoresetMode

from reincarnate.envs.checks import acts, fitted, number, unsound
from reincarnate.errors import FAILURES, UserError, reason_of
from reincarnate.types import Step, TaskSpec, VectorEnv

SEED_LIMIT = 2**31 - 1
LARGEST = float(np.finfo(np.float32).max)  # of a reward; rewards are kept as float32
IDLE = -1  # as an action: leave this copy alone (evaluation, once a copy has played its share)


class Single(Protocol):
    """One environment without a time limit. It may have `mask` (bool [A], legal actions) and `view(name)`.

    One whose task names a score of its own has `score`, the last step's share of it.
    """

    def reset(self, seed: int | None) -> Any: ...  # an observation
    def step(self, action: Any) -> tuple[Any, Any, bool, bool]: ...  # it, the reward, terminated, truncated
    def close(self) -> None: ...


class Copies:
    """n single environments in one process, each restarted the moment its episode ends.

    What they say is checked here, once for all of them: whatever goes wrong inside is a UserError that names the task
    and the step of the episode. `mask` is bool [n, A], the legal actions for the observations to act on; None where
    the task says nothing of them: from where it first does, all is allowed where it does not.
    """

    seeded_apart = True

    def __init__(self, spec: TaskSpec, make: Callable[[], Single], n: int, max_steps: int | None):
        self.spec, self.n = spec, n
        self._envs: list[Single] = []
        self._make(make)
        self._masking: list[Any] = [env for env in self._envs if hasattr(env, "mask")]
        self._max_steps = max_steps
        self._age = [0] * n
        self._obs = np.zeros((n, *spec.obs_shape), spec.obs_dtype)
        self._shape = tuple(spec.obs_shape)
        self._zeros = np.zeros(self._obs.size, spec.obs_dtype) if self._obs.dtype.kind == "f" else None
        self._says_masks, self._continuous = False, spec.continuous
        self.mask: np.ndarray | None = None
        self._scored = spec.score is not None
        self.score = np.zeros(n, np.float32)

    def _make(self, make: Callable[[], Single]) -> None:
        """All copies; where one cannot be made, those that could are closed again."""
        try:
            while len(self._envs) < self.n:
                self._envs.append(make())
        except UserError as error:
            self.close()
            if not self._envs:
                raise
            raise UserError(f"{error}; {len(self._envs)} of {self.n} copies could be made") from error

    def reset(self, rng: np.random.Generator) -> np.ndarray:
        """Begin anew everywhere, from seeds drawn from `rng`. Returns obs [n, *O]."""
        return self.begin(rng.integers(SEED_LIMIT, size=self.n))

    def begin(self, seeds: np.ndarray) -> np.ndarray:
        """Begin anew everywhere, each copy from its seed."""
        self._age = [0] * self.n
        self._obs = np.empty_like(self._obs)
        for i, seed in enumerate(seeds):
            self._restart(self._obs, i, int(seed))
        self._sound(self._obs)
        self._says_masks = False
        self._look_for_masks()
        self.mask = self._masks_to_act()
        return self._obs

    def picture(self) -> Any:
        """What the first copy shows to people, uint8 [H, W, 3]; None where it shows nothing."""
        return getattr(self._envs[0], "picture", lambda: None)()

    def step(self, actions: np.ndarray) -> Step:
        """One action in each copy; IDLE (continuous: NaN) leaves a copy as it is. Raises UserError for its faults."""
        idle: Any = np.isnan(actions).all(1) if self._continuous else np.equal(actions, IDLE)
        if self._continuous:
            acts(actions, idle)
        next_obs = np.empty_like(self._obs)
        reward = np.zeros(self.n, np.float32)
        terminated, truncated = np.zeros(self.n, bool), np.zeros(self.n, bool)
        self.score = np.zeros(self.n, np.float32) if self._scored else self.score
        done = []
        for i, env in enumerate(self._envs):
            if idle[i]:
                next_obs[i] = self._obs[i]
                continue
            self._age[i] += 1
            try:
                seen, paid, over, cut = env.step(actions[i] if self._continuous else int(actions[i]))
                next_obs[i] = seen if getattr(seen, "shape", None) == self._shape else self._fitted(seen)
                paid = paid if type(paid) is float else number(paid, "reward")
                if not -LARGEST < paid < LARGEST:
                    raise UserError(f"the reward is {paid}")
                reward[i] = paid
                if self._scored:
                    self.score[i] = number(env.score, "score")  # pyright: ignore[reportAttributeAccessIssue]
            except FAILURES as error:
                raise self._fault(i, error) from error
            if over or cut or self._age[i] == self._max_steps:
                terminated[i], truncated[i] = over, not over
                done.append(i)
        self._sound(next_obs)
        self._look_for_masks()
        if not done:
            next_mask = self._masks_to_act() if self._says_masks else None
            self._obs, self.mask = next_obs, next_mask
            return Step(next_obs, next_obs, reward, terminated, truncated, next_mask, next_mask)
        next_mask, obs = self._masks(), next_obs.copy()
        for i in done:
            self._age[i] = 0
            self._restart(obs, i, None)
        self._sound(obs)
        self._look_for_masks()
        self._obs, self.mask = obs, self._masks_to_act()
        return Step(obs, next_obs, reward, terminated, truncated, self.mask, next_mask)

    def _restart(self, obs: np.ndarray, i: int, seed: int | None) -> None:
        try:
            obs[i] = self._fitted(self._envs[i].reset(seed))
        except FAILURES as error:
            raise self._fault(i, error, "reset") from error

    def _fitted(self, seen: Any) -> np.ndarray:
        return fitted(seen, self.spec.obs_shape)

    def _look_for_masks(self) -> None:
        """Some tasks say nothing as an episode begins, and only later that something is not allowed."""
        if not self._says_masks:
            for env in self._masking:
                if env.mask is not None:
                    self._says_masks = True

    def _masks(self) -> np.ndarray | None:
        """Legal actions [n, A]; a copy that says nothing of them may do all."""
        if not self._says_masks:
            return None
        masks = [getattr(env, "mask", None) for env in self._envs]
        return np.stack([np.ones(self.spec.actions, bool) if mask is None else mask for mask in masks])

    def _masks_to_act(self) -> np.ndarray | None:
        """The same for observations that are acted on: something must be legal there."""
        masks = self._masks()
        if masks is not None and not masks.any(1).all():
            i = int(np.flatnonzero(~masks.any(1))[0])
            raise UserError(f"{self.spec.id} {self._when(i)}: the task allows no action")
        return masks

    def _sound(self, obs: np.ndarray) -> None:
        """Refuse observations that are no numbers: nothing times infinity is not nothing (one call, not three)."""
        if self._zeros is not None and np.vdot(obs, self._zeros) != 0:
            i, said = unsound(obs) or (0, "the observation is not a number")
            raise UserError(f"{self.spec.id} {self._when(i)}: {said}")

    def _when(self, i: int) -> str:
        return f"at step {self._age[i]} of an episode" if self._age[i] else "as an episode begins"

    def _fault(self, i: int, error: BaseException, doing: str = "step") -> UserError:
        """What to say of an exception out of a task."""
        said = str(error) if isinstance(error, UserError) else f"{doing}() raised {reason_of(error)}"
        return UserError(f"{self.spec.id} {self._when(i)}: {said}")

    def view(self, name: str) -> np.ndarray:
        """The observation to act on, as a teacher with eyes of its own sees it; here its own, or a part of it."""
        if name == "student" or not all(hasattr(env, "view") for env in self._envs):
            return self._obs
        return np.stack([env.view(name) for env in self._envs])  # pyright: ignore[reportAttributeAccessIssue]

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
        if not np.isfinite(reward).all():
            raise UserError(f"{self.spec.id}: the rewards are {reward}")
        if found := unsound(next_obs):
            raise UserError(f"{self.spec.id}: {found[1]} in copy {found[0]}")
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
        return Step(*map(concatenated, zip(*steps, strict=True)))

    @property
    def mask(self) -> np.ndarray | None:
        """All members' masks, where they have some."""
        return concatenated([getattr(env, "mask", None) for env in self.members])

    @property
    def task(self) -> np.ndarray | None:
        """What each copy plays, where members play several tasks."""
        return concatenated([getattr(env, "task", None) for env in self.members])

    def view(self, name: str) -> np.ndarray:
        """All members' views."""
        return np.concatenate([env.view(name) for env in self.members])

    def close(self) -> None:
        """Close every member."""
        for env in self.members:
            env.close()


def concatenated(parts: Sequence[Any]) -> Any:
    """Columns one after another; None where there are none."""
    return None if any(part is None for part in parts) else np.concatenate(parts)


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
