"""PPO of Stable-Baselines3 or SBX on a Gymnasium task: sb3_ppo.py THREADS TASK, by `benchmarks/ppo.py`."""

import importlib

import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stopwatch import Stopwatch, arguments


class Tick(BaseCallback):
    def __init__(self, watch: Stopwatch):
        super().__init__()
        self._watch = watch

    def _on_rollout_start(self) -> None:  # the updates that earlier steps paid for are done
        self._watch(self.num_timesteps)

    def _on_step(self) -> bool:
        return True


def main() -> None:
    threads, task = arguments()
    torch.set_num_threads(threads)
    model = importlib.import_module(task["library"]).PPO(
        "MlpPolicy",
        make_vec_env(task["env"], task["copies"], seed=0),
        learning_rate=task["lr"],
        n_steps=task["rollout"],
        batch_size=task["batch"],
        n_epochs=task["epochs"],
        seed=0,
        device="cpu",
    )
    watch = Stopwatch(task["clock"])
    model.learn(task["steps"], callback=Tick(watch))
    watch.report(task["steps"])


if __name__ == "__main__":
    main()
