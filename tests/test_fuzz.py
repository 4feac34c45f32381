"""Damaged files of every format end in success or in one line. `benchmarks/fuzz.py` does ten thousand of each."""

from pathlib import Path

import pytest
from fuzz_targets import TARGETS
from fuzzing import Target, fuzz

from reincarnate.errors import UserError

TRIALS = 16


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_files_are_opened_or_refused_in_one_line(name: str, tmp_path: Path):
    (tmp_path / "made").mkdir()
    found = fuzz(TARGETS[name](tmp_path / "made"), TRIALS, seed=0, folder=tmp_path)
    assert set(found) <= {"opened", "refused"} and found["refused"] > TRIALS / 4 and found.total() == TRIALS


def test_the_fuzzer_sees_what_must_not_happen(tmp_path: Path):
    outside = tmp_path / "outside"

    def writes(folder: Path) -> None:
        outside.write_text("x")

    def runs(folder: Path) -> None:
        __import__("os").system("true")

    def hoards(folder: Path) -> None:
        bytearray(1 << 34)

    def fails(folder: Path) -> None:
        raise KeyError("columns")

    def dies(folder: Path) -> None:
        if (folder.name) == "damaged":
            __import__("os")._exit(1)

    for bad, words in ((writes, "wrote"), (runs, "os.system"), (dies, "died")):
        found = fuzz(Target("bad", {"a": b"abc"}, bad), 2, seed=0, folder=tmp_path)
        assert all(words in end for end in found), found
    for bad, words in ((hoards, "MemoryError"), (fails, "KeyError")):
        target = Target("bad", {"a": b"abc"}, lambda folder, bad=bad: bad(folder) if folder.name == "damaged" else None)
        found = fuzz(target, 2, seed=0, folder=tmp_path)
        assert all(words in end for end in found), found


def test_an_error_is_one_line_whatever_it_quotes():
    assert str(UserError("the operator Ma\n\x03ob is unknown")) == "the operator Ma  ob is unknown"
