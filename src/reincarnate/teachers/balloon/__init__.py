"""Teachers of the Balloon Learning Environment (Bellemare et al., 2020; Greaves et al., 2021).

`balloon:perciatelli44` is the trained one, `balloon:PATH` its graph or its wheel; `balloon:station_seeker` and
`balloon:random_walk` are scripted and need no file.
"""

from pathlib import Path

from reincarnate.agents.imported import Imported
from reincarnate.errors import UserError
from reincarnate.teachers.balloon import perciatelli, weights
from reincarnate.teachers.balloon.perciatelli import MEMBER, SHA256, recognises
from reincarnate.teachers.balloon.random_walk import RandomWalk
from reincarnate.teachers.balloon.station_seeker import StationSeeker
from reincarnate.types import TaskSpec, Teacher

SCRIPTED = {"station_seeker": StationSeeker, "random_walk": RandomWalk}


def open_address(rest: str, actions: int | None = None) -> Teacher:
    """The teacher of a name or a path. UserError: there is no such file, or it is not such a graph."""
    scripted = SCRIPTED.get(rest)
    if scripted is not None and not Path(rest).exists():
        return scripted()
    return perciatelli.open_address(rest, actions)


def open_weights(rest: str, spec: TaskSpec | None = None) -> Imported:
    """The trained one as an agent to go on from. UserError: it has no weights, or cannot be had."""
    if rest in SCRIPTED and not Path(rest).exists():
        raise UserError(f"--weights balloon:{rest}: a scripted policy has no weights; it can be a --teacher")
    return weights.open_weights(rest)


__all__ = ["MEMBER", "SCRIPTED", "SHA256", "RandomWalk", "StationSeeker", "open_address", "open_weights", "recognises"]
