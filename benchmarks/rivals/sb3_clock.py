"""Training under the stopwatch, as Stable-Baselines3, its contributions and SBX all have it."""

from typing import Any

from stable_baselines3.common.callbacks import BaseCallback
from stopwatch import Stopwatch


class AfterSteps(BaseCallback):
    """Looks at the clock after every step, as of students with a replay."""

    def __init__(self, watch: Stopwatch):
        super().__init__()
        self._watch = watch

    def _on_step(self) -> bool:
        self._watch(self.num_timesteps)
        return True


class BeforeRollouts(AfterSteps):
    """Looks at the clock as rollouts begin: the updates that earlier steps paid for are done."""

    def _on_rollout_start(self) -> None:
        self._watch(self.num_timesteps)

    def _on_step(self) -> bool:
        return True


def learn(model: Any, task: dict[str, Any], looks: type[AfterSteps] = AfterSteps) -> None:
    """Train for the task's steps, and report."""
    watch = Stopwatch(task["clock"])
    model.learn(task["steps"], callback=looks(watch))
    watch.report(task["steps"])
