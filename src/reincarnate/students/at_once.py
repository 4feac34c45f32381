"""Action values learnt without autograd: a plain network, Huber's loss, and terms that know their own slopes."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from reincarnate.losses.terms import Distil, told
from reincarnate.losses.values import q_learning_at_once
from reincarnate.native import Pulled
from reincarnate.nets import Plain
from reincarnate.nets.fused import FusedMLP
from reincarnate.nets.fused_stack import FusedStack
from reincarnate.nets.towers import flat
from reincarnate.students.critics import Critic, Expected
from reincarnate.types import Batch, Learnt, Term

Net = FusedMLP | FusedStack


def learns_at_once(net: object, critic: Critic, batch: Batch, terms: Sequence[Term]) -> bool:
    """Whether this is such a case: every row counts alike, and all terms tell their derivatives (`Distil.at_once`)."""
    plain = isinstance(net, Plain | FusedStack) and isinstance(critic, Expected) and batch.weight is None
    return plain and all(getattr(term, "knows_its_slope", False) for term in terms)


def by_kernels(
    net: Net, frozen: Net, batch: Batch, terms: Sequence[Term], twice: bool, weights: Sequence[float]
) -> Learnt:
    """Fill a network's gradient, or a stack's, in one call of a compiled kernel; `weights` are [S·L]."""
    assert net.kernels and batch.next_obs is not None
    steps = (flat(batch.obs), flat(batch.next_obs), batch.action, batch.reward, batch.discount, batch.weight)
    each, means = net.kernels.learn_q((net.told, frozen.told), steps, pulls(terms, batch), twice, weights)
    names = ["td", *(term.name for term in terms)] if terms else ("td",)
    if net.alone:
        return Learnt(dict(zip(names, means, strict=True)), each)
    return Learnt(dict(zip(names, torch.tensor(means).view(-1, len(names)).T, strict=True)), each)


def suits_kernels(net: object, frozen: object, batch: Batch, terms: Sequence[Term]) -> bool:
    """Whether `by_kernels` is for this."""
    if not isinstance(net, (FusedMLP, FusedStack)) or type(frozen) is not type(net) or not net.kernels:
        return False  # a tuple takes half the time of a union
    whole = batch.next_obs is not None and batch.next_mask is None
    return whole and (not terms or all(map(pulls_alone, terms)))


def pulls_alone(term: object) -> bool:
    """Whether a kernel knows this term: the KL from what somebody says of discrete actions."""
    return isinstance(term, Distil) and term.knows_its_slope


def pulls(terms: Sequence[Term], batch: Batch) -> list[Pulled]:
    """What such terms pull towards."""
    return [
        (told(batch, term.of).x, term.teacher_temperature, term.temperature)  # pyright: ignore
        for term in terms
    ]


@torch.no_grad()
def expected_at_once(
    net: Plain | FusedStack,
    batch: Batch,
    target: Tensor,
    terms: Sequence[Term],
    weights: Sequence[float] | Float[Tensor, "*S L"],
) -> Learnt:
    """Fill a network's gradient. `weights` are the own loss's and the terms'; of a stack [S, L], and the means [S]."""
    seeds = 1 if net.alone else len(weights)
    columns = weights.unbind(-1) if isinstance(weights, Tensor) else weights
    shares = [(w if net.alone else w[:, None]) / (len(target) // seeds) for w in columns]  # pyright: ignore
    each: dict[str, Tensor] = {}

    learn = net.kernels.q_learning if net.kernels else q_learning_at_once

    def loss(q: Tensor) -> tuple[Tensor, Tensor]:
        each["td"], slope = learn(q, batch.action, target)
        slope.view(seeds, -1).mul_(shares[0])
        for term, share in zip(terms, shares[1:], strict=True):
            each[term.name], own = term.at_once(q, batch)  # pyright: ignore[reportAttributeAccessIssue]
            slope += own.view(seeds, -1).mul_(share).view_as(slope)
        return each["td"], slope

    net.descend(batch.obs, loss)
    means = {name: e.mean() if net.alone else e.view(seeds, -1).mean(-1) for name, e in each.items()}
    return Learnt(means, each["td"])
