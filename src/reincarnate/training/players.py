"""Who acts on a vector environment, and the one place where environments are stepped."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from reincarnate.agents.acting import acted, allowed
from reincarnate.data.replay import Replay
from reincarnate.envs.checks import Unsound, finite
from reincarnate.envs.vector import IDLE
from reincarnate.students.exploration import epsilon_greedy, sound
from reincarnate.types import (
    LOGITS,
    NOTHING,
    Actor,
    ActorOutput,
    Policy,
    Prediction,
    Step,
    TaskSpec,
    TeacherCard,
    TimeStep,
    VectorEnv,
)

Explore = float | tuple[float, ...]
"""How much whoever acts explores, in its own unit; of actors side by side perhaps each by itself."""


def way_of_playing(card: TeacherCard, how: str) -> str:
    """ "greedy" or "sample": as asked, or for "auto" as its makers do; unknown, a policy samples, others are greedy."""
    if how != "auto":
        return how
    return card.plays or ("sample" if card.tells == LOGITS else "greedy")


class Transition(NamedTuple):
    """One step of every copy: what was seen, done and said about it, and the memory it was done with."""

    obs: np.ndarray
    action: np.ndarray
    step: Step
    predictions: Mapping[str, Prediction] = NOTHING
    notes: Mapping[str, np.ndarray] = NOTHING
    which: np.ndarray | None = None  # copies that acted, where not all did
    carry: Tensor | None = None  # [n, H], what the actor remembered before

    def store(self, rows: Replay) -> None:
        """Add it to a table."""
        step = self.step
        told = (self.predictions, self.notes, self.which, step.mask, step.next_mask, self.carry)
        rows.add(self.obs, self.action, step.reward, step.terminated, step.truncated, step.next_obs, *told)

    def of_copies(self, own: slice) -> "Transition":
        """What some of the copies experienced."""
        which = self.which
        return Transition(
            self.obs[own],
            self.action[own],
            Step(*(None if column is None else column[own] for column in self.step)),  # pyright: ignore
            {name: said._replace(x=said.x[own]) for name, said in self.predictions.items()},
            {name: values[own] for name, values in self.notes.items()},
            None if which is None else which[(which >= own.start) & (which < own.stop)] - own.start,
            None if self.carry is None else self.carry[own],
        )


class Stage:
    """An actor at a vector environment: what it sees, what it remembers, the returns of the episodes it plays.

    `listening` are policies that must see every step as it happens, by name; what they say is in the transitions.
    Whoever says what is no number is named with the step, counted in each copy from here on.
    """

    def __init__(self, env: VectorEnv, actor: Actor, obs: np.ndarray, listening: Mapping[str, Policy] = NOTHING):
        self.env, self.actor, self.obs, self._listening = env, actor, obs, listening
        self.steps = 0
        self.begins, self.totals = np.ones(env.n, bool), np.zeros(env.n)
        self.carry = actor.initial(env.n)
        self._carries = {name: policy.initial(env.n) for name, policy in listening.items()}
        self.predictions: Mapping[str, Prediction] = NOTHING
        self.mask: np.ndarray | None = getattr(env, "mask", None)  # as episodes begin; each step says the next
        scored = env.spec.score is not None and hasattr(env, "score")  # another
        self.scores = np.zeros(env.n) if scored else None  # the task's own, of episodes being played or just ended
        task = getattr(env, "task", None)  # another: several tasks side by side
        self._task = None if task is None else torch.from_numpy(task)

    def now(self) -> TimeStep:
        """What the environment shows."""
        return TimeStep(
            torch.from_numpy(self.obs),
            torch.from_numpy(self.begins),
            self._view,
            None if self.mask is None else torch.from_numpy(self.mask),
            self._task,
        )

    def _view(self, name: str) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(self.env.view(name)))

    def play(self, explore: Any, rng: Any, idle: np.ndarray | None = None) -> Transition:
        """One step of every copy; those that are `idle` are left alone."""
        now, before, which = self.now(), self.carry, None
        self.steps += 1
        if self._listening:
            self._listen(now)
        try:
            acted = self.actor.act(now, before, explore, rng)
        except Unsound as error:
            told = f"{error} at step {self.steps} of each copy: its training has diverged"
            raise Unsound(told) from error
        action = acted.action if idle is None else resting(acted.action, idle)
        rests = idle is not None and bool(idle.all())  # as where others hold the copies that have a part
        step = self._standing() if rests else self.env.step(action)
        notes = acted.notes
        if now.mask is not None:
            notes = {**notes, "mask": now.mask.numpy()}
        if self._task is not None:
            notes = {**notes, "task": self._task.numpy()}
        obs, self.obs, self.mask, self.carry = self.obs, step.obs, step.mask, acted.carry
        if idle is not None and idle.any():
            which = np.flatnonzero(~idle)
            self.obs = np.where(idle.reshape(-1, *[1] * (obs.ndim - 1)), obs, step.obs)  # some tasks step all the same
        played = slice(None) if which is None else which
        self.totals[played] += step.reward[played]
        if self.scores is not None:
            self.scores = np.where(now.begins.numpy(), 0.0, self.scores) + self.env.score  # pyright: ignore
        self.begins = step.terminated | step.truncated
        if which is not None:
            self.begins &= ~idle  # pyright: ignore[reportOptionalOperand]
        return Transition(obs, action, step, self.predictions, notes, which, before)

    def _standing(self) -> Step:
        """A step of which nobody has a part."""
        nothing, no = np.zeros(self.env.n, np.float32), np.zeros(self.env.n, bool)
        return Step(self.obs, self.obs, nothing, no, no, self.mask, self.mask)

    def _listen(self, now: TimeStep) -> None:
        said = {}
        for name, policy in self._listening.items():
            said[name], self._carries[name] = policy.predict(now, self._carries[name])
            finite(said[name].x.cpu().numpy(), named(policy), self.steps)
        self.predictions = said

    def ended(self) -> list[tuple[int, float]]:
        """(copy, return) of every episode that ended with the last step; those copies' sums begin anew."""
        over = np.flatnonzero(self.begins)
        found = [(int(i), float(self.totals[i])) for i in over]
        self.totals[over] = 0.0
        return found


def named(policy: Policy) -> str:
    """A policy in messages."""
    card = getattr(policy, "card", None)
    return f"the teacher {card.uri}" if card else "the policy"


def resting(actions: np.ndarray, idle: np.ndarray) -> np.ndarray:
    """The actions with those of idle copies struck out."""
    if actions.ndim == 1:
        return np.where(idle, IDLE, actions)
    return np.where(idle[:, None], np.float32(np.nan), actions)


class Player:
    """A policy that plays: greedily, or by sampling; with probability `strays` at random, for coverage."""

    def __init__(self, policy: Policy, spec: TaskSpec, tells: str, how: str = "auto", strays: float | None = None):
        self.policy, self.spec, self._tells, self._how, self._strays = policy, spec, tells, how, strays
        self.said: Prediction | None = None  # its last prediction
        self.asked = 0  # how often
        self._who = named(policy)

    @classmethod
    def of_teacher(cls, teacher, spec: TaskSpec, how: str = "auto", strays: float | None = None) -> "Player":
        """A teacher that plays as its card says, or as is asked."""
        return cls(teacher, spec, teacher.card.tells, way_of_playing(teacher.card, how), strays)

    def initial(self, n: int) -> Tensor:
        """The policy's memory as episodes begin."""
        return self.policy.initial(n)

    @torch.no_grad()
    def act(self, step: TimeStep, carry: Tensor, explore: float, rng: np.random.Generator) -> ActorOutput:
        """Actions [n], or [n, A] in the task's units."""
        self.said, carry = self.policy.predict(step, carry)
        self.asked += 1
        finite(self.said.x.cpu().numpy(), self._who, self.asked)
        action = acted(allowed(self.said, step.mask), self._tells, self.spec, rng, self._how)
        if self._strays is not None:
            strays = rng.random(len(action)) < self._strays
            mask = None if step.mask is None else step.mask[torch.from_numpy(strays)]
            action[strays] = random_actions(self.spec, int(strays.sum()), rng, mask)
        return ActorOutput(action, carry)


class Greedy:
    """A policy in evaluation: its best action, of discrete ones with probability `epsilon` any; means of continuous."""

    def __init__(self, policy: Policy, spec: TaskSpec, epsilon: float):
        self.policy, self.spec, self.epsilon = policy, spec, epsilon

    def initial(self, n: int) -> Tensor:
        """The policy's memory as episodes begin."""
        return self.policy.initial(n)

    @torch.no_grad()
    def act(self, step: TimeStep, carry: Tensor, explore: float, rng: np.random.Generator) -> ActorOutput:
        """Actions [n], or [n, A] in the task's units."""
        if self.spec.continuous:
            said, carry = self.policy.predict(step, carry)
            sound(said.x)
            return ActorOutput(acted(said, said.kind, self.spec, rng, "greedy"), carry)
        return epsilon_greedy(self.policy, step, carry, self.spec.actions, self.epsilon, rng)


class RandomPlayer:
    """Uniformly random actions: the zero of every normalised score."""

    def __init__(self, spec: TaskSpec):
        self.spec = spec

    def initial(self, n: int) -> Tensor:
        """It remembers nothing."""
        return torch.zeros(n, 0)

    def act(self, step: TimeStep, carry: Tensor, explore: float, rng: np.random.Generator) -> ActorOutput:
        """Actions [n], or [n, A] in the task's units; of those that are allowed."""
        return ActorOutput(random_actions(self.spec, len(step.begins), rng, step.mask), carry)


def random_actions(spec: TaskSpec, n: int, rng: np.random.Generator, mask: Tensor | None = None) -> np.ndarray:
    """Uniform over the task's actions that a mask allows: int64 [n], or float32 [n, A] where they are continuous."""
    if mask is not None:
        return (rng.random(tuple(mask.shape)) * mask.numpy()).argmax(-1)
    if spec.bounds is None:
        return rng.integers(spec.actions, size=n)
    low, high = (np.asarray(bound) for bound in spec.bounds)
    return rng.uniform(low, high, (n, spec.actions)).astype(np.float32)
