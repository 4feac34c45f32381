"""The gradient's objective as pure functions, shared by the plain, the compiled and the stacked student."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from reincarnate.students.critics import Arguments, Critic
from reincarnate.types import Batch, Learnt, Outputs, Term

Forward = Callable[..., Tensor]


class Draws(NamedTuple):
    """What is random in one update: arguments of the two networks, and the noise of their noisy layers."""

    online: Arguments = ()
    target: Arguments = ()
    online_noise: Tensor | None = None
    target_noise: Tensor | None = None


def target_of(critic: Critic, batch: Batch, draws: Draws, double: bool, online: Forward, frozen: Forward) -> Tensor:
    """What the taken actions' outputs should become.

    `online` and `frozen` are forward passes of the two networks: observations and arguments to outputs.
    """
    if batch.next_obs is None:
        return critic.target(None, None, batch)
    select = None
    if double:
        select = critic.values(online(batch.next_obs, *critic.at_rest(len(batch.action)))).argmax(-1)
    return critic.target(frozen(batch.next_obs, *draws.target), select, batch)


def losses_of(
    critic: Critic, out: Tensor, target: Tensor, batch: Batch, arguments: Arguments, terms: Sequence[Term]
) -> dict[str, Float[Tensor, "B"]]:
    """Each example's own loss (`td`) and terms, by name, from one forward pass."""
    each = {"td": critic.loss(out, batch, target, arguments)}
    outputs = Outputs(critic.values(out)) if terms else None
    for term in terms:
        assert outputs is not None
        each[term.name] = term(outputs, batch)
    return each


def weigh(
    each: dict[str, Float[Tensor, "B"]],
    weights: Sequence[float] | Float[Tensor, "*S L"],
    importance: Float[Tensor, "B"] | None,
    seeds: int = 1,
) -> tuple[Tensor, Learnt]:
    """Σ weight · mean over the batch, and what is to be known of it.

    `importance` (of prioritised replay) multiplies every loss, as in the authors' code; means are reported without.
    With `seeds` > 1 the batch holds that many equal parts, one after another, with a row of weights each.
    """

    def mean(loss: Tensor) -> Tensor:
        return loss.mean() if seeds == 1 else loss.view(seeds, -1).mean(-1)

    means = {name: mean(loss) for name, loss in each.items()}
    weighed = means if importance is None else {name: mean(loss * importance) for name, loss in each.items()}
    columns = weights.unbind(-1) if isinstance(weights, Tensor) else weights
    total: Tensor = sum(w * m for w, m in zip(columns, weighed.values(), strict=True))  # pyright: ignore
    learnt = Learnt({name: m.detach() for name, m in means.items()}, each["td"].detach())
    return (total if seeds == 1 else total.sum()), learnt
