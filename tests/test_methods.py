"""Each method's phases by hand, what its terms and guides do, and starting from an agent's weights."""

import json
import math
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from probes import Catch, CatchTeacher, CountingTeacher, catch, memory_of, says
from safetensors.torch import load_file
from test_training import CONFIG, prior_data, raise_student
from thinning import thinned

from reincarnate.agents.agent import open_agent, save_agent
from reincarnate.cli import main
from reincarnate.data import Replay, save_dataset
from reincarnate.data.layouts import Transitions
from reincarnate.data.memory import Memory
from reincarnate.data.mixture import Mixture
from reincarnate.errors import UserError
from reincarnate.losses.terms import Conservative, LargeMargin
from reincarnate.methods import (
    AWAC,
    BC,
    IQL,
    JSRL,
    METHODS,
    RLPD,
    TD3BC,
    WSRL,
    CalQL,
    Dagger,
    DQfD,
    FineTune,
    Kickstart,
    Pretrain,
    QDagger,
    Rehearsal,
    Scratch,
    WarmCritic,
)
from reincarnate.methods.schedules import Constant
from reincarnate.methods.weaning import Weaning
from reincarnate.nets.surgery import tensors
from reincarnate.priors import reference as prior
from reincarnate.priors import weights
from reincarnate.priors.temperature import measure
from reincarnate.priors.weights import refill, reuse
from reincarnate.run.assemble import assemble
from reincarnate.run.directory import RunDirectory
from reincarnate.run.prepare import measure_priors, prepare
from reincarnate.run.settings import Run
from reincarnate.students.families import Rainbow
from reincarnate.training.asking import predictor_of
from reincarnate.training.collector import Guided
from reincarnate.training.players import Player, Stage
from reincarnate.types import LAGGING, OPTIMIZER, VALUES, ActorOutput, Batch, Guide, Prediction, Progress, Weighing

NOW = Progress(0.5, scores=(0.5,), lows=(0.5,))


def looks(method, env_steps=10_000):
    """Of each phase: name, env steps or updates, weight of TD, weights of its terms halfway at half the score."""
    return [
        (
            p.name,
            p.env_steps or p.updates,
            p.objective.own,
            tuple((t.term.name, t.weight(NOW)) for t in p.objective.terms),
        )
        for p in method.phases(env_steps)
    ]


# ---- phases -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method, expected",
    [
        (Scratch(), [("online", 10_000, 1, ())]),
        (FineTune(), [("online", 10_000, 1, ())]),
        (Rehearsal(), [("online", 10_000, 1, ())]),
        (RLPD(), [("online", 10_000, 1, ())]),
        (JSRL(), [("online", 10_000, 1, ())]),
        (Kickstart(), [("online", 10_000, 1, (("distil", 1.5), ("anchor", 0.25)))]),
        (
            QDagger(),
            [("offline", 20_000, 1, (("distil", 3.0),)), ("online", 10_000, 1, (("distil", 1.5), ("anchor", 0.25)))],
        ),
        (Dagger(), [("offline", 20_000, 0, (("distil", 3.0),)), ("online", 10_000, 0, (("distil", 3.0),))]),
        (
            DQfD(),
            [("offline", 20_000, 1, (("margin", 1.0),)), ("online", 10_000, 1, (("margin", 0.5), ("anchor", 0.25)))],
        ),
        (
            DQfD(expert="logged"),
            [("offline", 20_000, 1, (("margin", 1.0),)), ("online", 10_000, 1, ())],
        ),
        (Pretrain(), [("offline", 20_000, 1, (("cql", 1.0),)), ("online", 10_000, 1, ())]),
        (WSRL(), [("warmup", 5_000, 1, ()), ("online", 5_000, 1, ())]),
        (BC(), [("offline", 20_000, 1, (("cloning", 1.0),)), ("online", 10_000, 1, (("clone", pytest.approx(0.02)),))]),
        (TD3BC(end=1.0), [("offline", 20_000, 1, (("cloning", 0.4),)), ("online", 10_000, 1, (("cloning", 0.2),))]),
        (CalQL(), [("offline", 20_000, 1, (("conservative", 5),)), ("online", 10_000, 1, (("conservative", 5),))]),
        *[
            (m, [(name, n, 1, (("weighted_cloning", 1.0),)) for name, n in (("offline", 20_000), ("online", 10_000))])
            for m in (AWAC(), IQL())
        ],
        (WarmCritic(), [("critic", 5_000, 1, ()), ("online", 5_000, 1, ())]),
    ],
)
def test_phases_by_hand(method, expected):
    assert looks(method) == expected
    assert all(phase.offline == (phase.name == "offline") for phase in method.phases(10_000))


def test_kickstart_dqfd_and_qdagger_differ_only_in_terms_and_in_whether_they_learn_offline_first():
    kick, dagger, dqfd = Kickstart().phases(1000), QDagger().phases(1000), DQfD(weight=3.0).phases(1000)
    assert replace(kick[0], newborn=False, refresh=frozenset({LAGGING})) == dagger[1]
    for own, other in zip(dqfd, dagger, strict=True):
        assert replace(own, objective=replace(own.objective, terms=other.objective.terms)) == other


def test_finetune_reduces_the_learning_rate_sixfold_and_leaves_exploration_where_it_was():
    (phase,) = FineTune().phases(1000)
    assert phase.objective.at(NOW).lr_scale == pytest.approx(1e-5 / 6e-5)
    assert (phase.newborn, phase.warm, phase.objective.terms) == (False, False, ())
    assert FineTune(reuse="all").phases(1000)[0].warm


def test_what_the_methods_do_at_the_switch():
    pretrained, taught = Pretrain().phases(1000)[1], Dagger().phases(1000)[1]
    assert (pretrained.refresh, pretrained.newborn) == ({LAGGING, OPTIMIZER}, False)
    assert pretrained.objective.at(NOW).lr_scale == 0.1
    assert (taught.refresh, taught.newborn, taught.objective.lr_scale) == ({LAGGING}, False, None)


def test_shares_and_guides():
    assert [p.prior_share for m in (Rehearsal(), RLPD(), DQfD(share=0.25)) for p in m.phases(9)] == [
        1 / 16,
        0.5,
        0,
        0.25,
    ]
    guide = JSRL().phases(1000)[0].guide
    assert guide is not None and guide.drawn and guide.horizon(Progress()) == 1000
    assert not JSRL(curriculum=True).phases(1000)[0].guide.drawn  # pyright: ignore
    for first in (WarmCritic().phases(9000)[0], WSRL(start="teacher").phases(9000)[0]):
        assert first.guide is not None and first.guide.horizon(NOW) == math.inf and not first.guide.drawn
    assert WSRL().phases(9000)[0].guide is None  # the student itself, frozen
    assert [p.learns for p in WSRL().phases(9000) + WarmCritic().phases(9000)] == [False, True, True, True]


def test_what_methods_need_depends_on_their_settings():
    assert DQfD().needs == {"teacher", "data"} and DQfD(expert="logged").needs == {"data"}
    assert WSRL().needs == {"weights"} and WSRL(start="teacher").needs == {"teacher"}
    assert WarmCritic().needs == {"teacher"} and WarmCritic(start="weights").needs == {"teacher", "weights"}


@pytest.mark.parametrize(
    "method",
    [Rehearsal(share=1.5), DQfD(share=-0.1), JSRL(horizon=-1), JSRL(decay=2.0), WSRL(warmup_env_steps=1000)],
)
def test_settings_that_cannot_mean_anything_are_refused(method):
    with pytest.raises(UserError, match="--"):
        method.phases(1000)


# ---- terms ------------------------------------------------------------------------------------------


def of(q, action, teacher=None):
    batch = Batch(torch.zeros(1, 1), torch.tensor([action]), torch.zeros(1), torch.zeros(1), None)
    said = {} if teacher is None else {"teacher": Prediction(VALUES, torch.tensor([teacher]))}
    return Prediction(VALUES, torch.tensor([q])), batch._replace(predictions=said)


def test_the_margin_term_by_hand():
    # the expert's action 0 is worth 1; with a margin of 1 the others are at 3 and 0.5: 2 and nothing too much
    seen = of([1.0, 2.0, -0.5], action=0, teacher=[5.0, 0.0, 0.0])
    assert LargeMargin(1.0, all_actions=False)(*seen).item() == pytest.approx(2.0)
    assert LargeMargin(1.0, all_actions=True)(*seen).item() == pytest.approx(2.0 / 3)
    logged = of([1.0, 2.0, -0.5], action=1)
    assert LargeMargin(1.0, all_actions=False, of=None)(*logged).item() == 0.0
    assert LargeMargin(1.0, False).of == "teacher" and LargeMargin(1.0, False, None).of is None


def test_the_conservative_term_by_hand():
    # log(e^10 + e^20 + 1) - 20, with Q / 0.1
    value = Conservative(0.1)(*of([1.0, 2.0, 0.0], action=1)).item()
    assert value == pytest.approx(math.log(math.exp(10) + math.exp(20) + 1) - 20, abs=1e-5)


def test_conservative_pretraining_prefers_the_datas_actions():
    plain, _ = raise_student(Pretrain(offline_updates=300, weight=0.0), env_steps=10, evaluations=1)
    wary, _ = raise_student(Pretrain(offline_updates=300, weight=1.0, temperature=1.0), env_steps=10, evaluations=1)
    batch = Memory(prior_data(CatchTeacher()), Transitions()).sample(200, np.random.default_rng(0))

    def lead(training):
        values = torch.from_numpy(says(training.student, batch.obs.numpy()))
        return (values.gather(1, batch.action[:, None])[:, 0] - values.mean(1)).mean().item()

    assert lead(wary) > lead(plain) + 0.1


# ---- who acts, and on what is learnt ------------------------------------------------------------------


class Alarmed(CatchTeacher):
    """Always goes left, and is noticed."""

    def told(self, obs):
        return torch.tensor([[9.0, 0.0, 0.0]]).expand(len(obs), 3).clone()


class RightAlways:
    """A student that goes right."""

    def initial(self, n):
        return torch.zeros(n, 0)

    def act(self, step, carry, explore, rng):
        return ActorOutput(np.full(len(step.begins), 2), carry)


def guided_by(teacher, guide, n):
    player = Player.of_teacher(teacher, Catch.spec, "greedy")
    return Guided(RightAlways(), player, guide, lambda: Progress(), n, np.random.default_rng(1))


def test_the_guide_acts_in_exactly_the_first_steps_of_each_episode():
    env = catch(2)
    guided = guided_by(Alarmed(), Guide(Constant(3.0), drawn=False), 2)
    stage, left = Stage(env, guided, env.reset(np.random.default_rng(0))), []
    for _ in range(2 * (Catch.rows - 1)):
        left.append(stage.play(0.0, np.random.default_rng(2)).action == 0)
    once = [True] * 3 + [False] * 4
    assert np.array_equal(np.array(left), np.array([[x, x] for x in once + once]))


def test_jsrl_draws_how_long_the_guide_acts_evenly():
    env = catch(1)
    guide = JSRL(horizon=4).phases(10)[0].guide
    assert guide is not None
    stage, lengths = Stage(env, guided_by(Alarmed(), guide, 1), env.reset(np.random.default_rng(0))), []
    for _ in range(400):
        played = [stage.play(0.0, np.random.default_rng(2)).action[0] for _ in range(Catch.rows - 1)]
        lengths.append(sum(action == 0 for action in played))
    counts = np.bincount(lengths, minlength=6)
    assert counts[0] == counts[5] == 0 and abs(counts[1:5] - 100).max() < 40


def test_a_guide_that_remembers_sees_every_step_of_every_episode():
    teacher, counted = CountingTeacher(), []

    class Watched(CountingTeacher):
        def predict(self, step, carry):
            said, carry = CountingTeacher.predict(self, step, carry)
            counted.append(int(carry[0, 0]))
            return said, carry

    env = catch(1)
    guided = guided_by(Watched(), Guide(Constant(2.0), drawn=False), 1)
    assert guided.initial(1).shape == (1, 0) and teacher.initial(1).shape == (1, 1)  # the carry is the student's
    stage = Stage(env, guided, env.reset(np.random.default_rng(0)))
    for _ in range(2 * (Catch.rows - 1)):
        stage.play(0.0, np.random.default_rng(2))
    assert counted == [*range(1, Catch.rows), *range(1, Catch.rows)]


def test_rehearsal_draws_prior_data_with_its_share():
    own = Replay(Catch.spec, 300, 1)
    obs = np.full((1, 40), 7, np.float32)  # no board of Catch looks like this
    for _ in range(60):
        own.add(obs, np.zeros(1, int), np.zeros(1), np.zeros(1, bool), np.zeros(1, bool), obs)
    prior, memory = (Memory(rows, Transitions()) for rows in (prior_data(CatchTeacher()), own))
    mixture, rng = Mixture(prior, memory, Rehearsal().share), np.random.default_rng(0)
    drawn = torch.cat([mixture.sample(32, rng).obs[:, 0] for _ in range(500)])
    share, error = float((drawn != 7).float().mean()), math.sqrt(1 / 16 * 15 / 16 / len(drawn))
    assert abs(share - 1 / 16) < 4 * error


def test_a_warm_phase_learns_from_its_first_step_and_a_warm_up_does_not_learn():
    training, _ = raise_student(WSRL(start="teacher", warmup_env_steps=50), env_steps=80, evaluations=1)
    assert training.at.updates == 30
    waiting, _ = raise_student(WSRL(start="teacher", warmup_env_steps=79), env_steps=80, evaluations=1)
    assert waiting.at.updates == 1


def test_the_critic_warms_up_on_the_teachers_actions_alone():
    training, _ = raise_student(WarmCritic(critic_env_steps=99), env_steps=100, teacher=Alarmed(), evaluations=1)
    columns = training.memory.rows.columns
    live = columns["flags"][:99] & 4 == 0
    assert (columns["action"][:99][live] == 0).all() and training.at.updates == 100 - CONFIG.warmup


# ---- temperature ------------------------------------------------------------------------------------


class Gapped(CatchTeacher):
    """Values with a gap of 2 between the best and the second action; the third is far off."""

    def told(self, obs):
        return torch.tensor([[3.0, 1.0, -90.0]]).expand(len(obs), 3).clone()


def test_the_automatic_temperature_by_hand(tmp_path):
    data = save_dataset(prior_data(Gapped()), tmp_path, {})
    found = measure(Catch.spec, Gapped(), "greedy", data, None, lambda *_: None)
    # 1 / (1 + e^(-2/τ)) = 0.9, so τ = 2 / ln 9
    assert found.temperature == pytest.approx(2 / math.log(9)) and found.median_gap == 2.0
    assert found.top_probability == pytest.approx(0.9, abs=1e-6)
    assert found.entropy == pytest.approx(-0.9 * math.log(0.9) - 0.1 * math.log(0.1), abs=1e-5)


def test_an_unmeasured_temperature_is_to_be_told_in_a_plan():
    term = QDagger(temperature="auto").phases(1000)[0].objective.terms[0].term
    assert str(term).endswith("τ = to be told / to be told (teacher)")
    assert "to be told / 0.5" in str(
        Kickstart(temperature="auto", teacher_temperature=0.5).phases(9)[0].objective.terms[0].term
    )


# ---- from weights -------------------------------------------------------------------------------------


@pytest.fixture
def trained(tmp_path):
    """A training of 120 env steps of Catch, and the agent it left with all it had."""
    training, _ = raise_student(Scratch(), env_steps=120, evaluations=1)
    return training, save_agent(tmp_path / "agent", training.student, {}, "", training.memory)


def start(agent, words=(), config=CONFIG, spec=Catch.spec, seed=7):
    """A newborn that started from an agent."""
    student = config.newborn(spec, seed)
    fitted = weights.fit(agent, words, spec, student.weights(), np.random.default_rng(0))
    return student, weights.begin(student, fitted)


BOARDS = np.random.default_rng(0).random((9, 40), np.float32)


def test_a_student_that_starts_from_an_agent_has_its_values_and_a_synchronised_target(trained):
    training, agent = trained
    student, done = start(agent)
    assert np.array_equal(says(student, BOARDS), says(training.student, BOARDS))
    state = student.state()
    assert torch.equal(state["target"], state["online"]) and not state["adam.mean"].any()
    assert done[-1] == "weights loaded: 4, all that the network has"


def test_widening_and_deepening_keep_the_values(trained):
    _, agent = trained
    before = says(start(agent)[0], BOARDS)
    wide, _ = start(agent, ("widen:torso.layers.0:48:0", "deepen:torso.layers.0"), replace(CONFIG, hidden=(48, 48)))
    np.testing.assert_allclose(says(wide, BOARDS), before, atol=1e-5)
    noisy, done = start(agent, ("widen:torso.layers.0:48",), replace(CONFIG, hidden=(48,)))
    assert 0 < abs(says(noisy, BOARDS) - before).max() < 0.1 and done[0] == "surgery: widen:torso.layers.0:48"


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("deepen:torso.layers.0", "torso.layers.1.weight, which the student has not; say with --student.hidden"),
        ("deepen:advantage", "no hidden layer 'advantage'"),
        ("widen:torso.layers.0:48:nan", "not nan"),
        ("widen:torso.layers.0:48:-1", "not -1"),
        ("shrink:0.5:tors", "no weight starts with 'tors'"),
    ],
)
def test_surgery_that_would_not_do_what_it_says_is_refused(trained, word, told):
    with pytest.raises(UserError, match=told):
        start(trained[1], (word,))


@pytest.mark.parametrize(
    ("method", "flag"),
    [
        (Kickstart(weight=-1.0), "--weight"),
        (Kickstart(temperature=0.0), "--temperature"),
        (Kickstart(teacher_temperature=-0.1), "--teacher-temperature"),
        (Kickstart(wean=Weaning(end=0.0)), "--wean.end"),
        (Kickstart(wean=Weaning(lr_final=-0.1)), "--wean.lr-final"),
        (QDagger(offline_updates=0), "--offline-updates"),
        (Pretrain(temperature=0.0), "--temperature"),
        (Dagger(weight=0.0), "--weight"),
        (DQfD(margin=-1.0), "--margin"),
        (FineTune(lr_scale=-1.0), "--lr-scale"),
        (JSRL(tolerance=-0.1), "--tolerance"),
    ],
)
def test_settings_of_methods_that_cannot_mean_anything_are_refused(method, flag):
    with pytest.raises(UserError, match=f"{flag} must"):
        method.phases(100)


def test_more_actions_and_more_channels_keep_the_old_ones_values(trained):
    _, agent = trained
    before = says(start(agent)[0], BOARDS)
    spec = replace(Catch.spec, actions=5, obs_shape=(43,))
    student, done = start(agent, spec=spec)
    seen = np.concatenate([BOARDS, np.ones((9, 3), np.float32)], 1)
    np.testing.assert_allclose(says(student, seen)[:, :3], before, atol=1e-6)
    assert "actions 3 to 4 are new" in done[0] and "(40,) to (43,)" in done[1]
    for smaller in (replace(Catch.spec, actions=2), replace(Catch.spec, obs_shape=(39,))):
        with pytest.raises(UserError, match="fitted"):
            start(agent, spec=smaller)


def test_resetting_the_head_and_shrinking(trained):
    _, agent = trained
    fresh, kept = CONFIG.newborn(Catch.spec, 7).weights(), agent.network().state_dict()
    headless = start(agent, ("reset-head",))[0].weights()
    assert torch.equal(headless["torso.layers.0.weight"], kept["torso.layers.0.weight"])
    assert torch.equal(headless["advantage.weight"], fresh["advantage.weight"])
    shrunk = start(agent, ("shrink:0.25:torso",))[0].weights()
    torch.testing.assert_close(
        shrunk["torso.layers.0.bias"], 0.25 * kept["torso.layers.0.bias"] + 0.75 * fresh["torso.layers.0.bias"]
    )
    assert torch.equal(shrunk["advantage.bias"], kept["advantage.bias"])


@pytest.mark.parametrize("optimizer, decay", [("adam", 0.0), ("adam", 0.1), ("rmsprop", 0.0)])
def test_what_is_frozen_does_not_move_and_the_rest_does(trained, optimizer, decay):
    _, agent = trained
    student, done = start(agent, ("freeze:torso",), replace(CONFIG, optimizer=optimizer, weight_decay=decay))
    before = {name: tensor.clone() for name, tensor in student.weights().items()}
    source = Memory(prior_data(CatchTeacher()), Transitions())
    for _ in range(5):
        student.update(source.sample(16, np.random.default_rng(0)), Weighing(), np.random.default_rng(0))
    after = student.weights()
    for name in tensors(before, "torso.layers.0"):
        assert torch.equal(before[name], after[name])
    assert not torch.equal(before["advantage.weight"], after["advantage.weight"])
    assert done[-1].startswith("frozen: 1,312 of 1,411")


def test_renaming_loads_under_another_name(trained):
    _, agent = trained
    _, done = start(agent, (r"rename:torso\.layers\.0:torso.other",))
    assert "weights loaded: 2" in done[-1] and "not in the weights: 2" in done[-1]


@pytest.mark.parametrize(
    "word, said",
    [
        ("explode", "unknown surgery 'explode'; known: widen:LAYER"),
        ("widen:torso.layers.0", "is written widen:LAYER:WIDTH"),
        ("widen:torso.layers.9:64", "no hidden layer 'torso.layers.9'"),
        ("widen:torso.layers.0:64", "after surgery torso.layers.0.weight is"),
        ("widen:torso.layers.0:many", "not a number"),
        ("shrink:2", "between 0 and 1"),
        ("freeze:nothing", "no parameter starts with"),
        ("freeze:", "is written freeze:PREFIX"),
    ],
)
def test_surgery_that_makes_no_sense_is_refused(trained, word, said):
    with pytest.raises(UserError, match=said.replace("(", r"\(")):
        start(trained[1], (word,))


def test_the_optimisers_state_and_the_replay_are_kept_and_taken_up_again(trained):
    training, agent = trained
    student, _ = start(agent)
    memory = memory_of(CONFIG, Catch.spec, 1)
    done = reuse(student, memory, agent)
    assert done == ["optimiser: its state is reused", "replay: 120 of 120 transitions reused"]
    old, new = training.student.state(), student.state()
    assert torch.equal(old["adam.mean"], new["adam.mean"]) and torch.equal(old["adam.steps"], new["adam.steps"])
    rows = int(memory.rows.added[0])
    for name, column in memory.rows.columns.items():
        assert np.array_equal(column[:rows], training.memory.rows.columns[name][:rows])
    assert len(memory) == len(training.memory)


def test_another_optimiser_or_network_starts_with_an_empty_state(trained):
    _, agent = trained
    student, _ = start(agent, config=replace(CONFIG, optimizer="rmsprop"))
    assert "it was another one" in reuse(student, memory_of(CONFIG, Catch.spec, 1), agent)[0]
    student, _ = start(agent, ("reset-head",))
    assert "not as it was" in reuse(student, memory_of(CONFIG, Catch.spec, 1), agent)[0]


def test_a_small_memory_of_several_streams_takes_the_newest_whole_episodes(trained):
    training, agent = trained
    memory = memory_of(replace(CONFIG, replay_size=40), Catch.spec, 2)  # 20 rows each: two episodes of 8 rows
    data, small = agent.data(), memory.rows
    assert data is not None and refill(small, data) > 0
    rows = np.concatenate([small.base[s] + np.arange(small.added[s]) for s in range(2)])
    own = training.memory.rows
    newest = own.columns["frame"][int(own.added[0]) - len(rows) : own.added[0]]
    assert sorted(map(bytes, small.columns["frame"][rows])) == sorted(map(bytes, newest))
    assert memory.sample(64, np.random.default_rng(0)).obs.shape == (64, 40)


def test_an_own_replay_that_has_wrapped_around_is_kept_from_its_first_whole_episode(tmp_path):
    training, _ = raise_student(Scratch(), config=replace(CONFIG, replay_size=50), env_steps=200, evaluations=1)
    data = save_dataset(training.memory.rows, tmp_path, {}, own=True)
    source = data.rows()
    assert source.columns["age"][0] == 0 and source.columns["flags"][-1] & 4
    assert 50 - 8 < len(source.columns["age"]) <= 50 and source.transitions == data.transitions


def test_an_agent_keeps_only_weights_unless_asked(tmp_path):
    training, _ = raise_student(Scratch(), env_steps=50, evaluations=1)
    agent = save_agent(tmp_path / "agent", training.student, {}, "")
    assert not agent.kept and {p.name for p in agent.path.iterdir()} == {"agent.json", "card.md", "weights.safetensors"}
    with pytest.raises(UserError, match="--keep all"):
        reuse(training.student, training.memory, agent)
    with pytest.raises(UserError, match="kept no replay"):
        prior.given_data(f"store:{agent.path}", Catch.spec, None, tmp_path, lambda *_: None)


def test_a_kept_replay_is_annotated_once_by_any_teacher(trained, tmp_path):
    _, agent = trained
    teacher = CatchTeacher()
    for _ in range(2):
        data = prior.given_data(f"store:{agent.path}", Catch.spec, teacher, tmp_path / "store", lambda *_: None)
    rows = len(data.rows().columns["action"])  # pyright: ignore
    assert teacher.asked == rows + 1  # once for the kind of its word, where the rows are in the store
    source = Memory(data.rows(), Transitions(3, 0.9))  # pyright: ignore
    batch = source.sample(50, np.random.default_rng(0), {"teacher": predictor_of(teacher)})
    assert teacher.asked == rows + 1
    torch.testing.assert_close(batch.predictions["teacher"].x, teacher.told(batch.obs))
    another = CatchTeacher(noise=0.9)
    another.card = replace(another.card, sha256="e" * 64)
    other = prior.given_data(str(agent.path), Catch.spec, another, tmp_path / "store", lambda *_: None)
    assert other.logits != data.logits  # pyright: ignore


@pytest.mark.parametrize("kept", ["nonsense", {"data": 7}, {"optimizer": "0" * 64, "data": "../../elsewhere"}])
def test_what_an_agent_says_it_kept_is_not_believed(trained, kept):
    _, agent = trained
    value = json.loads((agent.path / "agent.json").read_text())
    (agent.path / "agent.json").write_text(json.dumps({**value, "kept": kept}))
    with pytest.raises(UserError):
        reuse(CONFIG.newborn(Catch.spec, 0), memory_of(CONFIG, Catch.spec, 1), open_agent(agent.path))


def test_a_student_of_another_family_takes_what_fits_and_says_so(trained):
    _, agent = trained
    student, done = start(agent, config=Rainbow(hidden=(32,)))
    assert torch.equal(student.weights()["torso.layers.0.bias"], agent.network().state_dict()["torso.layers.0.bias"])
    assert done[-1].startswith("warning: not all fits: weights loaded: 2") and "of another shape: 2" in done[-1]


# ---- the command line -----------------------------------------------------------------------------------


def fast(*more):
    return [
        *[
            "--env",
            "CartPole-v1",
            "--env-steps",
            "120",
            "--evaluations",
            "2",
            "--eval-episodes",
            "2",
            "--final-episodes",
            "2",
        ],
        *["--reference-episodes", "3", "--student.warmup", "20", "--student.batch-size", "8"],
        *more,
    ]


def test_finetune_from_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main(["train", "scratch", *fast("--student.hidden", "8", "--keep", "all", "--out", "a")])
    main(["train", "finetune", *fast("--weights", "store:a", "--reuse", "all", "--out", "b")])
    said = capsys.readouterr().err
    assert "weights loaded: 4" in said and "120 of 120 transitions" in said
    config = json.loads(Path("b/config.json").read_text())
    assert config["student"]["hidden"] == [8]  # the agent's
    result = json.loads(Path("b/result.json").read_text())
    assert result["prior"]["weights"] == open_agent(Path("a")).sha256
    command = next(line for line in Path("b/agent/card.md").read_text().splitlines() if line.startswith("reincarnate "))
    main([*command.split()[1:], "--out", "c"])
    assert all(
        torch.equal(x, load_file("c/agent/weights.safetensors")[name])
        for name, x in load_file("b/agent/weights.safetensors").items()
    )
    main(["train", "finetune", *fast("--weights", "a", "--student.optimizer", "rmsprop", "--out", "d")])
    assert json.loads(Path("d/config.json").read_text())["student"]["optimizer"] == "rmsprop"


def test_the_first_evaluation_of_a_fine_tuned_student_is_the_agents(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main(["train", "scratch", *fast("--student.hidden", "8", "--out", "a")])
    prepared = prepare(Run("CartPole-v1", FineTune(), CONFIG.__class__(hidden=(8,)), weights="store:a"))
    (training,), loop, _ = assemble([measure_priors(prepared, lambda *_: None, lambda _: None)], lambda _: None)
    loop.env.close()
    training.student.publish()
    obs = np.random.default_rng(0).random((5, 4), np.float32)
    expected = open_agent(Path("a")).network()(torch.from_numpy(obs)).numpy()
    np.testing.assert_allclose(says(training.student, obs), expected, atol=1e-6)  # pyright: ignore


def test_a_fine_tuned_run_that_was_interrupted_ends_with_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main(["train", "scratch", *fast("--student.hidden", "8", "--keep", "all", "--out", "a")])
    words = fast("--weights", "a", "--reuse", "all", "--surgery", "freeze:torso", "--keep", "all")
    main(["train", "finetune", *words, "--out", "whole"])
    checkpoint, calls = RunDirectory.checkpoint, []

    def interrupted(self, training):
        checkpoint(self, training)
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(RunDirectory, "checkpoint", interrupted)
    with pytest.raises(SystemExit):
        main(["train", "finetune", *words, "--out", "cut"])
    main(["resume", "cut"])
    whole, cut = (open_agent(Path(name)) for name in ("whole", "cut"))
    assert whole.sha256 == cut.sha256 and whole.kept == cut.kept


@pytest.mark.parametrize(
    "args, said",
    [
        (["finetune"], "needs --weights"),
        (["finetune", "--weights", "nowhere"], "holds no agent"),
        (["finetune", "--weights", "sb3:x.zip"], "x.zip: cannot be read"),
        (["scratch", "--weights", "nowhere"], "holds no agent"),
        (["rehearsal"], "needs --data, or a --teacher"),
        (["wsrl", "--env-steps", "100", "--warmup-env-steps", "100", "--start", "teacher"], "--warmup-env-steps 100"),
    ],
)
def test_what_is_missing_is_said_in_one_line(args, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["train", *args, *fast()[:2], "--out", "run"])
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and said in lines[0] and not Path("run").exists()


@pytest.mark.parametrize("name", thinned(METHODS, lambda name: name in ("qdagger", "finetune")))
def test_help_of_every_method_names_its_settings(name, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", name, "--help"])
    text = capsys.readouterr().out
    names = [f.name.replace("_", "-") for f in fields(METHODS[name]) if f.name != "wean"]
    assert stop.value.code == 0 and all(f"--{flag}" in text for flag in names)
