"""What `inspect --data` says is what the data holds, whatever format it lies in."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from asking import cut
from torch import Tensor

from reincarnate import envs
from reincarnate.cli import main
from reincarnate.data import Dataset, Replay, save_dataset
from reincarnate.data.dataset import Columns, write_dataset
from reincarnate.data.readers import Logged, convert, read_logged
from reincarnate.data.rows import episode
from reincarnate.errors import UserError
from reincarnate.priors.data_report import DataReport, data_table, describe_data, open_data
from reincarnate.teachers import open_teacher
from reincarnate.types import LOGITS, MEANS, Prediction, TaskSpec, TeacherCard, TimeStep
from reincarnate.ui import Console

FIXTURES = Path(__file__).parent / "fixtures"
TASK = TaskSpec("three", (3,), "float32", 4, 1, None, {"env": "three"})
SCREENS = TaskSpec("screens", (4, 2, 2), "uint8", 2, 4, 1.0, {"env": "screens"})
ARM = TaskSpec("arm", (2,), "float32", 2, 1, None, {}, ((-1.0, -2.0), (1.0, 2.0)))


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def stored(folder: Path, spec: TaskSpec, *blocks: Columns, **about) -> Dataset:
    return write_dataset(folder, spec, blocks, about)


def walk(spec: TaskSpec, steps: int, terminated: bool, action: int = 1, start: int = 0) -> Columns:
    """Frame t is filled with start + t; rewards are 2."""
    shape = spec.obs_shape[1:] if spec.stack > 1 else spec.obs_shape
    frames = np.arange(start, start + steps + 1).reshape(-1, *[1] * len(shape)) * np.ones(shape)
    return episode(spec, frames, np.full(steps, action), np.full(steps, 2.0), terminated)


class Teacher:
    """It plays whatever `told` makes of what it sees, and remembers that."""

    def __init__(self, spec: TaskSpec, told, tells: str = LOGITS, view: str = "student"):
        self.card = TeacherCard(
            "test:", "test", "", tells, "", 0, "0", spec.obs_shape, spec.obs_dtype, spec.actions, "", ""
        )
        self.told, self.view, self.saw, self.frozen = told, view, [], True

    def initial(self, n: int) -> Tensor:
        return torch.zeros(n, 0)

    def predict(self, step: TimeStep, carry: Tensor) -> tuple[Prediction, Tensor]:
        obs = step.seen(self.view)
        self.saw.append(obs.clone())
        return Prediction(self.card.tells, self.told(obs)), carry


def test_episodes_returns_and_actions_are_counted(tmp_path: Path):
    data = stored(tmp_path, TASK, walk(TASK, 3, True, 1), walk(TASK, 5, False, 3), walk(TASK, 1, True, 1))
    report = describe_data(data, rng())
    assert (report.episodes, report.transitions, report.terminated, report.truncated) == (3, 9, 2, 1)
    assert report.returns.tolist() == [6.0, 10.0, 2.0] and report.lengths.tolist() == [3, 5, 1]
    assert report.action_counts is not None and report.action_counts.tolist() == [0, 4, 0, 5]
    assert (
        report.obs_range is not None and report.obs_range[1].tolist() == [4.0] * 3
    )  # what the last action was taken on
    assert report.coverage == 1.0 and report.task == "three" and report.protocol == {"env": "three"}
    assert report.warnings == ("never taken: actions 0, 2",)
    assert report.sha256 == data.id and report.agreement is None


def test_blocks_that_part_episodes_change_nothing(monkeypatch, tmp_path: Path):
    data = stored(tmp_path, SCREENS, *(walk(SCREENS, n, n % 2 == 0, 1, 10 * n) for n in range(1, 9)))
    whole = describe_data(data, rng(), Teacher(SCREENS, lambda obs: torch.tensor([[0.0, 1.0]] * len(obs))), 10**6)
    monkeypatch.setattr("reincarnate.priors.data_report.BLOCK", 3)
    parts = describe_data(data, rng(), Teacher(SCREENS, lambda obs: torch.tensor([[0.0, 1.0]] * len(obs))), 10**6)
    for name in ("returns", "lengths", "action_counts"):
        assert getattr(whole, name).tolist() == getattr(parts, name).tolist(), name
    assert whole.coverage == parts.coverage and whole.agreement == parts.agreement == 1.0


def test_a_teacher_sees_the_observations_that_a_student_would(monkeypatch, tmp_path: Path):
    monkeypatch.setattr("reincarnate.priors.data_report.BLOCK", 3)
    data = stored(tmp_path, SCREENS, *(walk(SCREENS, n, True, 1, 10 * n) for n in (4, 7, 2)))
    teacher = Teacher(SCREENS, lambda obs: torch.zeros(len(obs), 2))
    describe_data(data, rng(), teacher, sample=10**6)
    source = cut(data, 1, 1.0)
    expected = source.gather(np.flatnonzero(source.columns["flags"] & 4 == 0)).obs
    assert torch.equal(torch.cat(teacher.saw), expected)


def test_agreement_is_the_share_of_equal_actions_with_wilsons_interval(tmp_path: Path):
    blocks = [walk(TASK, 30, True, 1), walk(TASK, 10, True, 2)]
    report = describe_data(
        stored(tmp_path, TASK, *blocks), rng(), Teacher(TASK, lambda obs: torch.eye(4)[[1] * len(obs)])
    )
    assert report.agreement == 0.75 and report.sampled == 40
    low, high = report.agreement_interval or (0, 0)
    assert (low, high) == pytest.approx((0.598, 0.858), abs=1e-3)


def test_agreement_of_continuous_actions_is_in_units_of_the_bounds(tmp_path: Path):
    actions = np.array([[0.5, 1.0], [0.5, -1.0]])
    data = stored(tmp_path, ARM, episode(ARM, np.zeros((3, 2)), actions, np.zeros(2), True))
    report = describe_data(data, rng(), Teacher(ARM, lambda obs: torch.tensor([[0.5, 5.0]] * len(obs)), MEANS))
    assert report.agreement == pytest.approx(1 - (0 + 1 / 4 + 0 + 3 / 4) / 4)  # 5 is clipped to the bound, 2
    assert report.action_range is not None and report.action_range[0].tolist() == [0.5, -1.0]
    assert (
        "all rewards are 0" in report.warnings and "2 of 2 dimensions of the observations never vary" in report.warnings
    )


def test_a_sample_of_much_data_is_about_as_large_as_was_asked_for(tmp_path: Path):
    data = stored(tmp_path, TASK, walk(TASK, 20_000, True))
    report = describe_data(data, rng(), Teacher(TASK, lambda obs: torch.zeros(len(obs), 4)), sample=1000)
    assert 850 < report.sampled < 1150 and report.agreement == 0.0
    assert report.agreement_interval is not None and report.agreement_interval[1] < 0.01


def test_a_teacher_that_cannot_be_asked_is_a_warning_and_one_that_does_not_fit_an_error(tmp_path: Path):
    data = stored(tmp_path, TASK, walk(TASK, 5, True))
    report = describe_data(data, rng(), Teacher(TASK, lambda obs: obs, view="rgb"))
    assert report.agreement is None and "by a view of its own (rgb)" in report.warnings[0]
    with pytest.raises(UserError, match="does not fit three"):
        describe_data(data, rng(), Teacher(replace(TASK, actions=9), lambda obs: obs))


def test_images_are_covered_as_far_as_frames_are_distinct(tmp_path: Path):
    data = stored(tmp_path, SCREENS, walk(SCREENS, 10, True), walk(SCREENS, 10, True))
    report = describe_data(data, rng())
    assert report.coverage == 0.5 and report.obs_range is None
    assert report.returns.tolist() == [10.0, 10.0]  # clipped
    assert "rewards are clipped to ±1: the returns are sums of clipped rewards" in report.warnings
    assert "only action 1 was ever taken" in report.warnings


def test_what_is_wrong_with_data_is_said(tmp_path: Path):
    rows = walk(TASK, 6, False)
    for name, value in (("frame", np.nan), ("reward", np.inf)):
        broken = {**rows, name: rows[name].copy()}
        broken[name][2] = value
        with pytest.raises(UserError, match=rf"{name}.npy holds numbers that are not finite"):
            describe_data(stored(tmp_path / name, TASK, broken), rng())
    report = describe_data(stored(tmp_path, TASK, rows), rng())
    assert "no episode terminated: all were cut, or the log does not say" in report.warnings
    beyond = episode(ARM, np.ones((2, 2)), np.array([[0.0, 3.0]]), np.ones(1), True)
    out = describe_data(stored(tmp_path, ARM, beyond), rng())
    assert "1 of 2 numbers of the actions leave the task's bounds" in out.warnings


@pytest.mark.parametrize("name", ["d3rlpy/discrete.h5", "d3rlpy/continuous.h5", "dopamine_replay/wrapped"])
def test_a_log_and_the_dataset_it_becomes_are_described_the_same(name: str, tmp_path: Path):
    logged = read_logged(str(FIXTURES / name), None)
    dataset = convert(logged, None, tmp_path, lambda *_: None)
    there, here = describe_data(logged, rng()), describe_data(dataset, rng())
    assert isinstance(there, DataReport) and there.format in here.format and there.sha256 != here.sha256
    for field in set(vars(here)) - {"format", "sha256"}:
        np.testing.assert_equal(getattr(there, field), getattr(here, field), field)


def test_a_kept_replay_a_dataset_and_a_log_are_all_data(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    few = ["--eval-episodes", "2", "--final-episodes", "2", "--reference-episodes", "3", "--evaluations", "1"]
    small = ["--student.hidden", "8", "--student.warmup", "20", "--student.batch-size", "8", "--env-steps", "120"]
    main(
        ["train", "scratch", "--env", "CartPole-v1", "--keep", "all", *few, *small, "--compile", "off", "--out", "run"]
    )
    kept = open_data("store:run", None)
    assert isinstance(kept, Dataset) and kept.transitions == 120
    assert isinstance(open_data(str(FIXTURES / "d3rlpy/discrete.h5"), None), Logged)
    teacher = open_teacher("store:run")
    report = describe_data(kept, rng(), teacher)
    assert report.agreement is not None and 0 < report.agreement <= 1 and report.sampled == 120
    for address in ("store:run", str(kept.path)):
        capsys.readouterr()
        main(["inspect", "store:run", "--data", address, "--env", "CartPole-v1"])
        shown = capsys.readouterr().out
        assert "takes the logged action greedily" in shown and "120" in shown and "max_episode_steps" in shown


def test_a_replay_of_ours_is_described_as_it_was_played(tmp_path: Path):
    spec = envs.spec("CartPole-v1")
    replay, env = Replay(spec, 2000, 2), envs.make("CartPole-v1", 2)
    obs, draws, total = env.reset(rng()), rng(), 0.0
    for _ in range(100):
        action = draws.integers(2, size=2)
        step = env.step(action)
        replay.add(obs, action, step.reward, step.terminated, step.truncated, step.next_obs)
        obs, total = step.obs, total + float(step.reward.sum())
    replay.cut(obs)
    env.close()
    report = describe_data(save_dataset(replay, tmp_path, {}), rng())
    assert report.returns.sum() == total == report.lengths.sum() == report.transitions
    assert report.terminated + report.truncated == report.episodes and report.truncated <= 2


def test_words_of_a_file_are_shown_and_never_obeyed(tmp_path: Path):
    data = stored(tmp_path, replace(TASK, id="[red]x[/nonsense]", protocol={"env": "[/]"}), walk(TASK, 3, True))
    console = Console(width=100)
    with console.capture() as shown:
        console.print(data_table(describe_data(data, rng()), "[/bold] title"))
    assert "[red]x[/nonsense]" in shown.get() and "[/bold] title" in shown.get()


@pytest.mark.parametrize(
    "args, words",
    [
        (["inspect"], "nothing to inspect: name a teacher, or data with --data"),
        (["inspect", "a", "--teacher", "b"], "two teachers, a and b; name one"),
        (["inspect", "--data", "nowhere"], "there is nothing; logged data is one of"),
        (["inspect", "--data", "minari:no/such-v0"], "no Minari dataset there"),
        (["convert", "nowhere", "--out", "out"], "there is nothing; logged data is one of"),
    ],
)
def test_what_cannot_be_inspected_is_one_line(args, words, capsys, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(args)
    assert stop.value.code == 2 and words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
