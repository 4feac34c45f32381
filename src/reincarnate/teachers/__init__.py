"""Frozen policies of any origin, behind one narrow protocol. A format is one file and one line in `SCHEMES`."""

import difflib
import importlib
import re
from pathlib import Path
from typing import Any

from reincarnate.errors import UserError
from reincarnate.types import MEANS, TaskSpec, Teacher, TeacherCard

SCHEMES = {
    "store": "stored",
    "onnx": "onnx",
    "torchscript": "torchscript",
    "sb3": "sb3",
    "py": "python",
    "cleanrl": "cleanrl",
    "balloon": "balloon",
    "dopamine": "dopamine",
    "hf": "hub",
}
"""Scheme -> module here, in the order in which a bare path is tried. Each has `recognises(path) -> bool` and
`open_address(rest, actions) -> Teacher`, where `rest` follows the scheme."""


def open_teacher(uri: str, actions: int | None = None) -> Teacher:
    """The teacher that `scheme:rest` names; a bare path is recognised by what lies there.

    `actions` is the number of actions of the task, for the teachers that cannot know it themselves.
    UserError: an unknown scheme or format, or whatever is wrong with the file.
    """
    scheme, colon, rest = uri.partition(":")
    if colon and scheme in SCHEMES:
        if not rest:
            raise UserError(f"{uri!r} names no teacher; write {scheme}:PATH")
        return _module(scheme).open_address(rest, actions)
    if Path(uri).exists():
        return _module(recognise(Path(uri))).open_address(uri, actions)
    if colon and re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]+", scheme):
        near = difflib.get_close_matches(scheme.lower(), SCHEMES, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}:{rest}? " if near else ""
        raise UserError(f"unknown kind of teacher {scheme!r}: {hint}known are {', '.join(SCHEMES)}")
    raise UserError(f"{uri}: there is no such file; a teacher is a path or one of {', '.join(SCHEMES)} and a path")


def recognise(path: Path) -> str:
    """The scheme of what lies at `path`. UserError: it is not recognised."""
    for name in SCHEMES:
        if _module(name).recognises(path):
            return name
    raise UserError(f"{path}: not a teacher that can be recognised; name its kind, one of {', '.join(SCHEMES)}")


def _module(scheme: str) -> Any:
    return importlib.import_module(f"reincarnate.teachers.{SCHEMES[scheme]}")


def check_fit(card: TeacherCard, spec: TaskSpec) -> list[str]:
    """What differs between the teacher's own task and this one, as warnings: dtype, protocol, wider bounds.

    The shape is compared where the card gives one; a teacher with a view of its own (Atari: "rgb") has none there.
    UserError: it has another number of actions, or sees observations of another shape.
    """
    if (card.tells == MEANS) != spec.continuous:
        kinds = [("discrete", "continuous")[kind] for kind in (card.tells == MEANS, spec.continuous)]
        raise UserError(f"the teacher {card.uri} has {kinds[0]} actions, {spec.id} {kinds[1]} ones")
    if card.actions is not None and card.actions != spec.actions:
        raise _misfit(card, spec)
    if card.obs_shape is not None and tuple(card.obs_shape) != tuple(spec.obs_shape):
        raise _misfit(card, spec)
    warnings = _protocol_differences(card, spec)
    if card.obs_dtype is not None and card.obs_dtype != spec.obs_dtype:
        warnings.append(f"the teacher was trained on {card.obs_dtype} observations, {spec.id} gives {spec.obs_dtype}")
    return warnings + _beyond(card, spec)


def _misfit(card: TeacherCard, spec: TaskSpec) -> UserError:
    shape = "?" if card.obs_shape is None else card.obs_shape
    actions = "?" if card.actions is None else card.actions
    return UserError(
        f"the teacher {card.uri} does not fit {spec.id}: it sees {shape} and has {actions} actions, "
        f"the task shows {spec.obs_shape} and has {spec.actions}"
    )


def _beyond(card: TeacherCard, spec: TaskSpec) -> list[str]:
    """A warning where continuous actions may leave the task's bounds."""
    if card.bounds is None or spec.bounds is None:
        return []
    within = all(a >= b for a, b in zip(card.bounds[0], spec.bounds[0], strict=True))
    within &= all(a <= b for a, b in zip(card.bounds[1], spec.bounds[1], strict=True))
    teacher, task = (f"{min(low):g} to {max(high):g}" for low, high in (card.bounds, spec.bounds))
    return [] if within else [f"the teacher's actions go from {teacher}, {spec.id} takes {task} (extremes of each)"]


def _protocol_differences(card: TeacherCard, spec: TaskSpec) -> list[str]:
    return [
        f"the teacher was trained with {key} = {card.protocol[key]}, {spec.id} has {spec.protocol[key]}"
        for key in sorted(card.protocol.keys() & spec.protocol.keys())
        if card.protocol[key] != spec.protocol[key]
    ]
