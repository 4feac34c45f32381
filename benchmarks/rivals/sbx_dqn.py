"""SBX's DQN (Stable-Baselines3 in JAX) on CartPole: sbx_dqn.py THREADS TASK, by `benchmarks/training.py`."""

import gymnasium
import numpy as np
import torch
from sb3_clock import learn
from sbx import DQN
from stopwatch import arguments


def main() -> None:
    threads, task = arguments()
    torch.set_num_threads(threads)
    model = DQN(
        "MlpPolicy",
        gymnasium.make(task["env"]),
        learning_rate=task["lr"],
        gamma=task["gamma"],
        learning_starts=task["warmup"],
        train_freq=task["every"],
        gradient_steps=1,
        batch_size=task["batch"],
        buffer_size=task["capacity"],
        tau=1.0,
        target_update_interval=task["target_updates"] * task["every"],
        exploration_fraction=0.1,
        exploration_final_eps=task["final_epsilon"],
        policy_kwargs={"net_arch": [64, 64]},
        seed=0,
    )
    compile_early(model)
    learn(model, task)


def compile_early(model: DQN) -> None:
    """What the first 200 steps need not meet: the target sync, and acting while ε is still near 1."""
    model.soft_update(model.tau, model.policy.qf_state)
    model.policy.predict(np.zeros((1, 4), np.float32))


if __name__ == "__main__":
    main()
