"""Probe environments and teachers of seconds, where a wrong algorithm cannot pass."""

import numpy as np
import torch
from torch import Tensor

from reincarnate.data import Replay
from reincarnate.data.memory import Memory, memory_for
from reincarnate.envs.vector import Copies
from reincarnate.nets import build
from reincarnate.seeds import stream
from reincarnate.students import DQN
from reincarnate.training.asking import predictor_of
from reincarnate.training.evaluate import Scale, play_episodes
from reincarnate.training.loop import Loop
from reincarnate.training.players import Greedy, Player, Stage
from reincarnate.training.population import Alone
from reincarnate.training.training import Training
from reincarnate.types import ACTIONS, LOGITS, VALUES, Policy, Prediction, TaskSpec, TeacherCard, TimeStep


class Catch:
    """A ball falls; the paddle must be under it. One reward, +1 or -1, at the end, after `rows - 1` steps."""

    rows, columns = 8, 5
    spec = TaskSpec("Catch", (40,), "float32", 3, 1, None, {"env": "Catch"})

    def __init__(self):
        self._rng = np.random.default_rng(0)

    def reset(self, seed):
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        self.y, self.x, self.paddle = 0, int(self._rng.integers(self.columns)), self.columns // 2
        return self._look()

    def _look(self):
        board = np.zeros((self.rows, self.columns), np.float32)
        board[self.y, self.x] = board[-1, self.paddle] = 1
        return board.ravel()

    def step(self, action):
        self.paddle = int(np.clip(self.paddle + action - 1, 0, self.columns - 1))
        self.y += 1
        done = self.y == self.rows - 1
        return self._look(), (1.0 if self.x == self.paddle else -1.0) if done else 0.0, done, False

    def close(self):
        pass


class Corridor:
    """Observation: the time since the start. Reward: the same number. Ends after `length` steps, truly or by limit."""

    def __init__(self, length: int, terminates: bool):
        self.length, self.terminates = length, terminates

    def reset(self, seed):
        self.t = 0
        return np.array([0.0], np.float32)

    def step(self, action):
        self.t += 1
        over = self.t == self.length
        return np.array([self.t], np.float32), float(self.t), over and self.terminates, over and not self.terminates

    def close(self):
        pass


def corridor_spec(stack: int = 1) -> TaskSpec:
    return TaskSpec("Corridor", (1,), "float32", 2, stack, None, {"env": "Corridor"})


def catch(n: int = 1) -> Copies:
    return Copies(Catch.spec, Catch, n, None)


class CatchTeacher:
    """Heads for the ball; with probability `noise` it would act at random, and its values say so."""

    view, frozen = "student", True

    def __init__(self, noise: float = 0.3):
        self.noise = noise
        self.asked = 0
        self.parameter = torch.ones(1)
        self.card = TeacherCard(
            "catch", "probe", "rule", VALUES, "none", 0, "c" * 64, (40,), "float32", 3, "none", "safe", env="Catch"
        )

    def initial(self, n: int) -> Tensor:
        return torch.zeros(n, 0)

    def predict(self, step: TimeStep, carry: Tensor) -> tuple[Prediction, Tensor]:
        obs = step.seen(self.view)
        self.asked += len(obs)
        return Prediction(self.card.tells, self.told(obs)), carry

    def told(self, obs: Tensor) -> Tensor:
        board = obs.view(-1, Catch.rows, Catch.columns)
        ball, paddle = board[:, :-1].sum(1).argmax(-1), board[:, -1].argmax(-1)
        best = torch.nn.functional.one_hot(1 + (ball - paddle).sign(), 3)
        return ((1 - self.noise) * best + self.noise / 3).log() * self.parameter


class CountingTeacher(CatchTeacher):
    """A recurrent teacher: its logits are the number of steps since the episode began, in every action."""

    def __init__(self):
        CatchTeacher.__init__(self)
        self.card = TeacherCard(
            "count", "probe", "rule", ACTIONS, "none", 0, "d" * 64, (40,), "float32", 3, "none", "safe", env="Catch"
        )

    def initial(self, n: int) -> Tensor:
        return torch.zeros(n, 1)

    def predict(self, step: TimeStep, carry: Tensor) -> tuple[Prediction, Tensor]:
        count = carry.masked_fill(step.begins[:, None], 0.0)
        return Prediction(LOGITS, count.expand(-1, 3).clone() * torch.tensor([1.0, 1.0, 1.001])), count + 1


def plays_of(teacher, steps: int) -> Replay:
    """A teacher's own play of Catch, with what it said."""
    replay, env, rng = Replay(Catch.spec, 4 * steps, 1), catch(), stream(0, "prior")
    player = Player.of_teacher(teacher, Catch.spec, "sample")
    stage = Stage(env, player, env.reset(rng), {"teacher": teacher})
    for _ in range(steps):
        seen = stage.play(0.0, rng)
        step = seen.step
        replay.add(
            *(seen.obs, seen.action, step.reward, step.terminated, step.truncated, step.next_obs, seen.predictions)
        )
    replay.cut(stage.obs)
    return replay


def memory_of(config, spec: TaskSpec, copies: int) -> Memory:
    """An empty memory as a student with these settings has it."""
    return memory_for(spec, config.layout(), config.storage(spec, copies), copies)


def on_catch(config, phases, seed=0, copies=1, teacher=None, prior=None, evaluate=None, memory=None) -> Training:
    """A training on Catch. `prior` are rows; by default 40 greedy episodes are an evaluation."""
    student = config.newborn(Catch.spec, seed)

    def greedily(index):
        return play_episodes(catch(20), Greedy(student.policy, Catch.spec, 0.0), 40, stream(seed, "evaluate", index))

    return Training(
        cast={"student": student},
        memories={"student": memory_of(config, Catch.spec, copies) if memory is None else memory},
        phases=phases,
        prior=Memory(prior, config.layout_of_data()) if prior is not None else None,
        teacher=teacher,
        scale=Scale(-0.6, 1.0),
        evaluate=evaluate or greedily,
        seed=seed,
        copies=copies,
    )


def run(training: Training, write=lambda line: None, barrier=lambda: None, overlap: bool = False) -> None:
    """Take a training on Catch to its end."""
    if overlap:
        training.student.overlap()  # pyright: ignore[reportAttributeAccessIssue]
    teams = {"student": Alone(training)}
    Loop([training], teams, catch(training.copies), overlap).run([write], [barrier], lambda phase: None)


def says(policy: Policy, obs: np.ndarray) -> np.ndarray:
    """What a policy without memory says of observations of no particular moment."""
    return predictor_of(policy)(torch.from_numpy(obs)).x.detach().numpy()


def acts(student, obs: np.ndarray, explore: float, rng) -> np.ndarray:
    """What a student without memory does."""
    n = len(obs)
    step = TimeStep(torch.from_numpy(obs), torch.ones(n, dtype=torch.bool))
    return student.act(step, student.initial(n), explore, rng).action


def network_of(spec: TaskSpec, seed: int = 0, **settings):
    """A fresh network as a DQN student with these settings has it."""
    config = DQN(**settings)
    return build(spec, config, config.critic(), seed)


class Bare:
    """A Gymnasium environment as `envs.vector.Copies` wants one."""

    def __init__(self, env):
        self._env = env

    def reset(self, seed):
        return self._env.reset(seed=seed)[0]

    def step(self, action):
        return self._env.step(action)[:4]

    def close(self):
        pass
