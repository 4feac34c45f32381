"""What is warned of in one command is warned of in all, and certainty is what the documentation says."""

from pathlib import Path

import numpy as np
import pytest
import torch
from asking import says
from torch import nn

from reincarnate import envs
from reincarnate.cli import main
from reincarnate.priors.remarks import PROBABILITIES, remarks
from reincarnate.teachers import open_teacher
from reincarnate.teachers.fit import check_fit
from reincarnate.teachers.lifts import from_actions, look_like_probabilities, teacher_temperature
from reincarnate.types import ACTIONS, LOGITS, VALUES, TaskSpec, TeacherCard

BALANCE = [0.1, 0.5, 3.0, 3.0]


class Net(nn.Module):
    """Balances CartPole; tells its policy as `kind` says."""

    def __init__(self, kind: str):
        nn.Module.__init__(self)
        self.kind, self.layer = kind, nn.Linear(4, 2, bias=False)
        self.layer.weight.data = 2 * torch.tensor([[-x for x in BALANCE], BALANCE])

    def forward(self, obs):
        logits = self.layer(obs)
        return torch.softmax(logits, -1) if self.kind == "probabilities" else logits


def exported(kind: str, folder: Path, name: str = "output") -> str:
    axes = {"input": {0: "b"}, name: {0: "b"}}
    path = folder / f"{kind}.onnx"
    torch.onnx.export(
        *(Net(kind).eval(), (torch.zeros(1, 4),), str(path)),
        **{"dynamo": False, "input_names": ["input"], "output_names": [name], "dynamic_axes": axes},
    )
    return f"onnx:{path}"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_evaluate_and_inspect_and_advise_say_the_same_of_probabilities(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("reincarnate.ui.errors.width", 1000)
    address, task = exported("probabilities", tmp_path), ["--env", "CartPole-v1"]
    said = {}
    main(["evaluate", address, *task, "--episodes", "2"])
    said["evaluate"] = capsys.readouterr()
    main(["inspect", address, *task, "--episodes", "2"])
    said["inspect"] = capsys.readouterr()
    main(["advise", *task, "--teacher", address, "--episodes", "2"])
    said["advise"] = capsys.readouterr()
    for command, captured in said.items():
        text = " ".join((captured.out + captured.err).replace("│", " ").split())
        assert "is taken for logits; if it is not, say so with ?tells=" in text, command
        assert "never negative and sums to 1" in text, command
    main(["evaluate", f"{address}?tells=probabilities", *task, "--episodes", "2"])
    assert "warning" not in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_before_anything_is_played_a_few_random_steps_show_probabilities(tmp_path: Path):
    spec = envs.spec("CartPole-v1")
    assert PROBABILITIES in remarks(open_teacher(exported("probabilities", tmp_path)), spec)
    assert PROBABILITIES not in remarks(open_teacher(exported("logits", tmp_path)), spec)


def test_inspect_says_what_the_card_warns_of_even_without_a_task(tmp_path: Path, capsys):
    (tmp_path / "policy.py").write_text(
        "import torch\ndef policy(obs):\n    return torch.full((len(obs), 2), 0.5)\npolicy.card = {'actions': 2}\n"
    )
    torch.save({"actor_mean.0.weight": torch.zeros(2, 3), "actor_mean.0.bias": torch.zeros(2)}, tmp_path / "a.bin")
    main(["inspect", f"cleanrl:{tmp_path}/a.bin"])
    assert "normalised observations" in " ".join(capsys.readouterr().out.replace("│", " ").split())
    main(["evaluate", f"py:{tmp_path}/policy.py:policy", "--env", "CartPole-v1", "--episodes", "2"])
    assert "never negative and sums to 1" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([[0.2, 0.8], [1.0, 0.0]], True),
        ([[0.2, 0.8], [0.3, 0.8]], False),
        ([[-0.2, 1.2]], False),
        ([[1.0], [1.0]], False),
        ([[2.0, -1.0], [0.5, 0.5]], False),
    ],
)
def test_probabilities_are_never_negative_and_sum_to_1(rows: list[list[float]], expected: bool):
    assert look_like_probabilities(torch.tensor(rows)) is expected


@pytest.mark.parametrize("actions", [2, 18])
def test_an_action_that_is_only_named_keeps_its_99_percent(actions: int):
    """At the student's τ = 0.1 it would be 1 - 1e-20."""
    logits = from_actions(torch.tensor([1]), actions)
    tau = teacher_temperature(ACTIONS, None)
    assert tau is not None
    assert torch.softmax(logits / tau, -1)[0, 1].item() == pytest.approx(0.99, abs=1e-6)
    assert teacher_temperature(ACTIONS, 0.5) == 0.5
    assert teacher_temperature(LOGITS, None) is None and teacher_temperature(VALUES, None) is None


@pytest.mark.parametrize(
    ("teacher", "task", "shape", "warned"),
    [
        ("float64", "float32", (3,), False),
        ("int64", "float32", (3,), False),
        ("uint8", "float32", (3,), False),
        ("bool", "float32", (10, 10, 4), False),
        ("uint8", "uint8", (4, 84, 84), False),
        ("float32", "uint8", (4, 84, 84), True),
        ("uint8", "float32", (4, 84, 84), True),
    ],
)
def test_another_dtype_is_warned_of_only_where_the_numbers_may_differ(teacher, task, shape, warned: bool):
    card = TeacherCard("x", "f", "a", LOGITS, "n", 0, "0", shape, teacher, 2, "none", "safe")
    assert bool(check_fit(card, TaskSpec("T", shape, task, 2, 1, None, {}))) is warned


def test_a_graph_that_takes_whole_numbers_refuses_others(tmp_path: Path):
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto
    cast = helper.make_node("Cast", ["obs"], ["logits"], to=kind.FLOAT)
    ends = [helper.make_tensor_value_info(n, t, ["b", 2]) for n, t in (("obs", kind.INT64), ("logits", kind.FLOAT))]
    graph = helper.make_graph([cast], "g", ends[:1], ends[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "a.onnx")
    teacher = open_teacher(f"onnx:{tmp_path}/a.onnx")
    assert np.array_equal(says(teacher, torch.tensor([[3.0, 4.0]]))[0].numpy(), [[3.0, 4.0]])
    with pytest.raises(Exception, match="takes int64 observations, and these are not whole numbers"):
        says(teacher, torch.tensor([[0.5, 4.0]]))
