"""Stable-Baselines3's DQN, on CartPole or Atari: sb3_dqn.py THREADS TASK, by `benchmarks/training.py`."""

import ale_py
import gymnasium
import torch
from sb3_clock import learn
from stable_baselines3 import DQN
from stable_baselines3.common.env_util import make_atari_env
from stable_baselines3.common.vec_env import VecFrameStack
from stopwatch import arguments


def make(env: str):
    gymnasium.register_envs(ale_py)
    if not env.startswith("ALE/"):
        return env
    wrappers = {"terminal_on_life_loss": False, "noop_max": 0, "action_repeat_probability": 0.25}
    raw = {"frameskip": 1, "repeat_action_probability": 0.0}
    return VecFrameStack(make_atari_env(env, 1, env_kwargs=raw, wrapper_kwargs=wrappers), 4)


def main() -> None:
    threads, task = arguments()
    torch.set_num_threads(threads)
    atari = task["env"].startswith("ALE/")
    model = DQN(
        "CnnPolicy" if atari else "MlpPolicy",
        make(task["env"]),
        learning_rate=task["lr"],
        gamma=task["gamma"],
        learning_starts=task["warmup"],
        train_freq=task["every"],
        gradient_steps=1,
        batch_size=task["batch"],
        buffer_size=task["capacity"],
        target_update_interval=task["target_updates"] * task["every"],
        exploration_fraction=0.1,
        exploration_final_eps=task["final_epsilon"],
        policy_kwargs={} if atari else {"net_arch": [64, 64]},
        seed=0,
        device="cpu",
    )
    learn(model, task)


if __name__ == "__main__":
    main()
