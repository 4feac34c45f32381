"""Our own formats with small valid folders, to be damaged where only structure tells: their hashes are made right."""

import contextlib
import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from asking import cut
from fuzzing import Target
from interrupting import small_run, stopped
from rich.console import Console

from reincarnate import envs
from reincarnate.agents.agent import open_agent
from reincarnate.config import read_yaml, to_dict
from reincarnate.data.dataset import open_dataset, write_dataset
from reincarnate.data.rows import episode
from reincarnate.errors import UserError
from reincarnate.files.atomic import sha256_json, write_json
from reincarnate.methods import QDagger, Scratch
from reincarnate.priors.reference import reference
from reincarnate.report import as_rich, load_runs
from reincarnate.report.table import summarise
from reincarnate.run.assemble import assemble
from reincarnate.run.directory import RunDirectory
from reincarnate.run.execute import RunIdentity, execute
from reincarnate.run.prepare import measure_priors, prepare
from reincarnate.run.settings import NAMES, from_record
from reincarnate.sharing.hub import take, write_folder
from reincarnate.store import Index
from reincarnate.store.differences import differences
from reincarnate.store.gc import collectable
from reincarnate.store.lineage import known_places, lineage_of, read_agent
from reincarnate.store.render import show
from reincarnate.store.verify import MISSING, WRONG, verify
from reincarnate.studies.matrix import read_study
from reincarnate.studies.overview import load_study
from reincarnate.studies.pins import Pinned, read_study_record

Files = dict[str, bytes]


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def files_in(folder: Path) -> Files:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def loaded(files: Files, name: str) -> Any:
    try:
        return json.loads(files[name])
    except (KeyError, ValueError, RecursionError):
        return None


def put(files: Files, name: str, value: Any) -> None:
    with contextlib.suppress(ValueError, RecursionError):
        files[name] = json.dumps(value).encode()


# ---- hashes made right ---------------------------------------------------------------------------------


def mend(files: Files) -> Files:
    """Every hash that a file of ours keeps of another, or of itself; datasets are renamed after theirs."""
    files = dict(files)
    for name in [name for name in files if name.endswith("manifest.json")]:
        _mend_dataset(files, name)
    for name in [name for name in files if name.endswith("agent.json")]:
        _mend_agent(files, name)
    for name in [name for name in files if name.endswith("state.json")]:
        _mend_checkpoint(files, name)
    for name in [name for name in files if name.rpartition("/")[2] == "done"]:
        _mend_done(files, name)
    return files


def _mend_dataset(files: Files, name: str) -> None:
    value, folder = loaded(files, name), name.rpartition("/")[0]
    if not isinstance(value, dict) or not isinstance(value.get("columns"), dict):
        return
    for column, said in value["columns"].items():
        if isinstance(said, dict) and (content := files.get(f"{folder}/{column}.npy".lstrip("/"))) is not None:
            said["sha256"] = sha(content)
            with contextlib.suppress(Exception):
                array = np.load(io.BytesIO(content))
                said |= {"shape": list(map(int, array.shape)), "dtype": array.dtype.str}
    with contextlib.suppress(RecursionError, ValueError):
        value["id"] = sha256_json({"spec": value.get("spec"), "columns": value["columns"]})
    put(files, name, value)
    parent, _, old = folder.rpartition("/")
    if len(old) == 16 and isinstance(value.get("id"), str):
        for moved in [other for other in files if other.startswith(f"{folder}/")]:
            files[f"{parent}/{value['id'][:16]}/{moved.removeprefix(folder + '/')}".lstrip("/")] = files.pop(moved)


def _mend_agent(files: Files, name: str) -> None:
    value, folder = loaded(files, name), name.removesuffix("agent.json")
    if not isinstance(value, dict):
        return
    value["weights"] = sha(files.get(f"{folder}weights.safetensors", b""))
    if isinstance(value.get("kept"), dict):
        value["kept"]["optimizer"] = sha(files.get(f"{folder}optimizer.safetensors", b""))
        inner = next((n for n in files if n.startswith(f"{folder}data/") and n.endswith("manifest.json")), "")
        if isinstance(manifest := loaded(files, inner), dict):
            value["kept"]["data"] = manifest.get("id")
    with contextlib.suppress(RecursionError, ValueError):
        value["sha256"] = sha256_json({key: value.get(key) for key in ("student", "spec", "weights")})
    put(files, name, value)


def _mend_checkpoint(files: Files, name: str) -> None:
    value, folder = loaded(files, name), name.removesuffix("state.json")
    if not isinstance(value, dict):
        return
    value.pop("sha256", None)
    run = folder.rpartition("checkpoints/")[0]
    value["config_sha256"] = sha(files[f"{run}config.json"])
    for part in ("student", "sampler"):
        value[f"{part}_sha256"] = sha(files.get(f"{folder}{part}.safetensors", b""))
    for entry in value["segments"] if isinstance(value.get("segments"), list) else ():
        if isinstance(entry, dict) and f"{run}replay/{entry.get('file')}" in files:
            entry["sha256"] = sha(files[f"{run}replay/{entry['file']}"])
    if isinstance(size := value.get("metrics_bytes"), int):
        value["metrics_sha256"] = sha(files[f"{run}metrics.jsonl"][: max(size, 0)])
    with contextlib.suppress(RecursionError, ValueError):
        put(files, name, {**value, "sha256": sha256_json(value)})


def _mend_done(files: Files, name: str) -> None:
    value, folder = loaded(files, name), name.removesuffix("done")
    if isinstance(value, dict) and isinstance(value.get("sha256"), dict):
        for covered in ("config.json", "metrics.jsonl", "result.json"):
            if covered in value["sha256"]:
                value["sha256"][covered] = sha(files[folder + covered])
        put(files, name, value)


# ---- targets -------------------------------------------------------------------------------------------


def seen(thing: Any) -> None:
    """Rendered, as a terminal would show it."""
    Console(file=io.StringIO(), width=120).print(thing)


def refuse(told: Iterable[str]) -> None:
    """What is passed over with a word is refused too: nothing is taken of it."""
    for line in told:
        raise UserError(line)


@contextlib.contextmanager
def inside(folder: Path):
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def agent(folder: Path) -> Target:
    made = _finished(folder)

    def open_(place: Path) -> None:
        found = open_agent(place)
        found.network()
        if "optimizer" in found.kept:
            found.optimizer_state()
        if data := found.data():
            cut(data, 1, 0.9).sample(4, np.random.default_rng(0))
        value = read_agent(place)
        list(differences(value, value))

    return Target("our agent", files_in(made / "agent"), open_, mend)


def lineage(folder: Path) -> Target:
    made = _finished(folder)

    def open_(place: Path) -> None:
        store = place / "store"
        with inside(place):
            found = lineage_of(str(place), known_places(store, (place,)))
            seen(show(found))
            refuse(f"{x.state}: {x.words}" for x in verify(found, 2) if x.state in (MISSING, WRONG))

    return Target("our lineage", {n: c for n, c in files_in(made).items() if n.startswith(("agent/", "done", "config", "result", "metrics"))}, open_, mend)  # fmt: skip


def dataset(folder: Path) -> Target:
    spec = envs.spec("CartPole-v1")
    rows = episode(spec, np.zeros((6, 4)), np.zeros(5, int), np.ones(5), terminated=True)
    made = write_dataset(folder / "made", spec, [rows], {})

    def open_(place: Path) -> None:
        for found in place.iterdir():
            source = cut(open_dataset(found), 1, 0.9)
            source.sample(4, np.random.default_rng(0))

    return Target("our dataset", {f"data/{n}": c for n, c in files_in(made.path).items()}, open_, mend)


def finished_run(folder: Path) -> Target:
    made = _finished(folder)

    def open_(place: Path) -> None:
        runs = load_runs([place])
        seen(as_rich(summarise(runs.runs, np.random.default_rng(0), runs.missing)))

    wanted = ("config.json", "result.json", "metrics.jsonl", "done")
    return Target("our finished run", {n: c for n, c in files_in(made).items() if n in wanted}, open_, mend)


def unfinished_run(folder: Path) -> Target:
    run = small_run(folder)
    stopped(run, folder / "half", 2)

    measured = measure_priors(prepare(run), lambda *_: None, lambda _: None)

    def open_(place: Path) -> None:
        directory = RunDirectory.reopen(place)
        identity = RunIdentity.of(measured, (run.seed,))
        said: list[str] = []
        identity.check(directory, said.append)
        trainings, loop, _ = assemble([measured], lambda _: None)
        loop.env.close()
        refuse(said + directory.restore(trainings[0]))

    return Target("our unfinished run", {n: c for n, c in files_in(folder / "half").items() if "tb/" not in n}, open_, mend)  # fmt: skip


def resumed_run(folder: Path) -> Target:
    """Gone on with, to its end: few trials, for they train."""
    run = small_run(folder)
    stopped(run, folder / "half", 2)
    (folder / "rule.py").rename(folder / "kept.py")
    rule = (folder / "kept.py").read_bytes()

    def open_(place: Path) -> None:
        Path(str(run.teacher).removeprefix("py:").rpartition(":")[0]).write_bytes(rule)
        execute(run, place, resume=True)

    return Target("our resumed run", files_in(folder / "half"), open_, mend)


def store(folder: Path) -> Target:
    spec = envs.spec("CartPole-v1")
    made = folder / "made"
    reference(spec, None, "auto", 2, made / "store", lambda *_: None)
    rows = episode(spec, np.zeros((6, 4)), np.zeros(5, int), np.ones(5), terminated=True)
    data = write_dataset(made / "store" / "data", spec, [rows], {"kind": "teacher-data", "teacher": "0" * 64})
    request = {"format": 1, "request": {"kind": "teacher-data", "teacher": "0" * 64}, "data": data.id}
    write_json(made / "store" / "requests" / "0123456789abcdef.json", request)
    shutil.copytree(_finished(folder) / "agent", made / "agent")
    with Index(made / "store") as index:
        index.refresh([made])

    def open_(place: Path) -> None:
        with inside(place):
            said: list[str] = []
            reference(spec, None, "auto", 2, place / "store", lambda *_: None)
            found, _ = collectable(place / "store", [place], 0.0, said.append)
            assert all(place in orphan.path.parents for orphan in found)
            known_places(place / "store", (place,), said.append)
            refuse(said)

    read = (".json", ".sqlite")  # weights and columns are not looked at here, but as agents and datasets
    return Target("our store", {n: c for n, c in files_in(made).items() if n.endswith(read)}, open_, mend)


def study(folder: Path) -> Target:
    made = folder / "study"
    _finished(folder).rename(folder / "moved")
    shutil.copytree(folder / "moved", made / "CartPole-v1" / "a-s0")
    runs = [{"directory": "CartPole-v1/a-s0", "env": "CartPole-v1", "label": "a", "seed": 0}]
    runs += [{"directory": "CartPole-v1/b-s0", "env": "CartPole-v1", "label": "b", "seed": 0}]
    pins = {"CartPole-v1": {"teacher": {"py:rule.py:lean": "0" * 64}}}
    write_json(made / "study.json", {"format": 1, "kind": "study", "title": "t", "settings": {}, "pins": pins, "runs": runs})  # fmt: skip
    wanted = ("config.json", "result.json", "metrics.jsonl", "done", "study.json")

    def open_(place: Path) -> None:
        record = read_study_record(place)
        Pinned(place)
        loaded = load_study(place, record)
        seen(as_rich(summarise(loaded.runs, np.random.default_rng(0), loaded.missing)))

    return Target("our study", {n: c for n, c in files_in(made).items() if n.endswith(wanted)}, open_, mend)


def yaml(folder: Path) -> Target:
    settings = {"env": "CartPole-v1", "method": to_dict(QDagger(), NAMES), "env_steps": 100}
    matrix = {"title": "t", "run": {"env_steps": 100}, "tasks": [{"env": "CartPole-v1"}], "methods": {"scratch": {}}}

    def open_(place: Path) -> None:
        read_study(place / "study.yaml")
        from_record(read_yaml(place / "run.yaml"))

    files = {"run.yaml": json.dumps(settings).encode(), "study.yaml": json.dumps({**matrix, "seeds": 1}).encode()}
    return Target("our YAML", files, open_, lambda files: files)


def shared(folder: Path) -> Target:
    made = _finished(folder) / "agent"
    write_folder(made, "me/agent", folder / "pushed", {})

    def open_(place: Path) -> None:
        taken = take(place, place / "taken", "hf:me/agent@abc")
        write_folder(taken.path, "me/again", place / "again", {})

    return Target("our shared agent", files_in(folder / "pushed"), open_, mend)


def _finished(folder: Path) -> Path:
    run = small_run(folder, keep="all", method=Scratch(), teacher=None)
    if not (folder / "run").exists():
        execute(run, folder / "run")
    return folder / "run"


TARGETS: dict[str, Callable[[Path], Target]] = {
    "agent": agent, "lineage": lineage, "dataset": dataset, "finished run": finished_run, "store": store,
    "unfinished run": unfinished_run, "study": study, "YAML": yaml, "shared agent": shared,
}  # fmt: skip
__all__ = ["TARGETS", "UserError", "resumed_run"]
