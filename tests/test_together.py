"""Seeds trained together are what they are alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from probes import Catch, CatchTeacher, catch
from test_training import prior_data

from reincarnate.cli import main
from reincarnate.errors import UserError
from reincarnate.methods import JSRL, Kickstart, QDagger, Scratch
from reincarnate.methods.weaning import Weaning
from reincarnate.run.directory import RunDirectory
from reincarnate.run.execute import execute, execute_together
from reincarnate.run.settings import Run
from reincarnate.seeds import stream
from reincarnate.students import DQN, IQN, PQN, Modern, Rainbow
from reincarnate.students.exploration import Exploration
from reincarnate.students.stacked import StackedStudent
from reincarnate.studies.matrix import Cell
from reincarnate.studies.units import groups, work
from reincarnate.training.evaluate import Scale, play_episodes
from reincarnate.training.loop import Training
from reincarnate.training.population import Together, cannot_share
from reincarnate.types import TaskSpec

SEEDS = 3
SMALL = {"hidden": (16,), "warmup": 40, "batch_size": 8, "update_every": 2, "target_every": 20, "replay_size": 3000}
LINEAR = Weaning(by="linear")


def newborn(method, config, seed, copies=2, memory=None, env=None):
    """A training on Catch, and the list its records go to."""
    student, teacher = config.newborn(Catch.spec, seed), CatchTeacher()

    def evaluate(index):
        policy = lambda obs, begins, rng: student.values(obs).argmax(-1)
        return play_episodes(catch(10), policy, 20, stream(seed, "evaluate", index))

    return Training(
        student=student,
        env=env or catch(copies),
        phases=[replace(p, evaluations=2) for p in method.phases(120)],
        memory=config.memory(Catch.spec, copies) if memory is None else memory,
        prior=prior_data(teacher, config=config) if "data" in method.needs else None,
        teacher=teacher if "teacher" in method.needs else None,
        scale=Scale(-0.6, 1.0),
        exploration=Exploration(config.warmup, 100, 0.05),
        evaluate=evaluate,
        seed=seed,
        pace=config.pace(copies),
    )


def alone(method, config, seed):
    training, lines = newborn(method, config, seed), []
    training.run(lines.append, lambda: None, lambda phase: None)
    return training, lines


def together(method, config, copies=2):
    memory, env = config.memory(Catch.spec, SEEDS * copies), catch(SEEDS * copies)
    memory.teacher_column(Catch.spec.actions)
    parts = [memory.part(i, SEEDS) for i in range(SEEDS)]
    trainings = [newborn(method, config, seed, copies, parts[seed], env) for seed in range(SEEDS)]
    lines = [[] for _ in range(SEEDS)]
    both = Together(trainings, StackedStudent([t.student for t in trainings]), env, memory)
    both.run([rows.append for rows in lines], [lambda: None] * SEEDS, lambda phase: None)
    return trainings, lines


@pytest.mark.parametrize(
    "method, config",
    [
        (Scratch(), DQN(**SMALL)),
        (Kickstart(), DQN(**SMALL, double=True)),
        (QDagger(offline_updates=60), DQN(**SMALL)),
        (QDagger(offline_updates=20, wean=LINEAR), Rainbow(**SMALL, noisy=True, dueling=True)),
        (Kickstart(wean=LINEAR), IQN(**SMALL | {"hidden": (16, 8)})),
        (Scratch(), Modern(**SMALL, reset_every=20)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_seeds_trained_together_equal_seeds_trained_alone(method, config):
    trainings, lines = together(method, config)
    for seed, (one, rows) in enumerate(zip(trainings, lines, strict=True)):
        other, expected = alone(method, config, seed)
        assert one.at.__dict__ | {"seconds": 0} == other.at.__dict__ | {"seconds": 0}
        torch.testing.assert_close(one.student.state()["online"], other.student.state()["online"], rtol=1e-3, atol=1e-4)
        for name in ("action", "reward", "flags", "age"):
            rows_kept = [
                c.columns[name].reshape(c.streams, c.rows)[:, : c.added.min()] for c in (one.memory, other.memory)
            ]
            assert np.array_equal(*rows_kept)
        for line, told in zip(rows, expected, strict=True):
            assert line.keys() == told.keys()
            numbers = {key for key, value in line.items() if isinstance(value, float)} - {"seconds"}
            for key in line.keys() - {"seconds"}:
                expected_value = pytest.approx(told[key], rel=1e-3, abs=1e-4) if key in numbers else told[key]
                assert line[key] == expected_value, key


@pytest.mark.parametrize("name", ["adam", "rmsprop"])
def test_putting_one_stacked_student_back_changes_nothing_of_another(name):
    students = [newborn(Scratch(), DQN(**SMALL, optimizer=name), seed).student for seed in range(2)]
    early = {key: value.clone() for key, value in students[0].state().items()}
    stacked = StackedStudent(students)
    stacked.online.data += 1.0
    stacked.optimizer.step(stacked.online.data, torch.ones_like(stacked.online.data), 0.1)
    late = {key: value.clone() for key, value in students[1].state().items()}
    students[0].restore(early)
    for key, value in students[1].state().items():
        assert torch.equal(value, late[key]), key


def test_a_part_of_a_replay_is_what_was_added_to_its_streams():
    config = DQN(**SMALL)
    memory = config.memory(Catch.spec, 4)
    parts = [memory.part(i, 2) for i in range(2)]
    obs = np.arange(4 * 40, dtype=np.float32).reshape(4, 40)
    for step in range(5):
        over = np.array([False, step == 2, False, False])
        memory.add(obs + step, np.full(4, step), np.arange(4.0), over, over & False, obs + step + 1)
    memory.cut(obs + 5)
    assert [part.added.tolist() for part in parts] == [[6, 7], [6, 6]]
    assert [part.transitions for part in parts] == [10, 10] and memory.transitions == 20
    batch = parts[1].sample(64, np.random.default_rng(0))
    assert set((batch.obs[:, 0] // 40).int().tolist()) == {2, 3}


@pytest.mark.parametrize(
    "config, spec, reason",
    [
        (DQN(), TaskSpec("Screens", (4, 84, 84), "uint8", 6, 4, 1.0, {}), "screens"),
        (PQN(), Catch.spec, "without a replay"),
    ],
)
def test_what_cannot_go_together_says_why(config, spec, reason):
    assert reason in cannot_share(Scratch().phases(100), spec, config.memory(spec, 2).on_policy)


RUN = Run(
    "CartPole-v1",
    Kickstart(),
    DQN(**SMALL),
    teacher="py:rule.py:lean",
    env_steps=300,
    evaluations=3,
    eval_episodes=2,
    final_episodes=3,
    reference_episodes=3,
)
RULE = """
import torch
def lean(obs):
    push = (obs[:, 2] + obs[:, 3] > 0).float()
    return torch.stack([1 - push, push], 1) * 4
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rule.py").write_text(RULE)
    return tmp_path


def test_each_seed_leaves_the_directory_it_would_leave_alone(here):
    runs = [replace(RUN, seed=seed) for seed in (3, 4)]
    results = execute_together(runs, [here / "a", here / "b"])
    for run, folder, result in zip(runs, ("a", "b"), results, strict=True):
        expected = execute(run, here / f"{folder}-alone")
        differ = {key for key in expected if result[key] != expected[key]} - {"seconds"}
        assert differ == {"together"} and result["together"] == 2
        files = [sorted(p.name for p in (here / name).iterdir()) for name in (folder, f"{folder}-alone")]
        assert files[0] == files[1]


def test_seeds_that_were_stopped_go_on_together_or_alone_to_the_same_end(here, monkeypatch):
    runs = [replace(RUN, seed=seed) for seed in (0, 1)]
    whole = execute_together(runs, [here / "a", here / "b"])

    def stop_at(barrier, which):
        save = RunDirectory.checkpoint

        def stopping(directory, training):
            save(directory, training)
            if training.at.barrier == barrier and training.seed == which:
                raise KeyboardInterrupt

        return stopping

    for which in (1, 0):  # both at the same checkpoint; one a checkpoint ahead of the other
        outs = [here / f"c{which}", here / f"d{which}"]
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(RunDirectory, "checkpoint", stop_at(2, which))
            execute_together(runs, outs)
        again = execute_together(runs, outs, [True, True])
        for one, other in zip(whole, again, strict=True):
            assert one["returns"] == other["returns"] and one["updates"] == other["updates"]


def test_seeds_begin_to_learn_when_all_have_a_batch(here):
    config = DQN(hidden=(8,), warmup=0, batch_size=4, update_every=1, n_step=100)  # first rows as episodes end
    short = {"env_steps": 150, "evaluations": 1, "eval_episodes": 1, "final_episodes": 1, "reference_episodes": 1}
    runs = [Run("CartPole-v1", Scratch(), config, seed=seed, **short) for seed in range(4)]
    results = execute_together(runs, [Path(f"late-s{run.seed}") for run in runs])
    assert len({result["updates"] for result in results}) == 1 and 0 < results[0]["updates"] < 150


def test_runs_that_differ_in_more_than_their_seed_are_refused(here):
    runs = [RUN, replace(RUN, seed=1, env_steps=400)]
    with pytest.raises(UserError, match="differ in their seed alone"):
        execute_together(runs, [here / "a", here / "b"])
    guided = [replace(RUN, method=JSRL(), seed=seed) for seed in (0, 1)]
    with pytest.raises(UserError, match="guided phases"):
        execute_together(guided, [here / "a", here / "b"])
    assert not (here / "a").exists()


def test_the_command_line_trains_several_seeds_together(here, capsys):
    flags = "--env CartPole-v1 --env-steps 120 --evaluations 2 --eval-episodes 1 --final-episodes 2 --seeds 2"
    small = "--reference-episodes 2 --student.hidden 8 --student.warmup 20"
    main(["train", "scratch", *flags.split(), *small.split(), "--out", "many"])
    assert (here / "many/s0/done").exists() and (here / "many/s1/done").exists()
    assert '"together": 2' in (here / "many/s0/result.json").read_text()
    main(["train", "scratch", *flags.split(), *small.split(), "--together", "off"])
    assert (here / "runs/CartPole-v1-scratch-s1/done").exists()
    assert '"together": 1' in (here / "runs/CartPole-v1-scratch-s1/result.json").read_text()


def test_a_dry_run_of_seeds_that_cannot_go_together_is_refused_as_the_run_would_be(here, capsys):
    with pytest.raises(SystemExit) as stop:
        main(
            [
                "train",
                "scratch",
                "--env",
                "CartPole-v1",
                "--student",
                "pqn",
                "--seeds",
                "2",
                "--together",
                "on",
                "--dry-run",
            ]
        )
    assert stop.value.code == 2 and "one seed at a time" in capsys.readouterr().err


def test_resume_takes_up_every_unfinished_seed_in_a_folder(here, monkeypatch):
    runs = [replace(RUN, seed=seed) for seed in (0, 1)]
    save = RunDirectory.checkpoint

    def stopping(directory, training):
        save(directory, training)
        if training.at.barrier == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RunDirectory, "checkpoint", stopping)
        execute_together(runs, [here / "many/s0", here / "many/s1"])
    main(["resume", "many"])
    assert (here / "many/s0/done").exists() and (here / "many/s1/done").exists()


def test_a_study_trains_the_seeds_of_small_networks_together_and_one_that_fails_does_not_stop_the_others(here):
    cells = [Cell(Path(f"x-s{seed}"), replace(RUN, seed=seed)) for seed in (0, 1)]
    other = Cell(Path("y"), replace(RUN, method=Scratch()))
    assert [len(unit) for unit in groups([*cells, other])] == [2, 1]
    (here / "out/x-s1").mkdir(parents=True)  # no run, and in the way
    failed = work(cells, here / "out", lambda name, part: None)
    assert list(failed) == ["x-s1"] and (here / "out/x-s0/done").exists()
