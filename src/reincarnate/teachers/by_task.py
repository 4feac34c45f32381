"""A teacher for each of several tasks: `TASK=ADDRESS,TASK=ADDRESS`. Each copy asks its own task's.

A task is named by its address as --env has it, or by the part between its family and its version ("Breakout") where
that is no other's.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reincarnate.envs.several import Seat, seats
from reincarnate.errors import UserError
from reincarnate.files.atomic import sha256_json
from reincarnate.teachers.features import Features, features_of
from reincarnate.types import LOGITS, VALUES, Prediction, TaskSpec, Teacher, TeacherCard, TimeStep

Open = Callable[[str, TaskSpec], Teacher]


@dataclass(frozen=True)
class Place:
    """One task's teacher: where it was named, how its task sits among the others."""

    address: str
    seat: Seat
    teacher: Teacher

    def asked(self, obs: Tensor, begins: Tensor, carry: Tensor) -> tuple[Prediction, Tensor]:
        """What it says of padded observations of its task."""
        own = carry[:, : self.teacher.initial(1).shape[-1]]
        return self.teacher.predict(TimeStep(self.seat.own(obs), begins), own)


class ByTask(nn.Module):
    """Frozen teachers of several tasks as one. Actions that a task has not get minus infinity: probability zero.

    Its memory is each teacher's own, in rows of the longest one's length.
    """

    view, frozen = "student", True

    def __init__(self, card: TeacherCard, places: Sequence[Place]):
        nn.Module.__init__(self)
        self.card, self.places = card, tuple(places)
        self._modules_of_teachers = nn.ModuleList(t for p in places if isinstance(t := p.teacher, nn.Module))
        self._memory = max(place.teacher.initial(1).shape[-1] for place in places)
        self._each = [features_of(place.teacher, place.seat.task) for place in places]
        self.features = Features(tuple(each.sizes[0] for each in self._each), self._features)

    def initial(self, n: int) -> Tensor:
        """The memory of n new episodes; each teacher begins its own where an episode begins."""
        return torch.zeros(n, self._memory)

    @torch.no_grad()
    def predict(self, step: TimeStep, carry: Tensor) -> tuple[Prediction, Tensor]:
        """What each row's own teacher says. UserError: nobody says which task each row is of."""
        task, parts = self._task(step.task), list[tuple[Tensor, Tensor]]()
        kind = VALUES if self.card.tells == VALUES else LOGITS
        after = carry.clone() if self._memory else carry
        for number, place in enumerate(self.places):
            rows = (task == number).nonzero()[:, 0]
            if len(rows):
                said, own = place.asked(step.obs[rows], step.begins[rows], carry[rows])
                parts.append((rows, _among_all(said.x, place.seat)))
                if self._memory:
                    after[rows, : own.shape[-1]] = own
        x = torch.empty(len(task), self.places[0].seat.actions, device=parts[0][1].device if parts else None)
        for rows, told in parts:
            x[rows.to(x.device)] = told
        return Prediction(kind, x), after

    def _features(self, obs: Tensor, task: Tensor | None) -> Tensor:
        task, size = self._task(task), max(self.features.sizes)
        whole = torch.zeros(len(obs), size, device=obs.device)
        for number, (place, own) in enumerate(zip(self.places, self._each, strict=True)):
            rows = (task == number).nonzero()[:, 0]
            if len(rows) and own.sizes[0]:
                whole[rows, : own.sizes[0]] = own.read(place.seat.own(obs[rows]), None).to(obs.device)
        return whole

    def _task(self, task: Tensor | None) -> Tensor:
        if task is None:
            raise UserError(f"{self.card.uri}: these observations do not say which task they are of (no column task)")
        return task.cpu()


def _among_all(x: Tensor, seat: Seat) -> Tensor:
    """Numbers of a task's own actions [n, a] among those of all [n, A]."""
    whole = x.new_full((len(x), seat.actions), -torch.inf)
    whole[:, list(seat.places)] = x
    return whole


# ---- from an address -----------------------------------------------------------------------------------


def by_task(address: str, spec: TaskSpec, open_for: Open) -> Teacher:
    """The teachers of several tasks. Raises UserError for a task without one, and for one that does not fit."""
    found = seats(spec.id)
    named = addresses(address, [seat.task.id for seat in found])
    places = [Place(named[seat.task.id], seat, open_for(named[seat.task.id], seat.task)) for seat in found]
    for place in places:
        _check(place)
    if len(kinds := {VALUES if place.teacher.card.tells == VALUES else LOGITS for place in places}) > 1:
        told = ", ".join(f"{place.seat.task.id} tells {place.teacher.card.tells}" for place in places)
        raise UserError(f"teachers of several tasks must speak alike, of {' or '.join(sorted(kinds))}: {told}")
    return ByTask(_card(address, spec, places), places)


def _check(place: Place) -> None:
    card, task = place.teacher.card, place.seat.task
    wrong = card.actions not in (None, task.actions) or card.continuous
    if wrong or (card.obs_shape is not None and tuple(card.obs_shape) != tuple(task.obs_shape)):
        raise UserError(
            f"the teacher {place.address} does not fit {task.id}: it sees {card.obs_shape} and has {card.actions} "
            f"actions, the task shows {task.obs_shape} and has {task.actions}"
        )
    if place.teacher.view != "student":
        raise UserError(f"the teacher {place.address} looks through eyes of its own, which several tasks do not have")


def addresses(address: str, tasks: Sequence[str]) -> dict[str, str]:
    """Each task's teacher, from `TASK=ADDRESS,TASK=ADDRESS`. Raises UserError for a task without or with two."""
    shorts = [short(task) for task in tasks]
    names = {name: task for task in tasks for name in (short(task), task) if shorts.count(name) < 2}
    found: dict[str, str] = {}
    task = ""
    for piece in address.split(","):
        name = next((n for n in sorted(names, key=len, reverse=True) if piece.strip().startswith(f"{n}=")), None)
        if name is None and not task:
            raise UserError(
                f"--teacher {address!r}: several tasks have a teacher each, TASK=ADDRESS,TASK=ADDRESS; "
                f"tasks: {', '.join(tasks)}"
            )
        if name is None:  # a comma inside an address
            found[task] += f",{piece}"
            continue
        task = names[name]
        if task in found:
            raise UserError(f"--teacher names two teachers for {task}; two for one are several:mean:ADDRESS,ADDRESS")
        found[task] = piece.strip()[len(name) + 1 :]
    if lacking := [task for task in tasks if not found.get(task)]:
        plain = next(name for name, task in names.items() if task == lacking[0])
        raise UserError(f"--teacher names none for {', '.join(lacking)}; write {plain}=ADDRESS")
    return found


def short(task: str) -> str:
    """A task's name without its family and version: Breakout of MinAtar/Breakout-v1."""
    return re.sub(r"-v\d+$", "", task.partition("?")[0].rpartition("/")[2].rpartition(":")[2])


def _card(address: str, spec: TaskSpec, places: Sequence[Place]) -> TeacherCard:
    cards = {short(place.seat.task.id): place.teacher.card for place in places}
    trained = [card.trained_env_steps for card in cards.values()]
    plays = {card.plays for card in cards.values()}
    tells = {card.tells for card in cards.values()}
    return TeacherCard(
        uri=address,
        format="a teacher for each task",
        algorithm=", ".join(f"{task}: {card.algorithm}" for task, card in cards.items()),
        tells=tells.pop() if len(tells) == 1 else LOGITS,
        network="; ".join(f"{task}: {card.network}" for task, card in cards.items()),
        parameters=sum(card.parameters for card in cards.values()),
        sha256=sha256_json({place.seat.task.id: place.teacher.card.sha256 for place in places}),
        obs_shape=spec.obs_shape,
        obs_dtype=spec.obs_dtype,
        actions=spec.actions,
        preprocessing="each sees its own task as it is without padding",
        safety="; ".join(f"{task}: {card.safety}" for task, card in cards.items()),
        plays=plays.pop() if len(plays) == 1 else "",
        env=spec.id,
        trained_env_steps=sum(filter(None, trained)) if all(trained) else None,
        warnings=tuple(f"{task}: {line}" for task, card in cards.items() for line in card.warnings),
    )
