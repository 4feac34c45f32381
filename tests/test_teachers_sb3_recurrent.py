"""Agents of sb3-contrib's RecurrentPPO: read without unpickling, they say what the library says, episode by episode."""

import io
import json
import zipfile

import numpy as np
import pytest
import torch

from reincarnate import Run
from reincarnate.errors import UserError
from reincarnate.methods import Kickstart
from reincarnate.run.execute import execute
from reincarnate.students import PPO
from reincarnate.teachers import open_teacher
from reincarnate.types import TimeStep

contrib = pytest.importorskip("sb3_contrib")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An untrained agent of discrete and one of continuous actions: two layers, and a critic without a memory."""
    folder, kwargs = tmp_path_factory.mktemp("contrib"), {"lstm_hidden_size": 6, "net_arch": [5]}
    shapes = {
        "CartPole-v1": {"n_lstm_layers": 2},
        "Pendulum-v1": {"enable_critic_lstm": False, "shared_lstm": False, "log_std_init": -0.5},
    }
    models = {}
    for env, more in shapes.items():
        model = contrib.RecurrentPPO("MlpLstmPolicy", env, n_steps=8, seed=1, policy_kwargs=kwargs | more)
        model.save(folder / env)
        models[env] = model
    return folder, models


@pytest.mark.parametrize("env, actions", [("CartPole-v1", 2), ("Pendulum-v1", 1)])
def test_it_says_what_the_library_says_and_forgets_when_it_forgets(made, env, actions):
    folder, models = made
    teacher, policy = open_teacher(f"sb3:{folder / env}.zip", actions), models[env].policy
    assert teacher.card.algorithm == "RecurrentPPO" and "LSTM 6" in teacher.card.network
    rng, carry, state = np.random.default_rng(0), teacher.initial(3), None
    for t in range(6):
        obs = rng.normal(size=(3, *models[env].observation_space.shape)).astype(np.float32)
        begins = np.full(3, t == 0) | (rng.random(3) < 0.3)
        said, carry = teacher.predict(TimeStep(torch.from_numpy(obs), torch.from_numpy(begins)), carry)
        expected, state = policy.predict(obs, state, begins, deterministic=True)
        if env == "CartPole-v1":
            assert said.kind == "logits" and (said.x.argmax(-1).numpy() == expected).all()
        else:
            mean = said.x.chunk(2, -1)[0].clamp(-1, 1) * 2  # the task's units
            assert said.kind == "gaussian" and np.allclose(mean, expected, atol=1e-5)
    assert np.allclose(carry.unflatten(1, (2, -1))[:, 0].flatten(1), np.concatenate(list(state[0]), 1), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("memory", ["none", "lstm"])
def test_it_teaches_students_with_a_memory_and_without(memory, made, tmp_path):
    pupil = PPO(hidden=(5,), rollout=8, segment=4, batch_size=32, epochs=1, memory=memory, memory_size=6)
    short = {"eval_episodes": 1, "final_episodes": 1, "reference_episodes": 1, "evaluations": 1, "log": ""}
    teacher, store = f"sb3:{made[0] / 'CartPole-v1'}.zip", str(tmp_path / "store")
    run = Run("CartPole-v1", Kickstart(), pupil, teacher=teacher, store=store, env_steps=128, **short)
    assert execute(run, tmp_path / "run")["updates"] > 0
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    taught = [line["loss_distil"] for line in lines if "loss_distil" in line]
    assert taught and np.isfinite(taught).all()


def changed(source, target, change):
    """A copy of an agent whose weights were changed."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "policy.pth":
                weights = torch.load(io.BytesIO(content), weights_only=True)
                change(weights)
                buffer = io.BytesIO()
                torch.save(weights, buffer)
                content = buffer.getvalue()
            new.writestr(name, content)
    return target


@pytest.mark.parametrize(
    "change, told",
    [
        (lambda w: w.pop("lstm_actor.bias_hh_l1"), "which is no LSTM"),
        (lambda w: w.update({"lstm_actor.weight_ih_l0": torch.zeros(24, 9)}), "does not fit an LSTM over 4 numbers"),
        (lambda w: w["lstm_actor.bias_ih_l0"].fill_(float("nan")), "not finite"),
        (lambda w: w.update({"features_extractor.cnn.0.weight": torch.zeros(1)}), "a features extractor other than"),
    ],
)
def test_a_memory_that_is_none_is_refused_in_a_line(made, tmp_path, change, told):
    file = changed(made[0] / "CartPole-v1.zip", tmp_path / "agent.zip", change)
    with pytest.raises(UserError, match=told) as refused:
        open_teacher(f"sb3:{file}", 2)
    assert "\n" not in str(refused.value)
