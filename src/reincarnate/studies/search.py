"""Settings that a study looks for before its own seeds begin: a population per method and task, on other seeds.

Each arm of the study is first trained as a population that selects (`training.pbt`), under `search/`. The settings that
its best member ended with become those of all the arm's runs. Population based training finds a schedule; what is taken
over is its end alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from reincarnate import ui
from reincarnate.config import from_dict
from reincarnate.errors import UserError
from reincarnate.files.finished import check_done
from reincarnate.files.records import Record, is_finite, load_record
from reincarnate.run.execute import execute, execute_together
from reincarnate.run.prepare import prepare_all
from reincarnate.run.settings import NAMES, Run, check_settings
from reincarnate.studies.matrix import Cell, Study
from reincarnate.training.pbt import PBT

FOLDER = "search"


@dataclass(frozen=True)
class Search:
    """The key `search` of a study's file."""

    population: int = 4  # members of each population
    seed: int = 100  # of the first; none of them may be a seed that the study reports
    pbt: PBT = field(default_factory=PBT)

    def run_of(self, run: Run) -> Run:
        """The population of one arm."""
        return replace(run, seed=self.seed, population=self.population, exchange=self.pbt)


def search_of(study: Study) -> Search | None:
    """What a study's file asks for, checked before anything runs. Raises UserError where it cannot be."""
    asked = study.settings.get("search")
    if asked is None:
        return None
    try:
        search = from_dict(Search, asked, NAMES, "search")
        told = {cell.directory: one.run for cell, one in zip(study.cells, study.prepared, strict=bool(study.prepared))}
        for cell in _arms(study).values():
            run = search.run_of(cell.run)
            check_settings(run)
            trained = told.get(cell.directory) or run  # what was left to the kind of teacher is known there
            run.exchange.suits(trained.student, trained.method)
    except UserError as error:
        raise UserError(f"the study's search: {error}") from None
    own = {cell.run.seed for cell in study.cells}
    if both := sorted(own & {*range(search.seed, search.seed + search.population)}):
        raise UserError(
            f"the study searches on seed {both[0]} and reports it: settings chosen on a seed flatter it; "
            "move search.seed"
        )
    return search


def folders(study: Study, search: Search) -> list[Path]:
    """Where its members are trained, within the study's folder."""
    arms = _arms(study).items()
    return [
        Path(FOLDER) / key / f"s{member.seed}" for key, cell in arms for member in search.run_of(cell.run).members()
    ]


def searched(study: Study, search: Search, out: Path) -> tuple[Study, dict[str, Any]]:
    """The study with the settings that were found, and what is to be recorded of the search, by arm.

    Populations that are done are not trained again; one that was stopped goes on.
    """
    found = {key: _found(search, cell, out / FOLDER / key) for key, cell in _arms(study).items()}
    cells = [replace(cell, run=with_settings(cell.run, found[_arm(cell)]["settings"])) for cell in study.cells]
    told = {key: {**one, "directory": f"{FOLDER}/{key}"} for key, one in found.items()}
    return replace(study, cells=tuple(cells), prepared=tuple(prepare_all([cell.run for cell in cells]))), told


def with_settings(run: Run, settings: Mapping[str, float]) -> Run:
    """The run with settings by name, `student.lr` or `method.weight`."""
    parts = {
        owner: {name.partition(".")[2]: value for name, value in settings.items() if name.startswith(f"{owner}.")}
        for owner in ("student", "method")
    }
    return replace(run, **{owner: replace(getattr(run, owner), **own) for owner, own in parts.items() if own})


def _arm(cell: Cell) -> str:
    """A cell's directory without its seed."""
    return str(cell.directory).removesuffix(f"-s{cell.run.seed}")


def _arms(study: Study) -> dict[str, Cell]:
    """One cell of each method and task."""
    return {_arm(cell): cell for cell in reversed(study.cells)}


def _found(search: Search, cell: Cell, folder: Path) -> dict[str, Any]:
    """The settings of the best member, its seed and score, and what the population cost."""
    results = _trained(search.run_of(cell.run), folder)
    best = max(results, key=lambda one: one.number("score"))
    settings = best.mapping("changed", is_finite, "an object of finite numbers") if "changed" in best else {}
    steps = sum(one.integer("env_steps", low=0) for one in results)
    words = ", ".join(f"{name} {value:.3g}" for name, value in settings.items()) or "as asked"
    ui.note(f"{folder.name}: {words}, found by {len(results)} members in {steps:,} env steps")
    seed = best.integer("seed", low=0)
    return {"settings": dict(settings), "seed": seed, "score": best.number("score"), "env_steps": steps}


def _trained(run: Run, folder: Path) -> Sequence[Record]:
    """The members' results, of a population that is trained where it is not done."""
    members = run.members()
    places = [folder / f"s{member.seed}" for member in members]
    done = [(place / "done").exists() for place in places]
    if not any(done):
        with ui.Bars() as tick:
            execute_together(members, places, [(place / "config.json").exists() for place in places], tick, ui.note)
    for member, place, over in zip(members, places, done, strict=True):
        if any(done) and not over:  # trained, and killed before the last was concluded
            execute(member, place, resume=True, note=ui.note)
        check_done(place)
    return [Record(load_record(place / "result.json"), place / "result.json") for place in places]
