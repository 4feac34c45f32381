"""Action values learnt without autograd: a plain network, Huber's loss, and terms that know their own slopes."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from reincarnate.losses.values import q_learning_at_once
from reincarnate.nets import Plain
from reincarnate.nets.fused_stack import FusedStack
from reincarnate.students.critics import Critic, Expected
from reincarnate.types import Batch, Learnt, Term


def learns_at_once(net: object, critic: Critic, batch: Batch, terms: Sequence[Term]) -> bool:
    """Whether this is such a case: every row counts alike, and all terms tell their derivatives (`Distil.at_once`)."""
    plain = isinstance(net, Plain | FusedStack) and isinstance(critic, Expected) and batch.weight is None
    return plain and all(getattr(term, "knows_its_slope", False) for term in terms)


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

    def loss(q: Tensor) -> tuple[Tensor, Tensor]:
        each["td"], slope = q_learning_at_once(q, batch.action, target)
        slope.view(seeds, -1).mul_(shares[0])
        for term, share in zip(terms, shares[1:], strict=True):
            each[term.name], own = term.at_once(q, batch)  # pyright: ignore[reportAttributeAccessIssue]
            slope += own.view(seeds, -1).mul_(share).view_as(slope)
        return each["td"], slope

    net.descend(batch.obs, loss)
    means = {name: e.mean() if net.alone else e.view(seeds, -1).mean(-1) for name, e in each.items()}
    return Learnt(means, each["td"])
