"""SAC or TD3 of Stable-Baselines3 or SBX on a MuJoCo task: sb3_continuous.py THREADS TASK, by `continuous.py`."""

import importlib

import gymnasium
import numpy as np
import torch
from sb3_clock import learn
from stable_baselines3.common.noise import NormalActionNoise
from stopwatch import arguments


def main() -> None:
    threads, task = arguments()
    torch.set_num_threads(threads)
    kind = getattr(importlib.import_module(task["library"]), task["algorithm"].upper())
    env = gymnasium.make(task["env"])
    size = env.action_space.shape[0]
    noise = NormalActionNoise(np.zeros(size), np.full(size, 0.1)) if task["algorithm"] == "td3" else None
    model = kind(
        "MlpPolicy",
        env,
        learning_rate=3e-4,
        buffer_size=task["capacity"],
        learning_starts=task["warmup"],
        batch_size=task["batch"],
        train_freq=1,
        gradient_steps=1,
        action_noise=noise,
        policy_kwargs={"net_arch": [task["hidden"]] * 2},
        seed=0,
        device="cpu",
    )
    learn(model, task)


if __name__ == "__main__":
    main()
