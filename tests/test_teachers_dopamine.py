"""Dopamine's agents as Dopamine's own networks compute them: `fixtures/dopamine_agents`, written by dopamine-rl 4.1.2.

The forms of pickles that no library of today writes (older JAX arrays, older frozen dictionaries, names before flax's
linen) are written here from what is known of them.
"""

import itertools
import json
import os
import pickle
import shutil
import struct
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from asking import says

from reincarnate.errors import UserError
from reincarnate.files.crc32c import crc32c, masked_crc32c
from reincarnate.teachers import open_teacher
from reincarnate.teachers.dopamine import open_address, recognises
from reincarnate.teachers.dopamine.files import read_checkpoint
from reincarnate.teachers.dopamine.network import build
from reincarnate.teachers.fit import check_fit
from reincarnate.types import TaskSpec, Teacher

FIXTURES = Path(__file__).parent / "fixtures" / "dopamine_agents"
TENSORFLOW = FIXTURES / "tensorflow"
EXPECTED = json.loads((FIXTURES / "expected.json").read_text())
SCREENS = (4, 84, 84)


def observations(shape: tuple[int, ...], n: int = 3) -> torch.Tensor:
    """Those of make_dopamine_agents.py."""
    rng = np.random.default_rng(0)
    if shape[1:] == (84, 84):
        return torch.from_numpy(rng.integers(0, 256, (n, *shape), dtype=np.uint8))
    if len(shape) == 3:
        return torch.from_numpy(rng.integers(0, 2, (n, *shape)).astype(bool))
    return torch.from_numpy(rng.standard_normal((n, *shape)).astype(np.float32))


def agree(teacher: Teacher, expected: list, shape: tuple[int, ...]) -> None:
    told = torch.tensor(expected)
    out, state = says(teacher, observations(shape), teacher.initial(3))
    assert torch.allclose(out, told, rtol=2e-5, atol=2e-5 * float(told.abs().max())) and state.shape[-1] == 0
    assert (teacher.card.obs_shape, teacher.card.actions) == (shape, told.shape[1])


@pytest.mark.parametrize(
    ("name", "algorithm", "shape"),
    [
        ("dqn", "DQN", SCREENS),
        ("impala", "DQN", SCREENS),
        ("rainbow", "C51 or Rainbow", SCREENS),
        ("quantile", "QR-DQN", SCREENS),
        ("full_rainbow", "Rainbow", SCREENS),
        ("iqn", "IQN", SCREENS),
        ("cartpole", "DQN", (4,)),
        ("lunarlander", "DQN", (8,)),
        ("minatar", "DQN", (10, 10, 4)),
    ],
)
def test_a_jax_agent_tells_what_dopamine_computes(name: str, algorithm: str, shape: tuple[int, ...]):
    teacher = open_teacher(str(FIXTURES / name))
    agree(teacher, EXPECTED[name], shape)
    assert (teacher.card.algorithm, teacher.card.tells) == (algorithm, "values")
    assert teacher.card.trained_env_steps == 750_123


def test_ppo_tells_logits():
    teacher = open_address(str(FIXTURES / "ppo"))
    out, _ = says(teacher, observations(SCREENS))
    assert teacher.card.tells == "logits"
    assert torch.allclose(out.log_softmax(-1), torch.tensor(EXPECTED["ppo"]), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "algorithm", "shape"),
    [
        ("tf_ckpt-199", "DQN", SCREENS),  # names from before Keras
        ("tf_ckpt-7", "DQN", SCREENS),
        ("rainbow", "C51 or Rainbow", SCREENS),
        ("iqn", "IQN", SCREENS),
        ("cartpole", "DQN", (4,)),
    ],
)
def test_a_tensorflow_agent_tells_what_dopamine_computes(name: str, algorithm: str, shape: tuple[int, ...]):
    teacher = open_teacher(str(TENSORFLOW / f"{name}.index"))
    agree(teacher, EXPECTED[f"tensorflow/{name}"], shape)
    assert (teacher.card.algorithm, teacher.card.format) == (algorithm, "Dopamine TensorFlow checkpoint")


def test_the_card_knows_the_protocol_of_dopamine():
    card = open_address(str(FIXTURES / "dqn")).card
    task = TaskSpec("ALE/Breakout-v5", SCREENS, "uint8", 4, 4, 1.0, {"sticky_actions": 0.0, "noop_max": 0})
    assert check_fit(card, task) == ["the teacher was trained with sticky_actions = 0.25, ALE/Breakout-v5 has 0.0"]
    assert card.network == "Nature convolutions 2-4-4 (SAME), MLP 484-8-4, relu"
    assert card.uri == f"dopamine:{FIXTURES / 'dqn'}"


def test_what_the_files_do_not_hold_is_a_warning():
    assert "Dopamine's own support" in open_address(str(FIXTURES / "rainbow")).card.warnings[0]
    assert "bounds of CartPole" in open_address(str(FIXTURES / "cartpole")).card.warnings[0]
    assert open_address(str(FIXTURES / "lunarlander")).card.warnings == ()


# ---- which file ------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run's folder: checkpoints 3 and 5 are complete, 6 is not."""
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for number, source in ((3, "dqn"), (5, "rainbow"), (6, "impala")):
        shutil.copy(FIXTURES / source / "ckpt.3", folder / f"ckpt.{number}")
        if number < 6:
            (folder / f"sentinel_checkpoint_complete.{number}").write_bytes(b"done")
    return tmp_path


def test_the_latest_complete_checkpoint_is_taken_or_the_one_named(run: Path):
    assert recognises(run) and open_teacher(str(run)).card.algorithm == "C51 or Rainbow"
    assert open_teacher(f"dopamine:{run}@3").card.actions == 4
    assert "Impala" in open_address(f"{run}@6").card.network
    with pytest.raises(UserError, match="no checkpoint 4; there are 3, 5, 6"):
        open_address(f"{run}@4")
    with pytest.raises(UserError, match="picks a checkpoint of a folder"):
        open_address(f"{run}/checkpoints/ckpt.3@3")


def test_without_any_sentinel_the_highest_number_is_taken(run: Path):
    for path in run.glob("checkpoints/sentinel*"):
        path.unlink()
    assert "Impala" in open_address(str(run)).card.network


def test_tensorflows_weights_are_preferred_to_the_pickle_beside_them(tmp_path: Path):
    shutil.copytree(TENSORFLOW, tmp_path / "run")
    (tmp_path / "run" / "ckpt.199").write_bytes(pickle.dumps({"state": 0, "training_steps": 9}))
    assert open_address(str(tmp_path / "run")).card.format == "Dopamine TensorFlow checkpoint"
    assert open_address(f"{tmp_path}/run@7").card.format == "Dopamine TensorFlow checkpoint"
    refused(tmp_path / "run" / "ckpt.199", "holds no parameters; of TensorFlow's agents")


@pytest.mark.parametrize("name", ["tf_ckpt-199", "tf_ckpt-199.index", "tf_ckpt-199.data-00000-of-00001"])
def test_any_file_or_the_prefix_names_a_tensorflow_checkpoint(name: str):
    assert open_address(str(TENSORFLOW / name)).card.algorithm == "DQN"


def test_the_replay_of_newer_versions_is_not_taken_for_weights():
    refused(FIXTURES / "dqn" / "3" / "replay" / "checkpoint.msgpack", "replay buffer; the weights are in the ckpt.N")


def test_other_files_and_folders_are_not_recognised(tmp_path: Path):
    (tmp_path / "ckpt.1").write_text("text")
    (tmp_path / "a.index").write_text("text")
    (tmp_path / "a.pb").write_text("text")
    (tmp_path / "empty").mkdir()
    assert not any(recognises(path) for path in (*tmp_path.iterdir(), tmp_path / "missing"))
    with pytest.raises(UserError, match=r"neither ckpt\.N nor tf_ckpt-N\.index"):
        open_address(str(tmp_path / "empty"))


# ---- how many actions ------------------------------------------------------------------------------


def flat_tree(*sizes: int) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    pairs = itertools.pairwise(sizes)
    return {
        f"Dense_{i}": {"kernel": rng.standard_normal(pair).astype(np.float32), "bias": np.zeros(pair[1], np.float32)}
        for i, pair in enumerate(pairs)
    }


@pytest.mark.parametrize(
    ("outputs", "asked", "actions", "algorithm"),
    [
        (6, None, 6, "DQN"),
        (18, 6, 18, "DQN"),  # a misfit, for check_fit to report
        (6 * 51, None, 6, "C51 or Rainbow"),
        (6 * 200, None, 6, "QR-DQN"),
        (6 * 32, 6, 6, "QR-DQN"),
        (102 * 51, 102, 102, "C51 or Rainbow"),
    ],
)
def test_the_outputs_say_how_many_actions_there_are(outputs: int, asked: int | None, actions: int, algorithm: str):
    built = build(flat_tree(5, 4, outputs), asked)
    assert (built.actions, built.algorithm) == (actions, algorithm)


def test_where_they_do_not_say_the_task_must():
    with pytest.raises(UserError, match="192 outputs do not say how many actions"):
        build(flat_tree(5, 4, 192), None)


def test_an_agent_of_the_balloon_holds_quantiles():
    assert build(flat_tree(1099, 4, 153), None).algorithm == "QR-DQN"


# ---- older pickles, written here -------------------------------------------------------------------


class Reduced:
    """Pickles as the call of a function, with what numpy's own pickle of an array is made of."""

    def __init__(self, function: Callable, array: np.ndarray):
        self.function, self.array = function, array

    def __reduce__(self):
        return self.function, (*self.array.__reduce__(), {"weak_type": False, "named_shape": {}})


class Claiming:
    """Pickles as an array that claims another shape."""

    def __init__(self, array: np.ndarray, shape: tuple[int, ...]):
        self.array, self.shape = array, shape

    def __reduce__(self):
        make, args, (version, _, *rest) = self.array.__reduce__()  # pyright: ignore
        return make, args, (version, self.shape, *rest)


def reconstruct_device_array(fun, args, arr_state, aval_state):
    """Of JAX 0.3."""


def _reconstruct_array(fun, args, arr_state, aval_state):
    """Of JAX since 0.4."""


class FrozenDict:
    """Pickles as flax's did at first, by its slots; `by_call`: as it does since."""

    __slots__ = ("_dict", "_hash")

    def __init__(self, tree: dict):
        self._dict, self._hash = tree, None

    @staticmethod
    def by_call(tree: dict):
        return Called(tree)


class Called:
    def __init__(self, tree: dict):
        self.tree = tree

    def __reduce__(self):
        return FrozenDict, (self.tree,)


class ScaleByAdamState(NamedTuple):
    count: int
    mu: dict


HOMES = {
    reconstruct_device_array: "jax._src.device_array",
    _reconstruct_array: "jax._src.array",
    FrozenDict: "flax.core.frozen_dict",
    ScaleByAdamState: "optax._src.transform",
}


@pytest.fixture
def old_pickle(monkeypatch) -> Callable[[Any], bytes]:
    """Pickles under the names that things had in their libraries, and numpy's of before 2.0."""
    for thing, home in HOMES.items():
        module = types.ModuleType(home)
        setattr(module, thing.__name__, thing)
        monkeypatch.setattr(thing, "__module__", home)
        for name in (home, home.rpartition(".")[0], home.partition(".")[0]):
            monkeypatch.setitem(sys.modules, name, module)
    return lambda value: pickle.dumps(value, protocol=3).replace(b"numpy._core.", b"numpy.core.")


def as_numpy(array: np.ndarray) -> np.ndarray:
    return array


def as_device_array(array: np.ndarray) -> Reduced:
    return Reduced(reconstruct_device_array, array)


def as_array(array: np.ndarray) -> Reduced:
    return Reduced(_reconstruct_array, array)


def mapped(tree: Any, change: Callable[[np.ndarray], Any]) -> Any:
    if isinstance(tree, dict):
        return {name: mapped(child, change) for name, child in tree.items()}
    return change(np.ascontiguousarray(tree, np.float32))


def frozen_by_slots(tree: dict) -> FrozenDict:
    return FrozenDict(
        {name: frozen_by_slots(child) if isinstance(child, dict) else child for name, child in tree.items()}
    )


def before_linen(tree: dict) -> dict:
    """One count for all kinds of layers, and no `params` around them."""
    return {f"{name.split('_')[0]}_{i}": layer for i, (name, layer) in enumerate(sorted(tree["params"].items()))}


def same(tree: dict) -> dict:
    return tree


@pytest.mark.parametrize("arrays", [as_numpy, as_device_array, as_array])
@pytest.mark.parametrize("dictionaries", [same, FrozenDict.by_call, frozen_by_slots, before_linen])
def test_pickles_of_older_versions_are_read_the_same(arrays, dictionaries, old_pickle, tmp_path: Path):
    tree = read_checkpoint(str(FIXTURES / "dqn")).tree
    bundle = {
        "state": np.zeros((2, 2), np.float32),
        "training_steps": 12,
        "online_params": dictionaries(mapped(tree, arrays)),
        "optimizer_state": [ScaleByAdamState(1, {})],
    }
    (tmp_path / "ckpt.199").write_bytes(old_pickle(bundle))
    teacher = open_teacher(str(tmp_path / "ckpt.199"))
    agree(teacher, EXPECTED["dqn"], SCREENS)
    assert teacher.card.trained_env_steps == 12


def test_the_residual_networks_of_the_paper_are_read_by_their_names():
    tree = read_checkpoint(str(FIXTURES / "impala")).tree
    stacks = {name.replace("_stacks", "Stack"): stack for name, stack in tree["params"]["encoder"].items()}
    built = build({"params": {**tree["params"], "encoder": stacks}}, None)
    assert sorted(stacks) == ["Stack_0", "Stack_1", "Stack_2"]
    assert torch.allclose(built.network(observations(SCREENS)), torch.tensor(EXPECTED["impala"]), atol=1e-5)


# ---- files that are not what they should be --------------------------------------------------------


def refused(path: Path, match: str) -> None:
    with pytest.raises(UserError, match=match) as caught:
        open_address(str(path))
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def spoilt(tmp_path: Path, payload: bytes, match: str, name: str = "ckpt.1") -> None:
    (tmp_path / name).write_bytes(payload)
    refused(tmp_path / name, match)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_a_truncated_pickle_is_refused(share: float, tmp_path: Path):
    whole = (FIXTURES / "dqn" / "ckpt.3").read_bytes()
    spoilt(tmp_path, whole[: int(len(whole) * share)], "not a pickle that can be read safely")


class Payload:
    """Unpickled, it makes a folder."""

    def __reduce__(self):
        return os.mkdir, ("made_by_a_pickle",)


def test_nothing_in_a_pickle_is_run(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spoilt(tmp_path, pickle.dumps({"online_params": Payload()}), "refers to posix.mkdir")
    gadget = b"\x80\x03cnumpy.testing._private.utils\nrunstring\nX\x01\x00\x00\x001}\x86R."
    spoilt(tmp_path, gadget, "runstring, which has no business there")
    assert not (tmp_path / "made_by_a_pickle").exists()


def deep(levels: int) -> dict:
    tree: dict = {}
    for _ in range(levels):
        tree = {"params": tree}
    return tree


@pytest.mark.parametrize(
    ("params", "match"),
    [
        (3, "an array of numbers was expected"),
        ({}, "not a tree of named layers"),
        ({"Dense_0": {"kernel": 1, "bias": 1}}, "an array of numbers was expected"),
        (np.zeros(2, np.float32), "not a tree of named layers"),
        ({"Dense_0": {"kernel": np.full((2, 2), np.nan, np.float32)}}, "no layer with a kernel and a bias"),
        (deep(50), "more layers than any network"),
        ({"params": {f"Dense_{i}": {} for i in range(3000)}}, "more layers than any network"),
        ({"params": {f"Dense_{i}": {} for i in range(100)}}, "100 layers"),
        ({"params": {"LSTM_0": {}}}, "layers such as 'LSTM_0'"),
        ({"params": {"encoder": {"Dense_0": {}}}}, "layers such as 'Dense_0'"),
        ({"params": {"_shared_network": {}, "_actor": {}}}, "not a tree of named layers"),
    ],
)
def test_parameters_that_are_no_network_are_refused(params: Any, match: str, old_pickle, tmp_path: Path):
    spoilt(tmp_path, old_pickle({"online_params": params}), match)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(value: float, old_pickle, tmp_path: Path):
    tree = mapped(flat_tree(5, 4, 3), lambda array: np.where(array == array.flat[0], np.float32(value), array))
    spoilt(tmp_path, old_pickle({"online_params": tree}), "NaN or infinity")


def test_arrays_that_claim_more_than_they_hold_are_refused(old_pickle, tmp_path: Path):
    lie = Claiming(np.zeros(4, np.float32), (10**6, 10**6))
    spoilt(tmp_path, old_pickle({"online_params": {"Dense_0": {"kernel": lie, "bias": lie}}}), "cannot be read")


def test_one_array_many_times_over_is_refused(old_pickle, tmp_path: Path):
    array = np.zeros((50, 50), np.float32)
    layers = {f"Dense_{i}": {"kernel": array, "bias": array} for i in range(40)}
    spoilt(tmp_path, old_pickle({"online_params": layers}), "share their numbers")


@pytest.mark.parametrize(
    "payload", [b"", b"\x80", b"\x80\x04", b"\x80\x04]q\x00.", b"\x80\x04N.", b"PK\x03\x04", b"\x80\x04" + b"(" * 9999]
)
def test_other_bytes_are_no_pickle_of_dopamine(payload: bytes, tmp_path: Path):
    spoilt(tmp_path, payload, "not a pickle|not a checkpoint of Dopamine")


def test_layers_that_do_not_chain_are_refused():
    tree = flat_tree(5, 4, 3)
    tree["Dense_1"]["kernel"] = np.zeros((7, 3), np.float32)
    with pytest.raises(UserError, match="do not chain"):
        build(tree, None)
    tree = read_checkpoint(str(FIXTURES / "dqn")).tree["params"]
    with pytest.raises(UserError, match="do not chain"):
        build({**tree, "Conv_1": {**tree["Conv_1"], "kernel": np.zeros((4, 4, 3, 4), np.float32)}}, None)
    with pytest.raises(UserError, match="kernels"):
        build({**tree, "Conv_3": tree["Conv_2"]}, None)


# ---- TensorFlow's form -----------------------------------------------------------------------------


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    for path in TENSORFLOW.glob("tf_ckpt-199.*"):
        shutil.copy(path, tmp_path)
    return tmp_path / "tf_ckpt-199.index"


def test_checksums_are_those_of_the_standard():
    assert crc32c(b"123456789") == 0xE3069283  # RFC 3720, appendix B.4
    assert crc32c(bytes(32)) == 0x8A9136AA and crc32c(b"\xff" * 32) == 0x62A8AB43
    data = np.random.default_rng(0).bytes(50_001)
    state = 0xFFFFFFFF
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = state >> 1 ^ 0x82F63B78 * (state & 1)
    assert crc32c(data) == state ^ 0xFFFFFFFF


def test_changed_data_is_found_by_its_checksum(checkpoint: Path):
    data = checkpoint.with_suffix(".data-00000-of-00001")
    payload = bytearray(data.read_bytes())
    payload[2000] ^= 1
    data.write_bytes(payload)
    refused(checkpoint, "the checksum of Online/Conv/weights differs")


def test_a_changed_index_is_found_by_its_checksum(checkpoint: Path):
    payload = bytearray(checkpoint.read_bytes())
    payload[100] ^= 1
    checkpoint.write_bytes(payload)
    refused(checkpoint, "the checksum of its index differs")


def test_missing_and_truncated_data_is_refused(checkpoint: Path):
    data = checkpoint.with_suffix(".data-00000-of-00001")
    data.write_bytes(data.read_bytes()[:5000])
    refused(checkpoint, "more or less than the data holds|larger than its data")
    data.unlink()
    with pytest.raises(UserError, match=r"data-00000-of-00001: cannot be read: No such file"):
        open_address(str(checkpoint))


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_truncated_index_is_refused(share: float, checkpoint: Path):
    payload = checkpoint.read_bytes()
    checkpoint.write_bytes(payload[: int(len(payload) * share)])
    refused(checkpoint, "does not end as one does")


def table(*entries: tuple[bytes, bytes]) -> bytes:
    """An index of TensorFlow's form with one block, written from what is known of it."""

    def block(pairs) -> bytes:
        body = b"".join(b"\x00" + bytes([len(key)]) + varint(len(value)) + key + value for key, value in pairs)
        body += struct.pack("<II", 0, 1)
        return body + b"\x00" + struct.pack("<I", masked_crc32c(body + b"\x00"))

    first = block(entries)
    second = block([(b"z", varint(0) + varint(len(first) - 5))])
    footer = varint(0) + varint(0) + varint(len(first)) + varint(len(second) - 5)
    return first + second + footer.ljust(40, b"\x00") + bytes.fromhex("57fb808b247547db")


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def entry(*shape: int, size: int, dtype: int = 1, offset: int = 0, shard: int = 0) -> bytes:
    dims = b"".join(b"\x12" + bytes([len(dim) + 1]) + b"\x08" + dim for dim in map(varint, shape))
    where = b"\x18" + varint(shard) + b"\x20" + varint(offset) + b"\x28" + varint(size)
    return b"\x08" + varint(dtype) + b"\x12" + bytes([len(dims)]) + dims + where


HEADER = (b"", b"\x08\x01")


@pytest.mark.parametrize(
    ("value", "match"),
    [
        (entry(10**6, 10**6, size=4 * 10**12), "larger than its data"),
        (entry(10**6, 10**6, size=64), "more or less than the data holds"),
        (entry(2**50, size=64), "a tensor of shape"),
        (entry(*[1] * 9, size=4), "a tensor of shape"),
        (entry(16, size=64, offset=2**40), "more or less than the data holds"),
        (entry(16, size=64, dtype=7), "type 7"),
        (entry(16, size=64, shard=3), "part 3 of 1"),
        (entry(16, size=64) + b"\x3a\x00", "in slices"),
        (b"\x08", "without an end"),
        (b"\x0b", "wire type 3"),
        (b"\x12\x7f", "ends before its field"),
        (b"\x10\x01", "a number where a message"),
        (entry(16, size=64), "no layer with a kernel and a bias"),
    ],
)
def test_entries_that_cannot_be_are_refused(value: bytes, match: str, tmp_path: Path):
    (tmp_path / "a.data-00000-of-00001").write_bytes(bytes(64))
    spoilt(tmp_path, table(HEADER, (b"Online/fully_connected/weights", value)), match, "a.index")


def test_an_index_without_an_online_network_is_refused(tmp_path: Path):
    spoilt(
        tmp_path, table(HEADER, (b"Target/Conv/weights", entry(16, size=64))), "no variables of a network", "a.index"
    )


def test_blocks_that_point_nowhere_or_at_themselves_are_refused(tmp_path: Path):
    whole = bytearray(table(HEADER))
    whole[-48:-44] = b"\x00\x00\xff\x7f"
    spoilt(tmp_path, bytes(whole), "beyond the end of the index", "a.index")
    inner = table(HEADER)[:-48]
    size = varint(len(inner))
    spoilt(
        tmp_path,
        inner + (b"\x00\x00" + b"\x00" + size).ljust(40, b"\x00") + bytes.fromhex("57fb808b247547db"),
        "damaged",
        "a.index",
    )


def test_opening_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    for name in ("dqn", "impala", "iqn", "full_rainbow", "minatar"):
        open_address(str(FIXTURES / name))
    assert torch.equal(before, torch.get_rng_state())
