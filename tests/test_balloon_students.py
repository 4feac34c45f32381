"""Students on balloons: Marco-Polo exploration, Perciatelli44's weights, defaults, drawing, runs from the command line."""

import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from asking import says
from probes import corridor_spec
from thinning import slow

from reincarnate import envs
from reincarnate.cli import main
from reincarnate.cli.train_flags import parse
from reincarnate.envs.balloon.constants import DOWN, STAY, UP
from reincarnate.envs.balloon.walk import PressureWalk
from reincarnate.errors import UserError
from reincarnate.priors import weights
from reincarnate.students import DQN, IQN, PPO, QRDQN
from reincarnate.students.exploration import MarcoPolo
from reincarnate.students.stacked import StackedStudent
from reincarnate.teachers import open_teacher
from reincarnate.types import Prediction, TimeStep

CALM = "Balloon/Station-v0?wind=simplex"
SMALL = Path(__file__).parent / "fixtures" / "balloon" / "small.pb"
WHEEL = "balloon_learning_environment-1.0.1-py3-none-any.whl"


def step(n: int, begins: bool, mask: np.ndarray | None = None) -> TimeStep:
    allowed = None if mask is None else torch.from_numpy(mask)
    return TimeStep(torch.zeros(n, 1), torch.full((n,), begins), mask=allowed)


# ---- Marco Polo ----------------------------------------------------------------------------------------


def test_an_episode_of_exploration_begins_with_its_own_actions_and_takes_turns():
    explore, rng = MarcoPolo(corridor_spec(), 1.0, 3, 2, "uniform"), np.random.default_rng(0)
    own = np.full(400, 9)
    turns = [(explore(step(400, t == 0), own, rng) != 9).mean() for t in range(12)]
    assert turns == [0, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0]
    assert (explore(step(400, True), own, rng) == 9).all()  # a new episode begins with its own again


def test_so_many_episodes_explore_as_it_is_told_and_one_seed_is_one_exploration():
    def explored(seed):
        explore, rng = MarcoPolo(corridor_spec(), 0.8, 0, 5, "uniform"), np.random.default_rng(seed)
        return explore(step(4000, True), np.full(4000, 9), rng)

    assert abs((explored(0) != 9).mean() - 0.8) < 0.02
    assert np.array_equal(explored(0), explored(0)) and not np.array_equal(explored(0), explored(1))


def test_an_explorer_takes_no_action_that_is_not_allowed():
    explore, rng = MarcoPolo(replace(corridor_spec(), actions=4), 1.0, 0, 5, "uniform"), np.random.default_rng(0)
    mask = np.tile([False, True, False, True], (200, 1))
    assert set(explore(step(200, True, mask), np.full(200, 1), rng).tolist()) == {1, 3}


def test_the_walk_flies_to_its_target_and_its_steps_grow_with_the_time_it_is_followed():
    walk, rng = PressureWalk(2000), np.random.default_rng(0)
    everyone, obs = np.ones(2000, bool), np.full((2000, 1099), 0.4, np.float32)  # 8600 Pa
    walk.begin(everyone, rng)
    assert 6500 <= walk.target.min() < 6600 and 11_300 < walk.target.max() <= 11_400
    before = walk.target.copy()
    actions = walk.act(everyone, obs, rng)
    assert abs((walk.target - before).std() / (0.1666 * 180) - 1) < 0.05
    expected = np.select([walk.target < 8500, walk.target > 8700], [UP, DOWN], STAY)
    assert np.array_equal(actions, expected)
    before = walk.target.copy()
    walk.act(everyone, obs, rng)
    assert abs((walk.target - before).std() / (2 * 0.1666 * 180) - 1) < 0.05


def test_seeds_that_are_stacked_explore_as_each_would_alone():
    settings, spec = DQN(hidden=(4,), polo=0.5, polo_own=1, polo_explore=2), corridor_spec()
    alone = [settings.newborn(spec, seed) for seed in (0, 1)]
    stack = StackedStudent([settings.newborn(spec, seed) for seed in (0, 1)])
    rngs, own = ([np.random.default_rng(seed) for seed in (5, 6)] for _ in range(2))
    for t in range(6):
        together = stack.act(step(8, t == 0), torch.zeros(8, 0), 0.3, rngs).action
        apart = [s.act(step(4, t == 0), torch.zeros(4, 0), 0.3, g).action for s, g in zip(alone, own, strict=True)]
        assert np.array_equal(together, np.concatenate(apart))


# ---- the weights of others -----------------------------------------------------------------------------


def same_values(address: str, width: int) -> None:
    """The student's values after the weights are loaded are the teacher's."""
    agent = weights.open_weights(address)
    spec = replace(envs.spec(CALM), obs_shape=(width,))
    student = agent.student.newborn(spec, 0)
    fitted = weights.fit(agent, (), spec, student.weights(), np.random.default_rng(0))
    assert "all that the network has" in weights.begin(student, fitted)[-1]
    obs = torch.from_numpy(np.random.default_rng(0).random((64, width), np.float32))
    expected: Prediction = Prediction("values", says(open_teacher(address), obs)[0])
    found, _ = student.predict(TimeStep(obs, torch.ones(64, dtype=torch.bool)), student.initial(64))
    assert ((found.x - expected.x).abs() / expected.x.abs().clamp_min(1)).max() <= 1e-5


def test_a_graphs_weights_make_a_student_of_the_same_function():
    agent = weights.open_weights(f"balloon:{SMALL}")
    assert isinstance(agent.student, QRDQN) and (agent.student.gamma, agent.student.n_step) == (0.993, 5)
    same_values(f"balloon:{SMALL}", 9)


def test_perciatelli44_becomes_a_student_of_7_times_600_and_51_quantiles(monkeypatch):
    folder = Path(os.environ.get("REINCARNATE_BALLOON", Path(tempfile.gettempdir()) / "ble"))
    if not (folder / WHEEL).exists():
        pytest.skip(f"pip download --no-deps balloon-learning-environment==1.0.1 -d {folder}, or REINCARNATE_BALLOON")
    student = weights.open_weights(f"balloon:{folder / WHEEL}").student
    assert student.hidden == (600,) * 7 and student.quantiles == 51 and student.explorer == "pressure"
    same_values(f"balloon:{folder / WHEEL}", 1099)


# ---- from the command line -----------------------------------------------------------------------------

QUICK = ["--env", CALM, "--env-steps", "96", "--envs", "4", "--evaluations", "1", "--compile", "off", "--threads", "1"]
QUICK += ["--student.batch-size", "8", "--student.warmup", "16", "--student.replay-size", "400"]
FEW = ["--eval-episodes", "1", "--final-episodes", "1", "--reference-episodes", "1"]


@pytest.fixture
def short(monkeypatch, tmp_path):
    """Flights of an hour, in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("reincarnate.envs.balloon.station.EPISODE", 20)


@pytest.mark.parametrize(
    ("method", "student", "more"),
    [
        ("scratch", "qrdqn", ["--student.polo", "0.8", "--student.explorer", "pressure"]),
        slow("kickstart", "iqn", ["--teacher", "balloon:station_seeker", "--metric", "twr50"]),
        slow(
            "qdagger",
            "dqn",
            ["--teacher", "balloon:station_seeker", "--offline-updates", "4", "--data-env-steps", "60"],
        ),
    ],
)
def test_students_are_trained_from_the_command_line(method, student, more, short):
    hidden = ["--student.hidden", "16", "16", "16"]
    main(["train", method, "--student", student, "--out", "r", *hidden, *QUICK, *FEW, *more])
    config, result = (json.loads(Path(f"r/{name}.json").read_text()) for name in ("config", "result"))
    assert (config["student"]["gamma"], config["student"]["n_step"]) == (0.993, 5)
    assert set(result["measures"]) == {"return", "twr50"} and 0 <= result["measures"]["twr50"]["mean"] <= 1
    assert result["env_steps"] == 96 and (method == "scratch" or result["reference"]["teacher"]["episodes"] == 1)
    if method == "qdagger":
        (frames,) = Path(".reincarnate/data").glob("*/frame.npy")
        assert np.load(frames, mmap_mode="r").shape[1:] == (1150,)


def test_what_is_suggested_for_balloons_gives_way_to_flags_and_to_an_agents_settings(tmp_path):
    said = [parse(["scratch", "--env", CALM, *more])[0].student for more in ([], ["--student.n-step", "2"])]
    assert [(one.gamma, one.n_step) for one in said] == [(0.993, 5), (0.993, 2)]
    other = parse(["scratch", "--env", "CartPole-v1"])[0].student
    assert (other.gamma, other.n_step) == (0.99, 3)
    ppo = parse(["scratch", "--env", CALM, "--student", "ppo"])[0].student
    assert isinstance(ppo, PPO) and ppo.gamma == 0.993
    file = tmp_path / "a.yaml"
    file.write_text(f'env: "{CALM}"\nstudent: {{name: iqn, gamma: 0.9}}\n')
    from_file = parse(["scratch", "--config", str(file)])[0].student
    assert isinstance(from_file, IQN) and (from_file.gamma, from_file.n_step) == (0.9, 3)


@pytest.mark.parametrize("name", ["flight.png", slow("flight.gif")])
def test_an_agents_flight_is_drawn(name, short, capsys, monkeypatch):
    monkeypatch.setattr("reincarnate.envs.balloon.drawing.FRAMES", 3)
    main(["evaluate", "balloon:random_walk", "--env", CALM, "--render", name, "--seed", "7"])
    assert Path(name).read_bytes()[:4] in (b"\x89PNG", b"GIF8") and list(Path().iterdir()) == [Path(name)]
    assert "seed 7: return" in capsys.readouterr().out


# ---- bad input -----------------------------------------------------------------------------------------


def refused(args: list[str], capsys) -> str:
    with pytest.raises(SystemExit) as stop:
        main(args)
    said = capsys.readouterr().err.strip()
    assert stop.value.code == 2 and said.count("error:") == 1
    return " ".join(said.split())


@pytest.mark.parametrize(
    ("more", "match"),
    [
        (["--render", "flight.bmp"], "a picture ends in .png, an animation in .gif"),
        (["--render", "nowhere/flight.png"], "there is no folder nowhere"),
        (["--render", "a.png", "--seed", "-1"], "--seed must not be negative"),
        (["--render", "a.png", "--env", f"{CALM}&seeds=0-9", "--seed", "1000"], "weather of seed 1000 is not recorded"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(more, match, short, capsys):
    env = [] if "--env" in more else ["--env", CALM]
    assert match in refused(["evaluate", "balloon:station_seeker", *env, *more], capsys)
    assert not list(Path().iterdir())


def test_a_task_without_pictures_is_one_line(tmp_path):
    with pytest.raises(UserError, match="CartPole-v1 cannot be drawn here"):
        envs.render("CartPole-v1", lambda obs: obs, tmp_path / "a.png", 0)


@pytest.mark.parametrize(
    ("more", "match"),
    [
        (["--student.polo", "1.5"], "--student.polo must lie between 0 and 1"),
        (["--student.polo-explore", "0"], "--student.polo-explore 0 is too small"),
        (["--metric", "twr"], "Balloon/Station-v0?wind=simplex is measured by return or twr50"),
    ],
)
def test_settings_that_cannot_mean_anything_are_refused(more, match, short, capsys):
    assert match in refused(["train", "scratch", "--out", "r", *QUICK, *more], capsys)
    assert not Path("r").exists()


def test_a_walk_through_pressures_is_for_balloons_alone():
    with pytest.raises(UserError, match=r"--student.explorer pressure .* Corridor shows \(1,\): use uniform"):
        DQN(explorer="pressure").newborn(corridor_spec(), 0)


def test_a_scripted_policy_has_no_weights_and_a_missing_file_is_one_line():
    with pytest.raises(UserError, match="a scripted policy has no weights; it can be a --teacher"):
        weights.open_weights("balloon:station_seeker")
    with pytest.raises(UserError, match=r"nowhere\.pb"):
        weights.open_weights("balloon:nowhere.pb")


def test_a_teacher_that_sees_something_else_is_refused(short, capsys):
    said = refused(["train", "kickstart", "--teacher", f"balloon:{SMALL}", "--out", "r", *QUICK], capsys)
    assert "does not fit" in said and "it sees (9,)" in said and "(1099,)" in said
