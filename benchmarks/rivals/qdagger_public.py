"""QDagger as the best-known public implementation trains it: qdagger_public.py PHASE THREADS TASK.

A re-implementation, ours in every line, standing for CleanRL's single file `qdagger_dqn_atari_impalacnn.py`, whose
pins (Python below 3.11, gymnasium 0.29, torch 2.4) cannot be installed beside today's versions. It does per update
and per env step the work that file does: a replay of Stable-Baselines3 with whole stacks sampled as bytes; each
batch passed through the target network, the teacher and the student, one after another; a mean squared TD error plus
the KL divergence summed over the batch; torch.optim.Adam over the parameters one by one; default memory format; one
environment behind gymnasium's and SB3's wrappers in a SyncVectorEnv; a forward pass of the student per greedy step.

Left out, in its favour: TensorBoard, progress bars, evaluations, saving. Not as there: the protocol (sticky actions,
no no-ops, no fire at reset, no episode at a life's loss) and ε (0.01 from the start) are those of our side, so that
both play the same game and act by the network as often.
"""

import json
import random
import sys
from typing import Any

import ale_py
import gymnasium
import numpy as np
import torch
from gymnasium import wrappers
from stable_baselines3.common.atari_wrappers import ClipRewardEnv, MaxAndSkipEnv, StickyActionEnv
from stable_baselines3.common.buffers import ReplayBuffer
from stopwatch import Stopwatch
from torch import Tensor, nn
from torch.nn import functional as F

TEMPERATURE = 1.0


class Residual(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.relu(self.first(F.relu(x))))


class Impala(nn.Module):
    """The student: stacks of 16, 32 and 32 filters, a dense layer of 256."""

    def __init__(self, actions: int):
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in ((4, 16), (16, 32), (32, 32)):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.MaxPool2d(3, 2, 1)]
            layers += [Residual(outputs), Residual(outputs)]
        layers += [nn.Flatten(), nn.ReLU(), nn.Linear(32 * 11 * 11, 256), nn.ReLU(), nn.Linear(256, actions)]
        self.layers = nn.Sequential(*layers)

    def forward(self, obs: Tensor) -> Tensor:
        return self.layers(obs / 255.0)


class Nature(nn.Module):
    """The teacher."""

    def __init__(self, actions: int):
        super().__init__()
        convolutions = [nn.Conv2d(4, 32, 8, 4), nn.ReLU(), nn.Conv2d(32, 64, 4, 2), nn.ReLU(), nn.Conv2d(64, 64, 3, 1)]
        dense = [nn.ReLU(), nn.Flatten(), nn.Linear(3136, 512), nn.ReLU(), nn.Linear(512, actions)]
        self.layers = nn.Sequential(*convolutions, *dense)

    def forward(self, obs: Tensor) -> Tensor:
        return self.layers(obs / 255.0)


class Learner:
    def __init__(self, actions: int, task: dict[str, Any]):
        self.student, self.target, self.teacher = Impala(actions), Impala(actions), Nature(actions).eval()
        self.target.load_state_dict(self.student.state_dict())
        self.optimizer = torch.optim.Adam(self.student.parameters(), lr=task["lr"])
        self._gamma, self._batch = task["gamma"], task["batch"]

    def act(self, obs: np.ndarray) -> np.ndarray:
        return self.student(torch.Tensor(obs)).argmax(1).numpy()

    def update(self, replay: ReplayBuffer) -> None:
        data = replay.sample(self._batch)
        with torch.no_grad():
            best = self.target(data.next_observations).max(1).values
            goal = data.rewards.flatten() + self._gamma * best * (1 - data.dones.flatten())
            taught = self.teacher(data.observations) / TEMPERATURE
        values = self.student(data.observations)
        td = F.mse_loss(values.gather(1, data.actions).squeeze(), goal)
        own = F.log_softmax(values / TEMPERATURE, -1)
        divergence = (F.softmax(taught, -1) * (F.log_softmax(taught, -1) - own)).sum()
        self.optimizer.zero_grad()
        (td + divergence).backward()
        self.optimizer.step()

    def sync(self) -> None:
        for target, own in zip(self.target.parameters(), self.student.parameters(), strict=True):
            target.data.copy_(own.data)


def make(env: str):
    def one():
        game = gymnasium.make(env, frameskip=1, repeat_action_probability=0.0)
        game = StickyActionEnv(wrappers.RecordEpisodeStatistics(game), 0.25)
        game = ClipRewardEnv(MaxAndSkipEnv(game, skip=4))
        game = wrappers.GrayscaleObservation(wrappers.ResizeObservation(game, (84, 84)))
        return wrappers.FrameStackObservation(game, 4)

    gymnasium.register_envs(ale_py)
    return gymnasium.vector.SyncVectorEnv([one], autoreset_mode=gymnasium.vector.AutoresetMode.SAME_STEP)


def new_replay(env, capacity: int) -> ReplayBuffer:
    spaces = env.single_observation_space, env.single_action_space
    return ReplayBuffer(capacity, *spaces, "cpu", optimize_memory_usage=True, handle_timeout_termination=False)


class Player:
    """Steps the environment and stores what happens."""

    def __init__(self, env, replay: ReplayBuffer):
        self.env, self._replay = env, replay
        self.obs = env.reset(seed=0)[0]

    def step(self, actions: np.ndarray) -> None:
        next_obs, reward, terminated, truncated, info = self.env.step(actions)
        successor = next_obs.copy()
        for i in np.flatnonzero(truncated):
            successor[i] = info["final_obs"][i]
        self._replay.add(self.obs, successor, actions, reward, terminated, [{}])
        self.obs = next_obs


def offline(task: dict[str, Any], learner: Learner, env, watch: Stopwatch) -> None:
    replay = new_replay(env, task["prior_rows"])
    player = Player(env, replay)
    for _ in range(task["prior_rows"] - 1):
        player.step(np.array([env.single_action_space.sample()]))
    for update in range(task["offline_updates"]):
        watch(update)
        learner.update(replay)
        if update % task["sync_updates"] == 0:
            learner.sync()


def online(task: dict[str, Any], learner: Learner, env, watch: Stopwatch) -> None:
    replay = new_replay(env, task["capacity"])
    player = Player(env, replay)
    for step in range(task["steps"]):
        watch(step)
        explore = random.random() < task["epsilon"]
        player.step(np.array([env.single_action_space.sample()]) if explore else learner.act(player.obs))
        if step > task["warmup"] and step % task["every"] == 0:
            learner.update(replay)
        if step > task["warmup"] and step % (task["every"] * task["sync_updates"]) == 0:
            learner.sync()


def main() -> None:
    phase, threads, task = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
    torch.set_num_threads(threads)
    env = make(task["env"])
    learner = Learner(int(env.single_action_space.n), task)
    watch = Stopwatch(task["clock"][phase])
    (offline if phase == "offline" else online)(task, learner, env, watch)
    watch.report(task["offline_updates"] if phase == "offline" else task["steps"])


if __name__ == "__main__":
    main()
