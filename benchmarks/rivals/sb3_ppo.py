"""PPO of Stable-Baselines3 or SBX on a Gymnasium task: sb3_ppo.py THREADS TASK, by `benchmarks/ppo.py`."""

import importlib

import torch
from sb3_clock import BeforeRollouts, learn
from stable_baselines3.common.env_util import make_vec_env
from stopwatch import arguments


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
    learn(model, task, BeforeRollouts)


if __name__ == "__main__":
    main()
