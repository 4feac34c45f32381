"""Weights in the format that torch had before 1.6: read as torch reads them, and nothing in them runs."""

import io
import os
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from asking import says
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from zips import dqn_weights, write_zip

from reincarnate.errors import UserError
from reincarnate.teachers.sb3 import open_address
from reincarnate.teachers.wire.torch_legacy import is_legacy, read_legacy


def old(value) -> bytes:
    """As torch itself still writes it."""
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def test_tensors_of_every_kind_come_back_as_they_were():
    base = torch.arange(12.0)
    state = {
        **{str(d): torch.tensor([[1, 0], [1, 1]]).to(d) for d in (torch.float64, torch.float16, torch.bfloat16)},
        **{str(d): torch.tensor([1, 0, 1]).to(d) for d in (torch.int64, torch.int32, torch.uint8, torch.bool)},
        **{"view": base[2:8].view(2, 3), "turned": base.view(3, 4).t(), "whole": base},
        **{"parameter": torch.nn.Parameter(torch.ones(2)), "empty": torch.zeros(0, 3), "scalar": torch.tensor(2.5)},
    }
    payload = old(OrderedDict(state))
    assert is_legacy(payload)
    read = read_legacy(payload, "weights")
    assert list(read) == list(state)
    for name, tensor in state.items():
        assert read[name].dtype == tensor.dtype and torch.equal(read[name], tensor.detach())


def test_an_agent_with_such_weights_acts_as_one_with_new_ones(tmp_path: Path):
    obs = torch.randn(9, 3, generator=torch.Generator().manual_seed(0))
    weights = OrderedDict(dqn_weights())
    before = says(open_address(write_zip(tmp_path / "old.zip", weights=old(weights))), obs)[0]
    assert torch.equal(before, says(open_address(write_zip(tmp_path / "new.zip", weights=weights)), obs)[0])


def refused(payload: bytes, match: str) -> None:
    with pytest.raises(UserError, match=match) as caught:
        read_legacy(payload, "weights")
    assert "\n" not in str(caught.value)


class Payload:
    """Unpickled, it makes a folder."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_a_payload_never_runs_wherever_it_stands(tmp_path: Path):
    refused(old({"x": Payload(tmp_path / "made")}), "posix.mkdir.*refused, nothing was run")
    start = len(pickle.dumps(1001, 2)) + 15
    refused(old({})[:start] + pickle.dumps(Payload(tmp_path / "made"), 2), "posix.mkdir.*refused, nothing was run")
    assert not (tmp_path / "made").exists()


class Shaped:
    """Pickled, a tensor of a shape its storage does not hold."""

    def __init__(self, shape: tuple, strides: tuple, offset: object = 0):
        self.args = shape, strides, offset

    def __reduce__(self):
        shape, strides, offset = self.args
        storage = torch.storage.TypedStorage(
            wrap_storage=torch.zeros(4).untyped_storage(), dtype=torch.float32, _internal=True
        )
        return torch._utils._rebuild_tensor_v2, (storage, offset, shape, strides, False, OrderedDict())


WRONG: dict[str, Callable[[], bytes]] = {
    r"shape \(1000000, 1000000\), more than": lambda: old({"x": Shaped((10**6, 10**6), (0, 0))}),
    r"shape \(4,\), more than": lambda: old({"x": Shaped((4,), (1,), 1)}),
    "impossible shape": lambda: old({"x": Shaped((2,), (1,), -1)}),
    "impossible shape.*": lambda: old({"x": Shaped((2,), (1,), 0.5)}),
    "a tensor that is none": lambda: old({"x": Shaped((2,), (1, 1))}),
    "not a plain tensor": lambda: old({"x": 3}),
    "named tensors was expected, not a list": lambda: old([torch.ones(2)]),
    "named tensors was expected, not a Table": lambda: old(OrderedDict({1: torch.ones(2)})),
    "not as declared": lambda: old({"x": torch.ones(4)})[:-1],
    "not as declared.*": lambda: changed_length(old({"x": torch.ones(4)})),
    "another version": lambda: old({}).replace(b"M\xe9\x03.", b"M\xe8\x03."),
    "another version or byte order": lambda: old({}).replace(b"little_endianq\x02\x88", b"little_endianq\x02\x89"),
    "damaged": lambda: old({"x": torch.ones(4)})[:100],
}


def changed_length(payload: bytes) -> bytes:
    return payload[:-24] + (10**12).to_bytes(8, "little") + payload[-16:]


@pytest.mark.parametrize("words", WRONG)
def test_what_is_wrong_is_refused_in_words(words: str):
    refused(WRONG[words](), words)


def test_one_storage_declared_in_two_ways_is_refused():
    base: Tensor = torch.ones(200)
    payload = old({"x": base[:2], "y": base[2:4]})
    at = payload.rindex(b"K\xc8")  # the storage's size the second time
    refused(payload[:at] + b"K\xc7" + payload[at + 2 :], "in two ways")


CHANGES = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6)


@settings(max_examples=150)
@given(CHANGES)
def test_any_change_of_bytes_ends_in_tensors_or_one_line(changes):
    payload = bytearray(old(dqn_weights()))
    for where, value in changes:
        payload[int(where * len(payload))] = value
    try:
        assert all(isinstance(tensor, Tensor) for tensor in read_legacy(bytes(payload), "weights").values())
    except UserError as error:
        assert "\n" not in str(error)
