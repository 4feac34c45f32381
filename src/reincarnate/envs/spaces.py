"""Gymnasium's spaces as what students see and do: vectors (or images), and one number or a vector of numbers."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from reincarnate.envs import checks
from reincarnate.errors import UserError

ONE_HOT_LIMIT = 10_000  # of a Discrete observation: more would be a row of zeros per state, better looked up
JOINT_LIMIT = 1024  # combinations of a MultiDiscrete's choices that one head of values still covers
LEAST_PICTURE = 8  # rows and columns from which numbers in a rectangle are taken to be a picture
MASK = "action_mask"  # the key of an observation (PettingZoo, RLlib) and of `info` (Gymnasium) that says what is legal


class Part(NamedTuple):
    """One entry of a flattened observation: its key ("" where there is but one), length, and how it looks raw."""

    key: str
    size: int
    shape: tuple[int, ...]
    dtype: str


class Seeing(NamedTuple):
    """How a raw observation becomes the student's. `encode` None: as it is. `look[key]` gives a teacher the raw one."""

    shape: tuple[int, ...]
    dtype: str
    encode: Callable[[Any], np.ndarray] | None
    parts: tuple[Part, ...]
    left_out: tuple[str, ...]
    look: dict[str, Callable[[Any], np.ndarray]]


class Acting(NamedTuple):
    """How an action becomes the task's. `decode` None: as it is; `joint`: the sizes of choices made as one."""

    actions: int
    bounds: tuple[tuple[float, ...], tuple[float, ...]] | None
    decode: Callable[[Any], Any] | None
    joint: tuple[int, ...]


class _Leaf(NamedTuple):
    key: str
    space: Any
    get: Callable[[Any], Any]


# ---- observations ------------------------------------------------------------------------------------


def seeing(space: Any, env_id: str, sees: tuple[str, ...] = ()) -> Seeing:
    """Vectors and images stay as they are; all else becomes one float32 vector, entry after entry.

    Discrete numbers are one-hot, MultiBinary and boxes flat; Dict and Tuple concatenate their entries in the space's
    order, nested keys joined by a dot. Texts are left out, and a key `action_mask` is no observation. With `sees` the
    student sees these entries alone (keys, or what keys begin with), a lone image as an image; views show all. Raises
    UserError for other spaces.
    """
    if not sees and isinstance(space, spaces.Box) and len(space.shape) == 1:
        return Seeing(space.shape, "float32", None, (), (), {})
    if not sees and _is_image(space):
        return Seeing(space.shape, "uint8", None, (), (), {})
    leaves = [leaf for leaf in _leaves("", space, lambda raw: raw) if leaf.key != MASK]
    readable = [leaf for leaf in leaves if not isinstance(leaf.space, spaces.Text)]
    seen = _chosen(readable, sees, env_id) if sees else readable
    look = {leaf.key or "raw": _looking(leaf.get) for leaf in readable}
    if sees and len(seen) == 1 and _is_image(seen[0].space):
        return Seeing(seen[0].space.shape, "uint8", look[seen[0].key], (), (), look)
    coders = [_coder(leaf, env_id) for leaf in seen]
    if not seen:
        raise UserError(f"{env_id}: observations are {space}: nothing in them is a number")
    parts = tuple(Part(leaf.key, size, *_raw(leaf.space)) for leaf, (size, _) in zip(seen, coders, strict=True))
    encode = _concatenated([(leaf.get, size, write) for leaf, (size, write) in zip(seen, coders, strict=True)])
    left_out = tuple(leaf.key for leaf in leaves if leaf not in readable)
    return Seeing((sum(part.size for part in parts),), "float32", encode, parts, left_out, look)


def flattened(part: Part) -> str | None:
    """What to say of an entry that is a picture by its sides and becomes a row of numbers all the same."""
    sides, grey = sorted(part.shape)[-2:], len(part.shape) == 2 and part.dtype == "uint8"
    fraction = len(part.shape) == 3 and part.dtype.startswith("float")
    if not (grey or fraction) or min(sides) < LEAST_PICTURE:
        return None
    how = "uint8 [rows, columns, 1], or stacked in front" if grey else "uint8 from 0 to 255"
    return (
        f"{part.key or 'the observation'}, {part.dtype}{list(part.shape)}, is seen as a row of {part.size:,} numbers, "
        f"without convolutions: a --wrapper that shows it as {how} makes it a picture"
    )


def _is_image(space: Any) -> bool:
    return isinstance(space, spaces.Box) and len(space.shape) == 3 and space.dtype == np.uint8


def _chosen(leaves: list[_Leaf], sees: tuple[str, ...], env_id: str) -> list[_Leaf]:
    """The entries that the student sees. Raises UserError for a key that is none."""
    for key in sees:
        if not any(_under(leaf.key, key) for leaf in leaves):
            known = ", ".join(leaf.key for leaf in leaves if leaf.key) or "one entry alone, without a key"
            raise UserError(f"{env_id}: --sees {key}: its observation has {known}")
    return [leaf for leaf in leaves if any(_under(leaf.key, key) for key in sees)]


def _under(key: str, part: str) -> bool:
    return key == part or key.startswith(f"{part}.")


def _leaves(key: str, space: Any, get: Callable[[Any], Any]) -> Iterator[_Leaf]:
    """The entries of nested spaces, with how to reach them in an observation."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        inner = space.spaces.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces)
        for name, one in inner:
            yield from _leaves(f"{key}.{name}" if key else str(name), one, _reaching(get, name))
    else:
        yield _Leaf(key, space, get)


def _reaching(get: Callable[[Any], Any], name: Any) -> Callable[[Any], Any]:
    return lambda raw: get(raw)[name]


def _looking(get: Callable[[Any], Any]) -> Callable[[Any], np.ndarray]:
    return lambda raw: np.asarray(get(raw))


def _raw(space: Any) -> tuple[tuple[int, ...], str]:
    return tuple(space.shape), np.dtype(space.dtype).name


def _coder(leaf: _Leaf, env_id: str) -> tuple[int, Callable[[Any], np.ndarray]]:
    """The length of an entry's code, and what makes it."""
    space = leaf.space
    if isinstance(space, spaces.Box | spaces.MultiBinary):
        return int(np.prod(space.shape)), _flat(space.shape)
    if isinstance(space, spaces.Discrete) and space.n <= ONE_HOT_LIMIT:
        return int(space.n), _one_hot(np.array([space.n]), np.array([space.start]))
    if isinstance(space, spaces.MultiDiscrete) and space.nvec.sum() <= ONE_HOT_LIMIT:
        return int(space.nvec.sum()), _one_hot(space.nvec.ravel(), space.start.ravel())
    where = f" in {leaf.key!r}" if leaf.key else ""
    raise UserError(
        f"{env_id}: observations{where} are {space}; needed: Box, Discrete (up to {ONE_HOT_LIMIT:,}), MultiBinary, "
        f"MultiDiscrete, or a Dict or Tuple of those; change them by --wrapper module:Class"
    )


def _flat(shape: tuple[int, ...]) -> Callable[[Any], np.ndarray]:
    def write(raw: Any) -> np.ndarray:
        found = np.asarray(raw)
        if found.shape != shape:
            raise UserError(f"it is {found.dtype}{list(found.shape)}, the space says {list(shape)}")
        return found.ravel()

    return write


def _one_hot(sizes: np.ndarray, starts: np.ndarray) -> Callable[[Any], np.ndarray]:
    offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]])

    def write(raw: Any) -> np.ndarray:
        found = np.asarray(raw).ravel() - starts
        if found.shape != sizes.shape or (found < 0).any() or (found >= sizes).any():
            raise UserError(f"it is {raw!r}, outside the space")
        code = np.zeros(int(sizes.sum()), np.float32)
        code[(offsets + found).astype(int)] = 1
        return code

    return write


def _concatenated(coders: list[tuple[Callable, int, Callable]]) -> Callable[[Any], np.ndarray]:
    def encode(raw: Any) -> np.ndarray:
        return np.concatenate([write(get(raw)) for get, _, write in coders], dtype=np.float32, casting="unsafe")

    return encode


# ---- actions -----------------------------------------------------------------------------------------


def acting(space: Any, env_id: str) -> Acting:
    """Discrete and bounded boxes; several discrete choices as one where there are few enough combinations.

    A joint action counts in C order: the last choice changes first. Raises UserError for other spaces, and for bounds
    that are not finite or leave nothing between them.
    """
    if isinstance(space, spaces.Box) and space.is_bounded() and space.shape:
        if not np.issubdtype(space.dtype, np.floating):
            return _joint(_whole_numbers(space, env_id), env_id)
        bounds = tuple(map(float, space.low.ravel())), tuple(map(float, space.high.ravel()))
        hint = "; change them by --wrapper module:Class"  # a Box may be given later what its constructor would refuse
        checks.bounds(env_id, *bounds, hint)
        decode = None if len(space.shape) == 1 else lambda action: action.reshape(space.shape)
        return Acting(len(bounds[0]), bounds, decode, ())
    if isinstance(space, spaces.Discrete):
        start = int(space.start)
        return Acting(int(space.n), None, (lambda action: action + start) if start else None, ())
    if isinstance(space, spaces.MultiDiscrete | spaces.MultiBinary):
        return _joint(space, env_id)
    raise UserError(
        f"{env_id}: actions are {space}; needed: Discrete, a bounded Box, or MultiDiscrete and MultiBinary of few "
        f"choices; change them by --wrapper module:Class"
    )


def _whole_numbers(space: spaces.Box, env_id: str) -> spaces.MultiDiscrete:
    """A Box of whole numbers as so many discrete choices: nothing between them is one of its actions."""
    sizes = space.high.astype(object) - space.low.astype(object) + 1  # of int64 the difference may be no int64
    _few(space, sizes, env_id)
    low = space.low.astype(np.int64)
    return spaces.MultiDiscrete(sizes.astype(np.int64), dtype=space.dtype, start=low)  # pyright: ignore


def _joint(space: Any, env_id: str) -> Acting:
    binary = isinstance(space, spaces.MultiBinary)
    sizes = np.full(space.shape, 2) if binary else space.nvec
    starts = np.zeros_like(sizes) if binary else space.start
    n = _few(space, sizes, env_id)
    table = np.stack(np.unravel_index(np.arange(n), sizes.ravel()), -1).reshape(n, *sizes.shape) + starts
    table = table.astype(space.dtype)
    return Acting(n, None, lambda action: table[action].copy(), tuple(map(int, sizes.ravel())))


def _few(space: Any, sizes: np.ndarray, env_id: str) -> int:
    """How many combinations choices of these sizes have. UserError: too many to be learnt as one action."""
    n = int(np.prod(sizes.ravel().astype(object)))
    if n > JOINT_LIMIT:
        raise UserError(
            f"{env_id}: actions are {space}, {n:,} combinations; up to {JOINT_LIMIT:,} are learnt as one discrete "
            f"action; leave some out by --wrapper module:Class"
        )
    return n


def joint_mask(mask: Any, acting: Acting) -> np.ndarray:
    """Which of the actions are legal, bool [A], from a mask of the actions or of each choice.

    Of choices it is a tuple of masks, or one array [sum of choices] of them one after another, as sb3-contrib has it;
    of joint actions an array of any shape that holds one entry for each. Raises ValueError for any other length.
    """
    joint = acting.joint
    if isinstance(mask, tuple | list) and joint and len(mask) == len(joint):
        mask = np.concatenate([np.asarray(one).ravel() for one in mask])
    given = np.asarray(mask)
    found = given.ravel().astype(bool)
    choices = bool(joint) and len(found) == sum(joint) and given.ndim == 1  # [2, 2] has as many of both
    if len(found) == acting.actions and not choices:
        return found
    if not choices:
        raise ValueError(f"an action mask of {len(found)} entries for {acting.actions} actions")
    legal = np.ones(1, bool)
    for choice in np.split(found, np.cumsum(joint)[:-1]):
        legal = np.logical_and.outer(legal, choice).ravel()
    return legal
