"""A teacher of your own, in Python: `py:module:NAME` or `py:path/to/file.py:NAME`.

NAME maps the task's raw observations [n, *O] to what it tells: logits (default), probabilities, values or actions; of
continuous actions `means` [n, A] in the task's units, `gaussian` [n, 2A] (these and ln σ, one after the other), or
`squashed` [n, 2A], mean and ln σ before the tanh that brings actions to the bounds.
With `?key=value&key2=value2` at the end, or where NAME is a class, NAME is a factory: it is called first, with those
strings, and makes that callable. Attributes it may carry: `tells`, `view`, `initial_state(n) -> Tensor` (it is then
called as `f(obs, state) -> (out, state)`), `features(obs) -> Tensor` (its last hidden layer [n, F], for a student that
follows it), and `card`, a dict of what it knows of itself.
"""

import importlib
import importlib.util
import inspect
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any
from urllib.parse import unquote

import numpy as np
import torch
from torch import Tensor, nn

from reincarnate.errors import FAILURES, UserError, reason_of
from reincarnate.files.safe import read_file, sha256
from reincarnate.teachers.frozen import as_gaussian, as_prediction
from reincarnate.teachers.heads import LARGEST_LOG_STD, Acts
from reincarnate.teachers.holding import networks_of
from reincarnate.teachers.lifts import from_actions, from_probabilities
from reincarnate.types import (
    ACTIONS,
    CONTINUOUS,
    GAUSSIAN,
    LOGITS,
    MEANS,
    SQUASHED,
    VALUES,
    Prediction,
    TeacherCard,
    TimeStep,
)

TELLS = {"logits": LOGITS, "probabilities": LOGITS, "values": VALUES, "actions": ACTIONS}
TELLS |= {kind: kind for kind in (MEANS, GAUSSIAN, SQUASHED)}
CARD_KEYS = {f.name for f in fields(TeacherCard)} - {"uri", "format", "tells", "sha256", "safety", "warnings"}
LONGEST_REASON = 160  # letters of what somebody's code says of its failure
NO_NUMBERS = "gave {} that are not all finite floating-point numbers"


class PythonTeacher:
    """Your callable, frozen; what it tells is checked at every call, and lifted to logits or values."""

    def __init__(self, policy: Callable[..., Any], card: TeacherCard, tells: str):
        self.card, self.view = card, str(getattr(policy, "view", "student"))
        self._policy, self._tells, self._called = policy, tells, False
        self._width = _width(card)  # where the card does not say it, the first call does
        features: Callable[[Tensor], Tensor] | None = getattr(policy, "features", None)
        self.features = None if features is None else lambda obs: features(obs.clone())
        self._begin: Callable[[int], Tensor] | None = getattr(policy, "initial_state", None)
        self._like: Tensor | None = None  # its memory of one episode, in its own shape

    frozen = True

    def initial(self, n: int) -> Tensor:
        """Its memory of n new episodes, a row each; [n, 0] where it has none. UserError: those are no rows."""
        if self._begin is None:
            return torch.zeros(n, 0)
        try:
            begun = self._begin(n)
        except FAILURES as error:
            raise UserError(f"{self.card.uri}: its initial_state({n}) failed: {_reason(error)}") from error
        if not isinstance(begun, Tensor) or begun.ndim < 2 or len(begun) != n:
            raise UserError(
                f"{self.card.uri}: its initial_state({n}) gave {_given(begun)}, not a tensor [{n}, numbers]"
            )
        self._like = begun[:1]
        return begun.flatten(1)

    @torch.no_grad()
    def predict(self, step: TimeStep, carry: Tensor) -> tuple[Prediction, Tensor]:
        """What it says of raw observations [n, *O]; where an episode begins, its memory begins anew.

        UserError: the callable fails, or gives something other than it says.
        """
        out, state = self._answer(step.seen(self.view), self._memory(step.begins, carry))
        return self._said(self._lift(out)), carry if state is None else state.flatten(1)

    def _said(self, told: Tensor) -> Prediction:
        kind = self.card.tells
        if kind not in (GAUSSIAN, SQUASHED):
            return as_prediction(self.card, told)
        mean, log_std = told.chunk(2, -1)
        if log_std.numel() and log_std.max() > LARGEST_LOG_STD:
            raise UserError(
                f"{self.card.uri}: its log_std goes up to {log_std.max():g}; beyond {LARGEST_LOG_STD:g}, σ overflows"
            )
        return as_gaussian(Acts(kind == SQUASHED, self.card.bounds, True), mean, log_std)

    def _memory(self, begins: Tensor, carry: Tensor) -> Tensor | None:
        """What it remembers, in its own shape; None where it has no memory."""
        if self._begin is None:
            return None
        if begins.any():
            fresh = self.initial(len(begins))
            carry = torch.where(begins[:, None], fresh, carry)
        assert self._like is not None
        return carry.unflatten(1, self._like.shape[1:])

    def _answer(self, obs: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """What the callable says, of the kind and shape it should be; only its first numbers are looked at.

        It is given copies: it may work in place, and what it was shown is kept and learnt from.
        """
        try:
            out, state = self._call(obs.clone(), None if state is None else state.clone())
        except FAILURES as error:
            which = "observations" if self._called else "its first observations"
            raise UserError(f"{self.card.uri}: failed on {which}: {_reason(error)}") from error
        _check_output(out, len(obs), self._width, self.card.uri, self._tells)
        if self._like is not None:
            _check_memory(state, (len(obs), *self._like.shape[1:]), self.card)
        if not self._called:
            _check_numbers(out, self.card.uri, self._tells)
            self._called, self._width = True, out.shape[-1]
        return out, state

    def _call(self, obs: Tensor, state: Tensor | None) -> tuple[Any, Tensor | None]:
        return (self._policy(obs), None) if self._begin is None else self._policy(obs, state)

    def _lift(self, out: Tensor) -> Tensor:
        if self._tells == "actions":
            assert self.card.actions is not None
            return from_actions(out, self.card.actions)
        return from_probabilities(out) if self._tells == "probabilities" else out.float()


def recognises(path: Path) -> bool:
    """Never by itself: nothing is run unasked. UserError: a Python file, of which one must say what to take."""
    if path.suffix == ".py":
        raise UserError(f"{path}: say which object in it is the teacher: py:{path}:NAME")
    return False


def open_address(rest: str, actions: int | None = None) -> PythonTeacher:
    """The teacher that `module:NAME` or `file.py:NAME` (and `?key=value`) names. This runs that code.

    `actions` is needed where the teacher only names actions and its card does not say how many there are.
    UserError: not found, not callable, failed while being made, or its card or `tells` are not understood.
    """
    target, question, query = rest.partition("?")
    place, colon, name = target.rpartition(":")
    if not (place and colon and name):
        raise UserError(f"py:{rest}: write py:module:NAME or py:path/to/file.py:NAME")
    arguments = _arguments(rest, query)
    module = _load(place)
    policy = _make(rest, module, name, bool(question), arguments)
    tells = getattr(policy, "tells", "logits")
    if tells not in TELLS:
        raise UserError(f"py:{rest}: it tells {tells!r}; one of {', '.join(TELLS)} was expected")
    card = _card(rest, policy, tells, actions, module, name, arguments)
    if tells == "actions" and card.actions is None:
        raise UserError(f"py:{rest}: it only names actions, so its card must say how many there are")
    return PythonTeacher(policy, card, tells)


def _arguments(rest: str, query: str) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    if any(not key or not equals for key, equals, _ in pairs):
        raise UserError(f"py:{rest}: after the question mark comes key=value, joined by &")
    return {unquote(key): unquote(value) for key, _, value in pairs}


class _Itself(UserError):
    """A file that is imported opens itself."""


def _load(place: str) -> ModuleType:
    is_file = place.endswith(".py")
    try:
        return _load_file(Path(place)) if is_file else importlib.import_module(place)
    except _Itself:
        raise
    except FAILURES as error:
        hint = _beside(Path(place), error) if is_file else "; a file is named by its path: py:path/to/file.py:NAME"
        if isinstance(error, SystemExit):
            hint = '; what it does when it is imported it does here: put parse_args() under if __name__ == "__main__"'
        raise UserError(f"py:{place}: cannot be imported: {_reason(error)}{hint}") from error


_loading: set[str] = set()  # names of files that are being imported


def _beside(file: Path, error: BaseException) -> str:
    """Where a module that was not found lies beside the file: what lets it be found."""
    name = error.name if isinstance(error, ModuleNotFoundError) else None
    top = (name or "").partition(".")[0]
    if not top or not any((file.parent / place).exists() for place in (f"{top}.py", f"{top}/__init__.py")):
        return ""
    return f"; it lies beside the file: PYTHONPATH={shlex.quote(str(file.parent.absolute()))} lets it be found"


class _Fresh(SourceFileLoader):
    """Compiles a file as it is now: kept bytecode goes by size and second, and lies in somebody's folder."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def _load_file(path: Path) -> ModuleType:
    """The file as a module; the script that is running is not run again in itself."""
    running = sys.modules["__main__"]
    if getattr(running, "__file__", None) and Path(str(running.__file__)).resolve() == path.resolve():
        return running
    name = f"reincarnate_teacher_{sha256(str(path.resolve()).encode())[:12]}"
    if name in _loading:
        raise _Itself(f'py:{path}: it opens itself as it is imported: put what it runs under if __name__ == "__main__"')
    spec = importlib.util.spec_from_file_location(name, path, loader=_Fresh(name, str(path)))
    if not path.is_file() or spec is None or spec.loader is None:
        raise FileNotFoundError("there is no such file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickling look their module up by name
    _loading.add(name)
    try:
        spec.loader.exec_module(module)
    finally:
        _loading.discard(name)
    return module


def _make(rest: str, module: ModuleType, name: str, asked: bool, arguments: dict[str, str]) -> Callable[..., Any]:
    if not hasattr(module, name):
        public = ", ".join(sorted(n for n in vars(module) if not n.startswith("_"))) or "nothing"
        raise UserError(f"py:{rest}: there is no {name!r} in it; it has {public[:120]}")
    policy = getattr(module, name)
    if not callable(policy):
        raise UserError(f"py:{rest}: {name} is a {type(policy).__name__}, which cannot be called")
    if asked or inspect.isclass(policy):
        try:
            policy = policy(**arguments)
        except FAILURES as error:
            raise UserError(f"py:{rest}: {name} could not be made: {_reason(error)}") from error
    if not callable(policy):
        raise UserError(f"py:{rest}: {name} made a {type(policy).__name__}, which cannot be called")
    return policy.eval().requires_grad_(False) if isinstance(policy, nn.Module) else policy


def _card(
    rest: str,
    policy: Callable[..., Any],
    tells: str,
    actions: int | None,
    module: ModuleType,
    name: str,
    arguments: dict[str, str],
) -> TeacherCard:
    known = dict(getattr(policy, "card", {}))
    if unknown := sorted(known.keys() - CARD_KEYS):
        raise UserError(f"py:{rest}: its card has {unknown[0]!r}; known are {', '.join(sorted(CARD_KEYS))}")
    source = Path(module.__file__) if module.__file__ else None
    count = sum(p.numel() for p in policy.parameters()) if isinstance(policy, nn.Module) else 0
    shape = known.get("obs_shape") if getattr(policy, "view", "student") == "student" else None
    return TeacherCard(
        uri=f"py:{rest}",
        format="Python",
        algorithm=known.get("algorithm", "unknown"),
        tells=TELLS[tells],
        network=known.get("network", type(policy).__name__),
        parameters=known.get("parameters", count),
        sha256=fingerprint_of(_content(source, module), name, arguments, networks_of(policy)),
        obs_shape=None if shape is None else tuple(shape),
        obs_dtype=known.get("obs_dtype"),
        actions=known.get("actions", actions if tells == "actions" or tells in CONTINUOUS else None),
        preprocessing=known.get("preprocessing", "its own"),
        safety=f"runs the Python file {source or module.__name__}: your own code",
        env=known.get("env"),
        trained_env_steps=known.get("trained_env_steps"),
        protocol=dict(known.get("protocol", {})),
        plays=str(known.get("plays", "")),
        bounds=known.get("bounds"),
        alpha=known.get("alpha"),
    )


def _content(source: Path | None, module: ModuleType) -> bytes:
    return read_file(source) if source else module.__name__.encode()


def fingerprint_of(
    content: bytes, name: str, arguments: dict[str, str], networks: Sequence[Tensor | np.ndarray] = ()
) -> str:
    """Of the source, which of it is the teacher, each argument (the file's content that it names, else the text), and
    the numbers of its networks, wherever they were read from.
    """
    parts = [content, b"\0", name.encode()]
    for key, value in sorted(arguments.items()):
        content = read_file(Path(value)) if Path(value).is_file() else value.encode()
        parts += [b"\0", key.encode(), b"=", sha256(content).encode()]
    for one in networks:
        array = one.detach().cpu().reshape(-1).view(torch.uint8).numpy() if isinstance(one, Tensor) else one
        parts += [b"\0", repr((one.dtype, tuple(one.shape))).encode(), np.ascontiguousarray(array).tobytes()]
    return sha256(*parts)


def _check_output(out: Any, n: int, width: int | None, uri: str, tells: str) -> None:
    """UserError: no tensor, or one of another kind or shape than what it tells; `width` None lets any pass."""
    wrong = None
    if not isinstance(out, Tensor):
        wrong = f"gave {_given(out)}, not a tensor"
    elif tells == "actions":
        if out.shape != (n,) or out.is_floating_point():
            wrong = f"gave {_described(out)} for {n} observations, not as many whole numbers"
    elif out.ndim != 2 or len(out) != n or out.shape[1] != (width or out.shape[1]):
        wrong = f"gave {_described(out)}, not {tells} of shape [{n}, {width or 'actions'}]"
    elif not out.is_floating_point():
        wrong = NO_NUMBERS.format(tells)
    if wrong:
        raise UserError(f"{uri}: {wrong}")


def _check_numbers(out: Tensor, uri: str, tells: str) -> None:
    if not out.isfinite().all():
        raise UserError(f"{uri}: {NO_NUMBERS.format(tells)}")


def _check_memory(state: Any, shape: tuple[int, ...], card: TeacherCard) -> None:
    if not isinstance(state, Tensor) or tuple(state.shape) != shape:
        raise UserError(f"{card.uri}: its memory became {_given(state)}, where its initial_state has {list(shape)}")


def _width(card: TeacherCard) -> int | None:
    """How many numbers it tells of an observation."""
    return card.actions and card.actions * (2 if card.tells in (GAUSSIAN, SQUASHED) else 1)


def _given(value: Any) -> str:
    return _described(value) if isinstance(value, Tensor) else f"a {type(value).__name__}"


def _described(out: Tensor) -> str:
    return f"{str(out.dtype).removeprefix('torch.')} {list(out.shape)}"


def _reason(error: BaseException) -> str:
    return reason_of(error, LONGEST_REASON)
