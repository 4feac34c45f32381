"""A student that is distilled elsewhere: the same bits as in one process, whoever dies on the way, wherever it is."""

import os
import pickle
import signal
import sys
from dataclasses import replace
from multiprocessing import get_context, shared_memory
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from test_recurrent_students import LEARNER, POINT, POLICY, lines_of, lived, run_of

from reincarnate.data.memory import Memory, memory_for
from reincarnate.errors import UserError
from reincarnate.methods import ALD
from reincarnate.run import distant
from reincarnate.run.execute import execute, execute_together
from reincarnate.run.prepare import prepare
from reincarnate.run.process_student import ProcessHome
from reincarnate.run.ray_student import RayHome
from reincarnate.training.distant import Job, Pupil, counts_of, resume, state_of
from reincarnate.training.remote_actors import Died
from reincarnate.types import Weighing

METHOD = ALD(**LEARNER, distil_steps=2, replayed=2)
TWO = replace(METHOD, processes="two")
STUDENT = replace(POLICY, norm_obs=True)


def short_run(store, **more):
    """Three rollouts to learn from."""
    return run_of(TWO, STUDENT, store, env_steps=96, envs=4, **more)


def end_of(folder):
    return lines_of(folder), (folder / "agent/weights.safetensors").read_bytes()


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return str(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def one(store, tmp_path_factory):
    """How the run of one process ends."""
    out = tmp_path_factory.mktemp("one") / "run"
    execute(replace(short_run(store), method=METHOD), out)
    return end_of(out)


def test_updates_made_from_what_was_sent_are_those_made_here_and_lead_to_the_same_state():
    here, memory, _ = lived(STUDENT, 16)
    memory.keeps = 2
    memory.begin(here)
    rows = memory_for(here.spec, STUDENT.layout(), STUDENT.storage(here.spec, 3), 3)
    rows.keeps, there = 2, STUDENT.newborn(here.spec, 7)
    rng, other = np.random.default_rng(3), np.random.default_rng(3)
    job = Job(5, 16, Weighing(), other, counts_of(here), memory.kept, 1)
    state, done = Pupil(there, rows).work(state_of(here), job)
    means = [here.update(memory.sample(16, rng), Weighing(), rng).means for _ in range(5)]
    assert all(torch.equal(a[name], b[name]) for a, b in zip(means, done.means, strict=True) for name in a)
    assert done.rng.random() == rng.random() and done.counts["updates"] == here.updates == 5
    kept = {name: value.clone() for name, value in here.state().items()}
    with torch.no_grad():
        here.online.data.zero_()
    resume(here, state, done.counts)
    assert all(torch.equal(kept[name], value) for name, value in here.state().items())
    assert torch.equal(here.acting.data, there.online.data)  # it acts by what came


def test_rollouts_are_forgotten_there_as_they_are_here():
    student, memory, _ = lived(STUDENT, 8)
    memory.begin(student)
    one, rows = memory.prepared, Memory(memory.rows, memory.layout, keeps=3)
    for _ in range(3):
        rows.keep(one)
    rows.forget(1)
    rows.keep(one)
    assert len(rows.kept) == 2 and len(rows) == 2 * one.reward.numel()
    rows.forget(0)
    assert rows.kept == []


class Here:
    """Somebody in this process, who learns when asked what is done, and dies when told to."""

    dies = ()  # numbers of asking
    asked = 0
    updates: ClassVar[list[int]] = []

    def __init__(self, part, *_):
        self.part, self.pupil = part, None

    def start(self):
        self.pupil = self.part.pupil()

    def send(self, state, job):
        Here.updates.append(job.updates)
        self.owed = pickle.loads(pickle.dumps((state, job)))

    def done(self):
        Here.asked += 1
        if Here.asked in Here.dies:
            raise Died("by the test's hand")
        return self.pupil.work(*self.owed)

    def close(self):
        self.pupil = None


def test_whoever_learns_elsewhere_learns_to_the_same_bits_even_where_it_is_replaced(one, store, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(Here, "dies", (1, 3, 4))
    monkeypatch.setattr(Here, "asked", 0)
    monkeypatch.setattr(Here, "updates", [])
    monkeypatch.setattr(distant, "_home", lambda run, part, training: Here(part))
    execute(short_run(store), tmp_path / "run", note=said.append)
    assert end_of(tmp_path / "run") == one and Here.asked == 3 + 3
    learner = 2 * 32 // 16  # epochs · steps of a rollout / batch
    assert Here.updates[0] == METHOD.distil_steps * learner
    told = "warning: the process of the student died (by the test's hand): another takes its place"
    assert said.count(told) == 3


@pytest.mark.slow
@pytest.mark.parametrize("dies", [True, False])
def test_two_processes_train_to_the_bits_of_one_even_where_one_is_killed(dies, one, store, tmp_path, monkeypatch):
    send, jobs, processes, boxes = ProcessHome.send, [], [], set()

    def sends(self, state, job):
        send(self, state, job)
        jobs.append(job)
        processes.append(self.process)
        boxes.add(self._box.address[-1])
        if dies and len(jobs) == 2:
            os.kill(self.process.pid, signal.SIGKILL)

    monkeypatch.setattr(ProcessHome, "send", sends)
    said = []
    execute(short_run(store), tmp_path / "two", note=said.append)
    assert end_of(tmp_path / "two") == one and len(jobs) == 3 + dies
    assert any("(killed by SIGKILL): another takes its place" in line for line in said) is dies
    assert not any(process.is_alive() for process in processes)  # a clean end
    for name in boxes:
        with pytest.raises(FileNotFoundError):
            shared_memory.SharedMemory(name)


@pytest.mark.slow
@pytest.mark.parametrize("actors", [0, 1])
def test_an_actor_of_ray_distils_to_the_bits_of_one_process_even_where_it_is_killed(
    actors, one, store, tmp_path, monkeypatch
):
    ray = pytest.importorskip("ray")
    send, jobs, said = RayHome.send, [], []

    def sends(self, state, job):
        send(self, state, job)
        jobs.append(job)
        if len(jobs) == 2:
            self.ray.kill(self.actor)

    monkeypatch.setattr(RayHome, "send", sends)
    execute(short_run(store, backend="ray", actors=actors), tmp_path / "ray", note=said.append)
    assert end_of(tmp_path / "ray") == one and len(jobs) == 3 + 1
    assert sum("the process of the student died (" in line and "another takes" in line for line in said) == 1
    assert not ray.is_initialized()


class Dead:
    """A process that dies as it is born, and a pipe to it that is closed."""

    pid, exitcode, sentinel = 0, -9, None

    def __init__(self, target, args, **_):
        self._theirs = args[0]

    def start(self): ...
    def join(self, _=None): ...
    def is_alive(self):
        return False


def test_where_nobody_can_learn_the_run_ends_in_a_line_and_waits_for_nobody(store, tmp_path, monkeypatch):
    context = get_context("spawn")
    monkeypatch.setattr(type(context), "Process", Dead)
    run = run_of(TWO, STUDENT, store)
    with pytest.raises(UserError, match=r"the process of the student died .* 4 times: --processes one") as told:
        execute(run, tmp_path / "run")
    assert "\n" not in str(told.value)


def test_what_has_a_process_is_trained_alone(store, tmp_path):
    run = run_of(TWO, STUDENT, store)
    with pytest.raises(UserError, match="each has a process beside it"):
        execute_together([run, replace(run, seed=1)], [tmp_path / "a", tmp_path / "b"])
    from reincarnate.training.gossip import Gossip

    with pytest.raises(UserError, match="--processes two is for a run alone"):
        prepare(replace(run, population=2, exchange=Gossip()))


# ---- Ray, without any ------------------------------------------------------------------------------------


class Lost(Exception):
    """As Ray's own errors."""


class Fake:
    """What of Ray is used, in this process: actors that work when they are asked for the reply."""

    def __init__(self, cpus, gpus=0):
        self._there, self.killed, self.options, self.raises = {"CPU": cpus, "GPU": gpus}, 0, {}, None
        self.exceptions = type("exceptions", (), {"RayError": Lost, "RayTaskError": type("Task", (Lost,), {})})

    def is_initialized(self):
        return True

    def cluster_resources(self):
        return self._there

    def kill(self, actor):
        self.killed += 1

    def remote(self, **options):
        self.options = options
        return lambda kind: type("Remote", (), {"remote": lambda *told: Actor(kind(*told[-1:]))})

    def get(self, owed):
        if self.raises is not None:
            raise self.raises
        return owed()


class Actor:
    def __init__(self, held):
        self.work = type("Work", (), {"remote": staticmethod(lambda *told: lambda: held.work(*told))})


@pytest.fixture
def ray(monkeypatch):
    def of(cpus, gpus=0):
        fake = Fake(cpus, gpus)
        monkeypatch.setattr("reincarnate.run.cluster.import_ray", lambda: fake)
        monkeypatch.setattr("reincarnate.run.remote_actors.check_installed", lambda: None)
        return fake

    return of


def test_an_actor_is_asked_for_once_a_life_and_its_death_is_told_in_a_line(ray, one, store, tmp_path):
    fake, run = ray(1), short_run(store, backend="ray")
    execute(run, tmp_path / "ray")
    assert end_of(tmp_path / "ray") == one
    assert fake.options == {"max_restarts": 0, "num_cpus": 1, "num_gpus": 0} and fake.killed == 1
    fake.raises = Lost("the node has gone\nand more")
    with pytest.raises(UserError, match=r"died \(Lost: the node has gone\) 4 times: --processes one needs none"):
        execute(run, tmp_path / "lost")
    assert fake.killed == 5


@pytest.mark.parametrize(
    "there, actors, device, told",
    [
        ((0,), 0, "cpu", "needs a CPU for the student; the cluster has 0"),
        ((2,), 2, "cpu", "needs a CPU for the student beside those of --actors 2; the cluster has 2"),
        ((1,), 0, "cuda:0", "a GPU needs one in the cluster, which has none: --device cpu"),
    ],
)
def test_a_cluster_with_too_little_is_refused_in_a_line_and_not_waited_for(there, actors, device, told, ray):
    ray(*there)
    part = distant.PupilSpec(POLICY, POINT, 0, device, 1, 1, 1, (), Path())
    with pytest.raises(UserError, match=told):
        RayHome(part, actors)


def test_a_ray_that_does_not_start_is_told_in_a_line_and_leaves_nothing(ray, monkeypatch):
    fake, ended = ray(1), []

    def init(**_):
        raise Exception("The node timed out\nduring startup")

    for name, value in {"is_initialized": lambda: False, "init": init, "shutdown": lambda: ended.append(1)}.items():
        monkeypatch.setattr(fake, name, value, raising=False)
    with pytest.raises(UserError, match="Ray did not start: The node timed out during startup"):
        RayHome(distant.PupilSpec(POLICY, POINT, 0, "cpu", 1, 1, 1, (), Path()), 0)
    assert ended == [1]


def test_ray_is_asked_for_where_something_runs_there_and_is_installed(store, monkeypatch):
    with pytest.raises(UserError, match="--backend ray is about --actors, and ald --processes two"):
        prepare(run_of(METHOD, STUDENT, store, backend="ray"))
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r'pip install "reincarnate\[ray\]"'):
        prepare(run_of(TWO, STUDENT, store, backend="ray"))
