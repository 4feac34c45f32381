"""Policies exported to ONNX act as the library they came from; what a policy does not need is refused before it runs."""

import builtins
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from asking import says
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch import nn

from reincarnate.cli import main
from reincarnate.errors import UserError
from reincarnate.teachers import onnx as adapter
from reincarnate.teachers import open_teacher
from reincarnate.teachers.exported import guess, read_address
from reincarnate.types import Teacher

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what importing another library warns about is not ours
    import stable_baselines3

FIXTURES = Path(__file__).resolve().parent / "fixtures" / "onnx"
FLOAT, INT64, UINT8 = TensorProto.FLOAT, TensorProto.INT64, TensorProto.UINT8
WEIGHT = np.random.default_rng(0).standard_normal((3, 2)).astype(np.float32)
OBS = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))


def model(
    nodes: list | None = None,
    inputs: Any = (("obs", FLOAT, ["n", 3]),),
    outputs: Any = (("logits", FLOAT, ["n", 2]),),
    weights: dict[str, np.ndarray] | None = None,
    **more: Any,
) -> ModelProto:
    """A graph; by default one matrix product of observations of 3 numbers, to logits of 2 actions."""
    nodes = [helper.make_node("MatMul", ["obs", "W"], ["logits"])] if nodes is None else nodes
    initial = [numpy_helper.from_array(array, name) for name, array in ({"W": WEIGHT} | (weights or {})).items()]
    ports = [[helper.make_tensor_value_info(*port) for port in side] for side in (inputs, outputs)]
    graph = helper.make_graph(nodes, "policy", *ports, initial)
    opsets = [helper.make_opsetid("", 17), *more.pop("opsets", [])]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="by hand", **more)


def written(folder: Path, made: ModelProto | bytes | None = None, name: str = "a.onnx") -> str:
    made = model() if made is None else made
    (folder / name).write_bytes(made if isinstance(made, bytes) else made.SerializeToString())
    return f"onnx:{folder / name}"


def told(teacher: Teacher, obs: torch.Tensor = OBS) -> np.ndarray:
    out, state = says(teacher, obs, teacher.initial(len(obs)))
    assert state.shape[-1] == 0 and out.dtype == torch.float32
    return out.numpy()


def refused(uri: str, match: str, ask: bool = False, actions: int | None = None) -> None:
    with pytest.raises(UserError, match=match) as caught:
        teacher = open_teacher(uri, actions)
        if ask:
            says(teacher, OBS)
    assert "\n" not in str(caught.value) and "a.onnx" in str(caught.value)


# ---- what others export ------------------------------------------------------------------------------


def by_torch(net: nn.Module, example: torch.Tensor, path: Path, **names: Any) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that this exporter, which needs no further package, is the older one
        torch.onnx.export(net, (example,), str(path), dynamo=False, **names)
    return f"onnx:{path}"


class Whole(nn.Module):
    """As SB3's documentation exports a policy: actions, values and log probabilities of the best action."""

    def __init__(self, policy: nn.Module):
        super().__init__()
        self.policy = policy

    def forward(self, obs):
        return self.policy(obs, deterministic=True)


@pytest.mark.filterwarnings("ignore:Converting a tensor to a Python:torch.jit.TracerWarning")
@pytest.mark.parametrize("kind", ["PPO", "SAC"])
def test_policies_that_sb3_exports_act_as_it_says(kind: str, tmp_path: Path):
    env = gym.make({"PPO": "CartPole-v1", "SAC": "Pendulum-v1"}[kind])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        agent = {"PPO": stable_baselines3.PPO, "SAC": stable_baselines3.SAC}[kind](
            "MlpPolicy", env, device="cpu", seed=0
        )
    size = env.observation_space.shape[0]
    names = {"input_names": ["input"], "dynamic_axes": {"input": {0: "n"}}}
    obs = np.random.default_rng(0).standard_normal((20, size)).astype(np.float32)
    best, _ = agent.predict(obs, deterministic=True)
    if kind == "PPO":
        uri = by_torch(
            Whole(agent.policy),
            torch.zeros(1, size),
            tmp_path / "a.onnx",
            **names,
            output_names=["actions", "values", "log_prob"],
        )
        teacher = open_teacher(uri, 2)
        assert teacher.card.tells == "actions" and (told(teacher, torch.as_tensor(obs)).argmax(-1) == best).all()
    else:
        refused(
            by_torch(agent.policy.actor, torch.zeros(1, size), tmp_path / "a.onnx", **names),
            "RandomNormalLike.*deterministic=True",
        )
        uri = by_torch(Whole(agent.policy.actor), torch.zeros(1, size), tmp_path / "a.onnx", **names)
        teacher = open_teacher(f"{uri}?tells=means&low=-2&high=2")
        assert teacher.card.tells == "means" and teacher.card.bounds == ((-2.0,), (2.0,))
        np.testing.assert_allclose(told(teacher, torch.as_tensor(obs)), best, atol=1e-5)


def test_a_network_that_torch_exports_acts_as_it_did(tmp_path: Path):
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ELU(), nn.Flatten(), nn.Linear(16, 3)).eval()
    obs = torch.randn(6, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    uri = by_torch(net, obs[:1], tmp_path / "a.onnx", output_names=["q_values"], dynamic_axes={"q_values": {0: "n"}})
    teacher = open_teacher(uri)
    card = teacher.card
    assert (card.obs_shape, card.obs_dtype, card.actions, card.tells) == ((2, 4, 4), "float32", 3, "values")
    assert card.format.startswith("ONNX opset") and "by pytorch" in card.format and card.parameters > 100
    with torch.no_grad():
        np.testing.assert_allclose(told(teacher, obs), net(obs).numpy(), atol=1e-5)


def test_what_torch_exports_by_default_keeps_its_weights_beside_it():
    kept = np.load(FIXTURES / "pixels.npz")
    teacher = open_teacher(str(FIXTURES / "pixels.onnx"))
    assert isinstance(teacher, Teacher) and teacher.card.obs_dtype == "uint8"
    np.testing.assert_allclose(told(teacher, torch.as_tensor(kept["obs"])), kept["logits"], atol=1e-6)


# ---- what it tells -----------------------------------------------------------------------------------


def named(name: str, kind: int = FLOAT, shape: Any = ("n", 2), last: str = "Identity", **attributes: Any) -> ModelProto:
    nodes = [helper.make_node("MatMul", ["obs", "W"], ["x"]), helper.make_node(last, ["x"], [name], **attributes)]
    return model(nodes, outputs=[(name, kind, list(shape))])


def test_the_outputs_name_says_what_it_tells(tmp_path: Path):
    raw = OBS.numpy() @ WEIGHT
    np.testing.assert_allclose(told(open_teacher(written(tmp_path, named("Q_values")))), raw, atol=1e-6)
    probabilities = open_teacher(written(tmp_path, named("action_probs", last="Softmax")))
    np.testing.assert_allclose(np.exp(told(probabilities)), torch.tensor(raw).softmax(-1).numpy(), atol=1e-6)
    chosen = written(tmp_path, named("best", INT64, ("n",), "ArgMax", axis=1, keepdims=0))
    assert (told(open_teacher(chosen, 2)).argmax(-1) == raw.argmax(-1)).all()
    refused(chosen, r"only names actions; name a task \(--env\)")
    assert guess("action_mean", False) == guess("actions", False) == "means" and guess("action", True) == "actions"
    assert open_teacher(written(tmp_path, named("mu"))).card.tells == "means"


def test_an_output_without_a_telling_name_is_taken_for_logits_aloud_or_as_asked(tmp_path: Path):
    uri = written(tmp_path, named("y"))
    card = open_teacher(uri).card
    assert card.tells == "logits" and "'y' is taken for logits" in card.warnings[0] and "?tells=" in card.warnings[0]
    asked = open_teacher(f"{uri}?tells=values").card
    assert asked.tells == "values" and not asked.warnings
    assert open_teacher(f"{uri}?tells=means").card.tells == "means"
    refused(f"{uri}?tells=probabilities", "rows do not sum to 1", ask=True)


def test_of_several_outputs_the_clearest_is_taken(tmp_path: Path):
    nodes = [helper.make_node("MatMul", ["obs", "W"], [name]) for name in ("first", "logits", "value")]
    nodes.append(helper.make_node("ArgMax", ["logits"], ["action"], axis=1, keepdims=0))
    ports = [
        ("first", FLOAT, ["n", 2]),
        ("action", INT64, ["n"]),
        ("logits", FLOAT, ["n", 2]),
        ("value", FLOAT, ["n", 2]),
    ]
    uri = written(tmp_path, model(nodes, outputs=ports))
    assert open_teacher(uri).card.tells == "logits" and not open_teacher(uri).card.warnings
    assert open_teacher(f"{uri}?output=action", 2).card.tells == "actions"
    assert open_teacher(f"{uri}?output=0&tells=values").card.tells == "values"
    refused(f"{uri}?output=third", "say which output to take, .* first, action, logits, value")
    refused(written(tmp_path, model(nodes, outputs=[ports[0], ports[3]])), "say which output to take, .* first, value")


def test_means_are_brought_to_the_bounds_that_are_asked_for(tmp_path: Path):
    uri = written(tmp_path, named("y", last="Tanh"))
    squashed = np.tanh(OBS.numpy() @ WEIGHT)
    one = open_teacher(f"{uri}?tells=means&low=-2&high=4")
    assert one.card.bounds == ((-2.0, -2.0), (4.0, 4.0)) and one.card.actions == 2
    np.testing.assert_allclose(told(one), 1 + 3 * squashed, atol=1e-5)
    np.testing.assert_allclose(
        told(open_teacher(f"{uri}?tells=means&low=0,-1&high=1,1")), [0.5, 0] + [0.5, 1] * squashed, atol=1e-5
    )
    refused(f"{uri}?tells=means&low=0,0,0&high=1,1,1", "low and high have 3 numbers, its actions 2")
    for query in (
        "low=-1&high=1",
        "tells=means&low=-1",
        "tells=means&low=2&high=1",
        "tells=means&low=x&high=1",
        "tells=means&low=nan&high=1",
    ):
        refused(f"{uri}?{query}", "write tells=means&low=-2&high=2")
    single = model(
        [helper.make_node("MatMul", ["obs", "w"], ["mu"])], outputs=[("mu", FLOAT, ["n"])], weights={"w": WEIGHT[:, 0]}
    )
    assert told(open_teacher(written(tmp_path, single))).shape == (7, 1)


def test_an_address_that_is_not_understood_is_refused(tmp_path: Path):
    uri = written(tmp_path)
    refused(f"{uri}?tells=everything", "tells=everything is unknown; one of values, logits")
    for query in ("tell=values", "tells", "tells=values&tells=logits"):
        refused(f"{uri}?{query}", "known are tells, output, low, high")
    assert read_address("a%20b?output=x%26y", "onnx").output == "x&y"


# ---- shapes and dtypes -------------------------------------------------------------------------------


def test_a_graph_for_one_observation_is_asked_one_at_a_time(tmp_path: Path):
    for batch in (1, 4):
        uri = written(tmp_path, model(inputs=[("obs", FLOAT, [batch, 3])], outputs=[("logits", FLOAT, [batch, 2])]))
        teacher = open_teacher(uri)
        np.testing.assert_allclose(told(teacher), OBS.numpy() @ WEIGHT, atol=1e-6)
        assert teacher.card.obs_shape == (3,) and teacher.card.actions == 2


def test_observations_become_what_the_graph_takes(tmp_path: Path):
    nodes = [helper.make_node("Cast", ["obs"], ["x"], to=FLOAT), helper.make_node("MatMul", ["x", "W"], ["logits"])]
    for kind, dtype in ((UINT8, "uint8"), (TensorProto.DOUBLE, "float64")):
        teacher = open_teacher(written(tmp_path, model(nodes, inputs=[("obs", kind, ["n", 3])])))
        assert teacher.card.obs_dtype == dtype
        np.testing.assert_allclose(
            told(teacher, torch.tensor([[1, 2, 3]])), np.float32([[1, 2, 3]]) @ WEIGHT, atol=1e-6
        )


def test_shapes_that_the_graph_leaves_open_stay_open(tmp_path: Path):
    uri = written(tmp_path, model(inputs=[("obs", FLOAT, None)], outputs=[("logits", FLOAT, None)]))
    refused(uri, "observations need a first axis, the batch's")
    teacher = open_teacher(
        written(tmp_path, model(inputs=[("obs", FLOAT, ["n", "k"])], outputs=[("logits", FLOAT, None)]))
    )
    assert teacher.card.obs_shape is None and told(teacher).shape == (7, 2)


def test_the_command_line_plays_it(tmp_path: Path, capsys):
    made = model(inputs=[("obs", FLOAT, ["n", 4])], weights={"W": np.float32([[0, 0], [0, 0], [-1, 1], [-1, 1]])})
    main(["evaluate", written(tmp_path, made), "--env", "CartPole-v1", "--episodes", "2", "--plays", "greedy"])
    assert capsys.readouterr().out.startswith("CartPole-v1: ")
    main(["inspect", str(tmp_path / "a.onnx"), "--env", "CartPole-v1", "--episodes", "2"])
    assert "all on a list without loops" in " ".join(capsys.readouterr().out.split())


def test_a_file_is_recognised_by_its_name_or_its_beginning(tmp_path: Path):
    assert written(tmp_path, name="agent.bin") and open_teacher(str(tmp_path / "agent.bin")).card.actions == 2
    (tmp_path / "other.bin").write_bytes(b"\x08\x01\x12\x07")
    assert not adapter.recognises(tmp_path / "other.bin") and not adapter.recognises(tmp_path / "none.onnx")
    assert not adapter.recognises(tmp_path)


def test_without_onnxruntime_a_line_says_what_to_install(tmp_path: Path, monkeypatch):
    uri, before = written(tmp_path), builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "onnxruntime":
            raise ImportError(name)
        return before(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r'pip install "reincarnate\[onnx\]"'):
        open_teacher(uri)


# ---- what is refused ---------------------------------------------------------------------------------


def operator(name: str, domain: str = "", **attributes: Any) -> ModelProto:
    opsets = [helper.make_opsetid(domain, 1)] if domain else []
    nodes = [
        helper.make_node("MatMul", ["obs", "W"], ["x"]),
        helper.make_node(name, ["x"], ["logits"], domain=domain, **attributes),
    ]
    return model(nodes, opsets=opsets)


def inside(name: str) -> ModelProto:
    """The operator hides in a branch of a branch."""
    graph = helper.make_graph(
        [helper.make_node(name, [], ["y"], shape=[1])], "g", [], [helper.make_tensor_value_info("y", FLOAT, [1])]
    )
    for _ in range(2):
        graph = helper.make_graph(
            [helper.make_node("If", ["c"], ["y"], then_branch=graph, else_branch=graph)], "g", [], graph.output
        )
    return operator("If", then_branch=graph, else_branch=graph)


def nested(depth: int) -> ModelProto:
    graph = helper.make_graph([], "g", [], [])
    for _ in range(depth):
        graph = helper.make_graph([helper.make_node("If", ["c"], ["y"], then_branch=graph)], "g", [], [])
    return operator("If", then_branch=graph)


def with_tensor(change: Callable[[TensorProto], None]) -> ModelProto:
    made = model()
    change(made.graph.initializer[0])
    return made


def elsewhere(tensor: TensorProto, **entries: str) -> None:
    """The numbers of a tensor lie in another file."""
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)


def huge(tensor: TensorProto) -> None:
    tensor.dims[:] = [10**6, 10**6]


def spoilt(value: float) -> ModelProto:
    array = WEIGHT.copy()
    array[0, 0] = value
    return model(weights={"W": array})


def constant_elsewhere() -> ModelProto:
    tensor = numpy_helper.from_array(WEIGHT, "value")
    elsewhere(tensor, location="a.onnx.data")
    return model(
        [helper.make_node("Constant", [], ["V"], value=tensor), helper.make_node("MatMul", ["obs", "V"], ["logits"])]
    )


def sparse(made: ModelProto) -> ModelProto:
    values, indices = (
        numpy_helper.from_array(np.ones(1, np.float32), "s"),
        numpy_helper.from_array(np.zeros(1, np.int64), "i"),
    )
    made.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [10**6, 10**6]))
    return made


def with_function(made: ModelProto) -> ModelProto:
    made.functions.append(
        helper.make_function(
            "mine", "f", ["x"], ["y"], [helper.make_node("Relu", ["x"], ["y"])], [helper.make_opsetid("", 17)]
        )
    )
    return made


TWO = [("obs", FLOAT, ["n", 3]), ("state", FLOAT, ["n", 8])]
WRONG: dict[str, Callable[[], ModelProto | bytes]] = {
    "uses the operator Loop, which is not on the list": lambda: operator("Loop", body=helper.make_graph([], "g", [], [])),
    "uses the operator RandomNormalLike": lambda: operator("RandomNormalLike"),
    "uses the operator Multinomial": lambda: operator("Multinomial"),
    "uses the operator com.evil.Run": lambda: operator("Run", "com.evil"),
    "uses the operator com.microsoft.EPContext": lambda: operator("EPContext", "com.microsoft"),
    "uses the operator RandomNormal,": lambda: inside("RandomNormal"),
    "nested over 8 deep": lambda: nested(10),
    "graphs? with 2 inputs .obs, state.; one is needed": lambda: model(inputs=TWO),
    "keeps numbers in '/etc/passwd'; only 'a.onnx.data'": lambda: with_tensor(lambda t: elsewhere(t, location="/etc/passwd")),
    "keeps numbers in '../a.onnx.data'": lambda: with_tensor(lambda t: elsewhere(t, location="../a.onnx.data")),
    "a.onnx.data: cannot be read: No such file": lambda: with_tensor(lambda t: elsewhere(t, location="a.onnx.data")),
    "keeps numbers of an operator in a file": constant_elsewhere,
    r"declares a tensor of shape \[1000000, 1000000\]": lambda: with_tensor(huge),
    "hold NaN or infinity": lambda: spoilt(np.nan),
    "hold NaN or infinity;": lambda: spoilt(np.inf),
    "sparse tensors": lambda: sparse(model()),
    "functions or training steps": lambda: with_function(model()),
    "one is needed|not a model": lambda: model(inputs=[]),
    r"observations of tensor\(string\)": lambda: model([helper.make_node("Identity", ["obs"], ["logits"])], [("obs", TensorProto.STRING, ["n", 3])], [("logits", TensorProto.STRING, None)]),
    "not a model that onnxruntime takes": lambda: model([helper.make_node("MatMul", ["nothing", "W"], ["logits"])]),
    "says one thing twice": lambda: model().SerializeToString() + model().SerializeToString(),
    "beyond its width": lambda: b"\xba\x80\x80\x80\x80\x01\x00",
    "it has no graph": lambda: ModelProto(ir_version=8).SerializeToString(),
    "not an ONNX model, or a damaged one": lambda: b"\x00garbage" * 9,
    "it has no graph|damaged": lambda: b"",
}  # fmt: skip


@pytest.mark.parametrize("words", WRONG)
def test_what_a_policy_does_not_need_is_refused_in_words(words: str, tmp_path: Path):
    refused(written(tmp_path, WRONG[words]()), words)


def test_too_many_fields_are_refused(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("reincarnate.teachers.onnx.file.MOST_FIELDS", 9)
    refused(written(tmp_path), "over 9 fields")


def beside(folder: Path, content: bytes, **entries: str) -> str:
    (folder / "a.onnx.data").write_bytes(content)
    return written(folder, with_tensor(lambda tensor: elsewhere(tensor, location="a.onnx.data", **entries)))


def test_numbers_in_the_file_beside_it_are_read_within_its_bounds(tmp_path: Path):
    content = b"12345678" + WEIGHT.tobytes()
    teacher = open_teacher(beside(tmp_path, content, offset="8", length=str(WEIGHT.nbytes)))
    np.testing.assert_allclose(told(teacher), OBS.numpy() @ WEIGHT, atol=1e-6)
    other = open_teacher(beside(tmp_path, content[:-1] + b"\x00", offset="8")).card.sha256
    assert teacher.card.parameters == 6 and teacher.card.sha256 != other
    for entries in (
        {"offset": "9"},
        {"offset": "-8"},
        {"offset": "8", "length": "3"},
        {"offset": "9" * 30},
        {"length": "x"},
    ):
        refused(beside(tmp_path, content, **entries), "'W' does not lie within a.onnx.data")
    refused(beside(tmp_path, np.full((3, 2), np.nan, np.float32).tobytes()), "hold NaN")


def test_infinite_limits_are_no_weights(tmp_path: Path):
    nodes = [helper.make_node("MatMul", ["obs", "W"], ["x"]), helper.make_node("Clip", ["x", "low"], ["logits"])]
    teacher = open_teacher(written(tmp_path, model(nodes, weights={"low": np.array(-np.inf, np.float32)})))
    np.testing.assert_allclose(told(teacher), OBS.numpy() @ WEIGHT, atol=1e-6)


def test_what_goes_wrong_while_it_runs_is_one_line(tmp_path: Path):
    refused(written(tmp_path, named("y", last="Log")), "gave logits that are not finite", ask=True)
    refused(
        written(tmp_path, model(weights={"W": WEIGHT[:2]}, inputs=[("obs", FLOAT, ["n", "k"])])),
        "failed on observations",
        ask=True,
    )
    flat = model([helper.make_node("ReduceSum", ["obs"], ["y"], keepdims=0)], outputs=[("y", FLOAT, [])])
    refused(
        written(tmp_path, flat), r"its output is float32 \[\] for 7 observations, not logits \[7, actions\]", ask=True
    )
    refused(written(tmp_path, named("y")) + "?tells=actions", "not one whole number for each", ask=True, actions=2)


def test_a_graph_that_grows_without_bound_stops_at_the_memory_limit(tmp_path: Path):
    shape = np.array([2**21, 2**9], np.int64)  # 4 GiB of floats
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["big"]),
        helper.make_node("ReduceSum", ["big"], ["s"], keepdims=0),
    ]
    nodes += [helper.make_node("MatMul", ["obs", "W"], ["x"]), helper.make_node("Add", ["x", "s"], ["logits"])]
    refused(
        written(tmp_path, model(nodes, weights={"shape": shape})),
        "failed on observations.*ConstantOfShape.*[Mm]emory",
        ask=True,
    )


# ---- damage ------------------------------------------------------------------------------------------

CHANGES = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6)


@settings(max_examples=150)
@given(CHANGES)
def test_any_change_of_bytes_ends_in_a_teacher_or_one_line(tmp_path_factory, changes):
    payload = bytearray(model().SerializeToString())
    for where, value in changes:
        payload[int(where * len(payload))] = value
    uri = written(tmp_path_factory.getbasetemp(), bytes(payload), "changed.onnx")
    try:
        told(open_teacher(uri, 2))
    except UserError as error:
        assert "\n" not in str(error)
