"""Teachers of the Balloon Learning Environment (Bellemare et al., 2020; Greaves et al., 2021).

`balloon:perciatelli44` is the trained one, `balloon:PATH` its graph or its wheel; `balloon:station_seeker` and
`balloon:random_walk` are scripted and need no file.
"""

from pathlib import Path

from reincarnate.teachers.balloon import perciatelli
from reincarnate.teachers.balloon.perciatelli import MEMBER, SHA256, recognises
from reincarnate.teachers.balloon.random_walk import RandomWalk
from reincarnate.teachers.balloon.station_seeker import StationSeeker
from reincarnate.types import Teacher

SCRIPTED = {"station_seeker": StationSeeker, "random_walk": RandomWalk}


def open_address(rest: str, actions: int | None = None) -> Teacher:
    """The teacher of a name or a path. UserError: there is no such file, or it is not such a graph."""
    scripted = SCRIPTED.get(rest)
    if scripted is not None and not Path(rest).exists():
        return scripted()
    return perciatelli.open_address(rest, actions)


__all__ = ["MEMBER", "SCRIPTED", "SHA256", "RandomWalk", "StationSeeker", "open_address", "recognises"]
