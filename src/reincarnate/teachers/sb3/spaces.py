"""Spaces of SB3 agents as their zips' text describes them: what is seen, and how many actions there are.

What SB3 makes of an observation before its first layer (one-hot numbers, flat entries of a Dict in its order) is what
our tasks make of theirs (`envs.spaces`): only sizes are found here. Several choices at once are one action, as there.
"""

import math
import re
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from reincarnate.errors import UserError
from reincarnate.teachers.sb3.images import is_image

LARGEST = 2**27  # numbers in an observation
LONGEST = 20_000  # letters of a printed Dict
JOINT_LIMIT = 1024  # combinations of several choices, as many as our tasks have
ENTRY = re.compile(
    r"'(?P<key>[^'\\]{1,200})'(?::|,) "
    r"(?:Discrete\((?P<n>\d{1,7})\)|MultiBinary\((?P<bits>[\d ,()\[\]]{1,40})\)"
    r"|MultiDiscrete\(\[(?P<nvec>[\d ]{1,400})\]\)"
    r"|Box\((?P<bounds>[^()]{1,4000}), \((?P<shape>[\d ,]{1,60})\), (?P<dtype>\w{1,20})\))"
)
BETWEEN = re.compile(r"(?:OrderedDict)?[\s(){}\[\],]*")  # what a printed Dict has besides its entries


class Entry(NamedTuple):
    """One entry of a Dict: its name, its shape as the network sees it, and whether SB3 takes it for an image."""

    key: str
    shape: tuple[int, ...]
    image: bool = False

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)


class Seen(NamedTuple):
    """An observation as the network sees it, and a Dict's entries, in their order."""

    shape: tuple[int, ...]
    dtype: str
    image: bool = False
    entries: tuple[Entry, ...] = ()


class Chosen(NamedTuple):
    """Discrete actions in all; where one is several choices, their sizes. `binary`: each is yes or no, by one logit."""

    actions: int
    choices: tuple[int, ...] = ()
    binary: bool = False

    @property
    def outputs(self) -> int:
        """What the head has."""
        return (len(self.choices) if self.binary else sum(self.choices)) or self.actions


class Joint(nn.Module):
    """Logits of several choices [B, K] to those of all their combinations [B, A], the last choice changing first."""

    def __init__(self, chosen: Chosen):
        super().__init__()
        self._chosen = chosen

    def forward(self, out: Tensor) -> Tensor:
        """log π of a combination is the sum over its choices."""
        choices, binary = self._chosen.choices, self._chosen.binary
        each = [torch.stack([torch.zeros_like(one), one], 1) for one in out.unbind(1)] if binary else None
        whole = out.new_zeros(len(out), 1)
        for logits in each or out.split(choices, 1):
            whole = (whole[:, :, None] + logits.log_softmax(1)[:, None]).flatten(1)
        return whole


def kind(space: dict[str, Any]) -> str:
    """`Box` of "<class 'gym.spaces.box.Box'>"."""
    found = re.search(r"(\w+)'>$", str(space.get(":type:", ""))[:200])
    return found.group(1) if found else "unknown"


def seen(space: dict[str, Any]) -> Seen:
    """What is observed. UserError: a space that is not read."""
    what = kind(space)
    if what == "Box":
        shape = box_shape(space)
        return Seen(shape, str(space.get("dtype", "float32"))[:20], is_image(space, shape))
    if what == "Dict":
        return _dict(str(space.get("spaces", ""))[:LONGEST])
    if what not in ("Discrete", "MultiBinary", "MultiDiscrete"):
        raise UserError(
            f"not supported: observations in a {what} space; Box, Discrete, MultiBinary and Dict can be read"
        )
    _from_zero(space, "observations")
    sizes = _sizes(space.get("nvec" if what == "MultiDiscrete" else "n"))
    return Seen((_length(math.prod(sizes) if what == "MultiBinary" else sum(sizes)),), "float32")


def chosen(space: dict[str, Any]) -> Chosen:
    """The discrete actions of a space other than Box. UserError: one that is not read, or too many combinations."""
    what = kind(space)
    if what not in ("Discrete", "MultiDiscrete", "MultiBinary"):
        told = "Discrete, MultiDiscrete, MultiBinary and Box can be read"
        raise UserError(f"not supported: actions in a {what} space; {told}")
    _from_zero(space, "actions")
    sizes = _sizes(space.get("nvec" if what == "MultiDiscrete" else "n"), "actions")
    if what == "Discrete":
        return Chosen(count(space.get("n"), "actions"))
    sizes = (2,) * math.prod(sizes) if what == "MultiBinary" and math.prod(sizes) < 64 else sizes
    if (n := math.prod(sizes)) > JOINT_LIMIT:
        raise UserError(f"not supported: {n:,} combinations of actions; up to {JOINT_LIMIT:,} can be read")
    return Chosen(n, sizes, what == "MultiBinary")


def _from_zero(space: dict[str, Any], what: str) -> None:
    if set(re.findall(r"\d+", str(space.get("start", 0))[:400])) - {"0"}:
        raise UserError(f"not supported: discrete {what} that do not count from 0")


def _sizes(text: Any, what: str = "observations") -> tuple[int, ...]:
    """Whole numbers above 0 in a printed array."""
    found = re.findall(r"\d+", str(text)[:400])
    return tuple(count(word, what) for word in found) or (count(text, what),)


def _dict(text: str) -> Seen:
    """The entries of a printed Dict. UserError: other spaces, or nothing of the kind."""
    entries = list(ENTRY.finditer(text))
    if not entries or not all(BETWEEN.fullmatch(part) for part in ENTRY.split(text)[:: ENTRY.groups + 1]):
        raise UserError(f"not supported: observations in a Dict of other spaces than Box, Discrete …: {text[:120]}")
    found = tuple(map(_entry, entries))
    return Seen((_length(sum(entry.size for entry in found)),), "float32", entries=found)


def _entry(found: re.Match[str]) -> Entry:
    if shape := found["shape"]:
        sizes = _sizes(shape)
        numbers = set(re.findall(r"-?\d+", found["bounds"]))  # one of each bound, or arrays of them
        return Entry(found["key"], sizes, found["dtype"] == "uint8" and len(sizes) == 3 and numbers == {"0", "255"})
    if found["bits"]:
        return Entry(found["key"], (math.prod(_sizes(found["bits"])),))
    return Entry(found["key"], (sum(_sizes(found["n"] or found["nvec"])),))


def _length(total: int) -> int:
    if total > LARGEST:
        raise UserError(f"observations of {total:,} numbers are absurdly large")
    return total


def box_shape(space: dict[str, Any]) -> tuple[int, ...]:
    """The shape of a Box. UserError: none."""
    shape = space.get("shape", space.get("_shape"))
    if not isinstance(shape, list) or not 1 <= len(shape) <= 4:
        raise UserError(f"the observation's shape is {str(shape)[:60]}, which is none")
    shape = tuple(count(size, "observation") for size in shape)
    if math.prod(shape) > LARGEST:
        raise UserError(f"the observation's shape {shape} is absurdly large")
    return shape


def count(value: Any, what: str) -> int:
    """A number from 1 to a million; newer versions write some of them as text."""
    text = str(value)
    if not re.fullmatch(r"[1-9]\d{0,5}|1000000", text):
        raise UserError(f"the number of {what} is {text[:40]!r}, which cannot be")
    return int(text)
