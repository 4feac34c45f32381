"""The memory tasks: rules by hand, best plays by hand, and the vector face all tasks share."""

import sys

import numpy as np
import pytest

from reincarnate import envs
from reincarnate.envs.memory import imaze, metafetch, tmaze
from reincarnate.envs.memory.imaze import IMaze
from reincarnate.envs.memory.metafetch import MetaFetch
from reincarnate.envs.memory.tmaze import TMaze
from reincarnate.envs.vector import IDLE
from reincarnate.errors import UserError

IDS = [
    "Memory/IMaze-v0",
    "Memory/IMaze-v0?length=20",
    "Memory/TMaze-v0",
    "Memory/TMaze-v0?length=1",
    "Memory/MetaFetch-v0",
    "Memory/MetaFetch-v0?size=7&objects=4",
]


def play(env, steps, seed=0, copies=None):
    rng, actions = np.random.default_rng(seed), np.random.default_rng(1)
    seen = [env.reset(rng)]
    for _ in range(steps):
        seen.append(env.step(actions.integers(env.spec.actions, size=env.n)))
    return seen


# ---- the face --------------------------------------------------------------------------------------


@pytest.mark.parametrize("env_id", IDS)
def test_a_task_looks_as_its_spec_says_and_plays_as_its_seed_says(env_id):
    spec = envs.spec(env_id)
    first, again, other = (play(envs.make(env_id, 5), 300, seed) for seed in (0, 0, 1))
    assert first[0].shape == (5, *spec.obs_shape) and first[0].dtype == spec.obs_dtype
    for a, b in zip(first[1:], again[1:], strict=True):
        assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    assert not all(np.array_equal(a.obs, b.obs) for a, b in zip(first[1:], other[1:], strict=True))
    ends = sum(int((s.terminated | s.truncated).sum()) for s in first[1:])
    assert ends > 0 and spec.protocol["max_episode_steps"] > 0


@pytest.mark.parametrize("env_id", IDS)
def test_successors_are_true_and_only_an_episodes_end_parts_them_from_what_is_acted_on(env_id):
    env = envs.make(env_id, 4)
    age = np.zeros(4, int)
    for step in play(env, 300)[1:]:
        over = step.terminated | step.truncated
        assert not (step.terminated & step.truncated).any()
        assert np.array_equal(step.obs[~over], step.next_obs[~over])
        age += 1
        assert np.array_equal(step.truncated, (age == env.spec.protocol["max_episode_steps"]) & ~step.terminated)
        age[over] = 0
    assert np.array_equal(env.view("student"), step.obs)


@pytest.mark.parametrize("env_id", IDS)
def test_idle_copies_stay_and_the_others_play_on(env_id):
    env = envs.make(env_id, 3)
    before = env.reset(np.random.default_rng(0))
    kept = before.copy()
    for _ in range(250):
        step = env.step(np.array([IDLE, 1, IDLE]))
        assert np.array_equal(step.next_obs[[0, 2]], before[[0, 2]]) and not step.reward[[0, 2]].any()
        assert not (step.terminated | step.truncated)[[0, 2]].any()
    assert np.array_equal(before, kept), "what a step returned must not change"


@pytest.mark.parametrize(
    "env_id, words",
    [
        ("Memory/IMaze-v0?length=0", "length is 0; needed: 1 to"),
        ("Memory/IMaze-v0?length=long", "length is 'long'; needed: a whole number"),
        ("Memory/TMaze-v0?width=3", "has no setting 'width'; it has length"),
        ("Memory/MetaFetch-v0?size=2", "size is 2"),
        ("Memory/MetaFetch-v0?objects=11", "objects is 11; needed: 2 to 10"),
        ("Memory/Tmaze-v0", "unknown environment.*did you mean Memory/TMaze-v0"),
    ],
)
def test_settings_a_task_does_not_have_are_refused_in_one_line(env_id, words):
    with pytest.raises(UserError, match=words) as error:
        envs.make(env_id, 1)
    assert "\n" not in str(error.value)


def test_settings_are_part_of_the_protocol():
    assert envs.spec("Memory/IMaze-v0").protocol["length"] == 3
    long = envs.spec("Memory/IMaze-v0?length=20").protocol
    assert (long["length"], long["max_episode_steps"], long["reward_clip"]) == (20, 220, None)
    assert envs.spec("Memory/IMaze-v0").protocol["max_episode_steps"] == 50  # the tutorial's maze


def test_a_view_a_task_does_not_offer_is_refused():
    with pytest.raises(UserError, match="no view 'rgb'"):
        envs.make("Memory/TMaze-v0", 1, "rgb")


# ---- T-Maze ----------------------------------------------------------------------------------------

N, E, S, W = tmaze.NORTH, tmaze.EAST, tmaze.SOUTH, tmaze.WEST


def test_the_t_maze_by_hand():
    env = envs.make("Memory/TMaze-v0?length=3", 2)
    env.reset(np.random.default_rng(0))
    env._state["south"][:] = [0, 1]
    assert env._rules.look(env._state).tolist() == [[0, 1, 1], [1, 1, 0]]
    bump = env.step(np.array([N, W]))
    assert bump.reward.tolist() == pytest.approx([-0.1, -0.1]) and bump.obs.tolist() == [[0, 1, 1], [1, 1, 0]]
    assert env.step(np.array([E, E])).obs.tolist() == [[1, 0, 1], [1, 0, 1]]
    back = env.step(np.array([W, E]))
    assert back.obs.tolist() == [[1, 0, 1], [1, 0, 1]] and not back.reward.any()  # the sign is gone
    env.step(np.array([E, E])), env.step(np.array([E, E]))
    step = env.step(np.array([E, S]))
    assert step.next_obs.tolist() == [[0, 1, 0], [0, 1, 0]]
    assert step.reward.tolist() == [0.0, 4.0] and step.terminated.tolist() == [False, True]
    step = env.step(np.array([S, E]))
    assert step.reward[0] == pytest.approx(-0.1) and step.terminated.tolist() == [True, False]


@pytest.mark.parametrize("length", [1, 10, 50])
def test_who_remembers_the_sign_earns_four_in_the_t_maze(length):
    env = envs.make(f"Memory/TMaze-v0?length={length}", 64)
    obs = env.reset(np.random.default_rng(0))
    turn = np.where(obs[:, 0] == 1, S, N)
    assert 0 < (turn == S).sum() < 64
    for _ in range(length):
        step = env.step(np.full(64, E))
        assert not step.reward.any() and (step.obs == step.obs[0]).all()  # nothing else tells
    step = env.step(turn)
    assert (step.reward == 4).all() and step.terminated.all()


# ---- I-Maze ----------------------------------------------------------------------------------------

FORWARD, BACK, LEFT, RIGHT = imaze.FORWARD, imaze.BACK, imaze.LEFT, imaze.RIGHT


def state_of(**values):
    whole = {"place": [[0, 0]], "heading": [0], "green": [0], "side": [1], "red": [1], **values}
    return {key: np.array(value) for key, value in whole.items()}


def draw(obs):
    letters = {imaze.WALL: "#", imaze.YELLOW: "y", imaze.GREEN: "g", imaze.RED: "r", imaze.BLUE: "b"}
    return ["".join(letters[int(c.argmax())] if c.any() else "." for c in row) for row in obs]


@pytest.mark.parametrize(
    "state, picture",
    [
        (state_of(), ["#.#", "..y", "###"]),  # facing the head, the tile to the right
        (state_of(heading=[1]), ["#y#", "..#", "#.#"]),  # the tile ahead
        (state_of(heading=[2]), ["###", "y..", "#.#"]),
        (state_of(heading=[3], green=[1]), ["#.#", "#..", "#g#"]),
        (state_of(place=[[0, 1]]), ["#.#", "#.#", "..y"]),
        (state_of(place=[[0, 2]]), ["#.#", "#.#", "#.#"]),
        (state_of(place=[[0, 4]]), ["###", "b.r", "#.#"]),  # length 3: the head
        (state_of(place=[[0, 4]], red=[-1], heading=[1]), ["#b#", "#..", "#r#"]),
    ],
)
def test_what_is_seen_in_the_i_maze_turns_with_the_agent(state, picture):
    assert draw(IMaze(3).look(state)[0]) == picture


def test_the_i_maze_by_hand():
    rules, state = IMaze(1), state_of(heading=[3])
    total, path = 0.0, [RIGHT, FORWARD, FORWARD, RIGHT, FORWARD]  # west to north; foot, corridor, head; east: red
    for i, action in enumerate(path):
        state, reward, over = rules.act(state, np.array([action]))
        total += reward[0]
        assert over[0] == (i == 4)
    assert total == pytest.approx(1 - 5 * 0.04)
    green = state_of(place=[[0, 2]], heading=[1], green=[1])
    assert rules.act(green, np.array([FORWARD]))[1][0] == pytest.approx(-1.04)
    assert rules.act(green, np.array([BACK]))[1][0] == pytest.approx(0.96)  # backwards into blue
    wall = rules.act(state_of(place=[[0, 1]], heading=[1]), np.array([FORWARD]))
    assert wall[0]["place"].tolist() == [[0, 1]] and wall[1][0] == pytest.approx(-0.04) and not wall[2][0]


@pytest.mark.parametrize("length", [1, 3, 20])
def test_who_remembers_the_tile_solves_the_i_maze_in_the_fewest_steps(length):
    env = envs.make(f"Memory/IMaze-v0?length={length}", 64)
    obs = env.reset(np.random.default_rng(0))
    green = obs[..., imaze.GREEN].any((1, 2))
    assert (green | obs[..., imaze.YELLOW].any((1, 2))).all()
    totals, steps, wins = np.zeros(64), np.zeros(64, int), np.zeros(64, bool)
    playing = np.ones(64, bool)
    heading = env._state["heading"].copy()
    forwards = np.zeros(64, int)
    expected = np.minimum(heading, 4 - heading) + length + 1 + 2
    while playing.any():
        goal = np.where(green, imaze.BLUE, imaze.RED)
        left = obs[np.arange(64), 1, 0, goal]
        ahead = obs[np.arange(64), 0, 1, goal]
        action = np.where(forwards <= length, FORWARD, np.where(ahead, FORWARD, np.where(left, LEFT, RIGHT)))
        action = np.where(heading != 0, np.where(heading >= 2, RIGHT, LEFT), action)
        moving = (heading == 0) & (action == FORWARD)
        heading = np.where(heading != 0, (heading + np.where(heading >= 2, 1, -1)) % 4, heading)
        forwards += moving
        step = env.step(np.where(playing, action, IDLE))
        totals, steps = totals + step.reward, steps + playing
        wins |= step.terminated & (step.reward > 0)
        playing &= ~step.terminated
        obs = step.obs
    assert wins.all() and np.array_equal(steps, expected)
    assert totals == pytest.approx(1 - 0.04 * expected, abs=1e-5)


def test_nothing_in_the_i_mazes_corridor_tells_the_tile():
    rules = IMaze(5)
    for y in range(2, 7):
        views = {rules.look(state_of(place=[[0, y]], green=[g], side=[s])).tobytes() for g in (0, 1) for s in (-1, 1)}
        assert len(views) == 1


# ---- Meta-Fetch ------------------------------------------------------------------------------------

UP, RIGHTWARDS, DOWN, LEFTWARDS = range(4)


def fetch_state(place, objects, fetched=0):
    return {"place": np.array([place]), "objects": np.array([objects]), "fetched": np.array([fetched])}


def test_meta_fetch_by_hand():
    rules, state = MetaFetch(3, 3), fetch_state([0, 0], [[0, 1], [1, 1], [1, 0]])
    story = [
        (RIGHTWARDS, 1, 1),  # the first
        (UP, 0, 1),  # against the edge: nothing, though it stands on a fetched one
        (DOWN, 1, 2),  # the second
        (UP, 0, 2),  # a fetched one: nothing
        (DOWN, 0, 2),
        (LEFTWARDS, 1, 0),  # the third, and all begins again
        (RIGHTWARDS, 0, 0),  # the second before the first: wrong, nothing fetched
        (UP, 1, 1),
        (LEFTWARDS, 0, 1),
        (DOWN, 0, 0),  # the third before the second: progress is lost
    ]
    for action, reward, fetched in story:
        state, got, over = rules.act(state, np.array([action]))
        assert (got[0], state["fetched"][0], over[0]) == (reward, fetched, False)
    state = fetch_state([2, 2], [[0, 1], [1, 1], [1, 0]], fetched=2)
    obs = rules.look(state)[0]
    assert obs[..., metafetch.AGENT].nonzero() == (np.array([2]), np.array([2]))
    assert obs[..., metafetch.OBJECT].astype(int).tolist() == [[0, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert obs[..., metafetch.FETCHED].astype(int).tolist() == [[0, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_who_knows_the_order_fetches_all_the_time():
    env = envs.make("Memory/MetaFetch-v0?size=3&objects=2", 1)
    env.reset(np.random.default_rng(0))
    env._state.update(fetch_state([0, 0], [[0, 1], [0, 2]]))
    # in order 0, 1, then back: each round is right, right; the way back crosses the fetched-again first object
    total = 0.0
    for i in range(100):  # right: first; right: second; left: first again; right: second …
        step = env.step(np.array([RIGHTWARDS if i < 2 or i % 2 else LEFTWARDS]))
        total += step.reward[0]
    assert total == 100 and step.truncated[0] and not step.terminated[0]


def test_objects_and_agent_start_apart_and_every_order_occurs():
    state = MetaFetch(3, 3).begin(500, np.random.default_rng(0))
    places = np.concatenate([state["place"][:, None], state["objects"]], 1)
    cells = places[..., 0] * 3 + places[..., 1]
    assert all(len(set(row)) == 4 for row in cells.tolist()) and set(cells.ravel().tolist()) == set(range(9))
    orders = {tuple(np.argsort(row)) for row in cells[:, 1:]}
    assert len(orders) == 6


def test_the_signs_and_sides_are_fair():
    rng = np.random.default_rng(0)
    for values in (TMaze().begin(4000, rng)["south"], IMaze().begin(4000, rng)["green"]):
        assert abs(values.mean() - 0.5) < 0.03
    state = IMaze().begin(4000, rng)
    assert abs(state["side"].mean()) < 0.06 and abs(state["red"].mean()) < 0.06
    assert np.bincount(state["heading"]).min() > 900


# ---- other packages' tasks -------------------------------------------------------------------------


def test_minigrid_is_seen_as_planes():
    pytest.importorskip("minigrid")
    spec = envs.spec("MiniGrid-MemoryS7-v0")
    assert (spec.obs_shape, spec.actions, spec.protocol["max_episode_steps"]) == ((7, 7, 20), 7, 245)
    first, again = (play(envs.make("MiniGrid-MemoryS7-v0", 2), 300) for _ in range(2))
    assert first[0].dtype == bool and (first[0].sum(-1) == 3).all()  # one kind, one colour, one state everywhere
    assert all(np.array_equal(a.next_obs, b.next_obs) for a, b in zip(first[1:], again[1:], strict=True))
    assert any(s.truncated.any() for s in first[1:])
    longer = [envs.spec(f"MiniGrid-Memory{size}-v0") for size in ("S9", "S11", "S13", "S13Random", "S17Random")]
    assert [(s.obs_shape, s.protocol["max_episode_steps"]) for s in longer] == [
        ((7, 7, 20), 5 * n * n) for n in (9, 11, 13, 13, 17)
    ]
    with pytest.raises(UserError, match="cannot be made"):
        envs.make("MiniGrid-Memory-v0", 1)


@pytest.mark.parametrize(
    "name, width", [("RepeatPreviousEasy", 4), ("AutoencodeEasy", 6), ("PositionOnlyCartPoleEasy", 2)]
)
def test_popgym_is_seen_as_vectors(name, width):
    pytest.importorskip("popgym")
    env = envs.make(f"popgym-{name}-v0", 2)
    assert env.spec.obs_shape == (width,)
    seen = play(env, 120)
    assert all(np.isfinite(s.next_obs).all() for s in seen[1:]) and any(s.terminated.any() for s in seen[1:])


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "minigrid", None)
    with pytest.raises(UserError, match=r"needs minigrid: pip install .reincarnate\[memory\]"):
        envs.make("MiniGrid-MemoryS9-v0", 1)
    with pytest.raises(UserError, match="did you mean Memory/TMaze-v0"):
        envs.make("Memory/TMase-v0", 1)
