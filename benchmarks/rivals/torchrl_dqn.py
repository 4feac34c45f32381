"""A DQN loop on TorchRL's own parts, on CartPole or Atari: torchrl_dqn.py THREADS TASK, by `benchmarks/training.py`.

Atari is gymnasium's preprocessing in TorchRL's wrapper, so that its replay holds bytes (TorchRL's own transforms make
floats). With `compile` in the task, the update is compiled by torch.compile before the clock starts.
"""

import warnings

import gymnasium
import torch
from stopwatch import Stopwatch, arguments
from tensordict.nn import TensorDictSequential
from torch import Tensor, nn
from torchrl.collectors import Collector
from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer
from torchrl.envs import GymEnv, GymWrapper
from torchrl.envs.utils import ExplorationType
from torchrl.modules import MLP, EGreedyModule, QValueActor
from torchrl.objectives import DQNLoss, HardUpdate


class Nature(nn.Module):
    def __init__(self, actions: int):
        super().__init__()
        convolutions = [nn.Conv2d(4, 32, 8, 4), nn.ReLU(), nn.Conv2d(32, 64, 4, 2), nn.ReLU(), nn.Conv2d(64, 64, 3, 1)]
        dense = [nn.ReLU(), nn.Flatten(-3), nn.Linear(3136, 512), nn.ReLU(), nn.Linear(512, actions)]
        self.layers = nn.Sequential(*convolutions, *dense)

    def forward(self, obs: Tensor) -> Tensor:
        obs = obs.float() / 255 if obs.dtype == torch.uint8 else obs
        return self.layers(obs.reshape(-1, *obs.shape[-3:])).reshape(*obs.shape[:-3], -1)


def make(env: str, threads: int):
    if not env.startswith("ALE/"):
        return GymEnv(env, categorical_action_encoding=True)
    import ale_py
    import cv2

    cv2.setNumThreads(threads if threads > 1 else 0)
    gymnasium.register_envs(ale_py)
    raw = gymnasium.make(env, frameskip=1, repeat_action_probability=0.25)
    screens = gymnasium.wrappers.AtariPreprocessing(raw, noop_max=0, frame_skip=4, screen_size=84, grayscale_obs=True)
    return GymWrapper(gymnasium.wrappers.FrameStackObservation(screens, 4), categorical_action_encoding=True)


def main() -> None:
    threads, task = arguments()
    warnings.simplefilter("ignore")
    torch.set_num_threads(threads)
    env, steps = make(task["env"], threads), task["steps"]
    small = MLP(in_features=4, out_features=2, num_cells=[64, 64], activation_class=nn.ReLU)
    network = Nature(4) if task["env"].startswith("ALE/") else small
    actor = QValueActor(network, in_keys=["observation"], spec=env.action_spec)
    greedy = EGreedyModule(
        env.action_spec, eps_init=1.0, eps_end=task["final_epsilon"], annealing_num_steps=steps // 10
    )
    loss = DQNLoss(actor, loss_function="smooth_l1", delay_value=True, action_space=env.action_spec)
    loss.make_value_estimator(gamma=task["gamma"])
    target = HardUpdate(loss, value_network_update_interval=task["target_updates"])
    optimizer = torch.optim.Adam(loss.parameters(), lr=task["lr"])
    replay = TensorDictReplayBuffer(storage=LazyTensorStorage(task["capacity"]), batch_size=task["batch"])

    def learn(batch) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss(batch)["loss"].backward()
        optimizer.step()

    update = torch.compile(learn) if task["compile"] else learn
    policy = TensorDictSequential(actor, greedy)
    collector = Collector(
        env, policy, frames_per_batch=task["every"], total_frames=steps, exploration_type=ExplorationType.RANDOM
    )
    watch, done = Stopwatch(task["clock"]), 0
    for experience in collector:
        watch(done)  # the steps below have been taken, and their update has not
        done += experience.numel()
        greedy.step(experience.numel())
        replay.extend(experience.reshape(-1))
        if done > task["warmup"]:
            update(replay.sample())
            target.step()
    watch.report(steps)
    collector.shutdown()


if __name__ == "__main__":
    main()
