"""Several teachers for one task: `several:HOW:ADDRESS,ADDRESS`.

`mean`: the mean of their policies (of action values: of the values). `surest`: of each observation the word of the one
whose policy has the least entropy (of action values: the widest action gap). `turns`: one teacher an episode, by turns,
each copy beginning with another; the copy's memory is whose turn it is. `chosen`: the first address is a selector, any
policy with an action for each of the others: of each observation it names the one that is heard.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from reincarnate.errors import UserError
from reincarnate.files.atomic import sha256_json
from reincarnate.teachers import open_teacher
from reincarnate.teachers.lifts import action_gap, entropy
from reincarnate.types import ACTIONS, LOGITS, VALUES, Prediction, Teacher, TeacherCard, TimeStep

CHOSEN = "chosen"
HOWS = ("mean", "surest", "turns", CHOSEN)


class Panel(nn.Module):
    """Frozen teachers of one task as one."""

    view, frozen = "student", True

    def __init__(self, card: TeacherCard, teachers: Sequence[Teacher], how: str, selector: Teacher | None = None):
        nn.Module.__init__(self)
        self.card, self.teachers, self.how, self.selector = card, tuple(teachers), how, selector
        self._parts = nn.ModuleList(teacher for teacher in teachers if isinstance(teacher, nn.Module))

    def initial(self, n: int) -> Tensor:
        """Whose turn it is in n new episodes, counted before they begin; [n, 0] where all are asked."""
        return torch.arange(n).sub(1).float()[:, None] if self.how == "turns" else torch.zeros(n, 0)

    @torch.no_grad()
    def predict(self, step: TimeStep, carry: Tensor) -> tuple[Prediction, Tensor]:
        """What they say together, or whose turn it is."""
        said = torch.stack([teacher.predict(step, teacher.initial(len(step.begins)))[0].x for teacher in self.teachers])
        kind = VALUES if self.card.tells == VALUES else LOGITS
        if self.how == "mean":
            x = said.mean(0) if kind == VALUES else said.log_softmax(-1).logsumexp(0) - math.log(len(said))
            return Prediction(kind, x), carry
        if self.how == "turns":
            carry = carry + step.begins[:, None].float()
            chosen = carry[:, 0].long() % len(said)
        elif self.selector is not None:
            chosen = self.selector.predict(step, self.selector.initial(len(step.begins)))[0].x.argmax(-1)
        else:
            sure = action_gap(said.flatten(0, 1)) if kind == VALUES else -entropy(said.flatten(0, 1))
            chosen = sure.unflatten(0, said.shape[:2]).argmax(0)
        return Prediction(kind, said[chosen.to(said.device), torch.arange(said.shape[1])]), carry


def open_address(rest: str, actions: int | None = None) -> Panel:
    """The teachers that `HOW:ADDRESS,ADDRESS` names. Raises UserError for fewer than two, and for unlike ones."""
    how, _, named = rest.partition(":")
    found = [address.strip() for address in named.split(",")]
    first = int(how == CHOSEN)
    if how not in HOWS or len(found) < 2 + first or not all(found):
        raise UserError(f"several:{rest}: write several:HOW:ADDRESS,ADDRESS, where HOW is one of {', '.join(HOWS)}")
    teachers = [open_teacher(address, actions) for address in found[first:]]
    for address, teacher in zip(found[first:], teachers, strict=True):
        _check(address, teacher, teachers[0])
    selector = _selector(found[0], len(teachers)) if first else None
    return Panel(_card(rest, teachers, selector), teachers, how, selector)


def _selector(address: str, teachers: int) -> Teacher:
    """The policy that names whose word counts. Raises UserError where it has not an action for each teacher."""
    selector = open_teacher(address, teachers)
    if selector.card.continuous or selector.card.actions not in (None, teachers):
        raise UserError(f"the selector {address} has {selector.card.actions} actions; there are {teachers} teachers")
    if selector.view != "student" or selector.initial(1).shape[-1]:
        raise UserError(f"the selector {address} has a memory or eyes of its own; it must go by the observation alone")
    return selector


def _check(address: str, teacher: Teacher, first: Teacher) -> None:
    card, other = teacher.card, first.card
    if card.continuous:
        raise UserError(f"several teachers for one task need discrete actions; {address} has continuous ones")
    if teacher.view != "student" or teacher.initial(1).shape[-1]:
        raise UserError(f"{address} has a memory or eyes of its own: it can teach alone, not among several")
    if _kind(card) != _kind(other):
        raise UserError(f"{address} tells {card.tells}, the first one {other.tells}: they cannot speak as one")
    for what, own, its in (("sees", card.obs_shape, other.obs_shape), ("has actions", card.actions, other.actions)):
        if None not in (own, its) and own != its:
            raise UserError(f"{address} {what} {own}, the first one {its}: they are not of one task")


def _kind(card: TeacherCard) -> str:
    return LOGITS if card.tells == ACTIONS else card.tells


def _card(rest: str, teachers: Sequence[Teacher], selector: Teacher | None) -> TeacherCard:
    cards = [teacher.card for teacher in teachers]
    trained = [card.trained_env_steps for card in cards]
    return replace(
        cards[0],
        uri=f"several:{rest}",
        format="several teachers",
        algorithm=" and ".join(card.algorithm for card in cards),
        tells=_kind(cards[0]),
        network="; ".join(card.network for card in cards),
        parameters=sum(card.parameters for card in cards),
        sha256=sha256_json(
            {"how": rest.partition(":")[0], "teachers": [card.sha256 for card in cards]}
            | ({"selector": selector.card.sha256} if selector else {})
        ),
        safety="; ".join(dict.fromkeys(card.safety for card in cards)),
        trained_env_steps=sum(filter(None, trained)) if all(trained) else None,
        warnings=tuple(dict.fromkeys(line for card in cards for line in card.warnings)),
    )
