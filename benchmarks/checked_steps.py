"""What looking at every step of a task costs: the checked loop of `Copies` beside the same loop without any check.

python benchmarks/checked_steps.py            # µs per env step of each, alternating, the least of several rounds
"""

import argparse
import json
import time

import numpy as np

from reincarnate import envs
from reincarnate.envs.vector import IDLE, Copies
from reincarnate.types import Step

ROUNDS, STEPS = 7, 4000


class Unchecked(Copies):
    """The loop as it was: shapes are broadcast, and whatever a task says is passed on."""

    def step(self, actions: np.ndarray) -> Step:
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


def timed(env: Copies, steps: int) -> float:
    """Seconds per env step, from the same seed."""
    actions = np.random.default_rng(1).integers(env.spec.actions, size=(steps, env.n))
    env.reset(np.random.default_rng(0))
    start = time.perf_counter()
    for row in actions:
        env.step(row)
    return (time.perf_counter() - start) / steps / env.n


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    as_json = parser.parse_args().json
    found = []
    for task in ("CartPole-v1", "MinAtar/Breakout-v1"):
        for n in (1, 16):
            checked = envs.make(task, n)
            plain = envs.make(task, n)
            plain.__class__ = Unchecked
            pairs = [(timed(plain, STEPS // n), timed(checked, STEPS // n)) for _ in range(ROUNDS)]  # pyright: ignore
            least = [1e6 * min(column) for column in zip(*pairs, strict=True)]
            found.append({"task": task, "copies": n, "unchecked_us": least[0], "checked_us": least[1]})
    if as_json:
        print(json.dumps(found, indent=1))
        return
    for line in found:
        more = 100 * (line["checked_us"] / line["unchecked_us"] - 1)
        where = f"{line['task']} × {line['copies']}"
        print(f"{where:24} {line['unchecked_us']:6.2f} → {line['checked_us']:6.2f} µs per env step ({more:+.1f} %)")


if __name__ == "__main__":
    main()
