"""The house as it was drawn: imports point down, old files open, and the pages tell the defaults that are there."""

import ast
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import reincarnate
from reincarnate.agents.agent import open_agent
from reincarnate.data import open_dataset
from reincarnate.methods import METHODS, QDagger
from reincarnate.methods.weaning import Weaning
from reincarnate.report.runs import load_run
from reincarnate.run.execute import execute
from reincarnate.run.settings import Run, from_record
from reincarnate.students import DQN
from reincarnate.teachers import open_teacher
from reincarnate.types import VALUES

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
FORMAT1 = Path(__file__).parent / "fixtures" / "format1"

# ---- imports -----------------------------------------------------------------------------------------

ROOMS = (  # each may import those after it
    *("__main__", "cli", "sharing", "advice", "studies", "run", "report", "priors", "store", "training", "teachers"),
    *(
        "agents",
        "students",
        "methods",
        "data",
        "nets",
        "native",
        "losses",
        "envs",
        "config",
        "ui",
        "files",
        "surroundings",
    ),
    *("plugins", "types", "seeds", "errors"),
)
MODULES = {
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in SOURCE.rglob("*.py")
}


def imports_at_the_top(body: list[ast.stmt]) -> Iterator[ast.Import | ast.ImportFrom]:
    """Those that run when the module is imported: neither in functions nor for type checkers alone."""
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from imports_at_the_top(node.orelse)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for inner in ("body", "orelse", "finalbody", "handlers"):
                yield from imports_at_the_top(getattr(node, inner, []))


def imported(path: Path) -> set[str]:
    """Modules of this package that a file imports."""
    found = set()
    for node in imports_at_the_top(ast.parse(path.read_text()).body):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        else:
            assert node.level == 0 and node.module, f"{path}: a relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in names}
    return found & MODULES.keys()


GRAPH = {name: imported(path) for name, path in MODULES.items()}


def room(module: str) -> str:
    return (*module.split("."), "")[1]


def test_every_room_is_in_the_plan_and_every_room_of_the_plan_is_there():
    assert {room(module) for module in MODULES} - {""} == set(ROOMS)


def test_imports_between_rooms_point_down():
    assert not GRAPH["reincarnate"]  # it loads names when they are asked for
    up = [
        f"{module} imports {other}"
        for module, others in GRAPH.items()
        for other in others
        if room(other) not in ("", room(module)) and ROOMS.index(room(other)) < ROOMS.index(room(module))
    ]
    assert not up


def test_files_do_not_import_each_other_in_circles():
    tuple(TopologicalSorter(GRAPH).static_order())  # raises CycleError, which names the circle


@pytest.mark.parametrize("name", ["", ".errors", ".types", ".config", ".seeds", ".ui"])
def test_the_vocabulary_loads_no_torch(name):
    code = f"import sys, reincarnate{name}; print(sorted({{'torch', 'gymnasium', 'matplotlib'}} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_the_value_student_is_named_by_students_alone():
    found = [path.relative_to(SOURCE) for path in MODULES.values() if "ValueStudent" in path.read_text()]
    assert found and {path.parts[1] for path in found} == {"students"}


# ---- what was made before ------------------------------------------------------------------------------


@pytest.fixture
def old(tmp_path, monkeypatch):
    """A copy of what the code of format 1 left, in the current folder."""
    shutil.copytree(FORMAT1, tmp_path / "old")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "old"


def test_a_run_of_format_1_opens_and_its_agent_has_the_weights_it_had(old):
    run = load_run(old / "run")
    assert run.result["env_steps"] == 300
    agent = open_agent(old / "run")
    kept = json.loads((FORMAT1 / "run/agent/agent.json").read_text())
    assert agent.sha256 == kept["sha256"] and agent.student == from_record(run.config).student
    assert open_dataset(old / "dataset").transitions == 200


def test_an_interrupted_run_of_format_1_goes_on_to_the_end_of_the_finished_one(old):
    began = json.loads((old / "interrupted/config.json").read_text())
    run = from_record(began)
    assert not (old / "interrupted/done").exists()
    result = execute(run, old / "interrupted", resume=True)
    whole = json.loads((old / "run/result.json").read_text())
    assert result["score"] == whole["score"] and result["returns"] == whole["returns"]
    assert (
        result["updates"] == whole["updates"]
        and open_agent(old / "interrupted").sha256 == open_agent(old / "run").sha256
    )


def test_an_agent_of_format_1_teaches_and_its_dataset_feeds_qdagger(old):
    small = {"env_steps": 60, "evaluations": 1, "eval_episodes": 1, "final_episodes": 1, "reference_episodes": 2}
    student, method = DQN(hidden=(8,), warmup=20, batch_size=8), QDagger(offline_updates=10)
    taught = Run("CartPole-v1", method, student, teacher="store:old/run", data="old/dataset", **small)
    assert open_teacher("store:old/run").card.tells == VALUES
    assert execute(taught, old.parent / "taught")["offline_updates"] == 10


# ---- the pages -------------------------------------------------------------------------------------------


def documented(method: str) -> list[tuple[str, str]]:
    """(setting, our default as it is written) of the table "ours | paper" on a method's page."""
    lines = (ROOT / "docs/methods" / f"{method}.md").read_text().splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith("| setting | ours |")), None)
    found = []
    for line in lines[start + 2 :] if start is not None else []:
        if not line.startswith("|"):
            break
        setting, ours = (cell.strip() for cell in line.split("|")[1:3])
        names = re.findall(r"`([\w.*]+)`", setting)
        parts = ours.split(", ") if len(names) > 1 else [ours]
        found += list(zip(names, parts, strict=False))
        assert len(parts) >= len(names), line
    return found


def value_of(text: str) -> object:
    """A default as pages write it: 20,000, 1/16, 1e-4, score, true, none, the same."""
    if text.startswith("the same"):
        return None
    word = re.split(r"[;: ]|, ", text)[0]
    known = {"true": True, "on": True, "false": False, "off": False, "none": ()}
    if word in known:
        return known[word]
    if not re.fullmatch(r"[\d.,/e-]+", word):
        return word
    over, _, under = word.replace(",", "").partition("/")
    return float(over) / float(under or 1)


def default_of(method: str, name: str) -> object:
    """A setting of the method, of its weaning, of a DQN, or of a run; as a teacher of values suits it."""
    whole = METHODS[method]().suited(VALUES)
    first, _, rest = name.partition(".")
    if first == "student":
        return getattr(DQN(), rest)
    if rest:
        return getattr(getattr(whole, first), rest)
    return getattr(whole, name) if hasattr(whole, name) else getattr(Run("CartPole-v1", whole), name)


@pytest.mark.parametrize("method", METHODS)
def test_documented_defaults_are_the_defaults(method):
    rows = documented(method)
    for name, text in rows:
        if name == "wean.*":
            assert text == "as in qdagger" and METHODS[method]().wean == Weaning() == QDagger().wean  # pyright: ignore
        elif name != "student":  # a fine-tuned one has its agent's
            found, told = default_of(method, name), value_of(text)
            assert found == (pytest.approx(told) if isinstance(told, float) else told), f"{name}: {text}, is {found}"
    assert rows or method == "rlpd"  # its table names no setting


def test_the_page_that_is_read_would_tell_a_changed_default():
    told = dict(documented("kickstart"))
    assert value_of(told["weight"]) == 3.0 and value_of(told["wean.by"]) == "score"
    assert default_of("kickstart", "student.lr") == 1e-4 != replace(DQN(), lr=2e-4).lr
    assert reincarnate.__version__
