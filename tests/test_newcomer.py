"""What a newcomer meets: settings that fit a small budget, advice after a poor run, a way out of every refusal."""

import json
import re
import shlex
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from zips import described, dqn_weights, write_zip

from reincarnate.advice.afterwards import afterwards
from reincarnate.agents.agent import open_agent
from reincarnate.cli import main
from reincarnate.cli.train_flags import parse
from reincarnate.errors import UserError
from reincarnate.methods import METHODS, Kickstart, Scratch
from reincarnate.run.budget import fitted
from reincarnate.run.directory import RunDirectory
from reincarnate.run.execute import execute
from reincarnate.run.result import poor
from reincarnate.run.settings import Run, from_record, record
from reincarnate.students import DQN, PPO, PQN, SAC, STUDENTS
from reincarnate.teachers import open_teacher
from reincarnate.training.exchange import EXCHANGES

DOCS = Path(__file__).parents[1] / "docs"
TASK = ["--env", "CartPole-v1", "--env-steps"]


@pytest.fixture(autouse=True)
def somewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


# ---- in Python and in files ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"compile": "no"}, "compile: expected one of auto, on, off, found 'no'"),
        ({"env_steps": "200"}, "env_steps: expected int, found '200'"),
        ({"student": DQN(hidden=16)}, "student.hidden: expected a tuple of int, found 16"),
        ({"student": DQN(lr="1e-3")}, "student.lr: expected float, found '1e-3'"),
        ({"student": "dqn"}, r"expected the settings of a student, as DQN\(\), found 'dqn'"),
        ({"method": Scratch}, r"expected the settings of a method, Scratch\(\), found <class"),
    ],
)
def test_what_python_lets_pass_is_refused_in_a_line_before_anything_is_recorded(changes, said):
    run = Run("CartPole-v1", **{"method": Scratch(), "store": "s", **changes})
    with pytest.raises(UserError, match=f"^[^\n]*{said}[^\n]*$"):
        execute(run, "run")
    assert not Path("run").exists()


def test_one_number_in_a_file_stands_for_a_list_of_one_as_on_the_command_line():
    Path("c.yaml").write_text("student: {name: dqn, hidden: 16}")
    run, _, _ = parse(["scratch", "--config", "c.yaml", *TASK, "3000"])
    assert run.student.hidden == (16,)
    Path("c.yaml").write_text("student: {name: dqn, hidden: null}")
    with pytest.raises(UserError, match=r"student\.hidden: expected int, found None"):
        parse(["scratch", "--config", "c.yaml", *TASK, "3000"])


@pytest.mark.parametrize("text", ["2e4", "20_000", "20,000", "20000.0", '"2e4"'])
def test_a_file_may_write_whole_numbers_as_flags_do(text):
    Path("c.yaml").write_text(f"env: CartPole-v1\nenv_steps: {text}\nstudent: {{hidden: ['64,32', 8.0]}}")
    run, _, _ = parse(["scratch", "--config", "c.yaml"])
    assert (run.env_steps, run.student.hidden) == (20_000, (64, 32, 8)) and type(run.env_steps) is int


@pytest.mark.parametrize("text", ["2.5", "2,00", "1e60", ".inf", "1e400", "true"])
def test_what_is_no_whole_number_is_refused_in_a_file_too(text):
    Path("c.yaml").write_text(f"env: CartPole-v1\nenv_steps: {text}")
    with pytest.raises(UserError, match=r"env_steps: (expected int, found|a number of over 40 digits)"):
        parse(["scratch", "--config", "c.yaml"])


def test_a_file_may_name_a_student_and_an_exchange_by_their_names_alone():
    Path("c.yaml").write_text("env: CartPole-v1\nmethod: scratch\nstudent: rainbow\nexchange: gossip\npopulation: 2")
    run, _, _ = parse(["scratch", "--config", "c.yaml"])
    assert (type(run.student), run.exchange) == (STUDENTS["rainbow"], EXCHANGES["gossip"]())
    Path("c.yaml").write_text("env: CartPole-v1\nexchange: gosip")
    with pytest.raises(UserError, match=r"exchange: unknown exchange 'gosip'; did you mean gossip\?"):
        parse(["scratch", "--config", "c.yaml"])
    Path("c.yaml").write_text("env: CartPole-v1\nexchange: 3")
    with pytest.raises(UserError, match="expected the settings of an exchange with its name, found 3"):
        parse(["scratch", "--config", "c.yaml"])


def test_a_folder_with_one_zip_is_told_to_name_it():
    Path("agent").mkdir()
    Path("agent/best.zip").touch()
    with pytest.raises(UserError, match=r"agent is a folder: name the file in it, agent/best\.zip"):
        open_teacher("agent")


def test_a_run_that_is_not_finished_and_a_folder_of_runs_are_called_what_they_are():
    for run in ("pop/s0", "pop/s1"):
        Path(run).mkdir(parents=True)
        Path(run, "config.json").touch()
    with pytest.raises(UserError, match=r"^pop is a folder of runs: name one of them, as pop/s0$"):
        open_teacher("pop")
    Path("pop/s0/metrics.jsonl").touch()
    with pytest.raises(UserError, match=r"^pop/s0 is a run that is not finished: `reincarnate resume pop/s0` goes on$"):
        open_teacher("pop/s0")


def test_nothing_is_put_into_a_run(capsys):
    Path("runs/a").mkdir(parents=True)
    for name in ("config.json", "metrics.jsonl", "done"):
        Path("runs/a", name).touch()
    for inside in ("runs/a/b", "runs/a/b/c"):
        with pytest.raises(UserError, match=r"lies within .*/runs/a, a run, which keeps nothing but its own; choose"):
            RunDirectory.fresh(Path(inside))
    study = {"title": "x", "seeds": 1, "tasks": [{"env": "CartPole-v1"}], "methods": {"scratch": {}}}
    Path("s.yaml").write_text(json.dumps(study))
    for args in (["study", "run", "s.yaml"], ["convert", "d4rl:x.hdf5"], ["compare", "runs/a"]):
        with pytest.raises(SystemExit, match="2"):
            main([*args, "--out", "runs/a"])
        assert "runs/a is a run, which keeps nothing but its own" in capsys.readouterr().err
    assert sorted(path.name for path in Path("runs/a").iterdir()) == ["config.json", "done", "metrics.jsonl"]


@pytest.mark.parametrize(
    "args",
    [
        ["compare", ""],
        ["resume", ""],
        ["watch", "", "--once"],
        ["export", "", "--to", "onnx", "--out", "x"],
        ["export", "x", "--to", "onnx", "--out", ""],
        ["push", "", "hf:a/b"],
        ["evaluate", "", *TASK[:2]],
        ["inspect", "--teacher", "", *TASK[:2]],
        ["inspect", "--data", "", *TASK[:2]],
        ["train", "scratch", *TASK, "50", "--teacher", ""],
        ["train", "scratch", *TASK, "50", "--data", "\n"],
        ["train", "finetune", *TASK, "50", "--weights", ""],
        ["train", "scratch", *TASK, "50", "--store", ""],
        ["train", "scratch", *TASK, "50", "--out", ""],
        ["train", "scratch", *TASK, "50", "--config", ""],
    ],
)
def test_an_empty_name_is_not_the_current_folder(args, capsys):
    with pytest.raises(SystemExit) as stop:
        main(args)
    told = capsys.readouterr().err
    assert stop.value.code == 2 and "is empty; for the current folder write ./" in told and told.count("\n") == 1
    assert not list(Path().iterdir())


@pytest.mark.parametrize("place", ["link", "link/s0"])
def test_a_link_to_what_is_not_there_is_called_that(place):
    Path("link").symlink_to("gone")
    with pytest.raises(UserError, match=r"^link is a link to what is not there, gone"):
        RunDirectory.fresh(Path(place))


def test_a_link_to_anothers_agent_is_no_agent_of_a_run(tmp_path):
    (tmp_path / "away").mkdir()
    (tmp_path / "away" / "agent.json").write_text("{}")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "agent").symlink_to(tmp_path / "away")
    with pytest.raises(UserError, match=r"run/agent is a link out of its folder"):
        open_agent(tmp_path / "run")


def test_a_command_that_is_advised_is_whole_and_quoted(capsys):
    run = Run("LunarLander-v3?gravity=-6&max_episode_steps=60", Scratch(), DQN(), env_steps=5000)
    poorly = {
        "normalised": None,
        "interval": [-310, -290],
        "reference": {"random": {"low": -300, "high": -280}, "teacher": None},
    }
    command = afterwards(run, [poorly], None)[-1]
    assert shlex.split(command.partition("   ")[0])[3] == run.env


# ---- defaults that fit the budget ---------------------------------------------------------------------


def test_a_small_budget_chooses_warm_up_exploration_and_evaluations_and_says_so():
    run, _, options = parse(["scratch", *TASK, "3000"])
    assert (run.student.warmup, run.student.epsilon_steps, run.evaluations) == (300, 600, 6)
    assert all(word in options.chosen for word in ("3,000 env steps", "300 (usually 1,000)", "600 (10,000)", "6 eval"))
    assert replace(run.student, warmup=1000, epsilon_steps=10_000) == DQN()  # nothing else


@pytest.mark.parametrize("student", [DQN(), PPO(), SAC()])
@pytest.mark.parametrize("env_steps", [25_000, 50_000, 10_000_000])
def test_defaults_that_fit_are_left_alone(student, env_steps):
    run = Run("CartPole-v1", Scratch(), student, env_steps=env_steps)
    assert fitted(run) == (run, "")


def test_evaluations_are_no_closer_than_rollouts():
    run, _, options = parse(["scratch", "--student", "ppo", *TASK, "20000"])
    assert run.evaluations == 9 and "9 evaluations a phase (10)" in options.chosen  # a rollout is 2,048 env steps


@pytest.mark.parametrize("method", ["qdagger", "pretrain"])
def test_who_has_learnt_offline_waits_no_longer_than_the_budget_allows(method):
    run, _, _ = parse([method, "--teacher", "py:a.py:b", *TASK, "900"])
    assert run.student.warmup == 90


def test_what_a_flag_or_a_file_says_stays():
    told = ["--student.warmup", "1000", "--student.epsilon-steps=10000", "--evaluations", "10"]
    run, _, options = parse(["scratch", *TASK, "3000", *told])
    assert (run.student.warmup, run.student.epsilon_steps, run.evaluations) == (1000, 10_000, 10)
    assert not options.chosen
    Path("c.yaml").write_text("evaluations: 10\nstudent: {name: dqn, warmup: 1000}")
    run, _, _ = parse(["scratch", "--config", "c.yaml", *TASK, "3000"])
    assert (run.student.warmup, run.student.epsilon_steps, run.evaluations) == (1000, 600, 10)


@pytest.mark.parametrize("told", [[], ["--student.warmup", "1000", "--evaluations", "10"], ["--student.lr", "0.1"]])
def test_the_command_in_a_record_makes_the_same_run_and_the_record_is_plain_settings(told):
    run, _, _ = parse(["scratch", *TASK, "3000", *told])
    kept = record(run)
    assert from_record(kept) == run and kept["student"]["epsilon_steps"] == 600
    assert parse(shlex.split(kept["command"])[2:])[0] == run


def test_a_run_from_python_at_its_defaults_is_repeated_by_its_command():
    run = Run("CartPole-v1", Scratch(), PQN(), env_steps=3_000)  # nothing is chosen for it, and its command says so
    assert parse(shlex.split(record(run)["command"])[2:])[0] == run


def test_an_agent_that_goes_on_keeps_its_own_settings():
    run = Run("CartPole-v1", METHODS["finetune"](), DQN(), weights="store:x", env_steps=3_000)
    assert fitted(run)[0].student == run.student


# ---- advice after a poor run --------------------------------------------------------------------------


def result(low: float, high: float, teacher: tuple[float, float] | None = (90.0, 110.0)) -> dict:
    told = None if teacher is None else {"low": teacher[0], "high": teacher[1]}
    return {"interval": [low, high], "reference": {"random": {"low": 18.0, "high": 22.0}, "teacher": told}}


def test_a_run_is_poor_at_the_random_policy_or_below_its_teacher_by_most_of_its_seeds():
    at_random, below, good = result(20, 30), result(60, 80), result(80, 100)
    assert "random policy" in poor([at_random]) and "below the teacher" in poor([below])
    assert not poor([good]) and not poor([result(60, 80, None)])
    assert not poor([below, good]) and poor([below, good, below])


def test_a_run_without_priors_is_told_how_to_ask():
    lines = afterwards(Run("CartPole-v1", Scratch(), env_steps=3_000), [result(9, 11, None)], lambda *_: None)
    assert lines[1].startswith("reincarnate advise --env CartPole-v1 --teacher")


def test_a_poor_run_ends_with_what_advise_recommends_and_a_command_that_parses(capsys):
    Path("rule.py").write_text(
        "import torch\ndef lean(obs):\n    push = (obs[:, 2] + obs[:, 3] > 0).float()\n"
        "    return torch.stack([1 - push, push], 1) * 4\nlean.tells = 'values'\n"
    )
    few = ["--evaluations", "1", "--eval-episodes", "1", "--final-episodes", "3", "--reference-episodes", "3"]
    main(["train", "scratch", *TASK, "200", *few, "--teacher", "py:rule.py:lean", "--out", "a", "--log", ""])
    said = capsys.readouterr().err.replace("\n", " ")
    assert "advise recommends dagger" in said
    (command,) = re.findall(r"reincarnate (train .*)$", said)
    assert isinstance(parse(shlex.split(command)[1:])[0].method, METHODS["dagger"])
    assert json.loads(Path("a/config.json").read_text())["student"]["epsilon_steps"] == 40


@pytest.mark.parametrize(
    "student", [PPO(hidden=(8,), memory="gtrxl", rollout=32), PQN(hidden=(8,), rollout=32, layer_norm=False)]
)
def test_what_a_poor_run_is_advised_keeps_what_advice_is_not_about(student):
    Path("rule.py").write_text(
        "import torch\ndef lean(obs):\n    return torch.zeros(len(obs), 2)\nlean.tells = 'logits'\n"
    )
    more = {"envs": 4, "eval_epsilon": 0.1, "reference_episodes": 2}
    run = Run("CartPole-v1", Kickstart(), student, "py:rule.py:lean", env_steps=3_000, **more)
    advised = parse(shlex.split(afterwards(run, [result(9, 11)], lambda *_: None)[-1])[2:])[0]
    assert advised.method != run.method and {name: getattr(advised, name) for name in more} == more
    told = {f.name for f in fields(student) if getattr(advised.student, f.name) != getattr(student, f.name)}
    assert told <= {"warmup", "epsilon_steps", "n_step", "target_every"}


def test_a_teacher_of_another_task_is_no_error_at_the_end_of_a_run():
    run = Run("CartPole-v1", Kickstart(), teacher="sb3:gone.zip", env_steps=3_000)
    (line,) = afterwards(run, [result(9, 11)], lambda *_: None)
    assert "cannot say more" in line and "gone.zip" in line


# ---- the ways out -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address", ["a.pkl", "sb3:a.pkl", "cleanrl:a.pkl", "onnx:a.pkl", "torchscript:a.pkl", "pgx:a.pkl"]
)
def test_a_file_that_cannot_be_read_is_refused_with_the_ways_out(address):
    Path("a.pkl").write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(UserError, match=r"py:my_agent\.py:policy --env ID.*torchscript:.*onnx:"):
        open_teacher(address)


def test_what_no_other_way_mends_names_none(tmp_path):
    zipped = write_zip(tmp_path / "a.zip", described(obs_shape=(4,)), dqn_weights(4))
    broken = dqn_weights(4)
    next(iter(broken.values())).fill_(float("nan"))
    for address in (
        f"sb3:{zipped}?vecnorm=x",
        f"sb3:{write_zip(tmp_path / 'b.zip', described(obs_shape=(4,)), broken)}",
    ):
        with pytest.raises(UserError) as error:
            open_teacher(address)
        assert "py:my_agent" not in str(error.value)


def test_the_twelve_lines_of_the_manual_are_twelve_and_a_teacher():
    (lines,) = re.findall(r"```python\n(import torch\n.*?)```", (DOCS / "teachers.md").read_text(), re.DOTALL)
    assert len(lines.splitlines()) == 12
    network = torch.nn.Sequential(torch.nn.Linear(4, 64), torch.nn.Tanh(), torch.nn.Linear(64, 2))
    torch.save(network.state_dict(), "my_agent.pt")
    Path("my_agent.py").write_text(lines)
    teacher = open_teacher("py:my_agent.py:policy")
    assert teacher.card.tells == "logits"
