"""Every importer with a small valid input of its own."""

from collections.abc import Callable
from pathlib import Path

import torch
from fuzzing import Target
from zips import write_zip

from reincarnate.teachers import open_teacher


def asked(name: str, shape: tuple[int, ...]) -> Callable[[Path], object]:
    """Opens a teacher by its address and asks it once."""

    def open_(folder: Path) -> object:
        teacher = open_teacher(name.format(folder))
        return teacher.logits(torch.zeros(2, *shape), teacher.initial_state(2))

    return open_


def sb3(folder: Path) -> Target:
    return Target("sb3", {"a.zip": Path(write_zip(folder / "a.zip")).read_bytes()}, asked("sb3:{}/a.zip", (3,)))


TARGETS: dict[str, Callable[[Path], Target]] = {"sb3": sb3}
