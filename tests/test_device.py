"""Everything lives on one device: a double without numbers finds what was left behind, with no GPU at hand."""

import numpy as np
import pytest
import torch

from reincarnate import envs
from reincarnate.data.memory import memory_for
from reincarnate.errors import UserError
from reincarnate.losses.mimic import FeatureRegression, PolicyRegression
from reincarnate.losses.terms import Distil
from reincarnate.run.prepare import device_of
from reincarnate.students import STUDENTS, exploration
from reincarnate.types import FEATURES, LAGGING, OPTIMIZER, VALUES, Batch, Prediction, TimeStep, Weighing

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


@pytest.mark.parametrize("env", ["CartPole-v1", "MinAtar/Breakout-v1"])
@pytest.mark.parametrize("name, more", [*VALUED, ("primal_dual", {}), *((n, RECALLS) for n in ("r2d2", "dqn", "iqn"))])
def test_a_students_tensors_all_live_on_its_device(env, name, more):
    spec, settings, rng = envs.spec(env), STUDENTS[name](**more), np.random.default_rng(0)
    student = settings.newborn(spec, 0, DOUBLE)
    memory = memory_for(spec, settings.layout(), settings.storage(spec, N), N, DOUBLE)
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


def test_auto_is_the_cpu_where_there_is_no_gpu():
    assert device_of("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
