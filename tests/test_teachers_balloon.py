"""Perciatelli44 and graphs of its form, as TensorFlow computes them (`fixtures/balloon`, written by TensorFlow)."""

import json
import os
import shutil
import struct
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from asking import says

from reincarnate.errors import UserError
from reincarnate.teachers import open_teacher
from reincarnate.teachers.balloon import MEMBER, SHA256, open_address, recognises
from reincarnate.types import Teacher

FIXTURES = Path(__file__).parent / "fixtures" / "balloon"
SMALL = FIXTURES / "small.pb"
EXPECTED = torch.tensor(json.loads((FIXTURES / "expected.json").read_text()))
WHEEL = "balloon_learning_environment-1.0.1-py3-none-any.whl"


def told(teacher: Teacher, width: int = 9) -> torch.Tensor:
    """What it tells on the observations of make_balloon.py."""
    obs = np.random.default_rng(0).standard_normal((5, width)).astype(np.float32)
    return says(teacher, torch.from_numpy(obs))[0]


def test_a_graph_tells_what_tensorflow_computes():
    teacher = open_teacher(f"balloon:{SMALL}")
    assert torch.allclose(told(teacher), EXPECTED, rtol=1e-5, atol=1e-5)
    assert (teacher.card.algorithm, teacher.card.actions, teacher.card.obs_shape) == ("QR-DQN", 3, (9,))
    assert isinstance(teacher, Teacher)


def test_another_graph_than_the_published_one_is_a_warning():
    assert "not the perciatelli44" in open_address(str(SMALL)).card.warnings[0]


def wheel(folder: Path, member: str = MEMBER) -> Path:
    path = folder / WHEEL
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member, SMALL.read_bytes())
    return path


def test_the_graph_is_found_in_the_wheel(tmp_path: Path):
    path = wheel(tmp_path)
    assert recognises(path) and torch.equal(told(open_teacher(str(path))), told(open_address(str(SMALL))))


def test_the_graph_is_found_in_the_installed_package_which_is_not_imported(tmp_path: Path, monkeypatch):
    (tmp_path / MEMBER).parent.mkdir(parents=True)
    shutil.copy(SMALL, tmp_path / MEMBER)
    (tmp_path / "balloon_learning_environment" / "__init__.py").write_text("raise RuntimeError('imported')")
    information = tmp_path / "balloon_learning_environment-1.0.1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: balloon-learning-environment\nVersion: 1.0.1\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    teacher = open_teacher("balloon:perciatelli44")
    assert torch.allclose(told(teacher), EXPECTED, rtol=1e-5, atol=1e-5)
    assert "balloon_learning_environment" not in sys.modules


def test_without_the_package_a_line_says_how_to_get_it():
    with pytest.raises(UserError, match=r"not installed: pip install --no-deps balloon-learning-environment==1\.0\.1"):
        open_address("perciatelli44")


def test_other_frozen_graphs_are_dopamines():
    teacher = open_teacher(str(SMALL))
    assert teacher.card.uri == f"dopamine:{SMALL}" and told(teacher).shape == (5, 3)


@pytest.fixture(scope="module")
def published() -> Path:
    """The wheel of the project itself, which is no part of this one."""
    folder = Path(os.environ.get("REINCARNATE_BALLOON", Path(tempfile.gettempdir()) / "ble"))
    if not (folder / WHEEL).exists():
        pytest.skip(f"pip download --no-deps balloon-learning-environment==1.0.1 -d {folder}, or REINCARNATE_BALLOON")
    return folder / WHEEL


def test_perciatelli44_itself_tells_what_tensorflow_computes(published: Path):
    teacher = open_teacher(str(published))
    card = teacher.card
    assert (card.sha256, card.parameters, card.warnings) == (SHA256, 2_915_553, ())
    assert card.network == "MLP 1099-600-600-600-600-600-600-600-153, relu"
    expected = torch.tensor(json.loads((FIXTURES / "perciatelli44.json").read_text()))
    assert torch.allclose(told(teacher, 1099), expected, rtol=1e-4, atol=1e-3)


# ---- files that are not what they should be --------------------------------------------------------


def refused(path: Path, match: str) -> None:
    with pytest.raises(UserError, match=match) as caught:
        open_address(str(path))
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.9])
def test_a_truncated_graph_is_refused(share: float, tmp_path: Path):
    whole = SMALL.read_bytes()
    (tmp_path / "a.pb").write_bytes(whole[: int(len(whole) * share)])
    refused(tmp_path / "a.pb", "damaged|holds no variables")


def test_a_wheel_without_the_graph_is_refused(tmp_path: Path):
    refused(wheel(tmp_path, "other.pb"), "holds no balloon_learning_environment/models")
    path = wheel(tmp_path)
    path.write_bytes(path.read_bytes()[:-100])
    refused(path, "damaged")


def test_a_missing_file_is_one_line():
    refused(Path("nowhere.pb"), "cannot be read")


def field(number: int, content: bytes | int) -> bytes:
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def tensor(shape: tuple[int, ...], content: bytes = b"", dtype: int = 1, numbers: bytes = b"") -> bytes:
    dims = b"".join(field(2, field(1, size)) for size in shape)
    return field(1, dtype) + field(2, dims) + (field(4, content) if content else b"") + numbers


def const(name: str, value: bytes, op: str = "Const") -> bytes:
    attribute = field(5, field(1, b"value") + field(2, field(8, value)))
    return field(1, field(1, name.encode()) + field(2, op.encode()) + attribute)


def graph(weights: bytes, biases: bytes) -> bytes:
    """A graph of one layer, written from what is known of the format."""
    return const("Online/fully_connected/weights", weights) + const("Online/fully_connected/biases", biases)


FLOATS = np.arange(12, dtype="<f4")
BIAS = tensor((6,), bytes(24))


def test_numbers_may_be_listed_or_stand_for_many(tmp_path: Path):
    packed = field(5, FLOATS.tobytes())
    loose = b"".join(varint(5 << 3 | 5) + struct.pack("<f", number) for number in FLOATS)
    for numbers in (packed, loose):
        one_for_all = tensor((6,), numbers=field(5, struct.pack("<f", 0.5)))
        (tmp_path / "a.pb").write_bytes(graph(tensor((2, 6), numbers=numbers), one_for_all))
        out, _ = says(open_address(str(tmp_path / "a.pb")), torch.tensor([[0.0, 1.0]]))
        assert out.tolist() == [[7.0, 9.0, 11.0]]  # means of pairs 6 7, 8 9, 10 11, and a half


@pytest.mark.parametrize(
    ("payload", "match"),
    [
        (b"", "no variables"),
        (b"\xff" * 100, "damaged"),
        (b"plain text, not a graph", "damaged"),
        (graph(tensor((10**6, 10**6), FLOATS.tobytes()), BIAS), "12 numbers"),
        (graph(tensor((2**50,), FLOATS.tobytes()), BIAS), "a tensor of shape"),
        (graph(tensor((10**6, 10**6), numbers=field(5, bytes(4))), BIAS), "1 numbers"),
        (graph(tensor((2, 6), FLOATS.tobytes(), dtype=7), BIAS), "type 7"),
        (graph(tensor((2, 6), FLOATS.tobytes()[:-1]), BIAS), "damaged"),
        (graph(tensor((2, 6), (FLOATS * np.float32(np.nan)).tobytes()), BIAS), "NaN or infinity"),
        (graph(tensor((2, 6), FLOATS.tobytes()), tensor((5,), bytes(20))), "make no layer"),
        (graph(tensor((2, 5), FLOATS[:10].tobytes()), tensor((5,), bytes(20))), "no quantiles of 3 actions"),
        (const("Online/fully_connected/weights", BIAS, op="Variable"), "no variables"),
        (const("Online/fully_connected/weights", BIAS), "no layer with a kernel and a bias"),
        (field(1, field(1, 3)), "a number where a message"),
        (varint(1 << 3 | 3), "wire type 3"),
        (varint(1 << 3 | 2) + varint(2**60), "ends before its field"),
    ],
)
def test_whatever_a_file_holds_the_end_is_one_line(payload: bytes, match: str, tmp_path: Path):
    (tmp_path / "a.pb").write_bytes(payload)
    refused(tmp_path / "a.pb", match)


def test_convolutions_are_not_a_balloons(tmp_path: Path):
    conv = const("Online/Conv/weights", tensor((1, 1, 1, 1), bytes(4))) + const(
        "Online/Conv/biases", tensor((1,), bytes(4))
    )
    (tmp_path / "a.pb").write_bytes(graph(tensor((2, 6), FLOATS.tobytes()), BIAS) + conv)
    refused(tmp_path / "a.pb", "fully connected layers alone")


def test_scripted_teachers_have_identities_of_their_own():
    hashes = {open_teacher(f"balloon:{name}").card.sha256 for name in ("station_seeker", "random_walk")}
    assert len(hashes) == 2 and all(len(found) == 64 for found in hashes)
