"""Which observations SB3 takes for images, to be divided by 255: uint8 in a Box(0, 255) with three axes alone."""

import base64
import re
from typing import Any

import numpy as np

from reincarnate.errors import UserError
from reincarnate.files.safe import MIB, Inert, unpickle_inert
from reincarnate.files.sb3_pickles import ALLOWED

LEAST, MOST = 0, 255
CUT = "..."  # how NumPy shows that it left numbers out


def is_image(space: dict[str, Any], shape: tuple[int, ...]) -> bool:
    """What SB3's `is_image_space` says of a Box as the zip's text describes it.

    Bounds that the text cuts short are looked up in the space's pickle, of which only the skeleton is read; where that
    tells nothing, the numbers shown decide.
    """
    if len(shape) != 3 or space.get("dtype") != "uint8":
        return False
    bounds = (("low", LEAST), ("high", MOST))
    if not all(_shown(space.get(key)) <= {wanted} for key, wanted in bounds):
        return False
    if all(CUT not in str(space.get(key))[: 4 * MIB] for key, _ in bounds):
        return True
    found = _pickled(space)
    return all(key not in found or bool((found[key] == wanted).all()) for key, wanted in bounds)


def _shown(text: Any) -> set[int]:
    """The different whole numbers in a printed array."""
    return {int(word) for word in re.findall(r"-?\d{1,9}", str(text or "")[: 4 * MIB])}


def _pickled(space: dict[str, Any]) -> dict[str, np.ndarray]:
    """The bounds in the space's pickle; {} where there are none that can be read."""
    encoded = str(space.get(":serialized:", ""))
    try:
        if not 0 < len(encoded) <= 4 * MIB:
            return {}
        box = unpickle_inert(base64.b64decode(encoded, validate=True), ALLOWED, "observation_space")
        state = box.state if isinstance(box, Inert) and isinstance(box.state, dict) else {}
        return {key: _bytes(state[key]) for key in ("low", "high")}
    except (KeyError, TypeError, ValueError, UserError):
        return {}


def _bytes(value: Any) -> np.ndarray:
    """The numbers of an inert array of uint8. ValueError: it is another."""
    match (getattr(value, "origin", "").rpartition(".")[2], value):
        case ("_reconstruct", Inert(state=(_, tuple(), Inert(args=("u1", *_)), bool(), bytes() as raw))):
            return np.frombuffer(raw, np.uint8)
        case ("_frombuffer", Inert(args=(bytes() | bytearray() as raw, Inert(args=("u1", *_)), *_))):
            return np.frombuffer(raw, np.uint8)
    raise ValueError("an array of bytes was expected")
