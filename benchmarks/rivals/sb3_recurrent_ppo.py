"""sb3-contrib's RecurrentPPO on a Gymnasium task: sb3_recurrent_ppo.py THREADS TASK, by `benchmarks/ppo.py`.

The network of ours: fully connected tanh layers, one LSTM for actor and critic, linear heads.
"""

import itertools

import torch
from sb3_clock import BeforeRollouts, learn
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stopwatch import arguments
from torch import nn


class Layers(BaseFeaturesExtractor):
    def __init__(self, observation_space, hidden):
        super().__init__(observation_space, hidden[-1])
        sizes = (observation_space.shape[0], *hidden)
        pairs = itertools.pairwise(sizes)
        self.net = nn.Sequential(*(layer for a, b in pairs for layer in (nn.Linear(a, b), nn.Tanh())))

    def forward(self, obs):
        return self.net(obs)


def main() -> None:
    threads, task = arguments()
    torch.set_num_threads(threads)
    student = task["student"]
    model = RecurrentPPO(
        "MlpLstmPolicy",
        make_vec_env(task["env"], task["copies"], seed=0),
        learning_rate=task["lr"],
        n_steps=task["rollout"],
        batch_size=task["batch"],
        n_epochs=task["epochs"],
        policy_kwargs={
            "features_extractor_class": Layers,
            "features_extractor_kwargs": {"hidden": student["hidden"]},
            "net_arch": [],
            "lstm_hidden_size": student["memory_size"],
            "shared_lstm": True,
            "enable_critic_lstm": False,
        },
        seed=0,
        device="cpu",
    )
    learn(model, task, BeforeRollouts)


if __name__ == "__main__":
    main()
