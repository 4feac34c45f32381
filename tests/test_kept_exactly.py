"""A run that is stopped, however that happens, goes on as if it had not been: nothing starts again, nothing is lost.

What users of other libraries complain of is in test_complaints.py, damage and full disks in test_checkpoints.py.
"""

import importlib
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from interrupting import Stop, at_barrier, essence, metrics, on_start, resumed, small_run, stop, stopped
from thinning import slow

from reincarnate import envs
from reincarnate.errors import UserError
from reincarnate.files.lock import Lock
from reincarnate.methods import FineTune, Pretrain, Scratch
from reincarnate.methods.weaning import Weaning
from reincarnate.run import assemble as assembly
from reincarnate.run import checkpoints, outcome
from reincarnate.run.directory import RunDirectory
from reincarnate.run.execute import execute, execute_together
from reincarnate.run.settings import from_record
from reincarnate.students import DQN, STUDENTS
from reincarnate.training.counting import Counters
from reincarnate.training.evaluate import Evaluation
from reincarnate.training.loop import Loop
from reincarnate.types import VALUES

ROOT = Path(__file__).parents[1]
AT = 3  # of five checkpoints


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(scope="module")
def whole(folder):
    """A run that was never stopped."""
    execute(small_run(folder), folder / "whole")
    return folder / "whole"


@pytest.fixture(scope="module")
def half(folder):
    """The same run, stopped after its third checkpoint and resumed."""
    run = small_run(folder)
    stopped(run, folder / "half", AT)
    resumed(run, folder / "half")
    return folder / "half"


# ---- killed at random instants -----------------------------------------------------------------------


def soak(tmp_path: Path, *flags: str) -> dict:
    """benchmarks/soak.py in a process of its own: PyTorch's gradients do not survive a fork of this one."""
    command = [sys.executable, "benchmarks/soak.py", *flags, "--out", str(tmp_path / "soak.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return json.loads((tmp_path / "soak.json").read_text())


@pytest.mark.parametrize("kills, cases, seed", [(2, 1, 5), slow(20, 8, 1)])
def test_runs_killed_at_random_instants_end_with_the_same_bits(kills, cases, seed, tmp_path):
    found = soak(tmp_path, "--kills", str(kills), "--cases", str(cases), "--seed", str(seed))
    assert found["kills"] == kills and not found["failures"]
    assert len(found["by student"]) >= min(cases, 6) - 1 and len(found["by method"]) == cases
    instants = found["by instant"]  # by the clock, before a change to the disk, with a file torn
    assert instants["clock"] and instants["torn"] and (instants["disk"] or kills < 20)


@pytest.mark.slow
def test_every_student_and_every_method_is_killed_and_ends_with_the_same_bits(tmp_path):
    found = soak(tmp_path, "--kills", "89", "--seed", "2")
    assert found["kills"] == 89 and not found["failures"] and len(found["cases"]) == 89


@pytest.mark.slow
def test_every_student_with_an_actor_is_killed_and_ends_with_the_same_bits(tmp_path):
    found = soak(tmp_path, "--kind", "actors", "--kills", "40", "--seed", "4")
    assert found["kills"] == 40 and not found["failures"] and len(found["cases"]) == 20
    actors = {
        n for n, kind in STUDENTS.items() if kind.predicts != VALUES and n != "ppo-cleanrl"
    }  # ppo, but for numbers
    assert set(found["by student"]) == actors


# ---- and the rest ------------------------------------------------------------------------------------


def test_what_is_resumed_ends_as_what_was_never_stopped(whole, half):
    assert essence(whole) == essence(half)


def test_saving_changes_nothing(folder, whole, monkeypatch):
    for name in ("checkpoint", "best"):
        monkeypatch.setattr(RunDirectory, name, lambda *_: None)
    execute(small_run(folder), folder / "unsaved")
    assert (folder / "unsaved/agent/weights.safetensors").read_bytes() == essence(whole)["agent"]
    assert metrics(folder / "unsaved") == metrics(whole)


def test_a_run_may_be_stopped_at_every_checkpoint_it_has(folder, whole):
    run = small_run(folder)
    for at in (1, 2, 3, 4, 5):
        stopped(run, folder / "often", at)
    resumed(run, folder / "often")
    assert essence(folder / "often") == essence(whole)


def test_a_run_without_a_checkpoint_begins_anew_and_says_so(folder, whole, monkeypatch):
    run = small_run(folder)

    def failing(self, training):
        self.close()
        raise Stop

    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(RunDirectory, "checkpoint", failing)
        execute(run, folder / "early")
    assert [line for line in resumed(run, folder / "early") if "begins anew" in line]
    assert essence(folder / "early") == essence(whole)


def test_a_run_killed_between_its_result_and_done_is_not_trained_again(folder, whole, monkeypatch):
    run, conclude = small_run(folder), RunDirectory.conclude

    def failing(self):
        raise Stop

    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(RunDirectory, "conclude", failing)
        execute(run, folder / "late")
    with monkeypatch.context() as patch:
        patch.setattr(Loop, "run", lambda *_: pytest.fail("it was trained again"))
        resumed(run, folder / "late")
    assert conclude is RunDirectory.conclude and (folder / "late/done").exists()
    assert essence(folder / "late") == essence(whole)
    assert not list((folder / "late").glob("checkpoints")) + list((folder / "late").glob(".*"))


def test_what_a_killed_process_left_half_written_is_removed(folder, whole):
    run, out = small_run(folder), folder / "leftovers"
    stopped(run, out, AT)
    for name in (".staging-abc", "checkpoints/.staging-def"):
        (out / name).mkdir()
        (out / name / "student.safetensors").write_bytes(b"torn")
    (out / ".result.json.123").write_text("{")
    with open(out / "metrics.jsonl", "a") as file:
        file.write('{"kind": "tr')  # a line that was being written
    assert resumed(run, out) == []
    assert essence(out) == essence(whole) and not list(out.glob(".*"))


def test_a_changed_config_is_refused(folder):
    run, out = small_run(folder), folder / "config"
    stopped(run, out, AT)
    config = (out / "config.json").read_text()
    longer = replace(run, env_steps=300)
    with pytest.raises(UserError, match="other settings"):
        resumed(longer, out)
    (out / "config.json").write_text(config.replace('"env_steps": 160', '"env_steps": 300'))
    with pytest.raises(UserError, match=r"config\.json has changed since the run began"):
        resumed(longer, out)
    (out / "config.json").write_text(config)
    resumed(run, out)


def test_another_teacher_at_the_same_address_is_refused_and_another_library_is_told_of(folder):
    run, out = small_run(folder), folder / "prior"
    stopped(run, out, AT)
    rule = (folder / "rule.py").read_text()
    try:
        (folder / "rule.py").write_text(rule.replace("* 4", "* 5"))
        with pytest.raises(UserError, match=r"the teacher of .* has changed since the run began"):
            resumed(run, out)
    finally:
        (folder / "rule.py").write_text(rule)
    config = json.loads((out / "config.json").read_text())
    config["versions"]["torch"] = "1.0"
    (out / "config.json").write_text(json.dumps(config))
    said = []
    with pytest.raises(UserError, match=r"config\.json has changed"):  # it was, here, by hand
        execute(run, out, resume=True, note=said.append)
    assert any("torch was 1.0" in line and "may not" in line for line in said)


def test_a_task_whose_code_has_changed_is_told_of(folder, monkeypatch):
    monkeypatch.syspath_prepend(folder)
    source = "from own_tasks import Plain\nclass Pays(Plain):\n    def reward(self, action):\n        return {}\n"

    def edited(reward):
        (folder / "paying.py").write_text(source.format(reward))
        sys.modules.pop("paying", None)
        importlib.invalidate_caches()

    edited("1.0")
    run = small_run(
        folder, env="paying:Pays?length=5", method=Scratch(), teacher=None, student=DQN(hidden=(4,), warmup=10)
    )
    for out in (folder / "paid", folder / "paid-before"):
        stopped(run, out, 1)
    config = json.loads((folder / "paid/config.json").read_text())
    edited("100.0")
    assert [line for line in stopped_again(run, folder / "paid") if "task paying:Pays?length=5 has changed" in line]
    (folder / "paid-before/config.json").write_text(json.dumps({k: v for k, v in config.items() if k != "task"}))
    assert not [line for line in stopped_again(run, folder / "paid-before") if "task" in line]
    edited("1.0")
    assert not [line for line in resumed(run, folder / "paid") if "task" in line]


def stopped_again(run, out) -> list[str]:
    """What is said as a run goes on, before it does."""
    said = []

    def stop(self, *_):
        raise Stop

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop):
        patch.setattr(RunDirectory, "restore", stop)
        execute(run, out, resume=True, note=said.append)
    return said


def test_a_fine_tuned_run_keeps_the_replay_it_took_over(folder):
    base = small_run(folder, keep="all")
    execute(base, folder / "base")
    run = replace(base, method=FineTune(reuse="all"), weights=f"store:{folder / 'base'}", seed=1)
    execute(run, folder / "tuned")
    stopped(run, folder / "tuned-half", 2)
    resumed(run, folder / "tuned-half")
    assert essence(folder / "tuned") == essence(folder / "tuned-half")


def test_schedules_by_score_remember_the_scores(folder):
    """λ by score with a guard looks at all evaluations of its phase; a resumed run that forgot them would differ."""
    method = replace(small_run(folder).method, wean=Weaning(by="score", end=1.0, guard=0.1))
    run = small_run(folder, method=method)
    execute(run, folder / "score")
    stopped(run, folder / "score-half", 4)
    with on_start(lambda training: scores.append(list(training.at.scores))):
        scores: list = []
        resumed(run, folder / "score-half")
    assert scores == [[line["normalised"] for line in metrics(folder / "score", "eval")][1:4]]
    assert essence(folder / "score") == essence(folder / "score-half")


@pytest.mark.slow
def test_seeds_trained_together_go_back_to_a_checkpoint_all_have_and_end_with_the_same_bits(folder):
    runs = [replace(small_run(folder), seed=seed) for seed in (0, 1)]
    execute_together(runs, [folder / "t0", folder / "t1"])
    outs = [folder / "ahead0", folder / "ahead1"]

    def stop_first(directory, training):
        if training.seed == 0:
            stop(directory, training)

    with at_barrier(AT, stop_first), pytest.raises(Stop):
        execute_together(runs, outs)
    assert [max(p.name for p in (out / "checkpoints").iterdir()) for out in outs] == ["000003", "000002"]
    execute_together(runs, outs, [True, True])
    assert essence(outs[0]) == essence(folder / "t0") and essence(outs[1]) == essence(folder / "t1")


def test_offline_updates_are_told_apart_from_online_ones_at_any_checkpoint():
    phases = Pretrain(offline_updates=30).phases(100)
    assert Counters(phase=0, updates=20, phase_updates=20).offline_updates(phases) == 20
    assert Counters(phase=1, updates=70, phase_updates=40).offline_updates(phases) == 30
    assert Counters(phase=2, updates=70).offline_updates(phases) == 30


@pytest.mark.parametrize(
    "env_id", ["CartPole-v1", "LunarLander-v3", "BipedalWalker-v3", "MinAtar/Seaquest-v1", "ALE/Breakout-v5"]
)
def test_an_environment_that_was_played_and_seeded_is_as_a_new_one(env_id):
    """What a barrier relies on; Box2D's walker carries contacts over, if its world is not made anew."""
    used = envs.make(env_id, 2)
    played(used, seed=7)
    fresh = envs.make(env_id, 2)
    try:
        assert played(used, seed=3) == played(fresh, seed=3)
    finally:
        used.close()
        fresh.close()


def played(env, seed: int) -> list[bytes]:
    rng, spec = np.random.default_rng(seed), env.spec
    seen = [env.reset(rng).tobytes()]
    for _ in range(150):
        actions = rng.uniform(-1, 1, (2, spec.actions)).astype(np.float32)
        step = env.step(actions if spec.continuous else rng.integers(spec.actions, size=2))
        seen += [step.obs.tobytes(), step.reward.tobytes()]
    return seen


# ---- slower ------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # of torch itself, as it is imported
def test_compiled_updates_go_on_with_the_same_bits(folder):
    run = small_run(folder, compile="on")
    execute(run, folder / "compiled")
    stopped(run, folder / "compiled-half", AT)
    resumed(run, folder / "compiled-half")
    assert essence(folder / "compiled") == essence(folder / "compiled-half")


@pytest.mark.slow
@pytest.mark.parametrize("env", ["MinAtar/Breakout-v1", "ALE/Breakout-v5"])
def test_screens_stepped_beside_the_learner_go_on_with_the_same_bits(env, folder, monkeypatch):
    """Convolutions, frame stacks, two threads, and replays that are written while training goes on."""
    student = STUDENTS["rainbow"](warmup=20, batch_size=8, replay_size=120, priority=0.5, hidden=(16,), target_every=5)
    run = replace(small_run(folder), env=env, student=student, method=Scratch(), teacher=None, overlap="on", envs=2)
    monkeypatch.setattr(checkpoints, "BEHIND", 1)
    for module in (assembly, outcome):  # an untrained student may play Breakout for minutes
        monkeypatch.setattr(module, "evaluate_student", lambda *_: Evaluation((1.0,), 1))
    name = env.split("/")[0]
    execute(run, folder / name)
    stopped(run, folder / f"{name}-half", 4)
    resumed(run, folder / f"{name}-half")
    assert essence(folder / name) == essence(folder / f"{name}-half")


STUDY = """
seeds: 1
run: {env_steps: 6000, evaluations: 12, eval_episodes: 1, final_episodes: 2, reference_episodes: 2, student: {hidden: [8]}}
tasks: [{env: CartPole-v1}]
methods: {scratch: {}}
"""


@pytest.mark.slow
def test_a_killed_study_takes_its_workers_along_and_goes_on_when_it_is_begun_again(tmp_path):
    (tmp_path / "study.yaml").write_text(STUDY)
    command = [
        sys.executable,
        "-m",
        "reincarnate",
        "study",
        "run",
        "study.yaml",
        "--out",
        "out",
        "--workers",
        "1",
    ]
    run = tmp_path / "out/CartPole-v1/scratch-s0"
    first = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list(run.glob("checkpoints/00*")):
        assert first.poll() is None
        time.sleep(0.05)
    first.kill()
    first.wait()
    time.sleep(1)
    Lock(run).release()  # raises where a worker goes on
    assert not (run / "done").exists()
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert again.returncode == 0 and (run / "done").exists(), again.stderr[-2000:]
    alone = replace(from_record(json.loads((run / "config.json").read_text())), store=str(tmp_path / ".reincarnate"))
    execute(alone, tmp_path / "alone")
    assert essence(run) == essence(tmp_path / "alone")
