"""People's own tasks: named in one string, known by what they are, any usual space, and every fault told at its step."""

import functools
import importlib.util
import sys
import textwrap
from dataclasses import replace

import gymnasium as gym
import numpy as np
import own_tasks
import pytest
import torch
from gymnasium import spaces
from gymnasium.envs.registration import WrapperSpec
from hypothesis import given
from hypothesis import strategies as st

from reincarnate import envs
from reincarnate.cli import main
from reincarnate.cli.task_flags import with_task
from reincarnate.data.readers import check_task
from reincarnate.envs import checks
from reincarnate.envs.spaces import acting, joint_mask
from reincarnate.envs.task import BULLET, TaskSettings, parse
from reincarnate.envs.vector import Copies
from reincarnate.errors import UserError
from reincarnate.teachers.lifts import from_actions
from reincarnate.types import TaskSpec


def begun(env, n: int = 1, view: str = "student"):
    made = envs.make(env, n, view)
    made.reset(np.random.default_rng(0))
    return made


def played(env, steps: int, action=0):
    """The steps of one copy that always does the same."""
    made = begun(env)
    actions = np.array([action], np.float32 if made.spec.continuous else None)
    return [made.step(actions) for _ in range(steps)]


# ---- naming ------------------------------------------------------------------------------------------

WORDS = st.sampled_from(["", "x", "4x4", "3", "true", "a&b=c?d", "1e3", "ü %20 +", '"', "null", "[1]"])
VALUES = st.none() | st.booleans() | st.integers(-99, 99) | st.floats(-9, 9) | WORDS | st.lists(WORDS, max_size=2)


@given(st.dictionaries(st.sampled_from(["scale", "map_name", "x1"]), VALUES), st.none() | st.integers(1, 9))
def test_an_address_says_all_and_is_read_back_as_what_it_was(kwargs, limit):
    task = TaskSettings("pkg.mod:Mine-v0", kwargs, ("a.b:C", "d:E"), ("plug",), limit)
    assert parse(task.address) == task


def test_a_plain_id_is_its_own_address_and_folder():
    assert TaskSettings("ALE/Pong-v5").address == "ALE/Pong-v5" and TaskSettings("ALE/Pong-v5").folder == "ALE-Pong-v5"
    named = parse("own_tasks:Plain?scale=10&max_episode_steps=50")
    assert named.kwargs == {"scale": 10} and named.max_episode_steps == 50
    assert named.folder.startswith("own_tasks-Plain-") and named.folder != parse("own_tasks:Plain?scale=11").folder


def test_modules_are_those_whose_code_a_name_would_run():
    task = parse("pkg:Id?wrapper=wraps.deep:W&import=plug")
    assert task.modules == ("pkg", "wraps.deep", "plug") and parse("CartPole-v1").modules == ()


@pytest.mark.parametrize(
    "address, said",
    [
        ("CartPol-v1", "did you mean CartPole-v1"),
        ("nosuchmodule:Id", "no module 'nosuchmodule'"),
        ("own_tasks:Nowhere", "registers no such id and has no such callable"),
        ("Mine-v77", "registered by --import MODULE"),
        ("own_tasks:Plain?scale", "is no KEY=VALUE"),
        ("own_tasks:Plain?scale=1&scale=2", "gives scale twice"),
        ("own_tasks:Plain?size=3", "unexpected keyword argument 'size'"),
        ("own_tasks:Needs", "--env-kwargs.NAME VALUE"),
        ("CartPole-v1?max_episode_steps=0", "at least 1"),
        ("CartPole-v1?wrapper=own_tasks:Nope", "has no class 'Nope'"),
        ("CartPole-v1?wrapper=Nope", "module:Class"),
        ("MinAtar/Breakout-v1?ramp=1", "its own protocol"),
        ("own_tasks:Graphs", "Dict or Tuple of those"),
        ("own_tasks:Many", "125,000 combinations"),
        ("local:gone", "another process"),
    ],
)
def test_what_names_no_task_that_can_be_played_is_one_line(address, said):
    with pytest.raises(UserError, match=r"^[^\n]*$") as error:
        envs.spec(address)
    assert said in str(error.value)


def test_arguments_wrappers_and_limits_reach_the_task():
    address = "own_tasks:Plain?scale=3&wrapper=own_tasks:Doubled&wrapper=own_tasks:Doubled&max_episode_steps=4"
    steps = played(address, 4)
    assert [float(step.reward[0]) for step in steps] == [12.0] * 4
    assert steps[3].truncated[0] and not steps[3].terminated[0] and not steps[2].truncated[0]
    spec = envs.spec(address)
    assert spec.id == address and spec.protocol["max_episode_steps"] == 4 and spec.protocol["env"] == address
    assert envs.spec(spec.id) == spec


def test_a_callable_makes_a_task_and_is_found_again_by_name_where_that_is_possible():
    assert envs.spec(own_tasks.Plain).id == "own_tasks:Plain"
    steps = played(lambda: own_tasks.Plain(scale=7), 1)
    assert steps[0].reward[0] == 7
    partial = envs.settings_of(functools.partial(own_tasks.Plain, scale=5))
    assert partial.module == "local" and played(partial.address, 1)[0].reward[0] == 5


def test_a_module_in_the_current_folder_is_found(tmp_path, monkeypatch):
    (tmp_path / "task_lying_here.py").write_text("from own_tasks import Plain as Mine\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [one for one in __import__("sys").path if one])
    assert envs.spec("task_lying_here:Mine").obs_shape == (3,)


def test_flags_become_part_of_the_address_whichever_command_they_are_given_to():
    said = ["x", "--env", "CartPole-v1", "--env-kwargs.render-fps", "3", "--max-episode-steps=9", "--seed", "2"]
    assert with_task(said) == ["x", "--env", "CartPole-v1?render_fps=3&max_episode_steps=9", "--seed", "2"]
    assert with_task(["--env=A-v0?x=1", "--env-kwargs.x", '"1"', "--wrapper", "m:W"]) == [
        '--env=A-v0?x="1"&wrapper=m:W'
    ]
    assert with_task(["--import", "own_tasks", "a"]) == ["a"]
    assert with_task(["--seed", "1", "--", "--import", "x"]) == ["--seed", "1", "--", "--import", "x"]
    for wrong, line in ((["--wrapper", "m:W"], "name that too"), (["--import"], "needs a value: MODULE")):
        with pytest.raises(UserError, match=line):
            with_task(wrong)


def test_a_family_from_outside_is_one_registration(monkeypatch):
    monkeypatch.setattr(envs.FAMILIES, "_added", {})
    module = type(envs)("toy_family")
    toy = TaskSpec("Toy/A", (1,), "float32", 2, 1, None, {})
    module.__dict__.update(ids=lambda: {"Toy/A"}, spec=lambda env_id: toy, make=None)
    monkeypatch.setitem(__import__("sys").modules, "toy_family", module)
    envs.register_family("Toy/", "toy_family")
    assert envs.spec("Toy/A") is toy
    with pytest.raises(UserError, match="did you mean Toy/A"):
        envs.spec("Toy/B")


# ---- what a task is ----------------------------------------------------------------------------------


def test_a_longer_limit_than_the_registered_one_holds_beneath_a_registrations_own_wrappers():
    own = WrapperSpec("Idle", "gymnasium.wrappers:RecordEpisodeStatistics", {})
    gym.register("Short-v0", entry_point=own_tasks.Never, max_episode_steps=5, additional_wrappers=(own,))
    try:
        for address, limit in (("Short-v0", 5), ("Short-v0?max_episode_steps=9", 9)):
            env = envs.make(address, 1)
            env.reset(np.random.default_rng(0))
            assert [bool(env.step(np.zeros(1, np.int64)).truncated[0]) for _ in range(limit)].index(True) == limit - 1
    finally:
        del gym.registry["Short-v0"]


@pytest.mark.parametrize(
    "task, packages",
    [
        ("MiniGrid-Empty-5x5-v0", {"minigrid"}),
        ("popgym-CountRecallEasy-v0", {"popgym"}),
        ("dm_control/cartpole-balance-v0", {"dm-control", "mujoco"}),
    ],
)
def test_a_tasks_identity_names_the_packages_that_it_is_of(task, packages):
    assert envs.identity(task)["code"].keys() == packages


def test_a_task_registered_later_is_known_and_one_registered_anew_is_seen_as_it_is_now():
    with pytest.raises(UserError, match="unknown"):
        envs.spec("Later-v0")
    gym.register("Later-v0", entry_point=own_tasks.Plain, max_episode_steps=30)
    try:
        assert envs.spec("Later-v0").protocol["max_episode_steps"] == 30
        before = envs.identity("Later-v0")
        gym.registry["Later-v0"].max_episode_steps = 20
        assert envs.spec("Later-v0").protocol["max_episode_steps"] == 20
        assert len([s for s in played("Later-v0?length=99", 20) if s.truncated[0]]) == 1
        del gym.registry["Later-v0"]
        gym.register("Later-v0", entry_point=own_tasks.Plain, max_episode_steps=30, kwargs={"scale": 10})
        assert envs.identity("Later-v0") != before and played("Later-v0", 1)[0].reward[0] == 10
    finally:
        del gym.registry["Later-v0"]


def test_an_identity_is_json_that_changes_with_arguments_limit_wrappers_and_nothing_else():
    plain = envs.identity("own_tasks:Plain")
    assert plain == envs.identity("own_tasks:Plain") and set(plain["code"]) >= {"own_tasks", "gymnasium"}
    others = ["?scale=2", "?max_episode_steps=9", "?wrapper=own_tasks:Doubled"]
    assert all(envs.identity(f"own_tasks:Plain{other}") != plain for other in others)
    assert envs.identity("CartPole-v1")["code"] == {"gymnasium": gym.__version__}
    assert set(envs.identity("MinAtar/Breakout-v1")["code"]) == {"minatar"}


def load(path, text: str):
    """A module's text written anew, as an editor does between two cells."""
    import importlib.util
    import sys

    path.write_text(textwrap.dedent(text))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


SOURCE = """
from own_tasks import Plain
SCALE = {scale}
class Mine(Plain):
    def reward(self, action):
        return SCALE * {factor}
"""


def test_an_identity_follows_the_source_of_a_module_and_of_those_beside_it(tmp_path):
    path = tmp_path / "edited_task.py"
    first = envs.identity(load(path, SOURCE.format(scale=1, factor=1)).Mine)
    assert envs.identity(load(path, SOURCE.format(scale=1, factor=1)).Mine) == first
    other = load(path, SOURCE.format(scale=1, factor=2))
    assert envs.identity(other.Mine) != first
    kept = envs.identity(other.Mine)
    other.SCALE = 10
    assert envs.identity(other.Mine) != kept


def test_an_identity_follows_what_a_notebook_defines_without_a_file():
    def cell(scale, factor):
        scope = {"__name__": "__main__", "Plain": own_tasks.Plain}
        exec(SOURCE.format(scale=scale, factor=factor).replace("from own_tasks import Plain", ""), scope)
        return envs.identity(scope["Mine"])

    assert cell(1, 1) == cell(1, 1)
    assert cell(1, 1) != cell(1, 2) and cell(1, 1) != cell(10, 1)


class Config:
    def __init__(self, scale):
        self.scale = scale


@pytest.mark.parametrize("one, other", [
    (lambda: own_tasks.Plain(scale=1), lambda: own_tasks.Plain(scale=2)),
    (functools.partial(own_tasks.Plain, scale=1), functools.partial(own_tasks.Plain, scale=2)),
    (functools.partial(own_tasks.Plain, scale=np.ones(3)), functools.partial(own_tasks.Plain, scale=np.zeros(3))),
    (functools.partial(own_tasks.Plain, scale=Config(1)), functools.partial(own_tasks.Plain, scale=Config(2))),
])  # fmt: skip
def test_an_identity_tells_callables_apart_by_what_they_hold(one, other):
    assert envs.identity(one)["code"] == envs.identity(one)["code"]
    assert envs.identity(one)["code"] != envs.identity(other)["code"]


def test_a_closures_value_is_part_of_the_identity():
    def maker(scale):
        return lambda: own_tasks.Plain(scale=scale)

    assert envs.identity(maker(1)) == envs.identity(maker(1)) != envs.identity(maker(2))


def test_local_callables_of_one_name_are_each_kept_under_their_own():
    makers = [lambda scale=scale: own_tasks.Plain(scale=scale) for scale in (1, 2, 3)]
    tasks = [envs.settings_of(maker) for maker in makers]
    assert [played(task, 1)[0].reward[0] for task in tasks] == [1, 2, 3]
    assert len({task.id for task in tasks}) == 3 and [envs.settings_of(maker) for maker in makers] == tasks
    again = [lambda scale=scale: own_tasks.Plain(scale=scale) for scale in (1, 2, 3)]
    assert [envs.settings_of(maker) for maker in again] == tasks
    bound = [functools.partial(own_tasks.Plain, scale=scale) for scale in (4, 5)]
    assert [played(envs.settings_of(one), 1)[0].reward[0] for one in bound] == [4, 5]


def test_a_task_that_was_named_before_a_cell_defined_its_class_anew_keeps_the_old_class():
    def cell(factor):
        scope = {"__name__": "__main__", "Plain": own_tasks.Plain}
        exec(f"class Anew(Plain):\n    def reward(self, action):\n        return {factor}", scope)
        return envs.settings_of(scope["Anew"])

    before, same, after = cell(2), cell(2), cell(30)
    assert before == same != after and (before.id, after.id) == ("local:Anew", "local:Anew-2")
    assert [played(task, 1)[0].reward[0] for task in (before, after)] == [2, 30]


# ---- spaces ------------------------------------------------------------------------------------------


def test_discrete_observations_are_one_hot():
    spec = envs.spec("FrozenLake-v1")
    obs = envs.make("FrozenLake-v1", 2).reset(np.random.default_rng(0))
    assert spec.obs_shape == (16,) and obs.tolist() == [[1.0] + [0.0] * 15] * 2


def test_a_tuple_of_discrete_numbers_is_concatenated_and_a_part_can_be_looked_at():
    spec, env = envs.spec("Blackjack-v1"), begun("Blackjack-v1", 3, "0")
    assert spec.obs_shape == (32 + 11 + 2,) and spec.protocol["observation"][1] == ["1", 11, [], "int64"]
    assert env.view("student").sum(1).tolist() == [3, 3, 3]
    assert env.view("0").tolist() == env.view("student")[:, :32].argmax(1).tolist()


def test_a_dict_as_minigrid_has_it_is_flattened_in_order_and_its_text_left_out_aloud():
    spec, env = envs.spec("own_tasks:Rooms"), begun("own_tasks:Rooms", 2, "image")
    assert spec.obs_shape == (4 + 12,)
    assert spec.protocol["observation"] == [["direction", 4, [], "int64"], ["image", 12, [2, 2, 3], "uint8"]]
    step = env.step(np.array([0, 0]))
    assert step.obs[0].tolist() == [0, 1, 0, 0, *range(1, 13)]
    assert env.view("image").shape == (2, 2, 2, 3) and env.view("image")[1].ravel().tolist() == list(range(1, 13))
    assert any("mission is text" in line for line in envs.remarks("own_tasks:Rooms"))
    with pytest.raises(UserError, match="it offers direction, image"):
        envs.make("own_tasks:Rooms", 1, "rgb")


def test_nested_spaces_are_flattened_with_dotted_keys():
    spec, env = envs.spec("own_tasks:Nested"), begun("own_tasks:Nested")
    assert [part[0] for part in spec.protocol["observation"]] == ["0", "1.a", "1.b"]
    assert env.view("student")[0].round(6).tolist() == pytest.approx([1, 0, 0, 1, 0, 0, 1, 0.1, 0.2, 0.3, 0.4])


def test_images_of_any_size_stay_images():
    spec = envs.spec("own_tasks:Screen")
    assert (spec.obs_shape, spec.obs_dtype) == ((96, 96, 3), "uint8")
    assert played("own_tasks:Screen", 1)[0].obs[0, 5, 5].tolist() == [1, 1, 1]


def test_several_choices_are_one_action_that_counts_the_last_choice_first():
    own_tasks.Joint.asked.clear()
    env = begun("own_tasks:Joint")
    for action in range(6):
        env.step(np.array([action]))
    assert own_tasks.Joint.asked == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]
    assert envs.spec("own_tasks:Joint").actions == 6
    assert envs.spec("own_tasks:Joint").protocol["joint_actions"] == [2, 3]


def test_a_box_of_whole_numbers_is_played_by_its_own_numbers_alone():
    own_tasks.Joint.asked.clear()
    env = begun("own_tasks:Whole")
    for action in range(6):
        env.step(np.array([action]))
    assert own_tasks.Joint.asked == [[0, -1], [0, 0], [0, 1], [1, -1], [1, 0], [1, 1]]


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint64])
def test_a_box_of_too_many_whole_numbers_is_a_line(dtype):
    info = np.iinfo(dtype)
    with pytest.raises(UserError, match=r"combinations; up to 1,024 are learnt|needed: Discrete, a bounded Box"):
        acting(spaces.Box(info.min, info.max, (2,), dtype), "Wide-v0")


def test_a_flat_mask_of_two_choices_of_two_is_of_each_choice_and_a_square_one_of_both_together():
    act = acting(spaces.MultiDiscrete([2, 2]), "Two-v0")
    assert joint_mask(np.array([1, 0, 1, 1]), act).tolist() == [True, True, False, False]
    assert joint_mask((np.array([1, 0]), np.array([1, 1])), act).tolist() == [True, True, False, False]
    assert joint_mask(np.array([[1, 0], [1, 1]]), act).tolist() == [True, False, True, True]


def test_actions_that_begin_at_one_are_shifted():
    assert played("own_tasks:FromOne", 1, 0)[0].reward[0] == 1 and played("own_tasks:FromOne", 1, 1)[0].reward[0] == 2


# ---- masks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Legal", "LegalByMethod", "LegalInSight"])
def test_legal_actions_are_told_for_what_is_acted_on_and_for_the_successor(name):
    env = begun(f"own_tasks:{name}?length=3", 2)
    even, odd = [True, True, False], [False, True, True]
    assert env.mask.tolist() == [even, even] and env.spec.obs_shape == (3,)
    steps = [env.step(np.array([1, 1])) for _ in range(3)]
    assert [step.mask[0].tolist() for step in steps] == [odd, even, even]  # the last one begins anew
    assert [step.next_mask[0].tolist() for step in steps] == [odd, even, odd]
    assert env.mask is steps[-1].mask


def test_masks_of_each_choice_become_one_of_their_combinations():
    env = begun("own_tasks:LegalChoices")
    assert np.flatnonzero(env.mask[0]).tolist() == [0, 2]  # first choice 0; second 0 or 2


def test_taxi_says_its_mask_and_cartpole_has_none():
    assert begun("Taxi-v4", 2).mask.shape == (2, 6) and begun("CartPole-v1").mask is None


def test_a_step_that_allows_nothing_is_refused():
    with pytest.raises(UserError, match="at step 2 of an episode: the task allows no action"):
        played("own_tasks:NothingLegal", 4)


# ---- faults ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, said",
    [
        ("NanReward", "at step 3 of an episode: the reward is nan"),
        ("HugeReward", "at step 4 of an episode: the reward is inf"),
        ("NanObs", "at step 5 of an episode: the observation is nan at index 1"),
        ("InfiniteStart", "as an episode begins: the observation is inf at index 0"),
        ("Shrinks", "at step 1 of an episode: the observation is [1], the task's space says [3]"),
        ("Words", "numbers are needed"),
        ("TwoRewards", "the reward has 2 numbers"),
        ("WordReward", "the reward is 'plenty', not a number"),
        ("Raises", "at step 5 of an episode: step() raised RuntimeError: the simulator lost its connection"),
        ("Exits", "at step 3 of an episode: step() raised SystemExit: sys.exit(0) was called"),
        ("Unborn", "cannot be made: SystemExit: sys.exit('no licence') was called"),
        ("OldReset", "unexpected keyword argument 'seed'"),
        ("OldStep", "returned 4 values, and not Gymnasium's five"),
        ("BareReset", "must return (observation, info)"),
        ("NoSeed", "as an episode begins: reset() raised ValueError: this machine cannot be seeded"),
    ],
)
def test_a_fault_names_the_task_and_the_step_where_it_first_appears(name, said):
    task = f"own_tasks:{name}?max_episode_steps=50"
    with pytest.raises(UserError, match=r"^[^\n]*$") as error:
        played(task, 8)
    assert said in str(error.value) and f"own_tasks:{name}" in str(error.value)


def test_rewards_as_arrays_of_one_and_observations_as_lists_are_taken():
    assert played("own_tasks:ArrayReward", 2)[1].reward.tolist() == [1.0]
    assert played("own_tasks:Listed", 2)[1].obs.tolist() == [[0.5, 2.0, 2.0]]


def test_a_task_that_allows_one_copy_says_how_many_could_be_made_and_lets_go_of_it():
    task = "own_tasks:Single?max_episode_steps=50"
    assert envs.spec(task).obs_shape == (3,)
    with pytest.raises(UserError, match=r"address already in use.*1 of 3 copies could be made"):
        envs.make(task, 3)
    played(task, 2)
    own_tasks.Single.alive = 0


@pytest.mark.parametrize("low, high", [(-1, np.nan), (np.nan, 1), (1, 1), (1, -1), (-np.inf, 1), (-1, np.inf)])
def test_bounds_that_leave_no_action_between_them_are_refused_with_both_printed(low, high):
    space = gym.spaces.Box(-1, 1, (2,), np.float32)  # which may be given later what its constructor would refuse
    space.low, space.high = np.array([-1, low], np.float32), np.array([1, high], np.float32)
    with pytest.raises(UserError, match=f"^Mine-v0: number 1 of an action has bounds {low:g} and {high:g}: [^\n]*$"):
        acting(space, "Mine-v0")
    with pytest.raises(UserError, match=r"^Mine-v0: actions are Box\(-1.0, inf[^\n]*a bounded Box[^\n]*$"):
        acting(gym.spaces.Box(-1, np.inf, (2,), np.float32), "Mine-v0")


def test_pybullets_tasks_are_there_where_their_package_is_installed(tmp_path, monkeypatch):
    if importlib.util.find_spec(BULLET):
        pytest.skip(f"{BULLET} is installed here: what happens without it cannot be seen")
    with pytest.raises(UserError, match=rf"^unknown environment 'TinyBulletEnv-v0'.*{BULLET}"):
        envs.spec("TinyBulletEnv-v0")
    made = "import gymnasium, own_tasks\ngymnasium.register('TinyBulletEnv-v0', entry_point=own_tasks.Plain)\n"
    (tmp_path / f"{BULLET}.py").write_text(made)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert envs.spec("TinyBulletEnv-v0").obs_shape == (3,)
    assert envs.spec("TinyBulletEnv-v0").id == "TinyBulletEnv-v0"
    del gym.registry["TinyBulletEnv-v0"], sys.modules[BULLET]


def test_actions_that_are_no_numbers_are_refused_but_for_copies_that_rest():
    env = begun("Pendulum-v1", 2)
    nan = float("nan")
    env.step(np.array([[1.0], [nan]], np.float32))
    for actions in ([[nan], [nan]], [[np.inf], [0.0]]):
        with pytest.raises(UserError, match="whoever acts there predicts NaN or infinities"):
            env.step(np.array(actions, np.float32))


def test_predictions_that_are_no_numbers_name_who_made_them():
    checks.finite(np.array([[0.0, -np.inf]]), "the teacher", 3)  # an impossible action is no fault
    for row in ([0.0, np.nan], [np.inf, 0.0], [-np.inf, -np.inf]):
        with pytest.raises(UserError, match=r"the teacher predicts .* at step 3"):
            checks.finite(np.array([row]), "the teacher", 3)


def test_a_task_that_never_ends_is_told_at_once_and_a_limit_ends_it():
    with pytest.raises(UserError, match=r"has no time limit.*--max-episode-steps"):
        envs.spec("own_tasks:Never")
    steps = played("own_tasks:Never?max_episode_steps=5", 5)
    assert [bool(step.truncated[0]) for step in steps] == [False] * 4 + [True]


def test_actions_are_numbered_from_0_and_messages_say_so_where_the_tasks_own_are_not():
    told = "actions are numbered from 0 here, the task's own begin at 1"
    assert envs.numbering("own_tasks:FromOne") == told and envs.remarks("own_tasks:FromOne")[0].endswith(told)
    assert not envs.numbering("CartPole-v1") and not envs.numbering("nobody:knows") and not envs.remarks("CartPole-v1")
    spec = envs.spec("own_tasks:FromOne")
    with pytest.raises(UserError, match=f"log.npz: 3 actions; own_tasks:FromOne has 2; {told}$"):
        check_task("log.npz", replace(spec, actions=3), spec)
    with pytest.raises(UserError, match=r"outside 0\.\.1: actions are numbered from 0 here"):
        from_actions(torch.tensor([1, 2]), 2)


def limited(*limits):
    env = own_tasks.Never()
    for limit in limits:
        env = gym.wrappers.TimeLimit(env, limit)
    return env


@pytest.mark.parametrize("made_by, limit", [
    (lambda: limited(30), 30),
    (lambda: limited(20, 30, 25), 20),
    (lambda: gym.wrappers.RecordEpisodeStatistics(limited(40)), 40),
    (lambda: gym.make("CartPole-v1", max_episode_steps=7), 7),
    (lambda: gym.make("Pendulum-v1"), 200),
])  # fmt: skip
def test_the_limit_that_a_callable_puts_around_its_task_holds_where_nobody_names_another(made_by, limit):
    assert envs.spec(made_by).protocol["max_episode_steps"] == limit and not envs.remarks(made_by)
    address = f"{envs.settings_of(made_by).id}?max_episode_steps=50"
    assert envs.spec(address).protocol["max_episode_steps"] == 50
    if limit == 40:
        assert [bool(step.truncated[0]) for step in played(made_by, 41)].index(True) == 39
        assert [bool(step.truncated[0]) for step in played(address, 51)].index(True) == 49


def test_a_task_without_a_limit_that_some_policy_ends_is_cut_where_none_does():
    spec = envs.spec("own_tasks:Wall")
    assert spec.protocol["max_episode_steps"] == 10_000
    assert any("episodes are cut after 10,000 env steps" in line for line in envs.remarks("own_tasks:Wall"))
    assert envs.remarks("CartPole-v1") == []
    env = begun("own_tasks:Wall")
    env._age = [9_999]
    assert env.step(np.array([0])).truncated[0]


def test_debug_shows_the_traceback_and_the_line_comes_last(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.py").write_text("import torch\ndef two(obs):\n    return torch.zeros(len(obs), 2)\n")
    command = ["evaluate", "py:t.py:two", "--env", "own_tasks:Raises", "--episodes", "2"]
    for extra in ([], ["--debug"]):
        with pytest.raises(SystemExit) as stop:
            main([*command, "--max-episode-steps", "50", *extra])
        said = capsys.readouterr().err.strip()
        assert stop.value.code == 2 and said.splitlines()[-1].startswith("error: own_tasks:Raises")
        assert ("Traceback" in said and "in step" in said and len(said.splitlines()) > 5) == bool(extra)


def test_a_copy_that_rests_is_not_checked_and_says_nothing():
    spec = TaskSpec("Plain", (3,), "float32", 2, 1, None, {})

    class Single:
        def reset(self, seed):
            return np.zeros(3, np.float32)

        def step(self, action):
            return np.zeros(3, np.float32), 1.0, False, False

        def close(self):
            pass

    env = Copies(spec, Single, 2, None)
    env.reset(np.random.default_rng(0))
    step = env.step(np.array([0, -1]))
    assert step.reward.tolist() == [1.0, 0.0] and step.mask is None
