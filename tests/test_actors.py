"""Actors that act for a learner: the bits of one that acts itself, whoever dies, wherever they are."""

import copy
import os
import pickle
import re
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from interrupting import check_it_goes_on
from test_recurrent_students import lines_of
from thinning import slow

from reincarnate import Run
from reincarnate.errors import UserError
from reincarnate.methods import JSRL, Kickstart, Scratch
from reincarnate.run import remote_actors
from reincarnate.run.execute import execute
from reincarnate.run.prepare import prepare
from reincarnate.run.process_actors import ProcessHandle, worker_specs
from reincarnate.run.ray_actors import RayHandle
from reincarnate.run.settings import record
from reincarnate.students import DQN, PPO, SAC, PrimalDual
from reincarnate.training.gossip import Gossip
from reincarnate.training.players import Transition
from reincarnate.training.remote_actors import Died, joined, shared_out
from reincarnate.types import Step

LEARNS = DQN(hidden=(8,), warmup=16, batch_size=8, replay_size=200, target_every=10)
ON_POLICY = PPO(hidden=(8,), rollout=8, batch_size=32, epochs=1, memory="lstm", memory_size=6, segment=8)
MOVES = SAC(hidden=(8,), warmup=16, batch_size=8, replay_size=200)
SHORT = {"evaluations": 2, "eval_episodes": 2, "final_episodes": 2, "reference_episodes": 3, "threads": 1, "log": ""}


def run_of(student=LEARNS, env="CartPole-v1", **more) -> Run:
    settings = {"env_steps": 150, "envs": 4, "compile": "off", "overlap": "off", **SHORT, **more}
    return Run(env, Scratch(), student, **settings)


RULE = """
import torch

def east(obs):
    return torch.stack([-obs[:, 1], obs[:, 0]], 1)

class Recalls:
    tells = "logits"

    def initial_state(self, n):
        return torch.zeros(n, 3)

    def __call__(self, obs, state):
        return torch.stack([-obs[:, 1], obs[:, 0]], 1), state + 1
"""


@pytest.fixture
def store(tmp_path_factory) -> str:
    return str(tmp_path_factory.mktemp("store"))


def weights(folder: Path) -> bytes:
    return (folder / "agent/weights.safetensors").read_bytes()


CASES = {
    "dqn": (LEARNS, "CartPole-v1"),
    "ppo, lstm": (ON_POLICY, "MinAtar/Breakout-v1"),
    "sac": (MOVES, "Pendulum-v1"),
}


class Here:
    """Actors in this process, whose holders die when they are told to."""

    def __init__(self, run, spec):
        self.run, self.spec, self.made = run, spec, []

    def handles(self, copies):
        self.made = [HereHandle(self, part) for part in worker_specs(self.run, self.spec, copies)]
        return self.made

    def publish(self, weights):
        self.weights = weights

    def close(self): ...


class HereHandle:
    dies = ()  # numbers of requests, over all handles, before whose reply the holder dies
    requests = 0

    def __init__(self, handles, part):
        self.handles, self.part, self.worker = handles, part, None

    def start(self):
        self.worker = self.part.worker()

    def begin(self, rng):
        self.owed = self.worker.begin(copy.deepcopy(rng))

    def catch_up(self, actions, state):
        self.worker.catch_up(actions, state)

    def act(self, request):
        HereHandle.requests += 1
        self.owed = self.worker.act(request, self.handles.weights)
        if HereHandle.requests in HereHandle.dies:
            self.worker = None

    def obs(self):
        return self.owed

    def reply(self):
        if self.worker is None:
            raise Died("by the test's hand")
        return pickle.loads(pickle.dumps(self.owed))

    def close(self):
        self.worker = None


@pytest.fixture
def here(monkeypatch):
    monkeypatch.setattr(remote_actors, "_backend", Here)
    monkeypatch.setattr(HereHandle, "requests", 0)
    monkeypatch.setattr(HereHandle, "dies", ())


@pytest.mark.parametrize("name", ["dqn", "sac", slow("ppo, lstm")])
def test_one_actor_leads_to_the_bits_of_a_learner_that_acts_itself(name, here, store, tmp_path):
    student, env = CASES[name]
    run = run_of(student, env, store=store)
    execute(run, tmp_path / "none")
    execute(replace(run, actors=1), tmp_path / "one")
    assert lines_of(tmp_path / "none") == lines_of(tmp_path / "one")
    assert weights(tmp_path / "none") == weights(tmp_path / "one")


@pytest.mark.parametrize("name", ["dqn", slow("sac"), "ppo, lstm"])
def test_actors_that_die_are_replaced_to_the_same_bits(name, here, store, tmp_path, monkeypatch):
    student, env = CASES[name]
    run = run_of(student, env, store=store, actors=3, actor_steps=3)
    assert execute(run, tmp_path / "whole")["env_steps"] == 150
    monkeypatch.setattr(HereHandle, "requests", 0)
    monkeypatch.setattr(HereHandle, "dies", (1, 8))  # the first of a stretch, and one amid it
    said = []
    execute(run, tmp_path / "killed", note=said.append)
    assert sum("by the test's hand): another takes its place" in line for line in said) == 2
    assert lines_of(tmp_path / "whole") == lines_of(tmp_path / "killed")
    assert weights(tmp_path / "whole") == weights(tmp_path / "killed")


def test_one_that_dies_again_and_again_ends_the_run_in_a_line(here, store, tmp_path, monkeypatch):
    monkeypatch.setattr(HereHandle, "dies", range(1000))
    with pytest.raises(UserError, match=r"actor 0 died \(by the test's hand\) 4 times: .* leave --actors out"):
        execute(run_of(store=store, actors=2), tmp_path / "run")


def test_a_learner_that_is_stopped_goes_on_with_new_actors_to_the_same_bits(here, store, tmp_path):
    run = run_of(store=store, actors=2, actor_steps=4)
    execute(run, tmp_path / "whole")
    check_it_goes_on(run, tmp_path / "whole", 2)


def test_a_learner_with_distant_actors_learns_as_often_as_one_that_acts(here, store, tmp_path):
    alone = execute(run_of(store=store), tmp_path / "alone")
    spread = execute(run_of(store=store, actors=2, actor_steps=5), tmp_path / "spread")
    assert alone["env_steps"] == spread["env_steps"] == 150
    assert abs(alone["updates"] - spread["updates"]) <= 5 * 4  # those that a longer first cycle does without


@pytest.mark.parametrize("kills", [slow(True), False])
def test_processes_act_to_the_same_bits_even_where_they_are_killed(kills, store, tmp_path, monkeypatch):
    run = run_of(store=store, actors=2 if kills else 1)
    act, requests, said = ProcessHandle.act, [], []

    def acts(self, request):
        act(self, request)
        requests.append(request)
        if kills and len(requests) in (1, 8):
            os.kill(self.process.pid, signal.SIGKILL)

    execute(replace(run, actors=run.actors if kills else 0), tmp_path / "whole")
    monkeypatch.setattr(ProcessHandle, "act", acts)
    execute(run, tmp_path / "again", note=said.append)
    assert sum("killed by SIGKILL): another takes its place" in line for line in said) == 2 * kills
    assert lines_of(tmp_path / "whole") == lines_of(tmp_path / "again")
    assert weights(tmp_path / "whole") == weights(tmp_path / "again") and requests


@pytest.mark.slow
def test_actors_of_ray_act_to_the_same_bits_even_where_they_are_killed(store, tmp_path, monkeypatch):
    pytest.importorskip("ray")
    run = run_of(store=store, actors=2)
    execute(run, tmp_path / "whole")
    act, requests, said = RayHandle.act, [], []

    def acts(self, request):
        act(self, request)
        requests.append(request)
        if len(requests) in (1, 8):
            self._backend.ray.kill(self.actor)

    monkeypatch.setattr(RayHandle, "act", acts)
    execute(replace(run, backend="ray"), tmp_path / "again", note=said.append)
    assert sum("another takes its place" in line for line in said) == 2
    assert lines_of(tmp_path / "whole") == lines_of(tmp_path / "again")
    assert weights(tmp_path / "whole") == weights(tmp_path / "again")


# ---- parts and wholes ------------------------------------------------------------------------------------


def test_copies_are_shared_out_evenly():
    assert shared_out(7, 3) == [3, 2, 2] and shared_out(4, 4) == [1, 1, 1, 1]


def test_steps_of_some_copies_are_one_step_of_all():
    def part(first, n, which=None):
        one = np.arange(first, first + n, dtype=np.float32)
        step = Step(one[:, None] + 1, one[:, None] + 1, one, one > 2, one > 9)
        return Transition(one[:, None], one.astype(np.int64), step, which=which, notes={"base": one})

    whole = joined([part(0, 2), part(2, 3)], [0, 2])
    same = part(0, 5)
    assert all(np.array_equal(a, b) for a, b in zip(whole.step[:5], same.step[:5], strict=True))
    assert np.array_equal(whole.obs, same.obs) and np.array_equal(whole.action, same.action)
    assert whole.which is None and whole.step.mask is None and whole.notes["base"].tolist() == [0, 1, 2, 3, 4]
    some = joined([part(0, 2), part(2, 3, np.array([0, 2]))], [0, 2])
    assert some.which is not None and some.which.tolist() == [0, 1, 2, 4]


# ---- what is refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "more, told",
    [
        ({"actors": 5}, "--actors 5 need a copy of the task each: --envs 5, or more"),
        ({"actors": -1}, "--actors must not be negative: -1"),
        ({"actor_steps": 4}, "--actor-steps is about --actors, and there are none"),
        ({"actors": 2, "actor_steps": 0}, "--actor-steps must be at least 1"),
        ({"actors": 2, "env": "CartPole-v1,Acrobot-v1"}, "--actors play one task"),
        ({"actors": 2, "method": JSRL(), "teacher": "py:{rule}:east"}, "a method whose teacher takes the actions"),
        ({"actors": 2, "method": Kickstart(), "teacher": "py:{rule}:Recalls"}, "has a memory: it must see each step"),
        ({"actors": 2, "student": DQN(polo=0.5)}, "would not know where its episodes' exploration stands"),
        ({"actors": 2, "student": PrimalDual(linear="start")}, "would not know what its episodes began with"),
        ({"actors": 2, "population": 2, "exchange": Gossip()}, "leave them out with --population"),
    ],
)
def test_what_actors_cannot_do_is_said_before_anything_begins(more, told, tmp_path):
    (tmp_path / "rule.py").write_text(RULE)
    more = {name: v.format(rule=tmp_path / "rule.py") if isinstance(v, str) else v for name, v in more.items()}
    with pytest.raises(UserError, match=re.escape(told)):
        prepare(replace(run_of(), **more))


def test_a_run_without_actors_is_recorded_as_before_there_were_any():
    assert not {"actors", "actor_steps", "backend"} & record(run_of()).keys()
    assert record(run_of(actors=2))["actors"] == 2


TASK = """
import multiprocessing
import gymnasium as gym
import numpy as np

class Fails(gym.Env):
    observation_space, action_space = gym.spaces.Box(-1, 1, (2,)), gym.spaces.Discrete(2)

    def reset(self, seed=None, options=None):
        return np.zeros(2, np.float32), {}

    def step(self, action):
        if multiprocessing.parent_process():
            raise ValueError("out of gas")
        return np.zeros(2, np.float32), 0.0, True, False, {}

gym.register("Fails-v0", Fails)
"""


@pytest.mark.slow
def test_what_fails_at_an_actors_task_is_said_as_at_ones_own(store, tmp_path, monkeypatch):
    (tmp_path / "failing.py").write_text(TASK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    run = run_of(env="failing:Fails-v0", store=store, actors=1, envs=1)
    with pytest.raises(UserError, match=r"Fails-v0 at step 1 of an episode: step\(\) raised ValueError: out of gas"):
        execute(run, tmp_path / "run")
