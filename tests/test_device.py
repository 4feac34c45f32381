"""Everything lives on one device: a double without numbers finds what was left behind, with no GPU at hand."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from thinning import slow

from reincarnate import envs
from reincarnate.data.layouts import Transitions
from reincarnate.data.memory import Memory, Storage, memory_for
from reincarnate.errors import UserError
from reincarnate.losses.mimic import FeatureRegression, PolicyRegression
from reincarnate.losses.terms import Distil
from reincarnate.methods import Scratch
from reincarnate.run.prepare import check_frames_device, device_of, prepare
from reincarnate.run.settings import Run
from reincarnate.students import STUDENTS, exploration, stacker
from reincarnate.training.asking import of_frozen
from reincarnate.training.evaluate import Evaluation
from reincarnate.training.population import Stacked
from reincarnate.training.training import Training
from reincarnate.types import FEATURES, LAGGING, OPTIMIZER, VALUES, Batch, Phase, Prediction, TimeStep, Weighing

DOUBLE = torch.device("meta")  # tensors that have a device and a shape and no numbers; mixed with others they raise
N = 16


@pytest.fixture(autouse=True)
def _no_numbers(monkeypatch):
    """What acting would bring back to the host: tensors of the double hold nothing."""

    def to_host(tensor: torch.Tensor) -> np.ndarray:
        assert tensor.device == DOUBLE, f"acting on {tensor.device}"
        return np.zeros(tensor.shape, np.int64)

    monkeypatch.setattr(exploration, "to_host", to_host)
    for name in ("_fused_adam_", "_fused_adamw_"):  # has no kernel for tensors without numbers
        monkeypatch.setattr(torch, name, _same_device)


def _same_device(data, grads, means, squares, *_, **__):
    assert {t.device for group in (data, grads, means, squares) for t in group} == {DOUBLE}


# an LSTM's kernel is asked for stretches without a beginning, whose numbers a double does not have
RECALLS = {"memory": "gtrxl", "unroll": 4, "burn_in": 2, "overlap": 2, "batch_size": 16}
VALUED = [(name, {}) for name, kind in STUDENTS.items() if kind.predicts == VALUES and name != "r2d2"]


@pytest.mark.parametrize("env", ["MinAtar/Breakout-v1", slow("CartPole-v1")])
@pytest.mark.parametrize(
    "name, more", [*VALUED, ("primal_dual", {}), ("r2d2", RECALLS), *(slow(n, RECALLS) for n in ("dqn", "iqn"))]
)
def test_a_students_tensors_all_live_on_its_device(env, name, more):
    spec, config, rng = envs.spec(env), STUDENTS[name](**more), np.random.default_rng(0)
    student = config.newborn(spec, 0, DOUBLE)
    memory = memory_for(spec, config.layout(), config.storage(spec, N), N, DOUBLE)
    if name == "dqn":
        memory.mirror()  # the frames, too, are on the device
    obs, never = np.zeros((N, *spec.obs_shape), spec.obs_dtype), np.zeros(N, bool)
    step = TimeStep(torch.from_numpy(obs), torch.from_numpy(never))
    for _ in range(20):
        acted = student.act(step, student.initial(N), 0.0, rng)
        said = {"teacher": Prediction("logits", torch.zeros(N, spec.actions))}
        memory.rows.add(obs, acted.action, np.zeros(N, np.float32), never, never, obs, said, acted.notes)
    if memory.fresh:
        memory.rows.foresee(obs)
        memory.begin(student, {"teacher": lambda obs: Prediction("logits", torch.zeros(len(obs), spec.actions))})
    batch = memory.sample(32, rng, {"teacher": lambda obs: Prediction("logits", torch.zeros(len(obs), spec.actions))})
    assert {batch.obs.device, batch.reward.device, batch.predictions["teacher"].x.device} == {DOUBLE}
    learnt = student.update(batch, Weighing(1.0, [(1.0, Distil(1.0, 1.0))], 0.5), rng)
    assert {mean.device for mean in learnt.means.values()} == {DOUBLE}
    student.refresh(frozenset({LAGGING, OPTIMIZER}))
    student.publish()
    student.load(student.weights())
    assert {tensor.device for name, tensor in student.state().items() if name != "updates"} == {DOUBLE}
    student.restore({key: torch.zeros(value.shape) for key, value in student.state().items()})  # saved on another


def test_maps_to_a_teachers_features_live_on_the_students_device():
    spec = envs.spec("MinAtar/Breakout-v1,MinAtar/Freeway-v1")
    student = STUDENTS["dqn"]().newborn(spec, 0, DOUBLE)
    student.follow((3, 2))
    obs, zeros = torch.zeros(N, *spec.obs_shape, device=DOUBLE), torch.zeros(N, device=DOUBLE)
    said = {
        "teacher": Prediction("logits", torch.zeros(N, spec.actions, device=DOUBLE)),
        FEATURES: Prediction(FEATURES, torch.zeros(N, 3, device=DOUBLE)),
    }
    batch = Batch(obs, zeros.long(), zeros, zeros, obs, said, task=zeros.long())
    weighing = Weighing(0.0, [(1.0, PolicyRegression(1.0)), (0.01, FeatureRegression())])
    learnt = student.update(batch, weighing, np.random.default_rng(0))
    assert {mean.device for mean in learnt.means.values()} == {DOUBLE}
    assert {tensor.device for name, tensor in student.state().items() if name != "updates"} == {DOUBLE}


def test_a_device_that_is_not_there_is_one_line():
    with pytest.raises(UserError, match="PyTorch sees no GPU here; use --device cpu"):
        device_of("cuda" if not torch.cuda.is_available() else "cuda:99")
    with pytest.raises(UserError, match="is none"):
        device_of("gpu")
    with pytest.raises(UserError, match=r"--replay-device cuda:99: PyTorch sees .*; use --replay-device cpu"):
        prepare(Run("CartPole-v1", Scratch(), replay_device="cuda:99"))


def test_frames_held_on_another_device_than_the_students_are_refused():
    there = torch.device("cuda:0")
    with pytest.raises(UserError, match="the student is on cpu; give both the same device"):
        check_frames_device(there, torch.device("cpu"), envs.spec("CartPole-v1"))
    coded = replace(envs.spec("CartPole-v1"), codec="balloon")
    with pytest.raises(UserError, match="stores its observations encoded"):
        check_frames_device(there, there, coded)


@pytest.mark.parametrize("stack", [1, 3])
@settings(max_examples=30)
@given(seed=st.integers(0, 10**6))
def test_batches_cut_on_a_device_are_those_cut_on_the_host(stack, seed):
    rng, streams = np.random.default_rng(seed), 3
    shape = (stack, 2, 2) if stack > 1 else (4,)
    spec = replace(envs.spec("MinAtar/Breakout-v1"), obs_shape=shape, obs_dtype="uint8", stack=stack)
    memory, plain = (memory_for(spec, Transitions(3), Storage(45), streams) for _ in range(2))
    memory.mirror()
    for step in range(40):
        obs, after = (rng.integers(0, 255, (streams, *shape), np.uint8) for _ in range(2))
        done, cut = rng.random((2, streams)) < 0.1
        for one in (memory, plain):
            one.rows.add(obs, np.zeros(streams, np.int64), np.zeros(streams, np.float32), done, cut, after)
        if step % 13 == 9:  # now and then, and after more rows than there are slots
            memory.restore(memory.state()) if rng.random() < 0.3 else None
            drawn = [one.sample(16, np.random.default_rng(step)) for one in (memory, plain)]
            assert all(torch.equal(a, b) for a, b in zip(tensors_of(drawn[0]), tensors_of(drawn[1]), strict=True))


def tensors_of(batch: Batch) -> list[torch.Tensor]:
    return [value for value in batch if isinstance(value, torch.Tensor)]


def test_auto_is_the_cpu_where_there_is_no_gpu():
    assert device_of("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_batches_of_seeds_that_are_stacked_are_on_their_device():
    spec, config = envs.spec("CartPole-v1"), STUDENTS["dqn"](hidden=(8,))
    students = [config.newborn(spec, seed) for seed in range(2)]  # optimisers are stacked by their numbers
    whole = memory_for(spec, config.layout(), Storage(200), 2, DOUBLE)
    memories = [Memory(whole.rows.shard(i, 2), config.layout(), device=DOUBLE) for i in range(2)]
    trainings = [trained(student, memory) for student, memory in zip(students, memories, strict=True)]
    team = Stacked(trainings, stacker(config)(students, False), whole.rows)
    obs, never = np.zeros((2, *spec.obs_shape), spec.obs_dtype), np.zeros(2, bool)
    for _ in range(20):
        whole.rows.add(obs, np.zeros(2, np.int64), np.zeros(2, np.float32), never, never, obs)
    rngs = [np.random.default_rng(seed) for seed in range(2)]
    batch, _ = team._draw(memories, 4, rngs, {})
    assert batch.obs.device == DOUBLE and batch.obs.shape[0] == 8


class Elsewhere:
    """Observations on another device than the host."""

    def cpu(self) -> torch.Tensor:
        return torch.ones(2, 4)


def test_a_frozen_policy_is_asked_on_the_host_and_answers_on_the_batchs_device():
    asked = []

    def predict(obs: torch.Tensor, task: torch.Tensor | None) -> Prediction:
        asked.append(obs.device.type)
        return Prediction(VALUES, obs)

    nothing = torch.zeros(2, device=DOUBLE)
    batch = Batch(Elsewhere(), nothing, nothing, nothing, None)  # pyright: ignore[reportArgumentType]
    assert of_frozen(predict, batch).x.device == DOUBLE and asked == ["cpu"]


def trained(student: Any, memory: Memory) -> Training:
    phases = [Phase("online", env_steps=10, evaluations=1)]
    return Training(
        {"student": student}, {"student": memory}, phases, None, None, None, lambda _: Evaluation((0.0,), 0), 0, 1
    )
