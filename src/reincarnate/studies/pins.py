"""The prior of a study, pinned: `study.json` holds what every run must stand on, by hash, from the first run on."""

import json
from pathlib import Path
from typing import Any

from reincarnate.errors import UserError
from reincarnate.files.atomic import FORMAT, sha256_json, write_json
from reincarnate.files.finished import check_done
from reincarnate.files.records import Record, is_finite, is_text, load_record
from reincarnate.files.regular import within
from reincarnate.run.prepare import Prepared
from reincarnate.run.settings import Run, method_name
from reincarnate.studies.matrix import Cell, Study

Pins = dict[str, dict[str, dict[str, str]]]  # task -> protocol, teacher, data or weights -> address -> hash
FILE = "study.json"


class Pinned:
    """What is pinned in a study's directory, and the refusal of what has changed since."""

    def __init__(self, out: Path):
        self.path = out / FILE
        self.found: dict[str, Any] = {}  # settings that were searched for, by arm
        self.pins: Pins = _pins(Record(load_record(self.path), self.path)) if self.path.exists() else {}

    def check(self, prepared: Prepared) -> None:
        """Pin a run's task, teacher and weights. Raises UserError where one was another when the study began."""
        run = prepared.run
        self._pin(run.env, "protocol", run.env, sha256_json(prepared.spec.protocol))
        if prepared.teacher:
            self._pin(run.env, "teacher", str(run.teacher), prepared.teacher.card.sha256)
        if prepared.agent:
            self._pin(run.env, "weights", str(run.weights), prepared.agent.sha256)

    def check_data(self, prepared: Prepared) -> None:
        """The same for its data."""
        if data := prepared.data:
            self._pin(prepared.run.env, "data", _data_address(prepared.run), data.id)

    def adopt(self, run: Run, directory: Path) -> None:
        """The same for what a finished run stood on, by its own result."""
        check_done(directory)
        result = load_record(directory / "result.json")
        prior = Record(result, directory / "result.json").record("prior", {}).value
        addresses = {"teacher": run.teacher, "weights": run.weights, "data": _data_address(run)}
        self._pin(run.env, "protocol", run.env, str(result.get("protocol_hash")))
        for kind, address in addresses.items():
            if prior.get(kind):
                self._pin(run.env, kind, str(address), str(prior[kind]))

    def _pin(self, env: str, kind: str, address: str, found: str) -> None:
        known = self.pins.setdefault(env, {}).setdefault(kind, {}).setdefault(address, found)
        if known != found:
            raise UserError(
                f"the {kind} {address} of {env} has changed since this study began: it is {found}, {self.path} "
                f"has {known}; put it back, or begin with another --out"
            )

    def write(self, study: Study) -> None:
        """Write `study.json`; a study that has grown by seeds or methods is written anew, with the pins it has."""
        runs = [_describe(cell) for cell in study.cells]
        settings = json.loads(json.dumps(study.settings, default=str))
        record = {"format": FORMAT, "kind": "study", "title": study.title, "settings": settings}
        found = {"found": self.found} if self.found else {}
        write_json(self.path, {**record, "pins": self.pins, "runs": runs, **found})


def _pins(record: Record) -> Pins:
    """UserError: they are not hashes by address, kind and task."""
    pinned = record.record("pins")
    return {
        task: {kind: pinned.record(task).mapping(kind, is_text, "hashes by address") for kind in pinned.record(task)}
        for task in pinned
    }


def _data_address(run: Run) -> str:
    """The dataset that is named, or what the teacher is asked to play."""
    played = f"{run.teacher}, {run.teacher_plays}, {run.data_env_steps} env steps, ε {run.data_epsilon}"
    return run.data or played


def _describe(cell: Cell) -> dict[str, Any]:
    label = cell.run.label or method_name(cell.run)
    return {"directory": str(cell.directory), "env": cell.run.env, "label": label, "seed": cell.run.seed}


def read_study_record(directory: Path) -> dict[str, Any]:
    """`study.json` of a study's directory. Raises UserError where there is none."""
    if not (directory / FILE).exists():
        hint = f"`reincarnate compare {directory}` compares runs of any origin"
        raise UserError(f"{directory} holds no study ({FILE} is missing); {hint}")
    value = load_record(within(directory, FILE))
    if value.get("kind") != "study":
        raise UserError(f"{directory / FILE} does not describe a study")
    record = Record(value, directory / FILE)
    record.text("title")
    record.record("settings", {})
    for name in (found := record.record("found", {})):
        found.record(name).mapping("settings", is_finite, "an object of finite numbers")
        found.record(name).integer("env_steps", low=0)
    for run in record.records("runs"):
        for name in ("env", "label"):
            run.text(name)
        place = Path(run.text("directory"))
        if place.is_absolute() or ".." in place.parts or "\0" in str(place):
            raise run.refuse("directory", "a folder of the study's", str(place))
    return value
