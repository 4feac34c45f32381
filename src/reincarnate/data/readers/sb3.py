"""Replay buffers of Stable-Baselines3 (`model.save_replay_buffer`): a pickle, of which only arrays are taken."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from reincarnate.data.dataset import Columns
from reincarnate.data.readers import Logged, flat, pickles
from reincarnate.errors import UserError
from reincarnate.files.atomic import sha256_file
from reincarnate.files.regular import open_regular
from reincarnate.files.safe import Inert
from reincarnate.files.sb3_pickles import ALLOWED as NUMPY_AND_SPACES
from reincarnate.types import TaskSpec

ALLOWED = (
    *NUMPY_AND_SPACES,
    r"stable_baselines3\.[\w.]+",
    r"(gym|gymnasium)\.spaces\.[\w.]+",
    r"torch\.device",
    r"collections\.(OrderedDict|deque)",
)
KINDS = ("ReplayBuffer", "NStepReplayBuffer")
HEAD = 512  # bytes in which the class is named


def recognises(path: Path) -> bool:
    """Whether it begins as a pickle of a buffer of SB3's."""
    try:
        with open_regular(path) as file:
            head = file.read(HEAD)
    except (OSError, UserError):
        return False
    return head[:1] == b"\x80" and b"stable_baselines3" in head and b"ReplayBuffer" in head


@dataclass(frozen=True)
class _Buffer:
    """The arrays [size, copies, …], views of the file, and where they begin."""

    observations: np.ndarray
    successors: np.ndarray | None
    actions: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    ended: np.ndarray
    order: np.ndarray  # rows, oldest first
    headless: bool  # the oldest episodes may lack their beginnings
    after: int | None  # thrifty layout: the row with what followed the newest step


def read(address: str, spec: TaskSpec | None) -> Logged:
    """A buffer's file. UserError: not one, damaged, or observations or actions that are no single array."""
    path = Path(address)
    state = _state(pickles.load(path, ALLOWED), address)
    buffer, warnings = _buffer(state, address)
    acted, actions, note = _actions(state, buffer, address)
    shape, dtype = buffer.observations.shape[2:], buffer.observations.dtype
    told = flat.told_spec(address, shape, dtype, actions[buffer.order, 0], None)
    told = replace(told, **acted)
    copies = buffer.rewards.shape[1]

    def blocks() -> Iterator[Columns]:
        for copy in range(copies):
            yield from flat.blocks(told, _steps(buffer, actions, copy, spec is not None and spec.stack > 1))

    count = len(buffer.order) * copies
    return Logged("sb3-replay", sha256_file(path), told, blocks, count, warnings + note, about={"copies": copies})


def _state(value: Any, what: str) -> dict[str, Any]:
    kind = value.origin.rpartition(".")[2] if isinstance(value, Inert) else ""
    if not isinstance(value, Inert) or not isinstance(value.state, dict) or not kind.endswith("ReplayBuffer"):
        raise UserError(f"{what}: not a replay buffer saved by Stable-Baselines3")
    seen = value.state.get("observations")
    if isinstance(seen, dict):
        keys = flat.listed(seen)
        raise UserError(f"{what}: a {kind}, whose observations are dictionaries with keys {keys}; arrays are needed")
    if kind not in KINDS:
        raise UserError(f"{what}: a {kind}; known are {', '.join(KINDS)}")
    return value.state


def _buffer(state: dict[str, Any], what: str) -> tuple[_Buffer, tuple[str, ...]]:
    def column(name: str) -> np.ndarray:
        return pickles.array(state.get(name), f"{what}: {name}")

    observations, rewards, dones = column("observations"), column("rewards"), column("dones")
    if observations.ndim < 3 or not len(observations) or not observations.shape[1]:
        raise UserError(f"{what}: observations are {list(observations.shape)}; rows and copies come first")
    size, copies = observations.shape[:2]
    timeouts = column("timeouts") if "timeouts" in state else np.zeros_like(dones)
    actions = column("actions")
    if {rewards.shape, dones.shape, timeouts.shape, actions.shape[:2]} != {(size, copies)} or actions.ndim != 3:
        raise UserError(f"{what}: its arrays have different lengths")
    ended = _flags(dones, f"{what}: dones")
    at, full = pickles.number(state.get("pos"), f"{what}: pos"), pickles.number(state.get("full"), f"{what}: full")
    thrifty = bool(pickles.number(state.get("optimize_memory_usage", False), f"{what}: optimize_memory_usage"))
    if not 0 <= at < size or not (full or at):
        raise UserError(f"{what}: holds no steps (position {at} of {size})")
    # The thrifty layout has written the newest successor over the oldest observation.
    order = np.arange(at + thrifty, at + size) % size if full else np.arange(at)
    successors = None if thrifty else column("next_observations")
    if successors is not None and successors.shape != observations.shape:
        raise UserError(f"{what}: next_observations are {list(successors.shape)}, not as observations")
    terminated = ended & ~_flags(timeouts, f"{what}: timeouts")
    told_apart = bool(pickles.number(state.get("handle_timeout_termination", False), f"{what}: its settings"))
    warnings = () if told_apart else ("time limits are not told from terminations: all ends are terminations",)
    after = at if thrifty else None
    buffer = _Buffer(observations, successors, actions, rewards, terminated, ended, order, bool(full), after)
    return buffer, warnings


def _flags(values: np.ndarray, what: str) -> np.ndarray:
    return flat.as_flags(values.reshape(-1), what).reshape(values.shape)


def _actions(state: dict[str, Any], buffer: _Buffer, what: str) -> tuple[dict[str, Any], np.ndarray, tuple[str, ...]]:
    """A spec's fields that describe actions, the actions [size, copies] or [size, copies, A], and warnings."""
    space, raw = state.get("action_space"), buffer.actions
    kind = space.origin.rpartition(".")[2] if isinstance(space, Inert) else "?"
    about = space.state if isinstance(space, Inert) and isinstance(space.state, dict) else {}
    if kind == "Discrete" and raw.shape[2] == 1 and raw.dtype.kind in "iu":
        n = pickles.number(about.get("n"), f"{what}: number of actions")
        if pickles.number(about.get("start", 0), f"{what}: first action") != 0 or not 0 < n <= 1 << 16:
            raise UserError(f"{what}: {n} actions; they must count from 0")
        flat.check_actions(raw[buffer.order].reshape(-1), TaskSpec("", (1,), "float32", n, 1, None, {}), what)
        return {"actions": n, "bounds": None}, raw[..., 0], ()
    if kind != "Box" or raw.dtype.kind != "f":
        raise UserError(f"{what}: actions in a {kind} space; Discrete, or a Box of one dimension is needed")
    low, high = (pickles.array(about.get(key), f"{what}: bounds of actions").astype(float) for key in ("low", "high"))
    if low.shape != raw.shape[2:] or high.shape != low.shape or not (np.isfinite(low) & np.isfinite(high)).all():
        raise UserError(f"{what}: actions without finite bounds")
    fields = {"actions": len(low), "bounds": (tuple(low.tolist()), tuple(high.tolist()))}
    if np.abs(raw[buffer.order]).max(initial=0) > 1 + 1e-5:
        return fields, raw, ("actions leave [-1, 1], so they are taken as they are, not as SB3's agents scale them",)
    if (low == -1).all() and (high == 1).all():
        return fields, raw, ()
    return fields, (low + (raw + 1) / 2 * (high - low)).astype(np.float32), ()


def _steps(buffer: _Buffer, actions: np.ndarray, copy: int, stacked: bool) -> flat.Steps:
    """The steps of one copy of the environment. `stacked`: of stacks of frames the newest alone will be kept, so that
    an episode whose beginning was overwritten lacks some."""
    order, after = buffer.order, buffer.successors
    if buffer.headless and stacked:
        ended = buffer.ended[order, copy]
        order = order[int(ended.argmax()) + 1 :] if ended.any() else order[:0]
    if buffer.after is not None:
        return _thrifty(buffer, actions, copy, order)

    def successors(low: int, high: int) -> np.ndarray:
        assert after is not None
        return after[order[low:high], copy]

    return flat.Steps(
        observations=lambda low, high: buffer.observations[order[low:high], copy],
        actions=actions[order, copy],
        rewards=buffer.rewards[order, copy],
        terminated=buffer.terminated[order, copy],
        ended=buffer.ended[order, copy],
        successors=successors if after is not None else None,
    )


def _thrifty(buffer: _Buffer, actions: np.ndarray, copy: int, order: np.ndarray) -> flat.Steps:
    """Where each observation is the successor of the row before, the newest step's comes last, as a step of its own
    that nobody took: a tail. Whether a limit cut the newest step or the file's end makes no difference."""
    assert buffer.after is not None
    rows = np.append(order, buffer.after) if len(order) else order
    last = np.arange(len(rows)) == len(rows) - 1
    terminated = buffer.terminated[rows, copy] & ~last
    ended = buffer.ended[rows, copy] & ~last
    if len(order):
        ended[-2] = terminated[-2]
    return flat.Steps(
        observations=lambda low, high: buffer.observations[rows[low:high], copy],
        actions=actions[rows, copy],
        rewards=np.where(last, 0, buffer.rewards[rows, copy]),
        terminated=terminated,
        ended=ended | last,
    )
