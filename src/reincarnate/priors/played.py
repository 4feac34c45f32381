"""What a teacher plays: data for whoever asks, and that of the ready set's bundles, the same for everybody."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from reincarnate import envs
from reincarnate.agents.bundles import Bundle, find
from reincarnate.data import Dataset, Replay, open_dataset, save_dataset
from reincarnate.envs.several import names_of
from reincarnate.errors import UserError
from reincarnate.files.atomic import FORMAT, sha256_json, write_json
from reincarnate.files.records import Record, load_record
from reincarnate.priors.bundles import opened
from reincarnate.seeds import stream
from reincarnate.training.players import Player, Stage
from reincarnate.types import TaskSpec, Teacher

PRIOR_SEED = 0  # priors are part of the question, not of the answer: they do not vary with a run's seed
COLLECT_COPIES = 16
Tick = Callable[[str, int, int], None]
"""(what, done, total) for progress bars."""


def collect(
    spec: TaskSpec,
    teacher: Teacher,
    how: str,
    env_steps: int,
    epsilon: float,
    rng: np.random.Generator,
    tick: Tick,
) -> Replay:
    """Let the teacher play `env_steps`, at random with probability `epsilon`, and note what it predicts everywhere."""
    tasks = max(1, len(names_of(spec)))  # each has as many copies as any
    wanted = min(COLLECT_COPIES, env_steps // 100)
    env = envs.make(spec.id, max(1, wanted // tasks) * tasks, teacher.view)
    rounds = -(-env_steps // env.n)
    # An episode takes at least one row more than it has steps; untouched rows cost no memory.
    replay = Replay(spec, 2 * (rounds + spec.stack + 2) * env.n, env.n)
    player = Player.of_teacher(teacher, spec, how, epsilon)
    stage = Stage(env, player, env.reset(rng))
    try:
        for i in range(rounds):
            played = stage.play(0.0, rng)
            assert player.said is not None
            own = {name: value for name, value in played.notes.items() if name in ("mask", "task")}  # no memory
            played._replace(predictions={"teacher": player.said}, notes=own).store(replay)
            if i % 64 == 0:
                tick("teacher's data", i * env.n, env_steps)
    finally:
        env.close()
    replay.cut(stage.obs)
    return replay


def collected(
    request: dict[str, Any],
    spec: TaskSpec,
    teacher: Teacher,
    store: Path,
    tick: Tick,
    told: Callable[[Replay], dict[str, Any]],
    own: bool = False,
) -> Dataset:
    """What a request asks a teacher to play: from the store, or played now and kept there.

    The request names `plays`, `env_steps`, `epsilon` and all else that the data depend on. `told` says more of them,
    for the manifest. With `own` they are kept without the teacher's predictions.
    """
    index = store / "requests" / f"{sha256_json(request)[:16]}.json"
    if index.exists():
        folder = store / "data" / Record(load_record(index), index).hash("data")[:16]
        if folder.exists():
            return open_dataset(folder)
    start = time.perf_counter()
    how = (request["plays"], request["env_steps"], request["epsilon"])
    replay = collect(spec, teacher, *how, stream(PRIOR_SEED, "collect"), tick)
    about = {**request, "seconds": round(time.perf_counter() - start, 2), **told(replay)}
    dataset = save_dataset(replay, store / "data", about, own)
    write_json(index, {"format": FORMAT, "request": request, "data": dataset.id})
    return dataset


# ---- of a bundle ---------------------------------------------------------------------------------------


def bundle_data(name: str, spec: TaskSpec, store: Path, tick: Tick) -> Dataset:
    """The data of a bundle, `NAME` or `NAME@HASH`: played by its teacher on first request, and then in the store.

    Raises UserError where the bundle holds none, is of another task, or where other data come out than the manifest's.
    """
    bundle = find(name)
    if bundle.task != spec.id:
        raise UserError(f"the data of prior:{name} are of {bundle.task}, not of {spec.id}")
    dataset = play(bundle, opened(bundle, spec.actions), spec, store, tick)
    if (said := bundle.played["id"]) != dataset.id:
        raise UserError(
            f"the data of prior:{name} come out otherwise on this machine: {dataset.id[:12]}, the manifest says "
            f"{said[:12]}; results on them would not compare with others'. Leave --data out: its teacher plays some"
        )
    return dataset


def play(bundle: Bundle, teacher: Teacher, spec: TaskSpec, store: Path, tick: Tick) -> Dataset:
    """What the manifest says that a bundle's teacher shall play. Without its predictions, which rounding differs in."""
    told = Record(bundle.played, f"the bundle {bundle.name}", "data")
    steps, epsilon, how = told.integer("env_steps", low=1), told.number("epsilon"), told.text("plays")
    asked: dict[str, Any] = {"teacher": teacher.card.sha256, "plays": how, "env_steps": steps, "epsilon": epsilon}
    request = {"kind": "bundle-data", **asked, "protocol": spec.protocol, "seed": PRIOR_SEED}
    more = {"kind": "teacher-data", "bundle": bundle.name}
    return collected(request, spec, teacher, store, tick, lambda _: more, own=True)
