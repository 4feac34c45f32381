"""Policies exported as graphs (ONNX, TorchScript): what their address asks for, and what their output becomes."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote

import torch
from jaxtyping import Float32
from torch import Tensor

from reincarnate.errors import UserError
from reincarnate.teachers.lifts import from_actions, from_probabilities
from reincarnate.types import ACTIONS, LOGITS, MEANS, VALUES

TELLS = {"values": VALUES, "logits": LOGITS, "probabilities": LOGITS, "actions": ACTIONS, "means": MEANS}
KEYS = ("tells", "output", "low", "high")
NAMES = (
    {"q": "values", "qvalue": "values", "qvalues": "values", "actionvalues": "values", "logits": "logits"}
    | {"actionlogits": "logits", "policylogits": "logits", "probs": "probabilities", "actionprobs": "probabilities"}
    | {"probabilities": "probabilities", "actionprobabilities": "probabilities", "policyprobs": "probabilities"},
    {"action": "actions", "actions": "actions", "discreteactions": "actions", "mean": "means", "means": "means"}
    | {"mu": "means", "actionmean": "means", "continuousactions": "means"},
)
"""What the name of an output says, letters alone: what tells more comes first. Actions that are floats are means."""


def words(text: str) -> frozenset[str]:
    """The words of a list that is written as text."""
    return frozenset(text.split())


@dataclass(frozen=True)
class Asked:
    """What an address asks for: `FILE[?tells=…&output=…&low=…&high=…]`.

    `tells` is a word of `TELLS`, or "" where the output must say. `output` is its name or number. With `bounds`
    (low, high) means are taken from [-1, 1] to these; one number may stand for all.
    """

    path: str
    tells: str = ""
    output: str = ""
    bounds: tuple[tuple[float, ...], tuple[float, ...]] | None = None

    @property
    def reading(self) -> bytes:
        """How the file is to be read, where that is asked for: read in another way it is another teacher."""
        how = (self.tells, self.output, self.bounds)
        return repr(how).encode() if any(how) else b""


def read_address(rest: str, scheme: str) -> Asked:
    """The address after its scheme. UserError: an unknown key, or a value that cannot be."""
    path, _, query = rest.partition("?")
    given: dict[str, str] = {}
    for pair in filter(None, query.split("&")):
        key, equals, value = pair.partition("=")
        if key not in KEYS or not equals or key in given:
            raise UserError(f"{scheme}:{rest}: {pair!r} is not understood; known are {', '.join(KEYS)}, each once")
        given[key] = unquote(value)
    tells = given.get("tells", "")
    if tells and tells not in TELLS:
        raise UserError(f"{scheme}:{rest}: tells={tells} is unknown; one of {', '.join(TELLS)} was expected")
    bounds = None
    if "low" in given or "high" in given:
        bounds = _bounds(given.get("low", ""), given.get("high", ""))
        if bounds is None or tells != "means":
            raise UserError(f"{scheme}:{rest}: write tells=means&low=-2&high=2, or as many numbers as actions have")
    return Asked(path, tells, given.get("output", ""), bounds)


def _bounds(low: str, high: str) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    try:
        pair = tuple(tuple(float(word) for word in text.split(",")) for text in (low, high))
    except ValueError:
        return None
    fits = len(pair[0]) == len(pair[1]) and all(-1e30 < a < b < 1e30 for a, b in zip(pair[0], pair[1], strict=True))
    return (pair[0], pair[1]) if fits else None


def guess(name: str, integers: bool) -> str:
    """What an output of this name tells, a word of `TELLS`; "" where the name does not say."""
    if integers:
        return "actions"
    letters = re.sub(r"[^a-z]", "", name.lower())
    word = next((names[letters] for names in NAMES if letters in names), "")
    return "means" if word == "actions" else word


def choose(outputs: Sequence[tuple[str, bool]], asked: Asked, uri: str) -> tuple[int, str]:
    """Which of the outputs (name, whether of integers) to take, and the word for what it tells ("" if unclear).

    UserError: no output is asked for and none is clearly the one, or there is none of that name or number.
    """
    names = [name for name, _ in outputs]
    words = [guess(name, integers) for name, integers in outputs]
    if asked.output:
        found = [i for i, name in enumerate(names) if asked.output in (name, str(i))][:1]
    elif len(outputs) == 1:
        found = [0]
    elif asked.tells:
        found = [i for i, word in enumerate(words) if word == asked.tells]
    else:
        tiers = [[i for i, word in enumerate(words) if word in names.values()] for names in NAMES]
        found = tiers[0] or tiers[1]
    if len(found) != 1:
        listed = ", ".join(name[:40] for name in names[:8])
        raise UserError(f"{uri}: say which output to take, ?output= with a name or number of: {listed}")
    return found[0], asked.tells or words[found[0]]


@dataclass(frozen=True)
class Lift:
    """From an output to what a teacher tells: `word` of `TELLS`, for `actions` of them if known."""

    uri: str
    word: str
    actions: int | None
    bounds: tuple[tuple[float, ...], tuple[float, ...]] | None

    def __call__(self, out: Tensor, n: int) -> Float32[Tensor, "B A"]:
        """Of an output for n observations. UserError: of another shape, or not finite numbers."""
        if out.ndim == 2 and self.word == "actions":
            out = out.squeeze(1)
        elif out.ndim == 1 and self.word == "means":
            out = out[:, None]
        self._check(out, n)
        try:
            if self.word == "actions":
                return from_actions(out, self.actions or 1)
            if self.word == "probabilities":
                return from_probabilities(out)
        except UserError as error:
            raise UserError(f"{self.uri}: {error}") from None
        if self.bounds is None:
            return out.float()
        low, high = (torch.tensor(bound) for bound in self.bounds)
        return low + (out.float() + 1) / 2 * (high - low)

    def _check(self, out: Tensor, n: int) -> None:
        named = f"{self.uri}: its output is {str(out.dtype).removeprefix('torch.')} {list(out.shape)[:6]} for {n}"
        if self.word == "actions":
            if out.shape != (n,) or out.is_floating_point() or out.is_complex() or out.dtype == torch.bool:
                raise UserError(f"{named} observations, not one whole number for each; say what it is with ?tells=")
        elif out.ndim != 2 or out.shape != (n, self.actions or out.shape[1]) or not out.is_floating_point():
            raise UserError(
                f"{named} observations, not {self.word} [{n}, {self.actions or 'actions'}]; say what it is with ?tells="
            )
        elif not out.isfinite().all():
            raise UserError(f"{self.uri}: gave {self.word} that are not finite numbers")


def widened(
    bounds: tuple[tuple[float, ...], tuple[float, ...]] | None, actions: int | None, uri: str
) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Bounds for each of the actions, where one stands for all. UserError: another number of them."""
    if bounds is None or actions is None or len(bounds[0]) == actions:
        return bounds
    if len(bounds[0]) != 1:
        raise UserError(f"{uri}: low and high have {len(bounds[0])} numbers, its actions {actions}")
    return bounds[0] * actions, bounds[1] * actions


def counted(word: str, width: int | None, actions: int | None, uri: str) -> int | None:
    """The number of actions: the output's width, or the task's where only chosen actions come out.

    UserError: neither is known.
    """
    if word != "actions":
        return width
    if actions is None:
        raise UserError(f"{uri}: only names actions; name a task (--env) so that their number is known")
    return actions
