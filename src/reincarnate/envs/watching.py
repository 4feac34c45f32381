"""Tasks made to be looked at: one copy, and what it shows to people."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from reincarnate.envs import family_of, make
from reincarnate.envs.task import parse
from reincarnate.errors import UserError
from reincarnate.types import VectorEnv

DRIVER = "SDL_VIDEODRIVER"  # what draws for pygame


def watchable(env_id: str, view: str) -> VectorEnv:
    """One copy that renders; `view` is what its player looks at. Raises UserError where it cannot be made."""
    family, _ = family_of(env_id)
    if getattr(family, "TAKES_SETTINGS", False):
        task = parse(env_id)
        return make(replace(task, kwargs={**task.kwargs, "render_mode": "rgb_array"}), 1, view)
    return make(env_id, 1, "rgb" if env_id.startswith("ALE/") else view)


def picture(env: VectorEnv) -> np.ndarray:
    """What its first copy shows, uint8 [H, W, 3]. Raises UserError where it shows nothing."""
    with _no_screen():
        shown: Any = getattr(env, "picture", lambda: None)()
    if shown is None or np.ndim(shown) != 3:
        raise UserError(f"{env.spec.id} draws no pictures of itself")
    return np.asarray(shown, np.uint8)


@contextmanager
def _no_screen() -> Iterator[None]:
    """Within, SDL looks for no screen where there is none: it would complain, and pictures need none."""
    here = sys.platform != "linux" or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY", DRIVER)))
    if not here:
        os.environ[DRIVER] = "dummy"
    try:
        yield
    finally:
        if not here:
            del os.environ[DRIVER]  # a window that is opened afterwards is no picture
