"""Minari datasets (Farama Foundation), read from their files: `main_data.hdf5` and `metadata.json`."""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from reincarnate.data.dataset import Columns
from reincarnate.data.readers import Logged, flat, hdf5
from reincarnate.errors import UserError
from reincarnate.files.atomic import sha256_file
from reincarnate.files.safe import MIB, one_line, parse_json, read_file, sha256
from reincarnate.surroundings import home
from reincarnate.types import TaskSpec

MAIN, ABOUT = "main_data.hdf5", "metadata.json"


def recognises(path: Path) -> bool:
    """Whether it is the folder of a dataset, or its `data` folder."""
    return (path / MAIN).is_file() or (path / "data" / MAIN).is_file()


def read(address: str, spec: TaskSpec | None) -> Logged:
    """The dataset of an id under $MINARI_DATASETS_PATH (else ~/.minari/datasets), or in a folder.

    UserError: no such dataset, damaged, or observations or actions that are no single array.
    """
    folder = _folder(address)
    main = folder / MAIN
    about = _about(folder)
    told = _spec(address, about, spec)
    episodes = _episodes(main)
    return Logged(
        format="minari",
        source=sha256(sha256_file(main).encode(), sha256_file(folder / ABOUT).encode()),
        spec=told,
        blocks=lambda: _blocks(main, told, episodes),
        transitions=_count(about, episodes),
        warnings=_inner_ends(main, episodes),
        about={"dataset": str(about.get("dataset_id", ""))[:200]},
    )


def _folder(address: str) -> Path:
    """Where the dataset's files lie."""
    root = Path(os.environ.get("MINARI_DATASETS_PATH") or home() / ".minari" / "datasets")
    for place in (Path(address), root / address):
        if recognises(place):
            return place if (place / MAIN).is_file() else place / "data"
        if (place / "data" / ABOUT).is_file() or (place / ABOUT).is_file():
            raise UserError(f"{address}: a Minari dataset without {MAIN}; only those in HDF5 can be read")
    named = re.search(r"(?:^|(?<=datasets/))(?:[\w-]+/)*[\w-]+-v\d+$", address.strip("/"))
    known = named[0] if named else Path(address).name
    raise UserError(f"{address}: no Minari dataset there or in {root}; fetch it with `minari download {known}`")


def _about(folder: Path) -> dict[str, Any]:
    path = folder / ABOUT
    if not path.is_file():
        raise UserError(f"{path} is missing: the dataset was written by Minari before 0.5, or is not whole")
    return parse_json(read_file(path, 64 * MIB), str(path))


def _json_in(about: dict[str, Any], key: str, what: str) -> dict[str, Any]:
    """An object kept as text of JSON inside the metadata; {} where there is none."""
    text = about.get(key)
    if text is None:
        return {}
    if not isinstance(text, str):
        raise UserError(f"{what}: {key} in {ABOUT} is not text")
    return parse_json(text.encode(), f"{what}: {key} in {ABOUT}")


def _spec(what: str, about: dict[str, Any], task: TaskSpec | None) -> TaskSpec:
    seen, acted = _json_in(about, "observation_space", what), _json_in(about, "action_space", what)
    env = _json_in(about, "env_spec", what)
    if seen.get("type") != "Box":
        raise UserError(f"{what}: observations are {_named(seen)}; a Box is needed")
    try:
        shape = tuple(int(size) for size in seen["shape"])
        dtype = np.dtype(str(seen["dtype"]))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{what}: its observation space cannot be read: {one_line(error)}") from None
    name = flat.listed([env.get("id", "")])
    protocol: dict[str, Any] = {"env": name} if name else {}
    if isinstance(limit := env.get("max_episode_steps"), int):
        protocol["max_episode_steps"] = limit
    told = flat.told_spec(what, shape, dtype, np.zeros(1, np.int64), None)
    return replace(told, id=name, protocol=protocol, **_actions(what, acted, task))


def _actions(what: str, space: dict[str, Any], task: TaskSpec | None) -> dict[str, Any]:
    """The fields of a spec that describe actions."""
    try:
        match space.get("type"):
            case "Discrete" if int(space.get("start", 0)) == 0 and 0 < int(space["n"]) <= 1 << 16:
                return {"actions": int(space["n"])}
            case "Box" if len(space["shape"]) == 1:
                low, high = (tuple(float(x) for x in space[key]) for key in ("low", "high"))
                if not np.isfinite(low + high).all() and task is not None and task.bounds:
                    low, high = task.bounds
                if len(low) == len(high) == int(space["shape"][0]) and np.isfinite(low + high).all():
                    return {"actions": len(low), "bounds": (low, high)}
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{what}: its action space cannot be read: {one_line(error)}") from None
    raise UserError(f"{what}: actions are {_named(space)}; Discrete from 0 or a bounded Box of one dimension is needed")


def _named(space: dict[str, Any]) -> str:
    """A space in words, with the keys of a dictionary."""
    kind, parts = flat.listed([space.get("type", "of an unknown kind")]), space.get("subspaces")
    if isinstance(parts, dict):
        return f"{kind} with keys {flat.listed(parts)}"
    shown = {key: space[key] for key in ("n", "start", "shape") if key in space}
    return f"{kind} {json.dumps(shown)[:80]}" if shown else kind


def _episodes(main: Path) -> list[str]:
    """The names of the episodes' groups, in their order. UserError: there is none."""
    with hdf5.opened(main) as file:
        names = [name for name in file if name.startswith("episode_") and name[8:].isdecimal()]
    if not names:
        raise UserError(f"{main} holds no episodes")
    return sorted(names, key=lambda name: int(name[8:]))


def _inner_ends(main: Path, episodes: list[str]) -> tuple[str, ...]:
    """A warning where an episode's group has ends before its last step, at which it is parted."""
    steps = groups = 0
    with hdf5.opened(main) as file:
        for name in episodes:
            what = f"{main}: {name}"
            flags = [flat.as_flags(hdf5.whole(file[name], key, what), what) for key in ("terminations", "truncations")]
            if len(flags[0]) != len(flags[1]):
                raise UserError(f"{what}: terminations and truncations have different lengths")
            inner = int(np.count_nonzero((flags[0] | flags[1])[:-1]))
            steps, groups = steps + inner, groups + (inner > 0)
    if not steps:
        return ()
    return (
        f"{groups:,} of {len(episodes):,} episodes go on after {steps:,} steps that are marked as ends; they are "
        "parted there, so that returns and lengths are of pieces (perhaps every step at the goal is marked)",
    )


def _count(about: dict[str, Any], episodes: list[str]) -> int:
    total = about.get("total_steps")
    return total if isinstance(total, int) and total > 0 else len(episodes)


def _blocks(main: Path, spec: TaskSpec, episodes: list[str]) -> Iterator[Columns]:
    with hdf5.opened(main) as file:
        for name in episodes:
            yield from flat.blocks(spec, _steps(file[name], spec, f"{main}: {name}"))


def _steps(group: Any, spec: TaskSpec, what: str) -> flat.Steps:
    """An episode of T steps with its T + 1 observations."""
    rewards = flat.flat_rewards(hdf5.whole(group, "rewards", what), what)
    n = len(rewards)
    ends = [flat.as_flags(hdf5.whole(group, key, what, n), what) for key in ("terminations", "truncations")]
    seen = hdf5.column(group, "observations", what)
    if seen.shape != (n + 1, *spec.obs_shape):
        raise UserError(f"{what}: observations are {list(seen.shape)}, not {[n + 1, *spec.obs_shape]}")
    actions = flat.flat_actions(hdf5.whole(group, "actions", what, n))
    flat.check_actions(actions, spec, what)
    return flat.Steps(
        observations=hdf5.rows_of(seen),
        actions=actions,
        rewards=rewards,
        terminated=ends[0],
        ended=ends[0] | ends[1],
        successors=lambda low, high: seen[low + 1 : high + 1],
    )
