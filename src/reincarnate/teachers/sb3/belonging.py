"""Which observation statistics are an SB3 agent's own: taken on evidence, never because they lie there."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from reincarnate.errors import UserError
from reincarnate.teachers.sb3.evidence import Evidence, evidence_of, normalises
from reincarnate.teachers.sb3.spaces import Entry
from reincarnate.teachers.sb3.vecnormalize import Statistics, is_statistics, read_statistics

NAMES = ("vecnormalize.pkl", "vec_normalize.pkl")
CONFIG = "config.yml"
CHECKPOINT = r"(.+)_(\d+)_steps"
MOST_FILES = 64  # beside a zip that are looked into


@dataclass(frozen=True)
class Found:
    """What is done to an agent's observations: its statistics, or None, and in words what was decided and why."""

    statistics: Statistics | None = None
    said: str = ""


def own_names(stem: str) -> list[str]:
    """Where statistics lie that can only be those of `stem`.zip, seen from its folder: the RL Zoo's folder of the same
    name, CheckpointCallback's file of the same step, and the names that people make of both."""
    names = [f"{stem}/{name}" for name in NAMES]
    if step := re.fullmatch(CHECKPOINT, stem):
        names.append(f"{step[1]}_vecnormalize_{step[2]}_steps.pkl")
    for word in ("vecnormalize", "vec_normalize", "vecnorm"):
        names += [f"{stem}{mark}{word}.pkl" for mark in "_-."] + [f"{word}{mark}{stem}.pkl" for mark in "_-"]
    return [*names, f"{stem}.pkl"]  # the last may be many things, replay too


def shared_names(stem: str, names: Iterable[str]) -> list[str]:
    """Of the `names` in a folder those that statistics of any agent there have; of the RL Zoo's best models and
    checkpoints also those in the folder of its task."""
    shared = list(NAMES)
    if stem == "best_model" or re.fullmatch(CHECKPOINT, stem):
        shared += [name for name in names if PurePosixPath(name).name in NAMES and name.count("/") == 1]
    return [name for name in dict.fromkeys(shared) if name in set(names)]


def companions(name: str, names: Sequence[str], query: str = "") -> list[str]:
    """Of all `names` of a repository those that are needed to decide, for the zip called `name`.

    `query`: what follows it in its address, which may name a file beside it.
    """
    folder, stem = PurePosixPath(name).parent, PurePosixPath(name).stem
    inside = {
        str(PurePosixPath(one).relative_to(folder)): one for one in names if PurePosixPath(one).is_relative_to(folder)
    }
    asked = unquote(query.partition("vecnormalize=")[2])
    wanted = [asked] if asked else [*own_names(stem)[:-1], *shared_names(stem, inside), f"{stem}/{CONFIG}", CONFIG]
    return [inside[one] for one in wanted if one in inside]


def find(
    zipped: Path, evidence: Evidence, obs_shape: tuple[int, ...], asked: str, entries: Sequence[Entry] = ()
) -> Found:
    """The statistics of the agent in a zip. `asked`: a file that was named, "none", or "" to look for them.

    `entries`: of the Dict that it sees, if it is one.

    UserError: what is named does not fit, the zip and the files beside it contradict each other, or the agent needs
    statistics that cannot be told from another's.
    """
    if asked:
        return _named(zipped, obs_shape, asked, entries)
    return _Search(zipped, evidence, obs_shape, entries).decide()


def _named(zipped: Path, obs_shape: tuple[int, ...], asked: str, entries: Sequence[Entry]) -> Found:
    if asked == "none":
        return Found(None, "observations are not normalised, as ?vecnormalize=none asks")
    path = Path(asked) if Path(asked).is_file() else zipped.parent / asked
    statistics = read_statistics(path).along(entries)
    if not statistics.fits(obs_shape):
        raise UserError(f"{path}: statistics {statistics.said} do not fit observations {obs_shape}")
    return _taken(statistics, asked, "as ?vecnormalize= asks")


def _taken(statistics: Statistics, name: str, why: str) -> Found:
    if not statistics.normalises:
        return Found(None, f"observations are not normalised: {name} says norm_obs = False ({why})")
    return Found(statistics, f"observations are normalised by {name} ({why})")


class _Search:
    """The files that could be meant, and what speaks for each."""

    def __init__(self, zipped: Path, evidence: Evidence, obs_shape: tuple[int, ...], entries: Sequence[Entry]):
        self.entries = entries
        self.zipped, self.folder, self.evidence, self.shape = zipped, zipped.parent, evidence, obs_shape
        names = list(_listed(self.folder))
        stem = zipped.stem if zipped.suffix == ".zip" else zipped.name
        here = set(names)
        self.own = [name for name in own_names(stem) if name in here and self._meant(name, stem)]
        self.shared = [name for name in shared_names(stem, names) if name not in self.own]
        self.others = [name for name in names if name.endswith(".pkl") and "/" not in name]
        self.zips = [name for name in names if name.endswith(".zip") and name != zipped.name]
        self.stem = stem

    def _meant(self, name: str, stem: str) -> bool:
        """Replay buffers and other pickles also bear the zip's name."""
        return name != f"{stem}.pkl" or is_statistics(self.folder / name)

    @cached_property
    def strangers(self) -> list[Evidence]:
        """Agents beside it, of another training, that see such observations and may have been normalised."""
        found = [one for name in self.zips[:MOST_FILES] if (one := evidence_of(self.folder / name)) is not None]
        known = self.evidence.training
        return [
            other
            for other, shape in found
            if shape in (None, self.shape)
            and other.wrapped is not False
            and not (other.training is not None and other.training == known)
        ]

    @cached_property
    def config(self) -> bool | None:
        """What the RL Zoo's settings say, where they are this agent's."""
        own = normalises(self.folder / self.stem / CONFIG)
        if own is not None or not (self.folder / CONFIG).is_file():
            return own
        return None if self.strangers else normalises(self.folder / CONFIG)

    def decide(self) -> Found:
        """What was found. UserError: it cannot be told."""
        trained = self.evidence.wrapped
        if trained is None:
            trained = self.config
        elif self.config is True and trained is False:
            raise self._refused(f"its {CONFIG} says that observations were normalised, the zip that they were not")
        if trained is False:
            return self._without()
        return self._among(self.own + self.shared, trained)

    def _without(self) -> Found:
        """It was trained without statistics. UserError: some bear its name nevertheless."""
        source = "the zip" if self.evidence.wrapped is False else f"its {CONFIG}"
        if any(self._read(name).normalises for name in self.own):
            raise self._refused(f"{self.own[0]} bears its name, but {source} says that it was trained without any")
        if self.own + self.shared:
            first = (self.own + self.shared)[0]
            return Found(None, f"observations are not normalised: {first} is left alone, for {source} says so")
        return Found()

    def _among(self, names: list[str], trained: bool | None) -> Found:
        found = {name: self._read(name) for name in names}
        fitting = {name: one for name, one in found.items() if one.fits(self.shape)}
        verdicts = {name: self.evidence.proves(one) for name, one in fitting.items()}
        if proven := [name for name, verdict in verdicts.items() if verdict]:
            return _taken(fitting[proven[0]], proven[0], self._proof(fitting[proven[0]]))
        left = {name: one for name, one in fitting.items() if verdicts[name] is None}
        if not left:
            return self._none_left(found, fitting, trained)
        if mine := [name for name in self.own if name in left]:
            return self._checked(left[mine[0]], mine[0], "they bear its name")
        return self._shared(left)

    def _proof(self, one: Statistics) -> str:
        written = one.sha256 == self.evidence.written_with
        return "it was written with them" if written else "they turn its last raw observation into the one it saw"

    def _read(self, name: str) -> Statistics:
        try:
            return read_statistics(self.folder / name).along(self.entries)
        except UserError as error:
            raise UserError(f"{error}; to go without: sb3:{self.zipped}?vecnormalize=none") from None

    def _none_left(self, found: dict[str, Statistics], fitting: dict[str, Statistics], trained: bool | None) -> Found:
        """No statistics of a known name are its own."""
        reasons = [
            f"{name} did not make its last observation" if name in fitting else f"{name} is {one.said}"
            for name, one in found.items()
        ]
        if trained is not True and not any(name in self.own for name in found):
            return Found(None, f"observations are not normalised: {'; '.join(reasons)}" if reasons else "")
        if trained is True and (other := self._by_numbers()):
            return other
        source = "the zip" if self.evidence.wrapped else f"its {CONFIG}"
        said = f"{source} says that observations were normalised" if trained else "statistics bear its name"
        why = "; ".join(reasons) or "no statistics were found beside it"
        raise self._refused(f"{said}, but {why}")

    def _by_numbers(self) -> Found | None:
        """Statistics under any name whose numbers fit the zip's."""
        names = [name for name in self.others if is_statistics(self.folder / name)][:MOST_FILES]
        fitting = {name: one for name in names if (one := self._read(name)).fits(self.shape)}
        proven = [name for name, one in fitting.items() if self.evidence.proves(one)]
        if proven:
            return _taken(fitting[proven[0]], proven[0], self._proof(fitting[proven[0]]))
        left = [name for name, one in fitting.items() if self.evidence.proves(one) is None]
        if len(left) == 1 and not self.strangers:
            return self._checked(fitting[left[0]], left[0], "the only ones beside the only agent")
        return None

    def _shared(self, left: dict[str, Statistics]) -> Found:
        """Statistics that lie beside it under a common name. UserError: they may be another agent's."""
        name, one = next(iter(left.items()))
        if len({other.sha256 for other in left.values()}) > 1:
            raise self._refused(f"{' and '.join(left)} differ, and nothing tells which is its own")
        if not self.strangers:
            return self._checked(one, name, "the only agent beside them")
        if self.evidence.counts(one) and not any(other.counts(one) for other in self.strangers):
            return _taken(one, name, f"they saw {one.count:,.0f} observations, as many as it took steps")
        others = f"{len(self.strangers)} other agents lie" if len(self.strangers) > 1 else "another agent lies"
        raise self._refused(f"{name} may be its statistics or another's: {others} beside it")

    def _checked(self, one: Statistics, name: str, why: str) -> Found:
        """Taken, with a word where the numbers are not those of its training."""
        if one.normalises and self.evidence.steps and not self.evidence.counts(one):
            why += (
                f"; they saw {one.count:,.0f} observations and it took {self.evidence.steps:,} steps, so they may be "
            )
            why += "of another moment of its training"
        return _taken(one, name, why)

    def _refused(self, why: str) -> UserError:
        return UserError(
            f"{self.zipped}: {why}; name its statistics, sb3:{self.zipped}?vecnormalize=FILE, or "
            "?vecnormalize=none to go without"
        )


def _listed(folder: Path) -> Iterator[str]:
    """Names of files in the folder, and of statistics one folder further down, in a steady order."""
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return
    for entry in entries:
        if entry.is_file():
            yield entry.name
        elif entry.is_dir():
            yield from (f"{entry.name}/{name}" for name in NAMES if (entry / name).is_file())
