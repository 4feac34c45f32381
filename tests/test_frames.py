"""Frames: the last few observations as one, screens in grey, as a task's settings ask."""

import numpy as np
import pytest
import torch
from test_replay import every_transition

from reincarnate import envs
from reincarnate.cli.task_flags import with_task
from reincarnate.data.layouts import Transitions
from reincarnate.data.replay import Replay
from reincarnate.envs.frames import LUMA, framing
from reincarnate.errors import UserError
from reincarnate.nets.qnet import fits_task, natural_torso, torso_maker
from reincarnate.nets.torsos import TORSOS
from reincarnate.students import A2C, DQN, PPO, SAC
from reincarnate.types import TimeStep


def begun(address: str, n: int = 1):
    made = envs.make(address, n)
    return made, made.reset(np.random.default_rng(0))


def test_vectors_stand_one_behind_the_other_the_newest_last_and_zeros_before_the_start():
    made, first = begun("own_tasks:Listed?frame_stack=3&length=4")
    plain, _ = begun("own_tasks:Listed?length=4")
    assert made.spec.obs_shape == (9,) and made.spec.stack == 1 and first[0, :6].tolist() == [0.0] * 6
    shown = [made.step(np.array([0])) for _ in range(4)]
    seen = [plain.step(np.array([0])) for _ in range(4)]
    assert shown[2].obs[0].tolist() == np.concatenate([step.obs[0] for step in seen[:3]]).tolist()
    assert shown[3].next_obs[0, 6:].tolist() == seen[3].next_obs[0].tolist()
    assert shown[3].obs[0, :6].tolist() == [0.0] * 6  # a new episode has seen nothing


def test_colours_stand_behind_each_other_and_grey_screens_lead():
    colour, first = begun("own_tasks:Screen?frame_stack=2")
    assert colour.spec.obs_shape == (96, 96, 6) and first.dtype == np.uint8
    step = colour.step(np.array([0]))
    assert step.obs[0, 0, 0].tolist() == [0, 0, 0, 1, 1, 1]
    grey, _ = begun("own_tasks:Screen?frame_stack=4&greyscale=true")
    assert (grey.spec.obs_shape, grey.spec.stack, natural_torso(grey.spec)) == ((4, 96, 96), 4, "nature")
    for _ in range(5):
        step = grey.step(np.array([0]))
    assert step.obs[0, :, 0, 0].tolist() == [2, 3, 4, 5]
    single, _ = begun("own_tasks:Screen?greyscale=true")
    assert (single.spec.obs_shape, single.spec.stack) == ((96, 96, 1), 1)


def test_screens_whose_colours_come_first_are_stacked_in_front_as_sb3_has_them():
    kept = framing((3, 8, 9), "uint8", 2, False, "Mine-v0")
    assert kept.shape == (6, 8, 9)
    frames = kept.fresh()
    one, two = (np.full((3, 8, 9), value, np.uint8) for value in (1, 2))
    frames(one)
    assert [int(plane.max()) for plane in frames(two)] == [1, 1, 1, 2, 2, 2]


def test_grey_is_what_the_eye_takes_for_as_bright():
    assert LUMA.sum() == pytest.approx(1) and LUMA.argmax() == 1 and LUMA.argmin() == 2


def test_a_replay_keeps_each_grey_screen_once_and_gives_the_stack_back():
    made, obs = begun("own_tasks:Screen?frame_stack=3&greyscale=true&length=6", 1)
    replay, shown = Replay(made.spec, 40, 1), []
    assert replay.columns["frame"].shape[1:] == (96, 96)
    for _ in range(12):
        step = made.step(np.array([1]))
        replay.add(obs, np.array([1]), step.reward, step.terminated, step.truncated, step.next_obs)
        shown.append(obs[0])
        obs = step.obs
    batch = every_transition(replay, Transitions(1, 0.9))
    assert {one.numpy().tobytes() for one in batch.obs} == {one.tobytes() for one in shown}


@pytest.mark.parametrize(
    "address, said",
    [
        ("CartPole-v1?frame_stack=0", "--frame-stack must be from 1 to 64, not 0"),
        ("CartPole-v1?frame_stack=two", "--frame-stack must be from 1 to 64, not 'two'"),
        ("CartPole-v1?greyscale=grey", "--greyscale is true or false, not 'grey'"),
        ("CartPole-v1?greyscale=true", "--greyscale is for screens"),
        ("MinAtar/Breakout-v1?frame_stack=2", "its own protocol"),
    ],
)
def test_what_cannot_be_shown_is_one_line(address, said):
    with pytest.raises(UserError, match=r"^[^\n]*$") as error:
        envs.spec(address)
    assert said in str(error.value)


def test_flags_ask_for_frames_and_the_record_and_the_identity_say_so():
    said = with_task(["x", "--env", "own_tasks:Screen", "--frame-stack", "2", "--greyscale", "--seed", "1"])
    assert said == ["x", "--env", "own_tasks:Screen?frame_stack=2&greyscale=true", "--seed", "1"]
    assert envs.parse(said[2]).address == said[2] and envs.spec(said[2]).protocol["greyscale"] is True
    assert envs.identity(said[2]) != envs.identity("own_tasks:Screen")


@pytest.mark.parametrize("student", [DQN(), DQN(torso="impala"), PPO(), A2C()])
def test_screens_in_colour_have_a_network_of_their_size(student):
    spec = envs.spec("own_tasks:Screen")
    assert natural_torso(spec) == "screen"
    made = student.newborn(spec, 0)
    numbers = sum(parameter.numel() for parameter in made.network.parameters())
    assert numbers < 6e6, numbers  # 3 × 3 convolutions as of MinAtar's grids leave 18 million
    step = TimeStep(torch.zeros(2, 96, 96, 3, dtype=torch.uint8), torch.ones(2, dtype=torch.bool))
    assert made.act(step, made.initial(2), 0.0, np.random.default_rng(0)).action.shape == (2,)


@pytest.mark.parametrize("shape, torso, fit", [
    ((4, 84, 84), "nature", {"nature", "nature-same", "impala"}),
    ((3, 40, 60), "nature", {"nature", "nature-same", "impala"}),
    ((3, 20, 30), "impala", {"nature-same", "impala"}),
    ((84, 84, 4), "screen", {"screen", "minatar", "impala"}),
    ((12, 20, 1), "minatar", {"minatar", "impala"}),
])  # fmt: skip
def test_screens_are_read_with_their_smallest_side_as_channels(shape, torso, fit):
    spec = envs.spec(envs.TaskSettings("own_tasks:Pictures", {"shape": list(shape)}))
    assert natural_torso(spec) == torso and {name for name in TORSOS.ours if fits_task(name, spec)} == fit | {"mlp"}
    obs = torch.zeros(2, *shape, dtype=torch.uint8)
    for name in fit:
        made = DQN(torso=name, hidden=(4,)).newborn(spec, 0)
        first = next(p for p in made.network.parameters() if p.ndim == 4)
        assert first.shape[1] == min(shape) and made.network(obs).shape == (2, 2)
    step = TimeStep(obs, torch.ones(2, dtype=torch.bool))
    for student in (PPO(hidden=(4,)), DQN(hidden=(4,), augment="shift") if torso == "nature" else A2C(hidden=(4,))):
        made = student.newborn(spec, 0)
        assert made.act(step, made.initial(2), 0.0, np.random.default_rng(0)).action.shape == (2,)


@pytest.mark.parametrize("shape, dtype, flat", [
    ((84, 84), "uint8", True), ((40, 60, 3), "float32", True), ((3, 84, 84), "float32", True),
    ((3, 3), "uint8", False), ((12, 20), "float32", False), ((84, 84, 4), "uint8", False), ((4, 84, 84), "uint8", False),
])  # fmt: skip
def test_a_picture_that_is_seen_as_a_row_of_numbers_is_told(shape, dtype, flat):
    task = envs.TaskSettings("own_tasks:Pictures", {"shape": list(shape), "dtype": dtype}, max_episode_steps=9)
    said = [line for line in envs.remarks(task) if "row of" in line and "--wrapper" in line]
    assert len(said) == flat and len(envs.spec(task).obs_shape) == (3 if len(shape) == 3 and dtype == "uint8" else 1)


def test_students_of_vectors_alone_name_one_that_sees_screens():
    spec = envs.spec("own_tasks:Screen")
    with pytest.raises(UserError, match=r"flat vectors alone: use --student ppo"):
        SAC().newborn(spec.__class__(**{**spec.__dict__, "actions": 2, "bounds": ((-1.0,) * 2, (1.0,) * 2)}), 0)


def test_car_racing_is_seen_in_colour_or_in_grey_and_driven():
    assert envs.spec("CarRacing-v3").obs_shape == (96, 96, 3)
    made, obs = begun("CarRacing-v3?frame_stack=4&greyscale=true")
    assert obs.shape == (1, 4, 96, 96) and made.spec.continuous and obs[0, 3].any()
    driver = PPO().newborn(made.spec, 0)
    step = TimeStep(torch.from_numpy(obs), torch.ones(1, dtype=torch.bool))
    action = driver.act(step, driver.initial(1), 0.0, np.random.default_rng(0)).action
    assert made.step(action).obs.shape == (1, 4, 96, 96)
    made.close()


@pytest.mark.parametrize("student", [DQN(), PPO(), DQN(torso="mlp")])
def test_a_dict_as_vizdoom_has_it_is_seen_through_convolutions_for_its_screen(student):
    made, obs = begun("own_tasks:Doom", 2)
    assert made.spec.actions == 8 and made.view("student").shape == (2, 2 + 60 * 80 * 3)
    torso = natural_torso(made.spec)
    learner = student.newborn(made.spec, 0)
    step = TimeStep(torch.from_numpy(obs), torch.ones(2, dtype=torch.bool))
    made.step(learner.act(step, learner.initial(2), 0.0, np.random.default_rng(0)).action)
    convolutions = [name for name in learner.weights() if "screens.0.conv1" in name]
    assert torso == "keyed" and bool(convolutions) == (getattr(student, "torso", "auto") != "mlp")


def test_a_screen_in_a_row_is_seen_as_the_screen_itself_and_the_rest_as_it_is():
    spec = envs.spec("own_tasks:Doom")
    torso = torso_maker("keyed", spec)(spec.obs_shape, (7,))
    row = torch.cat([torch.tensor([[100.0, 3.0]]), torch.arange(60 * 80 * 3)[None] % 256], 1)
    screen = row[:, 2:].reshape(1, 60, 80, 3)
    expected = torso.fc(torch.cat([row[:, :2], torso.screens[0](screen.to(torch.uint8))], 1))
    torch.testing.assert_close(torso(row), expected)
