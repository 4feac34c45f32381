"""What an agent kept beside its weights, taken over by a student that starts from it: optimiser state and replay."""

import numpy as np
import torch

from reincarnate.agents import Agent
from reincarnate.data import Replay
from reincarnate.data.dataset import Dataset, verify
from reincarnate.data.sampling import TAIL
from reincarnate.errors import UserError
from reincarnate.students import ValueStudent
from reincarnate.types import Memory


def reuse(student: ValueStudent, memory: Memory, agent: Agent) -> list[str]:
    """Take over an agent's optimiser state, where the network is as it was, and its replay. Returns what was done.

    Raises UserError where the agent kept neither, or what it kept has changed.
    """
    _must_have_kept(agent)
    data = agent.data()
    if data is None or not isinstance(memory, Replay):
        replay = "replay: new (the agent has none, or the student learns without one)"
    else:
        replay = f"replay: {refill(memory, data):,} of {data.transitions:,} transitions reused"
    return [_reuse_optimizer(student, agent), replay]


def _must_have_kept(agent: Agent) -> None:
    if not agent.kept:
        raise UserError(f"{agent.path} kept neither replay nor optimiser (--keep all does); use --reuse weights")


def _reuse_optimizer(student: ValueStudent, agent: Agent) -> str:
    given, own, name = agent.optimizer_state(), student.optimizer.state, student.config.optimizer
    if "online" not in given or not torch.equal(given["online"], student.online.data):
        return "optimiser: new (the network is not as it was)"
    if any(f"{name}.{key}" not in given or given[f"{name}.{key}"].shape != own[key].shape for key in own):
        return "optimiser: new (it was another one)"
    for key, tensor in own.items():
        tensor.copy_(given[f"{name}.{key}"])
    return "optimiser: its state is reused"


def refill(memory: Replay, data: Dataset) -> int:
    """Put the newest whole episodes of a dataset into an empty replay, shared out to its streams.

    Returns the number of transitions. Raises UserError where the data has changed or is of another task.
    """
    verify(data)
    if data.spec != memory.spec:
        raise UserError(f"the replay in {data.path} is of another task or protocol: {data.spec}, not {memory.spec}")
    columns = {name: np.load(data.path / f"{name}.npy", mmap_mode="r") for name in memory.columns}
    starts = np.flatnonzero(np.asarray(columns["age"]) == 0)
    ends = np.append(starts[1:], len(columns["age"]))
    fits = _newest_that_fit(ends - starts, memory)
    for stream, episodes in enumerate(fits):
        for k in reversed(episodes):  # the oldest first: it will be the first to be overwritten
            at = int(memory.base[stream] + memory.added[stream])
            for name, column in columns.items():
                memory.columns[name][at : at + ends[k] - starts[k]] = column[starts[k] : ends[k]]
            memory.added[stream] += ends[k] - starts[k]
            memory.played[stream] += int((columns["flags"][starts[k] : ends[k]] & TAIL == 0).sum())
    return memory.transitions


def _newest_that_fit(sizes: np.ndarray, memory: Replay) -> list[list[int]]:
    """For each stream the episodes (by number, newest first) it takes: always into the stream with most room."""
    room = np.full(memory.streams, memory.rows)
    taken: list[list[int]] = [[] for _ in range(memory.streams)]
    for k in reversed(range(len(sizes))):
        stream = int(room.argmax())
        if sizes[k] > room[stream]:
            break
        taken[stream].append(k)
        room[stream] -= sizes[k]
    return taken
