"""An exported agent says what the agent says, from raw observations, for any number of them; or there is no file."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from asking import says
from safetensors import safe_open

from reincarnate.agents.agent import open_agent, save_agent
from reincarnate.cli import main
from reincarnate.data.layouts import from_unit
from reincarnate.errors import UserError
from reincarnate.losses.divergences import greedy_action
from reincarnate.sharing import export as exporting
from reincarnate.sharing.export import OPSET, Made, export, probes
from reincarnate.students import DQN, IQN, PPO, PQN, QRDQN, SAC, TD3, Modern, Rainbow
from reincarnate.teachers import open_teacher
from reincarnate.types import TaskSpec

CART = TaskSpec("CartPole-v1", (4,), "float32", 2, 1, None, {"env": "CartPole-v1"})
GRID = TaskSpec("MinAtar/Breakout-v1", (10, 10, 4), "bool", 3, 1, None, {"env": "MinAtar/Breakout-v1"})
SCREEN = TaskSpec("ALE/Pong-v5", (4, 84, 84), "uint8", 6, 4, 1.0, {"env": "ALE/Pong-v5"})
SMALL = {"hidden": (16,)}
STUDENTS = {
    "dqn": DQN(**SMALL),
    "dueling": DQN(dueling=True, layer_norm=True, **SMALL),
    "rainbow": Rainbow(noisy=True, dueling=True, **SMALL),
    "qrdqn": QRDQN(quantiles=7, **SMALL),
    "iqn": IQN(acting=8, dueling=True, **SMALL),
    "modern": Modern(**SMALL),
    "pqn": PQN(**SMALL),
}


def stored(folder: Path, student, spec: TaskSpec) -> Path:
    """An untrained agent."""
    about = {"method": "scratch", "env": spec.id, "prior": {}}
    return save_agent(folder / "agent", student.newborn(spec, seed=3), about, "").path


def told(path: Path, obs: np.ndarray) -> np.ndarray:
    """What the agent itself says, as a teacher."""
    return says(open_teacher(f"store:{path}"), torch.from_numpy(obs))[0].numpy()


def by_onnx(file: Path, obs: np.ndarray) -> np.ndarray:
    return onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, {"obs": obs})[0]


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # our reading of the file, not the export
@pytest.mark.parametrize("name", STUDENTS)
@pytest.mark.parametrize("spec", [CART, GRID], ids=["numbers", "grid"])
def test_every_student_exports_to_every_format(name, spec, tmp_path):
    agent = stored(tmp_path, STUDENTS[name], spec)
    for kind in ("onnx", "torchscript", "safetensors"):  # to sb3: tests/test_export_sb3.py
        done = export(open_agent(agent), kind, tmp_path / f"x.{kind}")
        assert done.difference is not None and done.difference < 1e-5
    obs = probes(spec)[:5]
    expected = told(agent, obs)
    assert np.allclose(by_onnx(tmp_path / "x.onnx", obs), expected, atol=1e-5)
    with torch.no_grad():
        assert np.allclose(torch.jit.load(tmp_path / "x.torchscript")(torch.from_numpy(obs)), expected, atol=1e-5)


ARM = TaskSpec("Arm", (3,), "float32", 2, 1, None, {}, bounds=((-2.0, 0.0), (2.0, 1.0)))


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize(
    "student, spec, output, tells",
    [
        (PPO(**SMALL), CART, "logits", "logits"),
        (PPO(**SMALL, norm_obs=True), ARM, "actions", "means"),
        (SAC(**SMALL), ARM, "actions", "means"),
        (TD3(**SMALL), ARM, "actions", "means"),
    ],
    ids=["ppo", "ppo-continuous", "sac", "td3"],
)
def test_policies_export_logits_and_continuous_agents_their_actions_and_both_are_read_back_as_such(
    student, spec, output, tells, tmp_path
):
    agent = stored(tmp_path, student, spec)
    obs, expected = torch.from_numpy(probes(spec)[:5]), told(agent, probes(spec)[:5])
    if spec.continuous:
        said = student.policy(spec, open_agent(agent).network())
        unit = greedy_action(said.kind, said(obs)).detach().numpy()
        expected = from_unit(spec, unit)
    for kind in ("onnx", "torchscript"):
        assert export(open_agent(agent), kind, tmp_path / f"x.{kind}").gives == (output, 2)
    with torch.no_grad():
        assert np.allclose(torch.jit.load(tmp_path / "x.torchscript")(obs), expected, atol=1e-5)
    teacher = open_teacher(f"onnx:{tmp_path / 'x.onnx'}")
    assert teacher.card.tells == tells and np.allclose(says(teacher, obs)[0], expected, atol=1e-5)


@pytest.mark.parametrize("student", [DQN(torso="nature-same", **SMALL), DQN(torso="impala", bfloat16=True, **SMALL)])
def test_screens_go_in_as_bytes(student, tmp_path):
    agent = stored(tmp_path, student, SCREEN)
    export(open_agent(agent), "onnx", tmp_path / "x.onnx")
    obs = probes(SCREEN)[:2]
    assert obs.dtype == np.uint8 and obs.max() > 200
    tolerance = 0.02 if student.bfloat16 else 1e-5  # the file is in float32, whatever the agent computes in
    assert np.allclose(by_onnx(tmp_path / "x.onnx", obs), told(agent, obs), atol=tolerance)


def test_the_onnx_file_says_what_goes_in_and_where_it_came_from(tmp_path):
    agent = stored(tmp_path, STUDENTS["rainbow"], GRID)
    export(open_agent(agent), "onnx", tmp_path / "x.onnx")
    model = onnx.load(tmp_path / "x.onnx")
    (obs,), (out,) = model.graph.input, model.graph.output
    assert obs.name == "obs" and out.name == "q_values" and model.opset_import[0].version == OPSET
    assert obs.type.tensor_type.elem_type == onnx.TensorProto.BOOL
    assert [d.dim_param or d.dim_value for d in obs.type.tensor_type.shape.dim] == ["batch", 10, 10, 4]
    assert {p.key: p.value for p in model.metadata_props}["agent"] == open_agent(agent).sha256
    assert not any("sigma" in tensor.name for tensor in model.graph.initializer), "noise is no part of the graph"


@pytest.mark.parametrize("address", ["onnx:x.onnx", "torchscript:x.torchscript"])
def test_an_exported_agent_teaches_as_the_agent_does(address, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    agent = stored(Path(), STUDENTS["dueling"], GRID)
    scheme = address.partition(":")[0]
    export(open_agent(agent), scheme, Path(f"x.{scheme}"))
    teacher, obs = open_teacher(address, GRID.actions), probes(GRID)[:5]
    assert teacher.card.tells == "values"
    assert np.allclose(says(teacher, torch.from_numpy(obs))[0], told(agent, obs), atol=1e-5)


def test_an_exported_torchscript_of_a_continuous_agent_is_read_as_its_actions(tmp_path):
    spec = TaskSpec("Pendulum-v1", (3,), "float32", 1, 1, None, {"env": "Pendulum-v1"}, ((-2.0,), (2.0,)))
    export(open_agent(stored(tmp_path, SAC(**SMALL), spec)), "torchscript", tmp_path / "x.pt")
    card = open_teacher(f"torchscript:{tmp_path}/x.pt", 1).card
    assert card.tells == "means" and not card.warnings


def test_safetensors_hold_the_weights_as_they_are_and_the_settings(tmp_path):
    agent = open_agent(stored(tmp_path, STUDENTS["iqn"], CART))
    export(agent, "safetensors", tmp_path / "x.safetensors")
    with safe_open(tmp_path / "x.safetensors", "pt") as file:
        header, names = file.metadata(), set(file.keys())
    assert header["sha256"] == agent.sha256 and json.loads(header["student"])["acting"] == 8
    assert json.loads(header["spec"])["obs_shape"] == [4] and names == set(agent.network().state_dict())


def test_a_file_that_differs_from_the_agent_is_never_written(tmp_path, monkeypatch):
    agent = open_agent(stored(tmp_path, STUDENTS["dqn"], CART))

    def wrong(graph, agent, example):
        return Made(b"file", "wrong", lambda obs: graph(torch.from_numpy(obs)).numpy() + 0.01)

    monkeypatch.setitem(exporting.FORMATS, "onnx", wrong)
    with pytest.raises(UserError, match=r"differ from the agent's by up to 0\.01"):
        export(agent, "onnx", tmp_path / "x.onnx")
    monkeypatch.setitem(exporting.FORMATS, "onnx", lambda *_: Made(b"", "", lambda obs: np.zeros((len(obs), 3))))
    with pytest.raises(UserError, match="it was not written"):
        export(agent, "onnx", tmp_path / "x.onnx")
    assert not (tmp_path / "x.onnx").exists()


def test_without_onnxruntime_it_is_written_and_said_to_be_unchecked(tmp_path, monkeypatch, capsys):
    agent = stored(tmp_path, STUDENTS["dqn"], CART)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    main(["export", str(agent), "--to", "onnx", "--out", str(tmp_path / "x.onnx")])
    assert "not compared with the agent" in " ".join(capsys.readouterr().err.split())
    assert (tmp_path / "x.onnx").exists()
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(SystemExit) as stop:
        main(["export", str(agent), "--to", "onnx", "--out", str(tmp_path / "y.onnx")])
    assert stop.value.code == 2 and "pip install" in capsys.readouterr().err


def test_the_command_says_what_it_wrote(tmp_path, capsys):
    agent = stored(tmp_path, STUDENTS["modern"], GRID)
    main(["export", f"store:{agent}", "--to", "onnx", "--out", str(tmp_path / "x.onnx")])
    text = " ".join(capsys.readouterr().out.split())
    assert f"opset {OPSET}" in text and "bool[B, 10, 10, 4] to q_values [B, 3]" in text and "at most" in text
    with pytest.raises(SystemExit) as stop:
        main(["export", "--help"])
    assert stop.value.code == 0 and "preprocessing" in capsys.readouterr().out.lower()


@pytest.mark.parametrize("args, words", [
    (["nowhere", "--to", "onnx", "--out", "y"], "holds no agent"),
    (["agent", "--to", "onx", "--out", "y"], "--to onx is unknown; known: onnx, torchscript, safetensors"),
    (["agent", "--to", "onnx", "--out", "agent"], "agent exists already"),
    (["agent", "--to", "torchscript", "--out", "agent/agent.json/x"], "agent.json"),
])  # fmt: skip
def test_bad_input_is_one_line(args, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    stored(Path(), STUDENTS["dqn"], CART)
    with pytest.raises(SystemExit) as stop:
        main(["export", *args])
    error = capsys.readouterr().err.strip()
    assert stop.value.code == 2 and words in error and len(error.splitlines()) == 1 and not Path("y").exists()


@pytest.mark.slow
def test_warnings_of_the_exporters_do_not_reach_the_person(tmp_path):
    agent = stored(tmp_path, STUDENTS["iqn"], CART)
    command = [sys.executable, "-W", "default", "-m", "reincarnate", "export", str(agent), "--to", "onnx"]
    done = subprocess.run([*command, "--out", str(tmp_path / "x.onnx")], capture_output=True, text=True)
    assert done.returncode == 0 and "Deprecat" not in done.stderr and "Torch IR" not in done.stdout
