"""Optimisers' memories in an SB3 zip, as tensors by the names of the parameters that they are of."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from reincarnate.errors import UserError
from reincarnate.files.safe import read_saved

SLOTS = {"exp_avg": "mean", "exp_avg_sq": "square", "square_avg": "square"}
"""Names of PyTorch's Adam and RMSProp, and of ours."""


class Memory(NamedTuple):
    """Slots by our names, each by parameters' names; steps taken; ε and the last rate. No slots: never used."""

    slots: dict[str, dict[str, Tensor]]
    steps: int
    eps: float | None
    lr: float | None

    @property
    def kind(self) -> str:
        """`adam`, `rmsprop`, or "" where it was never used."""
        return ("adam" if "mean" in self.slots else "rmsprop") if self.slots else ""


def read_memory(payload: bytes | None, tensors: Mapping[str, Tensor], names: Sequence[Sequence[str]]) -> Memory | None:
    """What `torch.save` wrote of an optimiser's `state_dict()`; `names` are its parameters', in order, of which the
    longest list comes last and the first that is as long as the file's is meant.

    None where there is none, or none that fits the parameters.
    """
    if payload is None:
        return None
    try:
        saved = read_saved(payload, "the optimiser's state")
        (group,), state = saved["param_groups"], saved["state"]
        numbers = list(group["params"])
        known = next(list(some) for some in names if len(some) == len(numbers))
        eps, lr = (one if isinstance(one := group.get(key), float) and 0 < one < 1 else None for key in ("eps", "lr"))
        slots = _slots({known[numbers.index(key)]: value for key, value in state.items()}, tensors)
    except (UserError, KeyError, TypeError, ValueError, AttributeError, StopIteration):
        return None
    if slots is None:
        return None
    steps = max((_steps(value.get("step", 0)) for value in state.values()), default=0)
    return Memory(slots, steps, eps, lr)


def _slots(state: dict[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]] | None:
    """Slot → parameter → tensor; None where one is not as its parameter."""
    slots: dict[str, dict[str, Tensor]] = {}
    for name, value in state.items():
        for theirs, ours in SLOTS.items():
            if theirs not in value:
                continue
            tensor = value[theirs]
            if not isinstance(tensor, Tensor) or tensor.shape != tensors[name].shape:
                return None
            if not tensor.is_floating_point() or not tensor.isfinite().all():
                return None
            slots.setdefault(ours, {})[name] = tensor.float()
    if "square" in slots and any((one < 0).any() for one in slots["square"].values()):
        return None
    return slots


def _steps(value: Any) -> int:
    number = value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
    plain = isinstance(number, int | float) and not isinstance(number, bool) and torch.isfinite(torch.tensor(number))
    return int(number) if plain and 0 <= number < 2**40 else 0
