"""Methods, students, torsos, teachers, tasks and callbacks of somebody else, without a fork."""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import reincarnate
from reincarnate import envs, plugins
from reincarnate.cli import main
from reincarnate.config import from_dict, to_dict
from reincarnate.errors import UserError
from reincarnate.methods import METHODS, Scratch
from reincarnate.methods.schedules import Constant
from reincarnate.nets.torsos import TORSOS
from reincarnate.plugins import Registry
from reincarnate.run.callbacks import CALLBACKS
from reincarnate.run.execute import execute
from reincarnate.run.prepare import prepare
from reincarnate.run.settings import NAMES, Run, from_record
from reincarnate.store.trust import vouched
from reincarnate.students import DQN, STUDENTS
from reincarnate.teachers import SCHEMES, open_teacher
from reincarnate.types import Objective, WeightedTerm

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SRC = Path(__file__).resolve().parents[1] / "src"
REGISTRIES = (METHODS, STUDENTS, TORSOS, SCHEMES, CALLBACKS, envs.FAMILIES)
QUICK = [
    "--env-steps",
    "120",
    "--evaluations",
    "2",
    "--eval-episodes",
    "1",
    "--final-episodes",
    "2",
    "--reference-episodes",
    "2",
    "--compile",
    "off",
    "--student.warmup",
    "30",
    "--student.batch-size",
    "8",
    "--student.replay-size",
    "200",
]
LEAN = {"weights": [[0, 0, -1, -0.1], [0, 0, 1, 0.1]], "bias": [0, 0]}


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """A folder of its own, where the examples are found; what they register is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(EXAMPLES))
    added, before_it = [dict(registry._added) for registry in REGISTRIES], set(sys.modules)
    yield
    for registry, before in zip(REGISTRIES, added, strict=True):
        registry._added = before
    for name in set(sys.modules) - before_it:
        if str(getattr(sys.modules[name], "__file__", "")).startswith((str(tmp_path), str(EXAMPLES))):
            del sys.modules[name]


def refused(args: list[str], capsys) -> str:
    """The one line with which a command is refused."""
    with pytest.raises(SystemExit) as stop:
        main(args)
    said = capsys.readouterr().err.strip()
    assert stop.value.code == 2 and said.count("error:") == 1
    return " ".join(said.split())


# ---- the examples --------------------------------------------------------------------------------------


def test_a_method_and_a_teacher_of_ones_own_train_and_are_recorded_with_their_modules(capsys):
    Path("lean.json").write_text(json.dumps(LEAN))
    brought = ["--import", "own_method", "--import", "own_teacher"]
    main(
        [
            "train",
            "half-taught",
            "--env",
            "CartPole-v1",
            "--teacher",
            "linear:lean.json",
            "--out",
            "r",
            *brought,
            *QUICK,
        ]
    )
    config = json.loads(Path("r/config.json").read_text())
    assert config["method"]["name"] == "half-taught" and config["imports"] == ["own_method", "own_teacher"]
    assert "--import own_method --import own_teacher" in config["command"]
    result = json.loads(Path("r/result.json").read_text())
    assert result["env_steps"] == 120 and result["method"] == "half-taught"
    assert from_record(config).phases()[0].listens == {"teacher"} and not from_record(config).phases()[1].listens
    assert plugins.asked_imports() == ()  # of that command alone


def test_a_student_and_a_torso_of_ones_own_become_an_agent_that_is_judged_again(capsys):
    brought = ["--import", "own_student", "--student", "squared", "--student.torso", "tanh"]
    main(["train", "scratch", "--env", "CartPole-v1", "--out", "r", "--seeds", "1", *brought, *QUICK])
    agent = json.loads(Path("r/agent/agent.json").read_text())
    assert agent["student"]["name"] == "squared" and agent["about"]["imports"] == ["own_student"]
    shown = subprocess.run(
        [sys.executable, "-m", "reincarnate", "evaluate", "store:r", "--episodes", "2"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{SRC}:{EXAMPLES}"},
    )
    assert shown.returncode == 0 and "CartPole-v1: " in shown.stdout, shown.stderr


def test_a_task_of_ones_own_is_found_by_its_module_or_by_the_id_that_is_registered(capsys):
    main(["train", "scratch", "--env", "own_task:Corridor", "--env-kwargs.length", "4", "--max-episode-steps", "30",
          "--out", "a", *QUICK])  # fmt: skip
    main(["train", "scratch", "--import", "own_task", "--env", "Corridor-v0", "--out", "b", *QUICK])
    assert json.loads(Path("b/config.json").read_text())["env"] == "Corridor-v0"
    main(["evaluate", "b", "--episodes", "2"])
    assert "Corridor-v0: " in capsys.readouterr().out


def test_names_that_were_brought_stand_in_every_help(capsys):
    main(["--help", "--import", "own_method"])
    assert "half-taught" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["train", "half-taught", "--import", "own_method", "--import", "own_student", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "--share" in shown and "squared" in shown and "half-taught" in shown


def test_a_study_brings_its_modules_and_compares_a_method_with_ours(capsys):
    from reincarnate.studies import read_study

    Path("s.yaml").write_text(
        "seeds: 1\nrun: {imports: [own_method], teacher: 'py:t.py:two', env_steps: 100}\n"
        "tasks: [{env: CartPole-v1}]\nmethods: {half-taught: {share: 0.2}, kickstart: {}}\n"
    )
    Path("t.py").write_text("import torch\ndef two(obs):\n    return torch.zeros(len(obs), 2)\n")
    first, second = read_study(Path("s.yaml")).cells
    assert first.run.method.share == 0.2 and first.run.imports == second.run.imports == ("own_method",)


# ---- callbacks ----------------------------------------------------------------------------------------


def run(store: str = "store", **changes) -> Run:
    student = DQN(hidden=(8,), warmup=20, batch_size=8, replay_size=200)
    small = {"evaluations": 2, "eval_episodes": 1, "final_episodes": 2, "reference_episodes": 2}
    return Run("CartPole-v1", Scratch(), student, env_steps=100, compile="off", store=store, **small, **changes)


def test_a_callback_is_told_of_every_checkpoint_and_of_the_end():
    heard = []
    reincarnate.register_callback("ear", heard.append)
    result = execute(run(), Path("r"))
    assert [moment.what for moment in heard] == ["checkpoint"] * 3 + ["end"]
    assert heard[-1].told["score"] == result["score"] and heard[0].directory == Path("r")
    assert heard[1].told["kind"] == "eval" and heard[1].told["env_steps"] == 50


def test_a_callback_that_fails_is_named_and_the_run_goes_on_from_its_checkpoint():
    def burst(moment):
        if moment.told.get("env_steps") == 50:
            raise OSError("no line")

    reincarnate.register_callback("phone", burst)
    with pytest.raises(UserError, match=r"callback 'phone' failed at the checkpoint of r: OSError: no line.*resume"):
        execute(run(), Path("r"))
    CALLBACKS._added.pop("phone")
    execute(run(), Path("r"), resume=True)
    assert Path("r/done").exists()


# ---- what cannot be -----------------------------------------------------------------------------------


def test_a_name_that_is_taken_is_refused_with_both_places(capsys):
    Path("clash.py").write_text(
        "import reincarnate\nfrom reincarnate.methods.scratch import Scratch\nclass Mine(Scratch): pass\n"
        "reincarnate.register_method('qdagger', Mine)\n"
    )
    said = refused(["train", "scratch", "--import", "clash", "--env", "CartPole-v1"], capsys)
    assert "'qdagger' of clash:Mine cannot be registered: reincarnate.methods.qdagger:QDagger has that name" in said


@dataclass
class Loose:
    needs = frozenset()

    def phases(self, env_steps):
        return []


@dataclass(frozen=True)
class Bare:
    share: float
    needs = frozenset()

    def phases(self, env_steps):
        return []


@pytest.mark.parametrize(
    "kind, words", [(Loose, "frozen"), (Bare, "share must have a default"), (DQN, "no needs, phases")]
)
def test_what_cannot_be_a_method_is_refused_when_it_is_registered(kind, words):
    with pytest.raises(UserError, match=words):
        reincarnate.register_method("mine", kind)
    assert "mine" not in METHODS


@dataclass
class Unhashed:
    name, of = "unhashed", None

    def __call__(self, out, batch):
        return out.x.sum(-1)


@dataclass(frozen=True)
class Teaches(Scratch):
    def phases(self, env_steps):
        (phase,) = Scratch.phases(self, env_steps)
        return [replace(phase, objective=Objective(terms=(WeightedTerm(Unhashed(), Constant(1.0)),)))]


def test_a_term_that_programs_cannot_be_kept_by_is_refused_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.setitem(METHODS._added, "teaches", Teaches)
    with pytest.raises(UserError, match=r"the term Unhashed of .* has no hash: make it a frozen dataclass"):
        prepare(reincarnate.Run("CartPole-v1", Teaches(), DQN(), store=str(tmp_path)))


@pytest.mark.parametrize(
    "body, said",
    [
        ("1 / 0", r"its phases(120) failed: ZeroDivisionError: division by zero"),
        ("sys.exit()", r"its phases(120) failed: SystemExit: sys.exit() was called"),
        ("None", "its phases(120) gave None, not a list of Phase"),
        ("[]", "its phases(120) gave [], not a list of Phase"),
        ("['online']", "its phases(120) gave ['online'], not a list of Phase"),
        ("[Phase('online', env_steps / 2)]", "its phase 'online' has env_steps=60.0, not a whole number"),
        ("[Phase('online', env_steps, updates=-1)]", "its phase 'online' has updates=-1, not a whole number"),
        ("[Phase('online')]", "phase 'online' must name env steps or updates"),
    ],
)
def test_a_method_of_ones_own_that_gives_no_phases_is_a_line(body, said, capsys):
    Path("faulty.py").write_text(
        "import sys\nfrom dataclasses import dataclass\nfrom reincarnate import register_method\n"
        "from reincarnate.methods import Scratch\nfrom reincarnate.types import Phase\n"
        f"@dataclass(frozen=True)\nclass Faulty(Scratch):\n    def phases(self, env_steps): return {body}\n"
        "register_method('faulty', Faulty)\n"
    )
    told = refused(["train", "faulty", "--import", "faulty", "--env", "CartPole-v1", "--out", "r", *QUICK], capsys)
    assert "the method faulty: its phase" in told and said in told and not Path("r").exists()


def test_a_teacher_a_family_and_a_student_of_ones_own_that_fail_are_lines(capsys):
    Path("failing.py").write_text(
        "from dataclasses import dataclass\nfrom types import SimpleNamespace\n"
        "from reincarnate import register_student, register_teacher\nfrom reincarnate.envs import register_family\n"
        "from reincarnate.students import DQN\n"
        "def fails(*_): raise KeyError('gone')\n"
        "@dataclass(frozen=True)\nclass Failing(DQN):\n    def critic(self): fails()\n"
        "register_student('failing', Failing)\n"
        "register_teacher('failing', SimpleNamespace(open_address=lambda rest, actions: open(rest)))\n"
        "register_family('Failing/', SimpleNamespace(make=fails, spec=fails, ids=lambda: ['Failing/A']))\n"
    )
    brought, task = ["--import", "failing"], ["--env", "CartPole-v1", "--out", "r"]
    said = refused(["inspect", "failing:lean.json", *brought], capsys)
    assert "failing:lean.json: cannot be opened: FileNotFoundError" in said
    said = refused(["train", "kickstart", "--teacher", "failing:lean.json", *task, *brought], capsys)
    assert "failing:lean.json: cannot be opened: FileNotFoundError" in said
    said = refused(["train", "scratch", "--env", "Failing/A", *brought], capsys)
    assert "Failing/A cannot be looked at: KeyError: 'gone'" in said
    said = refused(["train", "scratch", "--student", "failing", *task, *brought], capsys)
    assert "the student failing cannot be made: KeyError: 'gone'" in said and not Path("r").exists()


def test_our_own_faults_stay_what_they_are(monkeypatch):
    def fails(*_):
        raise KeyError("gone")

    monkeypatch.setattr(Scratch, "phases", fails)
    with pytest.raises(KeyError):
        run().phases()
    monkeypatch.setattr(SCHEMES["py"], "open_address", fails)
    with pytest.raises(KeyError):
        open_teacher("py:rule.py:lean")


def test_a_module_that_fails_or_is_missing_is_named_with_its_error(capsys):
    Path("broken.py").write_text("1 / 0\n")
    said = refused(["train", "scratch", "--import", "broken", "--env", "CartPole-v1"], capsys)
    assert "importing broken failed: ZeroDivisionError: division by zero" in said
    said = refused(["train", "scratch", "--import", "nowhere.at_all", "--env", "CartPole-v1"], capsys)
    assert "there is no module 'nowhere.at_all'" in said
    assert "without .py" in refused(["train", "scratch", "--import", "a/b.py", "--env", "CartPole-v1"], capsys)


def registry(monkeypatch, *points: tuple[str, str]) -> Registry:
    made = [importlib.metadata.EntryPoint(name, value, "test.group") for name, value in points]
    monkeypatch.setattr(plugins, "entry_points", lambda group: made)
    return Registry("method", {"scratch": "reincarnate.methods.scratch:Scratch"}, "test.group")


def test_installed_packages_add_names_that_load_when_asked_and_name_their_error(monkeypatch):
    Path("plugged.py").write_text("import dataclasses\nMine = 'mine'\n")
    Path("torn.py").write_text("import not_there\n")
    monkeypatch.syspath_prepend(".")
    found = registry(monkeypatch, ("mine", "plugged:Mine"), ("torn", "torn:Mine"))
    assert list(found) == ["scratch", "mine", "torn"] and "plugged" not in sys.modules
    assert found["mine"] == "mine" and found["scratch"] is Scratch
    with pytest.raises(UserError, match=r"'torn' of torn:Mine cannot be loaded: ModuleNotFoundError: .*not_there"):
        found["torn"]
    with pytest.raises(UserError, match="did you mean scratch"):
        found.find("scrtch")
    for clash in [("scratch", "plugged:Mine")], [("mine", "plugged:Mine"), ("mine", "torn:Mine")]:
        with pytest.raises(UserError, match="clashes"):
            list(registry(monkeypatch, *clash))


def test_a_class_that_is_no_method_is_none_in_a_record_either():
    value = to_dict(run(), NAMES)
    for wrong in ({**value, "method": {"name": "dqn"}}, {**value, "method": 3}, {**value, "method": {"weight": 1.0}}):
        with pytest.raises(UserError, match="method"):
            from_dict(Run, wrong, NAMES)


# ---- names that are absent, and strangers ----------------------------------------------------------------


def begun(folder: str, **changes) -> Path:
    """A run whose callback stopped it at its first checkpoint."""

    def stop(moment):
        raise KeyboardInterrupt

    CALLBACKS._added["stop"] = stop
    with pytest.raises(KeyboardInterrupt):
        execute(run(**changes), Path(folder))
    CALLBACKS._added.pop("stop")
    return Path(folder)


def test_resume_imports_what_the_run_was_made_with_and_says_what_is_missing(capsys, monkeypatch):
    Path("side.py").write_text("import pathlib; pathlib.Path('ran').touch()\n")
    begun("r", imports=("side",))
    Path("side.py").rename("gone.py")
    said = refused(["resume", "r"], capsys)
    assert "r was made with --import side: there is no module 'side'" in said
    Path("gone.py").rename("side.py")
    main(["resume", "r"])
    assert Path("r/done").exists() and Path("ran").exists()


def test_an_unknown_name_in_a_record_says_how_it_is_brought(capsys):
    begun("r")
    config = json.loads(Path("r/config.json").read_text())
    config["method"] = {"name": "half-taught"}
    Path("r/config.json").write_text(json.dumps(config))
    said = refused(["resume", "r", "--trust"], capsys)
    assert "unknown method 'half-taught'" in said and "--import MODULE" in said


@pytest.mark.parametrize(
    "changes", [{"imports": ("evil",)}, {"env": "evil:Mine"}, {"env": "CartPole-v1?import=evil"}], ids=str
)
def test_a_strangers_run_imports_nothing_without_trust(changes, capsys, monkeypatch):
    begun("r")
    Path("evil.py").write_text("import pathlib; pathlib.Path('ran').touch()\n")
    config = json.loads(Path("r/config.json").read_text())
    Path("r/config.json").write_text(
        json.dumps(config | {k: list(v) if k == "imports" else v for k, v in changes.items()})
    )
    assert "names code" in refused(["resume", "r"], capsys) and not Path("ran").exists()


def test_a_strangers_agent_imports_nothing_when_it_is_judged(capsys, monkeypatch):
    Path("side.py").write_text("import pathlib; pathlib.Path('ran').touch()\nfrom own_task import Corridor\n")
    execute(run(imports=("side",)), Path("a"))
    main(["train", "scratch", "--env", "side:Corridor?max_episode_steps=20", "--out", "b", *QUICK])
    assert vouched(Path("a/agent")) and vouched(Path("b/agent"))
    main(["evaluate", "a", "--episodes", "1"]), main(["evaluate", "store:b/agent", "--episodes", "1"])
    monkeypatch.setenv("XDG_STATE_HOME", str(Path("elsewhere").absolute()))  # as on another machine
    sys.modules.pop("side"), Path("ran").unlink()
    for place, words in (("a", "a needs code (side)"), ("store:b/agent", "its task is side:Corridor")):
        said = refused(["evaluate", place, "--episodes", "1"], capsys)
        assert words in said and "--trust" in said and not Path("ran").exists()
    main(["evaluate", "b", "--episodes", "1", "--trust"])
    assert Path("ran").exists()


def test_the_record_of_an_agent_made_here_that_was_changed_is_no_longer_ours(capsys):
    execute(run(imports=("own_task",)), Path("a"))
    file = Path("a/agent/agent.json")
    value = json.loads(file.read_text())
    value["about"]["imports"] = ["evil"]
    file.write_text(json.dumps(value))
    Path("evil.py").write_text("import pathlib; pathlib.Path('ran').touch()\n")
    assert "a needs code (evil)" in refused(["evaluate", "a", "--episodes", "1"], capsys) and not Path("ran").exists()


def test_a_study_that_names_code_does_not_go_on_with_a_strangers_runs(capsys, monkeypatch):
    Path("evil.py").write_text("import pathlib; pathlib.Path('ran').touch()\n")
    Path("s.yaml").write_text("seeds: 1\ntasks: [{env: 'evil:Mine'}]\nmethods: {scratch: {}}\n")
    begun("r")
    shutil.copytree("r", "out/evil-Mine/scratch-s0")
    monkeypatch.setenv("XDG_STATE_HOME", str(Path("elsewhere").absolute()))
    said = refused(["study", "run", "s.yaml", "--out", "out"], capsys)
    assert "names code (evil:Mine)" in said and "--trust" in said and not Path("ran").exists()


def test_the_first_words_load_no_torch():
    code = "import sys; from reincarnate.cli import main; main(['--help']); main(['--version']); sys.exit('torch' in sys.modules)"
    env = {**os.environ, "PYTHONPATH": str(SRC)}
    for module in ("reincarnate", "reincarnate.cli"):
        shown = subprocess.run([sys.executable, "-m", module, "--version"], capture_output=True, text=True, env=env)
        assert shown.stdout.strip() == reincarnate.__version__
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, env=env).returncode == 0
