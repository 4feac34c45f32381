"""Dopamine's JaxDQNAgent on Atari: dopamine_dqn.py THREADS TASK, by `benchmarks/training.py`.

Its network with the paper's VALID padding (as shipped it is SAME: 2.4 times the parameters); gymnasium's
preprocessing instead of Dopamine's, which needs the old gym; the agent stacks frames itself.
"""

import warnings

warnings.simplefilter("ignore")

import ale_py  # noqa: E402
import cv2  # noqa: E402
import gin  # noqa: E402
import gymnasium  # noqa: E402
from absl import logging  # noqa: E402
from dopamine.discrete_domains import atari_lib  # noqa: E402
from dopamine.jax import networks  # noqa: E402
from dopamine.jax.agents.dqn import dqn_agent  # noqa: E402
from flax import linen as nn  # noqa: E402
from stopwatch import Stopwatch, arguments  # noqa: E402


class Nature(nn.Module):
    num_actions: int
    inputs_preprocessed: bool = False

    @nn.compact
    def __call__(self, x):
        x = networks.preprocess_atari_inputs(x)
        init = nn.initializers.xavier_uniform()
        for filters, kernel, stride in ((32, 8, 4), (64, 4, 2), (64, 3, 1)):
            x = nn.Conv(filters, (kernel, kernel), (stride, stride), padding="VALID", kernel_init=init)(x)
            x = nn.relu(x)
        x = nn.relu(nn.Dense(512, kernel_init=init)(x.reshape(-1)))
        return atari_lib.DQNNetworkType(nn.Dense(self.num_actions, kernel_init=init)(x))


def epsilon(period, step, warmup, end):
    """Falls from step 0 on, as on the other sides, not from the first update."""
    return dqn_agent.linearly_decaying_epsilon(period, step, 0, end)


def make(task):
    gymnasium.register_envs(ale_py)
    raw = gymnasium.make(task["env"], frameskip=1, repeat_action_probability=0.25)
    return gymnasium.wrappers.AtariPreprocessing(raw, noop_max=0, frame_skip=4, screen_size=84, grayscale_obs=True)


def newborn(task, actions: int):
    gin.parse_config(
        [
            f"ReplayBuffer.batch_size={task['batch']}",
            f"ReplayBuffer.max_capacity={task['capacity']}",
            f"create_optimizer.learning_rate={task['lr']}",
            "create_optimizer.eps=1e-8",
        ]
    )
    return dqn_agent.JaxDQNAgent(
        num_actions=actions,
        gamma=task["gamma"],
        update_horizon=1,
        min_replay_history=task["warmup"],
        update_period=task["every"],
        target_update_period=task["every"] * task["target_updates"],
        epsilon_fn=epsilon,
        epsilon_train=task["final_epsilon"],
        epsilon_decay_period=task["steps"] // 10,
        loss_type="huber",
        network=Nature,
        seed=0,
    )


def play(agent, env, steps: int, watch: Stopwatch) -> None:
    action = agent.begin_episode(env.reset(seed=0)[0])
    for step in range(steps):
        watch(step)
        obs, reward, terminated, truncated, _ = env.step(int(action))
        if terminated or truncated:
            agent.end_episode(reward, terminated)
            action = agent.begin_episode(env.reset()[0])
        else:
            action = agent.step(reward, obs)
    agent.online_params["params"]["Dense_1"]["bias"].block_until_ready()


def main() -> None:
    threads, task = arguments()
    logging.set_verbosity(logging.ERROR)
    cv2.setNumThreads(threads if threads > 1 else 0)
    env, watch = make(task), Stopwatch(task["clock"])
    play(newborn(task, int(env.action_space.n)), env, task["steps"], watch)
    watch.report(task["steps"])


if __name__ == "__main__":
    main()
