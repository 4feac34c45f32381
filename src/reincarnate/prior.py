"""What a teacher is worth and what it plays: measured once, stored by hash, shared by every seed and method."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reincarnate import envs
from reincarnate.data import Dataset, Replay, open_dataset, save_dataset
from reincarnate.data.dataset import verify
from reincarnate.errors import UserError
from reincarnate.evaluate import Evaluation, Scale, evaluate
from reincarnate.files import FORMAT, read_json, sha256_json, write_json
from reincarnate.rollout import TeacherPlayer, random_policy, way_of_playing
from reincarnate.seeds import stream
from reincarnate.types import TaskSpec, Teacher

PRIOR_SEED = 0  # priors are part of the question, not of the answer: they do not vary with a run's seed
COLLECT_COPIES = 16
Tick = Callable[[str, int, int], None]
"""(what, done, total) for progress bars."""


@dataclass(frozen=True)
class Reference:
    """The random policy's and the teacher's evaluations on a task."""

    random: Evaluation
    teacher: Evaluation | None

    @property
    def scale(self) -> Scale | None:
        """The scale of normalised scores, where there is a teacher."""
        return Scale(self.random.mean, self.teacher.mean) if self.teacher else None

    def summary(self) -> dict[str, Any]:
        """Means and intervals, as results record them."""
        return {"random": _summary(self.random), "teacher": _summary(self.teacher) if self.teacher else None}


def _summary(evaluation: Evaluation) -> dict[str, Any]:
    low, high = evaluation.interval()
    return {"mean": evaluation.mean, "low": low, "high": high, "episodes": len(evaluation.returns)}


def reference(spec: TaskSpec, teacher: Teacher | None, how: str, episodes: int, store: Path, tick: Tick) -> Reference:
    """Both anchors of the scale, from the store where they have been measured before."""
    random = _measured({"who": "random"}, spec, None, how, episodes, store, tick)
    if teacher is None:
        return Reference(random, None)
    how = way_of_playing(teacher.card, how)
    who = {"who": teacher.card.sha256, "plays": how}
    return Reference(random, _measured(who, spec, teacher, how, episodes, store, tick))


def _measured(
    who: dict[str, Any],
    spec: TaskSpec,
    teacher: Teacher | None,
    how: str,
    episodes: int,
    store: Path,
    tick: Tick,
) -> Evaluation:
    request = {"kind": "score", **who, "protocol": spec.protocol, "episodes": episodes, "seed": PRIOR_SEED}
    path = store / "scores" / f"{sha256_json(request)[:16]}.json"
    if path.exists():
        kept = read_json(path)
        return Evaluation(tuple(kept["returns"]), kept["env_steps"])
    name = "teacher's score" if teacher else "random policy's score"
    result = evaluate(
        spec.id,
        lambda env: TeacherPlayer(teacher, env, how) if teacher else random_policy(spec.actions),
        episodes,
        stream(PRIOR_SEED, "reference"),
        teacher.view if teacher else "student",
        lambda done: tick(name, done, episodes),
    )
    measured = {"returns": list(result.returns), "env_steps": result.env_steps}
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
        "protocol": spec.protocol,
        "env_steps": env_steps,
        "epsilon": epsilon,
        "seed": PRIOR_SEED,
    }
    index = store / "requests" / f"{sha256_json(request)[:16]}.json"
    if index.exists():
        folder = store / "data" / read_json(index)["data"][:16]
        if folder.exists():
            return open_dataset(folder)
    replay = collect(spec, teacher, how, env_steps, epsilon, stream(PRIOR_SEED, "collect"), tick)
    dataset = save_dataset(replay, store / "data", request)
    write_json(index, {"format": FORMAT, "request": request, "data": dataset.id})
    return dataset


def collect(
    spec: TaskSpec,
    teacher: Teacher,
    how: str,
    env_steps: int,
    epsilon: float,
    rng: np.random.Generator,
    tick: Tick,
) -> Replay:
    """Let the teacher play `env_steps`, at random with probability `epsilon`, and note its logits everywhere."""
    env = envs.make(spec.id, min(COLLECT_COPIES, max(1, env_steps // 100)), teacher.view)
    rounds = -(-env_steps // env.n)
    # An episode takes at least one row more than it has steps; untouched rows cost no memory.
    replay = Replay(spec, 2 * (rounds + spec.stack + 2) * env.n, env.n, n_step=1, gamma=1.0)
    player = TeacherPlayer(teacher, env, how)
    obs, begins = env.reset(rng), np.ones(env.n, bool)
    try:
        for i in range(rounds):
            logits = player.logits(begins)
            action = player.act(logits, rng)
            strays = rng.random(env.n) < epsilon
            action[strays] = rng.integers(spec.actions, size=int(strays.sum()))
            step = env.step(action)
            replay.add(obs, action, step.reward, step.terminated, step.truncated, step.next_obs, logits)
            obs, begins = step.obs, step.terminated | step.truncated
            if i % 64 == 0:
                tick("teacher's data", i * env.n, env_steps)
    finally:
        env.close()
    replay.cut(obs)
    return replay


def given_data(path: str, spec: TaskSpec, teacher: Teacher | None) -> Dataset:
    """A dataset the user names. Raises UserError where it has changed, or is of another task or teacher."""
    dataset = open_dataset(Path(path))
    verify(dataset)
    if dataset.spec.protocol != spec.protocol:
        raise UserError(f"the data in {path} is of {dataset.spec.protocol}, not of {spec.protocol}")
    if teacher is not None and "teacher" not in dataset.manifest["columns"]:
        raise UserError(f"the data in {path} lacks the teacher's logits; collect it with `--teacher` instead")
    said = dataset.manifest["about"].get("teacher")
    if teacher is not None and said != teacher.card.sha256:
        raise UserError(f"the data in {path} was annotated by teacher {said}, not by {teacher.card.sha256}")
    return dataset
