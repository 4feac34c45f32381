"""Dopamine's `ckpt.N`: a pickle, of which only dictionaries, numbers and arrays are taken; nothing is imported.

Arrays of JAX were pickled in three forms over the years: as numpy arrays, and as calls of two functions of JAX with
the parts of a numpy array. `FrozenDict` was pickled as a call with a dictionary, and before that by its slots.
"""

from typing import Any

import numpy as np

from reincarnate.errors import UserError
from reincarnate.files.safe import Inert, inert_array, unpickle_inert

ALLOWED = (
    r"numpy\.(dtype|ndarray|bool_?|u?int\d+|float\d+)",
    r"numpy\.(core|_core)\.multiarray\.(_reconstruct|scalar)",
    r"numpy\.(core|_core)\.numeric\._frombuffer",
    r"(jax|jaxlib|flax|optax|chex|ml_dtypes|dopamine)\.[\w.]+",
    r"collections\.OrderedDict",
    r"copyreg\._reconstructor|builtins\.(object|set|frozenset)",
    r"_codecs\.encode",
)
PARAMS = ("online_params", "network_params")
"""Where agents keep their parameters: those of values, and PPO."""
MOST_NODES, DEEPEST = 2000, 8


def read_bundle(payload: bytes, what: str) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """The tree of parameters, None where the file holds none (TensorFlow's agents), and the bundle's plain values.

    UserError: not a pickle, one that refers to what has no business there, or arrays that are none.
    """
    bundle = unpickle_inert(payload, ALLOWED, what)
    if not isinstance(bundle, dict):
        raise UserError(f"{what}: not a checkpoint of Dopamine: it holds a {type(bundle).__name__}")
    plain = {key: value for key, value in bundle.items() if isinstance(key, str) and isinstance(value, int | str)}
    params = next((bundle[key] for key in PARAMS if key in bundle), None)
    if params is None:
        return None, plain
    try:
        tree = _Reader(len(payload)).tree(params, 0)
    except ValueError as error:
        raise UserError(f"{what}: its parameters cannot be read: {error}") from None
    if not isinstance(tree, dict):
        raise UserError(f"{what}: its parameters are not a tree of named layers")
    return tree, plain


class _Reader:
    """Turns inert objects into dictionaries and arrays, no more of them than the file can hold."""

    def __init__(self, size: int):
        self.nodes, self.room = MOST_NODES, size

    def tree(self, value: Any, depth: int) -> Any:
        self.nodes -= 1
        if self.nodes < 0 or depth > DEEPEST:
            raise ValueError("more layers than any network of Dopamine")
        children = _frozen(value)
        if children is not None:
            return {str(name): self.tree(child, depth + 1) for name, child in children.items()}
        array = inert_array(_numpy_part(value))
        self.room -= 2 * array.size  # no number takes less
        if self.room < 0:
            raise ValueError("its arrays share their numbers, which Dopamine's never do")
        with np.errstate(over="ignore", invalid="ignore"):
            return array.astype(np.float32)


def _frozen(value: Any) -> dict[Any, Any] | None:
    """The dictionary in a dictionary or a `FrozenDict`; None where it is neither."""
    match value:
        case dict():
            return value
        case Inert(args=(dict() as inner,)) if value.origin.endswith(".FrozenDict"):
            return inner
        case Inert(state={"_dict": dict() as inner} | (_, {"_dict": dict() as inner})):
            return inner
    return None


def _numpy_part(value: Any) -> Any:
    """The numpy array in a JAX array, as an inert object; others as they are."""
    match value:
        case Inert(args=(type() as make, tuple() as args, state, _)) if issubclass(make, Inert):
            array = make(*args)
            array.__setstate__(state)
            return array
    return value
