"""On-policy experience: a few steps of every copy, learnt from at once and forgotten."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reincarnate.data.replay import Annotate
from reincarnate.types import Batch, TaskSpec


class Rollouts:
    """`length` steps of `copies` environments, with λ-returns as targets.

    G_t = r_t + γ·(λ·G_{t+1} + (1 − λ)·max_a Q(s_{t+1}, a)), cut to r_t + γ·max_a Q where the rollout ends or a time
    limit ended the episode, and to r_t at a termination (Gallici et al., 2024, §3; Daley & Amato, 2019).
    """

    on_policy = True

    def __init__(self, spec: TaskSpec, copies: int, length: int, gamma: float, lam: float):
        self.spec, self.copies, self.length, self.gamma, self.lam = spec, copies, length, gamma, lam
        self._steps: list[tuple[np.ndarray, ...]] = []
        self._teacher: list[np.ndarray] = []
        self._columns: dict[str, Tensor] = {}
        self._order = np.zeros(0, np.int64)

    def __len__(self) -> int:
        """Examples of the rollout that is being learnt from."""
        return len(self._columns["action"]) if self._columns else 0

    def add(
        self,
        obs: np.ndarray,
        action: np.ndarray,
        reward: np.ndarray,
        terminated: np.ndarray,
        truncated: np.ndarray,
        next_obs: np.ndarray,
        teacher: np.ndarray | None = None,
    ) -> None:
        """One transition of every copy; arrays [copies, …]. `next_obs` is the true successor."""
        if self.spec.reward_clip is not None:
            reward = np.clip(reward, -self.spec.reward_clip, self.spec.reward_clip)
        self._steps.append((obs, action, reward, terminated, truncated, next_obs))
        if teacher is not None:
            self._teacher.append(teacher)

    def settle(self, values: Callable[[np.ndarray], np.ndarray]) -> None:
        """Turn what was added into examples; `values` gives action values [n, A] of the network that acted."""
        obs, action, reward, terminated, truncated, next_obs = (
            np.stack(column) for column in zip(*self._steps, strict=True)
        )
        best = values(next_obs.reshape(-1, *self.spec.obs_shape)).max(-1).reshape(reward.shape)
        returns = self._returns(reward, best, terminated, truncated)
        columns = {"obs": obs, "action": action.astype(np.int64), "target": returns}
        if self._teacher:
            columns["teacher"] = np.stack(self._teacher)
        self._columns = {name: torch.from_numpy(c.reshape(-1, *c.shape[2:])) for name, c in columns.items()}
        self._steps, self._teacher, self._order = [], [], np.zeros(0, np.int64)

    def _returns(self, reward: np.ndarray, best: np.ndarray, terminated: np.ndarray, truncated: np.ndarray):
        """λ-returns [steps, copies], from the last step to the first."""
        returns, after = np.empty_like(reward), best[-1]
        for t in range(len(reward) - 1, -1, -1):
            mixed = np.where(truncated[t], best[t], self.lam * after + (1 - self.lam) * best[t])
            returns[t] = after = reward[t] + self.gamma * np.where(terminated[t], 0.0, mixed)
        return returns

    def sample(
        self, n: int, rng: np.random.Generator, teacher: bool = False, annotate: Annotate | None = None
    ) -> Batch:
        """The next `n` examples of a pass in random order; a new pass begins when fewer are left."""
        if len(self._order) < n:
            self._order = rng.permutation(len(self))
        rows, self._order = torch.from_numpy(self._order[:n]), self._order[n:]
        if teacher and "teacher" not in self._columns:
            assert annotate is not None, "examples without the teacher's logits, and no teacher to ask"
            self._columns["teacher"] = annotate(self._columns["obs"])
        target = self._columns["target"][rows]
        return Batch(
            obs=self._columns["obs"][rows],
            action=self._columns["action"][rows],
            reward=target,
            discount=torch.zeros_like(target),
            next_obs=None,
            teacher=self._columns["teacher"][rows] if teacher else None,
        )

    def learnt(self, batch: Batch, losses: Tensor) -> None:
        """Nothing follows from losses."""

    def cut(self, obs: np.ndarray) -> None:
        """Forget what has not been learnt from: environments restart."""
        self._steps, self._teacher, self._columns = [], [], {}

    def tensors(self) -> dict[str, np.ndarray]:
        """Nothing outlives a barrier."""
        return {}

    def restore_tensors(self, tensors: dict[str, np.ndarray]) -> None:
        """Nothing to put back."""

    def state(self) -> dict[str, Any]:
        """Nothing outlives a barrier."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Nothing to put back."""
