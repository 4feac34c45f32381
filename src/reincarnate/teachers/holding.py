"""The numbers that a callable in Python answers from: those of networks and arrays that it names or holds."""

from collections.abc import Iterator
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
from torch import Tensor, nn

from reincarnate.envs.code import is_filled, names_in

DEEPEST = 4  # attributes of attributes: SB3's model.policy.mlp_extractor is 3 from the function that names the model
MOST = 10_000  # objects that are looked at

Numbers = Tensor | np.ndarray


def networks_of(policy: Any) -> list[Numbers]:
    """Tensors and arrays that a callable holds: its own and its attributes', its closure's, and those of the globals
    that it names; in an order that is the same in every process.

    Arrays and tensors that are no network's count where it names or holds them itself: what libraries keep deeper down
    (buffers of experience) may be anything.
    """
    found: list[Numbers] = []
    seen: dict[int, Any] = {}  # by identity, kept, so that no other object gets it
    waiting = [(policy, 0)]
    while waiting and len(seen) < MOST:
        thing, depth = waiting.pop(0)
        if id(thing) in seen or depth > DEEPEST:
            continue
        seen[id(thing)] = thing
        if isinstance(thing, nn.Module):
            state = thing.state_dict(keep_vars=True)
            found += [state[name] for name in sorted(state) if isinstance(state[name], Tensor)]
        elif isinstance(thing, Tensor | np.ndarray):
            found += [thing] if depth <= 1 and _plain(thing) else []
        waiting += [(one, depth + 1) for one in _held(thing)]
    return found


def _plain(value: Numbers) -> bool:
    return isinstance(value, Tensor) or value.dtype != object


def _held(thing: Any) -> Iterator[Any]:
    """What a function names or an object holds; of networks and of classes nothing more."""
    if isinstance(thing, MethodType):
        yield thing.__self__
        thing = thing.__func__
    if isinstance(thing, FunctionType):
        yield from (cell.cell_contents for cell in thing.__closure__ or () if is_filled(cell))
        yield from (thing.__globals__[name] for name in sorted(names_in(thing.__code__)) if name in thing.__globals__)
        yield from (*(thing.__defaults__ or ()), *(thing.__kwdefaults__ or {}).values())
    elif isinstance(thing, dict):
        yield from thing.values()
    elif isinstance(thing, list | tuple):
        yield from thing
    elif not isinstance(thing, FunctionType | ModuleType | nn.Module | type | Tensor | np.ndarray):
        yield from getattr(thing, "__dict__", {}).values()
        yield vars(type(thing)).get("__call__")
