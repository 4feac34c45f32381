"""Rollouts read in the order of time by a network with a memory, and cut into segments that each begin with a carry."""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from reincarnate.types import Batch
from reincarnate.types.leaves import each_tensor

Recall = Callable[[Tensor, Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor, Tensor]]
"""Observations [C, *T, *O], begins [C, *T], a carry and what is allowed to what a network says of them [C, *T, K], the
values of those states [C, *T], and the carry after them."""


class Reading(NamedTuple):
    """What a network said of a rollout, V of its steps and of their true successors, carries."""

    told: Float[Tensor, "C T K"]
    value: Float[Tensor, "C T"]
    after: Float[Tensor, "C T"]
    carries: Float[Tensor, "S H"]  # before each segment, all copies' first ones first
    last: Float[Tensor, "C H"]


def of_successors(
    known: Tensor | None, rollout: Batch, ask: Callable[[Tensor, Tensor | None], Tensor]
) -> Float[Tensor, "C T"]:
    """What is said of each step's true successor: mostly what is `known` of the next step [C, T].

    `ask` tells it anew, of observations [N, *O] and what is allowed there, where an episode ended, and at the end;
    everywhere where nothing is known.
    """
    assert rollout.ended is not None and rollout.next_obs is not None
    seen, allowed = rollout.next_obs, rollout.next_mask
    if known is None:
        mask = None if allowed is None else allowed.flatten(0, 1)
        return ask(seen.flatten(0, 1), mask).view(rollout.reward.shape)
    anew = rollout.ended.clone()
    anew[:, -1] = True
    said = known.roll(-1, 1)
    said[anew] = ask(seen[anew], None if allowed is None else allowed[anew])
    return said


def begun(carry: Tensor | None, rollout: Batch, initial: Callable[[int], Tensor]) -> Tensor:
    """The memory that a rollout begins with: the last one's end, or none where environments have restarted."""
    begins = rollout.begins
    assert begins is not None
    if carry is None or bool(begins[:, 0].all()) or len(carry) != len(begins):
        return initial(len(begins))
    return carry


def read(recall: Recall, rollout: Batch, carry: Tensor, segment: int) -> Reading:
    """Read a rollout [C, T] once. At a time limit the true successor is asked with the memory of its own episode."""
    assert rollout.next_obs is not None and rollout.ended is not None and rollout.begins is not None
    steps, cut = rollout.reward.shape[1], rollout.ended & (rollout.discount > 0)
    starts = range(0, steps, segment)
    limits = (cut.any(0).nonzero()[:, 0] + 1).tolist()
    told, values, carries, beyond = [], [], [], {}
    for first, end in itertools.pairwise(sorted({*starts, *limits, steps})):
        if first in starts:
            carries.append(carry)
        rows = rollout.obs[:, first:end], rollout.begins[:, first:end]
        x, value, carry = recall(*rows, carry, _of(rollout.mask, slice(first, end)))
        told.append(x)
        values.append(value)
        if end in limits or end == steps:  # a successor that the next row does not show
            row = rollout.next_obs[:, end - 1], torch.zeros_like(cut[:, 0])
            beyond[end - 1] = recall(*row, carry, _of(rollout.next_mask, end - 1))[1]
    value = torch.cat(values, 1)
    after = value.roll(-1, 1)
    for at, known in beyond.items():
        after[:, at] = known if at == steps - 1 else torch.where(cut[:, at], known, after[:, at])
    return Reading(torch.cat(told, 1), value, after, torch.stack(carries).flatten(0, 1), carry)


def _of(mask: Tensor | None, at: slice | int) -> Tensor | None:
    return None if mask is None else mask[:, at]


def segments(rollout: Batch, length: int, carries: Tensor) -> Batch:
    """A rollout [C, T] as segments [K·C, length], oldest first, each with its carry.

    Where `length` does not divide T the last is filled up with rows of zeros, and real rows have weight 1.
    """
    steps = rollout.reward.shape[1]
    count = -(-steps // length)
    weight = torch.ones_like(rollout.reward) if steps % length else None

    def cut(tensor: Tensor) -> Tensor:
        short = count * length - steps
        if short:
            tensor = torch.cat([tensor, tensor.new_zeros(len(tensor), short, *tensor.shape[2:])], 1)
        return tensor.unflatten(1, (count, length)).transpose(0, 1).flatten(0, 1)

    return each_tensor(rollout._replace(carry=None, weight=weight), cut)._replace(carry=carries)


def lone(batch: Batch) -> Batch:
    """Segments [S, L] as rows, without those of weight 0."""
    unused = dict.fromkeys(("next_obs", "next_mask", "begins", "ended", "carry", "weight", "rows"))
    return each_tensor(batch._replace(**unused), lambda tensor: real(tensor.flatten(0, 1), batch.weight))


def real(rows: Tensor, weight: Tensor | None) -> Tensor:
    """Rows without those of weight 0."""
    return rows if weight is None else rows[weight.flatten() > 0]
