"""What a teacher is worth and what it plays: measured once, stored by hash, shared by every seed and method."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reincarnate import envs
from reincarnate.agents.agent import open_agent
from reincarnate.data import Dataset, Replay, open_dataset
from reincarnate.data.dataset import verify
from reincarnate.data.layouts import bounds_of
from reincarnate.data.readers import import_data, reader_of
from reincarnate.data.replay import TAIL
from reincarnate.envs.several import is_several, seats
from reincarnate.errors import UserError
from reincarnate.files.atomic import FORMAT, sha256_json, write_bytes, write_json
from reincarnate.files.records import Record, load_record
from reincarnate.nets.probe import blank
from reincarnate.priors.played import PRIOR_SEED, Tick, bundle_data, collected
from reincarnate.seeds import stream
from reincarnate.teachers.by_task import ByTask
from reincarnate.teachers.fit import CLOSE
from reincarnate.teachers.frozen import why_watching
from reincarnate.training.asking import predictor_of
from reincarnate.training.evaluate import Evaluation, Scale, Scales, evaluate
from reincarnate.training.players import Player, RandomPlayer, way_of_playing
from reincarnate.types import Prediction, TaskSpec, Teacher


@dataclass(frozen=True)
class Reference:
    """The random policy's and the teacher's evaluations on a task; `greedy` play of one that samples, if asked for."""

    random: Evaluation
    teacher: Evaluation | None
    greedy: Evaluation | None = None

    @property
    def scale(self) -> Scale | None:
        """The scale of normalised scores, where there is a teacher."""
        if self.teacher is None:
            return None
        pairs = zip(self.random.parts, self.teacher.parts, strict=True)
        tasks = [Scale(random.mean, teacher.mean) for random, teacher in pairs]
        return Scales.of_tasks(tasks) if tasks else Scale(self.random.mean, self.teacher.mean)

    def by(self, metric: str) -> "Reference":
        """The same, measured by the return or by the task's own score."""
        teacher, greedy = (one.by(metric) if one else None for one in (self.teacher, self.greedy))
        return Reference(self.random.by(metric), teacher, greedy)

    def summary(self) -> dict[str, Any]:
        """Means and intervals, as results record them."""
        told = {"random": self.random.summary(), "teacher": self.teacher.summary() if self.teacher else None}
        return told | ({"greedy": self.greedy.summary()} if self.greedy else {})

    def by_task(self, names: Sequence[str]) -> dict[str, Any]:
        """The same of each of several tasks."""
        told = zip(names, self.random.parts, self.teacher.parts if self.teacher else [None] * len(names), strict=True)
        return {name: Reference(random, teacher).summary() for name, random, teacher in told}


def reference(
    spec: TaskSpec,
    teacher: Teacher | None,
    how: str,
    episodes: int,
    store: Path,
    tick: Tick,
    *,
    greedy: bool = False,
) -> Reference:
    """Both anchors of the scale, from the store where they have been measured before; of several tasks, each's own.

    With `greedy` also the greedy play of a teacher that samples, of one task.
    """
    if is_several(spec):
        return _of_tasks(spec, teacher, how, episodes, store, tick)
    random = _measured({"who": "random"}, spec, None, how, episodes, store, tick)
    if teacher is None:
        return Reference(random, None)
    how = way_of_playing(teacher.card, how)
    ways = [how, "greedy"] if greedy and how == "sample" else [how]
    who = teacher.card.sha256
    played = [_measured({"who": who, "plays": way}, spec, teacher, way, episodes, store, tick) for way in ways]
    return Reference(random, *played)


def _of_tasks(spec: TaskSpec, teacher: Teacher | None, how: str, episodes: int, store: Path, tick: Tick) -> Reference:
    """Each task as it is when it is played alone, by its own teacher."""
    places = teacher.places if isinstance(teacher, ByTask) else [None] * len(seats(spec.id))
    found = [
        reference(seat.task, place.teacher if place else None, how, episodes, store, tick)
        for seat, place in zip(seats(spec.id), places, strict=True)
    ]
    teachers = [one.teacher for one in found if one.teacher]
    return Reference(
        Evaluation.of_tasks([one.random for one in found]), Evaluation.of_tasks(teachers) if teachers else None
    )


def _measured(
    who: dict[str, Any],
    spec: TaskSpec,
    teacher: Teacher | None,
    how: str,
    episodes: int,
    store: Path,
    tick: Tick,
) -> Evaluation:
    request = {
        "kind": "score",
        **who,
        "task": envs.identity(spec.id),
        "protocol": spec.protocol,
        "episodes": episodes,
        "seed": PRIOR_SEED,
    }
    path = store / "scores" / f"{sha256_json(request)[:16]}.json"
    if path.exists():
        kept = Record(load_record(path), path)
        returns, own = kept.numbers("returns"), kept.numbers("own", [])
        if len(returns) != episodes:
            raise UserError(f"{path} holds {len(returns)} returns, not {episodes}; delete it: it is measured again")
        if len(own) != (episodes if spec.score else 0):
            raise UserError(f"{path} holds {len(own)} scores by {spec.score}; delete it: it is measured again")
        return Evaluation(tuple(returns), kept.integer("env_steps", low=0), tuple(own), spec.score)
    name = "teacher's score" if teacher else "random policy's score"
    result = evaluate(
        spec.id,
        Player.of_teacher(teacher, spec, how) if teacher else RandomPlayer(spec),
        episodes,
        stream(PRIOR_SEED, "reference"),
        teacher.view if teacher else "student",
        lambda done: tick(name, done, episodes),
    )
    measured = {"returns": list(result.returns), "env_steps": result.env_steps}
    measured |= {"own": list(result.own)} if spec.score else {}
    write_json(path, {"format": FORMAT, "request": request, **measured})
    return result


def teacher_data(
    spec: TaskSpec, teacher: Teacher, how: str, env_steps: int, epsilon: float, store: Path, tick: Tick
) -> Dataset:
    """The teacher's data on a task, with its logits as a column; collected on first request."""
    how = way_of_playing(teacher.card, how)
    request = {
        "kind": "teacher-data",
        "teacher": teacher.card.sha256,
        "plays": how,
        "task": envs.identity(spec.id),
        "protocol": spec.protocol,
        "env_steps": env_steps,
        "epsilon": epsilon,
        "seed": PRIOR_SEED,
    }
    return collected(request, spec, teacher, store, tick, lambda replay: {"predicts": replay.kinds["teacher"]})


def given_data(path: str, spec: TaskSpec, teacher: Teacher | None, store: Path, tick: Tick) -> Dataset:
    """A dataset the user names, a bundle's (prior:NAME), an agent's replay (store:DIR or its folder), somebody's log.

    With a `teacher` whose predictions it does not hold, they are computed once and kept in the store. Raises UserError
    where the data has changed, is of another task, has actions outside the task's bounds, or cannot be annotated.
    """
    dataset = _open_data(path, spec, store, tick)
    verify(dataset)
    if dataset.spec.protocol != spec.protocol:
        raise UserError(f"the data in {path} is of {dataset.spec.protocol}, not of {spec.protocol}")
    _refuse_beyond(dataset, spec, path)
    if teacher is None:
        return dataset
    annotated = "teacher" in dataset.manifest["columns"] and dataset.manifest["about"].get("teacher")
    if annotated == teacher.card.sha256:
        return dataset
    file, kind = _predictions(dataset, teacher, store, tick)
    return replace(dataset, logits=file, told=kind)


def _refuse_beyond(dataset: Dataset, spec: TaskSpec, path: str) -> None:
    """Raises UserError where logged actions lie outside the task's bounds: students know none such."""
    if not spec.continuous:
        return
    columns, (low, high) = dataset.rows().columns, bounds_of(spec)
    acted = np.asarray(columns["flags"]) & TAIL == 0
    beyond = np.maximum(low - columns["action"], columns["action"] - high)[acted] / (high - low)
    if (count := int((beyond > CLOSE).any(1).sum())) > 0:
        raise UserError(
            f"the data in {path}: {count:,} of {len(beyond):,} actions lie outside the bounds of {spec.id}, by up to "
            f"{beyond.max():.3g} of their distance: it was made for other bounds, or its actions must be clipped first"
        )


def _open_data(path: str, spec: TaskSpec, store: Path, tick: Tick) -> Dataset:
    """The dataset at a path, or of the agent there, or what somebody else's files become."""
    if path.startswith("prior:"):
        return bundle_data(path.removeprefix("prior:"), spec, store, tick)
    if reader_of(path):
        return import_data(path, spec, store, tick)
    folder = Path(path.removeprefix("store:"))
    if (folder / "manifest.json").exists() and not path.startswith("store:"):
        return open_dataset(folder)
    if not path.startswith("store:") and not (folder / "agent.json").exists() and not (folder / "agent").exists():
        return open_dataset(folder)  # raises, and says what is missing
    agent = open_agent(folder)
    data = agent.data()
    if data is None:
        raise UserError(f"{path} kept no replay; train it with --keep all")
    return data


def _predictions(dataset: Dataset, teacher: Teacher, store: Path, tick: Tick) -> tuple[Path, str]:
    """A file of a teacher's predictions for every row of a dataset, made on first request, and their kind."""
    if reason := why_watching(teacher):
        raise UserError(f"the teacher {reason}, so it cannot say what it thinks of stored data; let it play its own")
    request = {"kind": "logits", "data": dataset.id, "teacher": teacher.card.sha256}
    path = store / "logits" / f"{sha256_json(request)[:16]}.npy"
    predict = predictor_of(teacher)
    if path.exists():
        zeros = blank(dataset.spec)
        return path, predict(zeros, torch.zeros(1, dtype=torch.int64)).kind
    names = [name for name in dataset.manifest["columns"] if name != "teacher"]
    columns = {name: np.load(dataset.path / f"{name}.npy", mmap_mode="r") for name in names}
    rows, total, done = Replay.over(dataset.spec, columns), len(columns["action"]), 0

    def telling(obs: Tensor, task: Tensor | None = None) -> Prediction:
        nonlocal done
        done += len(obs)
        tick("teacher's predictions", done, total)
        return predict(obs, task)

    rows.annotate("teacher", telling)
    content = io.BytesIO()
    np.save(content, rows.columns["teacher"])
    write_bytes(path, content.getvalue())
    return path, rows.kinds["teacher"]
