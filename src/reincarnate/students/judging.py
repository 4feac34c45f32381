"""What an off-policy actor-critic's critics say of logged actions: advantages, and judgements of many actions.

For terms that want it noted (`losses.logged`). Observations are as the networks see them, actions in [-1, 1].
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from reincarnate.data.layouts import NEXT_ACTED, NEXT_ACTION
from reincarnate.losses.logged import ADVANTAGE, JUDGED
from reincarnate.losses.offline import expectile_error
from reincarnate.nets.histories import History
from reincarnate.students.noise import Noise
from reincarnate.types import Batch, Prediction, Term

if TYPE_CHECKING:
    from reincarnate.students.continuous import ContinuousStudent


def of_critics(term: Term) -> bool:
    """Whether a term speaks to the critics, and not to the actor."""
    return getattr(term, "wants", None) == JUDGED


def wants_advantage(term: Term) -> bool:
    """Whether a term reads the advantage of the batch's actions."""
    return getattr(term, "wants", None) == ADVANTAGE


def as_the_data(batch: Batch, action: Tensor, entropy: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """The successors' actions [B, A] as the data has them where the batch notes that (SARSA), else the student's.

    α ln π of an action that somebody else chose is nothing of the student's: there it is 0. Where an episode ended
    nobody acted, and the student's own counts.
    """
    if NEXT_ACTION not in batch.notes:
        return action, entropy
    acted = batch.notes[NEXT_ACTED]
    action = torch.where(acted[:, None], batch.notes[NEXT_ACTION], action)
    return action, None if entropy is None else entropy.masked_fill(acted, 0)


def value_error(student: "ContinuousStudent", obs: Tensor | History, action: Tensor) -> Tensor:
    """The expectile error [B] of V(s) against the least lagging critic at the data's action (IQL, eq. 5)."""
    assert student.network.value is not None
    value = student.network.value(obs)
    return expectile_error(value, _least_lagging(student, obs, action), student.settings.expectile)


@torch.no_grad()
def _least_lagging(student: "ContinuousStudent", obs: Tensor | History, action: Tensor) -> Tensor:
    return student.critic.values(student.targets["critic"].module(obs, action)).amin(0)


@torch.no_grad()
def with_advantage(
    student: "ContinuousStudent", obs: Tensor | History, out: Tensor, batch: Batch, noise: Noise
) -> Batch:
    """The batch with A(s, a) = Q(s, a) − V(s) noted: by V and the lagging critics where the student has state values
    (IQL), else by the critics, V(s) being Q of one action of the policy (AWAC)."""
    if student.network.value is not None:
        advantage = _least_lagging(student, obs, batch.action) - student.network.value(obs)
    else:
        q = student.valued(obs, batch.action)
        advantage = q - student.valued(obs, student.drawn(out.detach(), noise).action[0])
    return batch._replace(notes={**batch.notes, ADVANTAGE: advantage})


def judged(student: "ContinuousStudent", obs: Any, next_obs: Any, batch: Batch, term: Term, noise: Noise) -> Tensor:
    """The sum [B] over the critics of a term that wants their judgement of `term.actions` actions of each kind."""
    n: int = term.actions  # pyright: ignore[reportAttributeAccessIssue]
    uniform = noise.uniform(n, *batch.action.shape)
    with torch.no_grad():
        own, ahead = (student.drawn(student.network.actor(x), noise, n) for x in (obs, next_obs))
    actions = torch.cat([batch.action[None], uniform, own.action, ahead.action])  # [1 + 3n, B, A]
    wide = obs.expand(len(actions), *obs.shape).flatten(0, 1)
    out = student.network.critic(wide, actions.flatten(0, 1))
    values = student.critic.values(out).unflatten(1, (len(actions), len(obs))).mT  # [N, B, 1 + 3n]
    log_prob = torch.cat([own.log_prob, ahead.log_prob]).mT
    losses = [_of_one(student, q, log_prob, batch, term, n) for q in values]
    return torch.stack(losses).sum(0)


def _of_one(student: "ContinuousStudent", q: Tensor, log_prob: Tensor, batch: Batch, term: Term, n: int) -> Tensor:
    parts = {"data": q[:, 0], "random": q[:, 1 : n + 1], "policy": q[:, n + 1 :], "log_prob": log_prob}
    notes = {**batch.notes, **{f"{JUDGED}.{name}": part for name, part in parts.items()}}
    return term(Prediction(student.settings.predicts, q), batch._replace(notes=notes))
