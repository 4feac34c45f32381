"""A student that is distilled in a process of its own: the same bits as in one process, whoever dies on the way."""

import os
import signal
from dataclasses import replace
from multiprocessing import get_context, shared_memory

import numpy as np
import pytest
import torch
from test_recurrent_students import LEARNER, POLICY, lines_of, lived, run_of

from reincarnate.data.memory import Memory, memory_for
from reincarnate.errors import UserError
from reincarnate.methods import ALD
from reincarnate.run.execute import execute, execute_together
from reincarnate.run.prepare import prepare
from reincarnate.training import distant
from reincarnate.training.distant import HERE, THERE, Distant, Job, counts_of, post, take, work
from reincarnate.training.gossip import Vector
from reincarnate.training.mailbox import Mailbox
from reincarnate.types import Weighing

METHOD = ALD(**LEARNER, distil_steps=2, replayed=2)
STUDENT = replace(POLICY, norm_obs=True)


@pytest.fixture
def store(tmp_path):
    return str(tmp_path / "store")


def box_for(student):
    vector = Vector(student.state().values())
    return Mailbox(2, vector.size, "float64" if vector.double else "float32")


def test_updates_made_from_what_was_left_are_those_made_here_and_lead_to_the_same_state():
    here, memory, _ = lived(STUDENT, 16)
    memory.keeps = 2
    memory.begin(here)
    there, rows = (
        STUDENT.newborn(here.spec, 7),
        memory_for(here.spec, STUDENT.layout(), STUDENT.storage(here.spec, 3), 3),
    )
    rows.keeps, box = 2, box_for(here)
    try:
        post(box, HERE, here)
        rng, other = np.random.default_rng(3), np.random.default_rng(3)
        job = Job(5, 16, Weighing(), other, counts_of(here), memory.kept, 1)
        done = work(there, rows, box, job)
        means = [here.update(memory.sample(16, rng), Weighing(), rng).means for _ in range(5)]
        assert all(torch.equal(a[name], b[name]) for a, b in zip(means, done.means, strict=True) for name in a)
        assert done.rng.random() == rng.random() and done.counts["updates"] == here.updates == 5
        kept = {name: value.clone() for name, value in here.state().items()}
        with torch.no_grad():
            here.online.data.zero_()
        take(box, THERE, here, done.counts)
        assert all(torch.equal(kept[name], value) for name, value in here.state().items())
        assert torch.equal(here.acting.data, there.online.data)  # it acts by what was left
    finally:
        box.close(unlink=True)


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


@pytest.mark.slow
@pytest.mark.parametrize("dies", [True, False])
def test_two_processes_train_to_the_bits_of_one_even_where_one_is_killed(dies, store, tmp_path, monkeypatch):
    run = run_of(METHOD, STUDENT, store, env_steps=220)
    begin, jobs, processes, boxes = Distant.begin, [], [], set()

    def begins(self, *told):
        begin(self, *told)
        jobs.append(self)
        processes.append(self.process)
        boxes.add(self._box.address[-1])
        if dies and len(jobs) == 2:
            os.kill(self.process.pid, signal.SIGKILL)

    execute(run, tmp_path / "one")
    monkeypatch.setattr(Distant, "begin", begins)
    said = []
    execute(replace(run, method=replace(METHOD, processes="two")), tmp_path / "two", note=said.append)
    assert lines_of(tmp_path / "one") == lines_of(tmp_path / "two")
    weights = [(tmp_path / where / "agent/weights.safetensors").read_bytes() for where in ("one", "two")]
    assert weights[0] == weights[1] and len(jobs) > 2
    assert any("another takes its place" in line for line in said) is dies
    assert not any(process.is_alive() for process in processes)  # a clean end
    for name in boxes:
        with pytest.raises(FileNotFoundError):
            shared_memory.SharedMemory(name)


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
    monkeypatch.setattr(distant, "wait", lambda sources, timeout: sources[:1])
    run = run_of(replace(METHOD, processes="two"), STUDENT, store)
    with pytest.raises(UserError, match=r"the process of the student died .* 4 times: --processes one") as told:
        execute(run, tmp_path / "run")
    assert "\n" not in str(told.value)


def test_what_has_a_process_is_trained_alone(store, tmp_path):
    run = run_of(replace(METHOD, processes="two"), STUDENT, store)
    with pytest.raises(UserError, match="each has a process beside it"):
        execute_together([run, replace(run, seed=1)], [tmp_path / "a", tmp_path / "b"])
    from reincarnate.training.gossip import Gossip

    with pytest.raises(UserError, match="--processes two is for a run alone"):
        prepare(replace(run, population=2, exchange=Gossip()))
