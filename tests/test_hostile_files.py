"""Whatever a stranger's file holds, opening it ends in a teacher or in one line; nothing in it ever runs."""

import io
import json
import os
import pickle
import struct
import warnings
import zipfile
from pathlib import Path

import pytest
import torch
from asking import says
from hypothesis import given, settings
from hypothesis import strategies as st
from zips import described, dqn_weights, saved, write_zip

from reincarnate.errors import UserError
from reincarnate.teachers import open_teacher
from reincarnate.teachers.sb3 import open_address
from reincarnate.teachers.sb3.vecnormalize import read_statistics


class Payload:
    """Unpickled, it makes a folder."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def refused(path: str, match: str) -> None:
    with pytest.raises(UserError, match=match) as caught:
        open_address(path)
    assert "\n" not in str(caught.value) and path in str(caught.value)


def test_a_truncated_zip_is_refused(tmp_path: Path):
    path = Path(write_zip(tmp_path / "a.zip"))
    path.write_bytes(path.read_bytes()[:-200])
    refused(str(path), "damaged")
    with pytest.raises(UserError, match="damaged"):
        open_teacher(str(path))


def test_a_file_that_is_no_zip_is_refused(tmp_path: Path):
    (tmp_path / "a.zip").write_bytes(b"no zip at all")
    refused(str(tmp_path / "a.zip"), "not a zip archive")


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path):
    refused(str(tmp_path / "none.zip"), "No such file")
    refused(str(tmp_path), "directory")


def test_a_zip_of_something_else_is_refused(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    refused(str(tmp_path / "a.zip"), "it has no data and no policy.pth")


def test_a_payload_in_the_weights_never_runs(tmp_path: Path):
    made = tmp_path / "made"
    refused(write_zip(tmp_path / "a.zip", weights=saved({"x": Payload(made)})), "mkdir.*nothing was run")
    refused(write_zip(tmp_path / "b.zip", weights=pickle.dumps(Payload(made))), "refused, nothing was run")
    assert not made.exists()


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_payload_in_the_statistics_never_runs(protocol: int, tmp_path: Path):
    made, path = tmp_path / "made", write_zip(tmp_path / "a.zip")
    (tmp_path / "vecnormalize.pkl").write_bytes(pickle.dumps({"obs_rms": Payload(made)}, protocol))
    with pytest.raises(UserError, match=r"mkdir.*refused, nothing was run"):
        open_address(path)
    assert not made.exists()


def test_names_that_numpy_would_run_are_refused_in_the_statistics(tmp_path: Path):
    path = tmp_path / "vecnormalize.pkl"
    for module, name in (("numpy", "load"), ("numpy.core.multiarray", "fromfile"), ("gym.spaces.box", "Box.__init__")):
        path.write_bytes(f"c{module}\n{name}\n.".encode())
        with pytest.raises(UserError, match="no business there"):
            read_statistics(path)


def test_statistics_without_numbers_are_refused(tmp_path: Path):
    path = tmp_path / "vecnormalize.pkl"
    for payload in (b"", b"\x80\x04", pickle.dumps({"mean": 3}), pickle.dumps([1] * 5), b"\xff" * 100):
        path.write_bytes(payload)
        with pytest.raises(UserError):
            read_statistics(path)


def test_pickles_in_the_text_are_never_looked_at(tmp_path: Path):
    data = described()
    data["observation_space"][":serialized:"] = data[":serialized:"] = "gASVIAAAAAAAAACMBXBvc2l4lIwGc3lzdGVtlJOU"
    assert open_address(write_zip(tmp_path / "a.zip", data)).card.actions == 2


def test_members_that_point_outside_are_ignored(tmp_path: Path):
    inner = tmp_path / "in"
    inner.mkdir()
    open_address(write_zip(inner / "a.zip", **{"../../outside": b"x", "../outside": b"x"}))
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.zip", "in"]


def test_two_members_of_one_name_are_refused(tmp_path: Path):
    path = tmp_path / "a.zip"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        refused(twice(path), "two members")


def twice(path: Path) -> str:
    write_zip(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("data", "{}")
    return str(path)


def bomb(path: Path, declared: int) -> str:
    """A zip whose `_stable_baselines3_version` unpacks to 50 MB of zeros, whatever its headers say."""
    size = 50_000_000
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("_stable_baselines3_version", bytes(size))
    content = path.read_bytes()
    assert content.count(struct.pack("<I", size)) == 2
    path.write_bytes(content.replace(struct.pack("<I", size), struct.pack("<I", declared)))
    return str(path)


def test_a_zip_bomb_is_refused_whether_its_header_lies_or_not(tmp_path: Path):
    refused(bomb(tmp_path / "honest.zip", 50_000_000), "over .* MiB unpacked")
    refused(bomb(tmp_path / "lying.zip", 100), "damaged")


def test_a_bomb_inside_the_weights_is_refused(tmp_path: Path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(5_000_000))
    refused(write_zip(tmp_path / "a.zip", weights=buffer.getvalue()), "unpack to more")


@pytest.mark.parametrize("strides", [(0, 0), (10**6, 1)])
def test_a_huge_declared_shape_allocates_nothing_and_is_refused(strides: tuple[int, int], tmp_path: Path):
    content = saved(dqn_weights() | {"q_net.q_net.0.weight": Declared(strides)})
    refused(write_zip(tmp_path / "a.zip", weights=content), "declares shape")


class Declared:
    """Pickled, a tensor of a million by a million over one stored number."""

    def __init__(self, strides: tuple[int, int]):
        self.strides = strides

    def __reduce__(self):
        one = torch.zeros(1).untyped_storage()
        storage = torch.storage.TypedStorage(wrap_storage=one, dtype=torch.float32, _internal=True)
        return torch._utils._rebuild_tensor_v2, (storage, 0, (10**6, 10**6), self.strides, False, {})


def spoilt(name: str, value: torch.Tensor) -> dict[str, torch.Tensor]:
    return dqn_weights() | {name: value}


WRONG_WEIGHTS = {
    "NaN": spoilt("q_net.q_net.0.bias", torch.full((4,), torch.nan)),
    "NaN or infinity": spoilt("q_net.q_net.0.bias", torch.full((4,), torch.inf)),
    "do not chain": spoilt("q_net.q_net.2.weight", torch.zeros(4, 9)),
    "make no layer": spoilt("q_net.q_net.2.bias", torch.zeros(9)),
    "floating-point": spoilt("q_net.q_net.0.weight", torch.zeros(4, 3, dtype=torch.int64)),
    "layers such as 'strange": spoilt("strange.weight", torch.zeros(1)),
    "do not end in 2 actions": dqn_weights(actions=5),
    "of shape \\(4, 7\\) where \\(4, 3\\)": dqn_weights(obs=7),
    "other than a plain MLP": spoilt("q_net.q_net.1.weight", torch.zeros(4)),
    "named tensors was expected": saved([1, 2]),
    "not a plain tensor": saved({"q_net.q_net.0.weight": 3}),
    "damaged weights": saved(dqn_weights()).replace(b"data.pkl", b"dota.pkl"),
}


@pytest.mark.parametrize("words", WRONG_WEIGHTS)
def test_weights_that_are_wrong_are_refused_in_words(words: str, tmp_path: Path):
    refused(write_zip(tmp_path / "a.zip", weights=WRONG_WEIGHTS[words]), words)


def space(kind: str, **more) -> dict:
    return {":type:": f"<class 'gym.spaces.{kind.lower()}.{kind}'>", "dtype": "int64", **more}


WRONG_TEXT = {
    "not JSON": b"{",
    "JSON object was expected": b"[1]",
    "no policy_class": b"{}",
    "not JSON:.*nested": b"[" * 100_000,
    "policies of somewhere.else": described("somewhere.else"),
    "a memory of no layers": described("sb3_contrib.common.recurrent.policies"),
    "a Dict of other spaces": described(observation_space=space("Dict")),
    "Discrete .*Evil": described(observation_space=space("Dict", spaces="{'a': Discrete(2), 'b': Evil(3)}")),
    "observations in a Tuple space": described(observation_space=space("Tuple")),
    "6,561 combinations": described(action_space=space("MultiDiscrete", nvec="[9 9 9 9]")),
    "actions in a Text space": described(action_space=space("Text")),
    "do not count from 0": described(action_space=space("Discrete", n=2, start=1)),
    "number of actions is '-3'": described(action_space=space("Discrete", n=-3)),
    "number of actions is 'None'": described(action_space=space("Discrete")),
    "shape is 'abc'|shape is abc": described(observation_space=space("Box", shape="abc")),
    "absurdly large": described(observation_space=space("Box", shape=[10**6, 10**6])),
    "number of observation": described(observation_space=space("Box", shape=[10**30])),
    "activation function": described(policy_kwargs={"activation_fn": "<class 'os.system'>"}),
    "features extractor Mine": described(policy_kwargs={"features_extractor_class": "<class '__main__.Mine'>"}),
}


@pytest.mark.parametrize("words", WRONG_TEXT)
def test_text_that_is_wrong_is_refused_in_words(words: str, tmp_path: Path):
    refused(write_zip(tmp_path / "a.zip", WRONG_TEXT[words]), words)


def changed(content: bytes, changes: list[tuple[float, int]]) -> bytes:
    """Each change puts a byte somewhere, told as a fraction of the length."""
    spoilt = bytearray(content)
    for where, value in changes:
        spoilt[int(where * len(spoilt))] = value
    return bytes(spoilt)


def changed_pickle(changes: list[tuple[float, int]]) -> bytes:
    """Weights whose inner pickle is changed and whose checksums are right all the same."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(saved(dqn_weights()))) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, changed(content, changes) if name.endswith("data.pkl") else content)
    return buffer.getvalue()


CHANGES = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8)


@settings(max_examples=200)
@given(CHANGES, st.sampled_from(["the file", "its text", "its weights", "the pickle in its weights"]))
def test_any_change_of_bytes_ends_in_a_teacher_or_one_line(tmp_path_factory, changes, place: str):
    path = tmp_path_factory.getbasetemp() / "changed.zip"
    if place == "the file":
        path.write_bytes(changed(Path(write_zip(path)).read_bytes(), changes))
    elif place == "its text":
        write_zip(path, data=changed(json.dumps(described()).encode(), changes))
    else:
        whole = place == "its weights"
        write_zip(path, weights=changed(saved(dqn_weights()), changes) if whole else changed_pickle(changes))
    try:
        out, _ = says(open_address(str(path)), torch.zeros(1, 3))
        assert out.shape == (1, 2)
    except UserError as error:
        assert "\n" not in str(error)
