"""MinAtar's games stepped together play to the bit what the package's own environments play in a list."""

import subprocess
import sys

import numpy as np
import pytest

from reincarnate import envs
from reincarnate.envs.minatar import (
    GAMES,
    MAX_STEPS,
    STICKY,
    TOGETHER_FROM,
    asterix,
    game_module,
    listed,
    seaquest,
    together,
)
from reincarnate.envs.minatar import streams as streams_page
from reincarnate.envs.minatar.streams import BLOCK, Streams
from reincarnate.envs.vector import IDLE, Copies

SEAQUEST = "MinAtar/Seaquest-v1"


def same(a, b):
    """Masks, which these games do not have, are None."""
    return (a is None and b is None) or (a.dtype == b.dtype and np.array_equal(a, b))


def moody(spec, n, steps, seed):
    """Random actions with a taste: each copy prefers some for 30 steps, so that it gets about."""
    rng = np.random.default_rng(seed)
    for step in range(steps):
        if step % 30 == 0:
            taste = rng.dirichlet(np.full(spec.actions, 0.4), size=n).cumsum(1)
        yield np.minimum((rng.random((n, 1)) > taste).sum(1), spec.actions - 1)


def play_both(env_id, n, steps, seed=0, idle=0.0, meddle=lambda own, ours, step: None):
    """Play both and compare all they say, step by step. Returns the rewards and how many episodes ended."""
    own, ours = listed(env_id, n), together(env_id, n)
    assert same(own.reset(np.random.default_rng(seed)), ours.reset(np.random.default_rng(seed)))
    rng, reward, ended = np.random.default_rng(seed + 1), 0.0, 0
    for step, actions in enumerate(moody(own.spec, n, steps, seed + 2)):
        meddle(own, ours, step)
        actions = np.where(rng.random(n) < idle, IDLE, actions)
        told, said = own.step(actions), ours.step(actions)
        assert all(same(a, b) for a, b in zip(told, said, strict=True)), f"step {step}"
        assert same(ours.view("student"), told.obs)
        reward, ended = reward + told.reward.sum(), ended + (told.terminated | told.truncated).sum()
    return reward, ended


@pytest.mark.parametrize("env_id", GAMES)
def test_a_game_plays_as_the_package_does_over_ten_thousand_random_steps(env_id):
    reward, ended = play_both(env_id, 8, 1250)
    assert reward > 0 and (ended > 8 or "Freeway" in env_id)


@pytest.mark.filterwarnings("ignore")  # minatar looks for drawing libraries as it is imported
@pytest.mark.parametrize("env_id", GAMES)
def test_a_listed_game_plays_as_the_packages_environment_with_sticky_actions(env_id):
    from minatar.environment import Environment

    ours, own = listed(env_id, 1), Environment(GAMES[env_id], sticky_action_prob=STICKY)
    ours.begin(np.array([7]))
    own.seed(7)
    own.reset()
    for (action,) in moody(ours.spec, 1, 300, 1):
        told = ours.step(np.array([action]))
        reward, ended = own.act(own.minimal_action_set()[action])
        assert same(told.next_obs[0], own.state()) and (told.reward[0], told.terminated[0]) == (reward, ended)
        if ended:  # stickiness goes on over a reset
            own.reset()


def test_no_library_that_draws_is_loaded_to_play():
    code = (
        "from reincarnate import envs; envs.make('MinAtar/Breakout-v1', 1); import sys; print('seaborn' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.slow
@pytest.mark.parametrize("env_id", GAMES)
def test_a_game_plays_as_the_package_does_over_ten_thousand_steps_of_each_of_many_copies(env_id):
    assert play_both(env_id, 24, 10_000, seed=5)[1] > 24


@pytest.mark.parametrize("env_id", GAMES)
def test_a_copy_left_alone_neither_moves_nor_draws(env_id):
    play_both(env_id, 5, 400, idle=0.4)


def test_a_crowded_sea_and_full_boats_surfacing(monkeypatch):
    """As late in a long game: something spawns on every step, and now and then six divers are on board."""
    for package, ours, value in [("init_spawn_speed", "SPAWN_SPEED", 1), ("init_move_interval", "MOVE_INTERVAL", 3)]:
        monkeypatch.setattr(game_module("seaquest"), package, value)
        monkeypatch.setattr(seaquest, ours, value)

    def take_on_board(own, ours, step):
        for i in range(step % 5, own.n, 5):
            game = own._envs[i]._game
            game.diver_count = ours._game.divers[i] = step % 8 - 1
            game.surface = False
            ours._game.player[i] %= seaquest.SURFACED

    reward, _ = play_both(SEAQUEST, 12, 700, meddle=take_on_board)
    assert reward > 100


def test_asterix_late_in_a_long_game(monkeypatch):
    for package, ours, value in [("init_spawn_speed", "SPAWN_SPEED", 1), ("init_move_interval", "MOVE_INTERVAL", 2)]:
        monkeypatch.setattr(game_module("asterix"), package, value)
        monkeypatch.setattr(asterix, ours, value)
    asterix.timetable.cache_clear()
    assert play_both("MinAtar/Asterix-v1", 12, 400)[1] > 50
    asterix.timetable.cache_clear()


def test_asterix_keeps_the_packages_time_to_the_limit():
    game, spawned, moved = game_module("asterix").Env(), [], []
    spawns, moves = asterix.timetable(MAX_STEPS)
    for _ in range(MAX_STEPS):
        spawned.append(game.spawn_timer == 0)
        moved.append(game.move_timer == 0)
        game.entities, game.player_x = [None] * 8, 0
        game._spawn_entity = lambda: None
        game.act(0)
    assert spawned == spawns.tolist() and moved == moves.tolist()


def test_an_episode_is_cut_at_the_limit(monkeypatch):
    env = together("MinAtar/Breakout-v1", 2)
    env.reset(np.random.default_rng(0))
    env._ages[:], env._until_limit = [MAX_STEPS - 1, 0], 0
    step = env.step(np.array([0, 0]))
    assert step.truncated.tolist() == [True, False] and not step.terminated.any()
    assert not np.array_equal(step.obs[0], step.next_obs[0]) and np.array_equal(step.obs[1], step.next_obs[1])


def test_streams_draw_word_for_word_what_numpys_legacy_streams_draw():
    low, sixes = (lambda words, doubles: doubles < 0.3), (lambda words, doubles: streams_page.later(words, 2) & 7)
    streams, own = Streams(3, (low, sixes)), [np.random.RandomState(seed) for seed in (7, 8, 9)]
    streams.seed(np.array([7, 8, 9]))
    rng = np.random.default_rng(0)
    for _ in range(BLOCK):
        streams.top_up()
        rows = np.flatnonzero(rng.random(3) < 0.6)
        bounds = rng.integers(1, 9, size=len(rows))
        assert streams.decoded(0).tolist() == [r.rand() < 0.3 for r in own]
        assert streams.below_of(rows, bounds).tolist() == [own[i].randint(b) for i, b in zip(rows, bounds, strict=True)]
        drawn = [(own[i].rand(), own[i].randint(8))[1] for i in rows]
        assert streams.decoded_of(rows, 1, words=3).tolist() == drawn
    assert streams.belows_of(1, 5, 8).tolist() == own[1].randint(5, size=8).tolist()
    assert streams.doubles_of(1, 8).tolist() == own[1].rand(8).tolist()


def test_few_copies_are_listed_and_many_step_together_and_seeds_mean_the_same():
    few, many = envs.make(SEAQUEST, TOGETHER_FROM - 1), envs.make(SEAQUEST, TOGETHER_FROM)
    assert type(few) is Copies and type(many) is not Copies and isinstance(many, Copies)
    many.begin(np.arange(TOGETHER_FROM))
    few.begin(np.arange(TOGETHER_FROM - 1))
    for _ in range(30):
        assert same(many.step(np.full(TOGETHER_FROM, 4)).obs[:-1], few.step(np.full(TOGETHER_FROM - 1, 4)).obs)


def test_a_step_does_not_overwrite_what_an_earlier_one_returned():
    env = together("MinAtar/SpaceInvaders-v1", 4)
    early = env.reset(np.random.default_rng(0))
    first = env.step(np.zeros(4, int))
    kept = early.copy(), first.next_obs.copy()
    for _ in range(20):
        env.step(np.ones(4, int))
    assert same(early, kept[0]) and same(first.next_obs, kept[1])
