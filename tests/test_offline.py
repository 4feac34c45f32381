"""Learning from logged actions: terms and updates by hand, returns to go by brute force, the clone, the matrix, resume."""

import json
import math
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch
from interrupting import check_it_goes_on
from test_continuous_students import SPEC, Aim, batch_of
from test_methods import Alarmed, guided_by

from reincarnate.data.memory import Storage, memory_for
from reincarnate.data.replay import Replay
from reincarnate.data.returns import ReturnsToGo
from reincarnate.errors import UserError
from reincarnate.losses import offline
from reincarnate.losses.divergences import action_error
from reincarnate.losses.log_probs import log_prob_of_data, squashed_log_prob, unsquash
from reincarnate.losses.logged import ADVANTAGE, JUDGED, RETURN, AdvantageWeighted, Clone, SampledConservative
from reincarnate.methods import AWAC, BC, IQL, METHODS, PPD, TD3BC, CalQL, Kickstart, QDagger, Scratch
from reincarnate.methods.schedules import Geometric
from reincarnate.run.execute import execute
from reincarnate.run.prepare import prepare
from reincarnate.run.settings import Run
from reincarnate.students import D4PG, PPO, SAC, STUDENTS, TD3, TQC, ModernSAC, judging
from reincarnate.students.noise import Noise
from reincarnate.students.policy import PolicyStudent
from reincarnate.teachers import open_teacher
from reincarnate.types import (
    GAUSSIAN,
    LAGGING,
    LOGITS,
    MEANS,
    SQUASHED,
    START,
    Batch,
    Prediction,
    Progress,
    TaskSpec,
    TimeStep,
    Weighing,
)

FLAT = TaskSpec("Flat", (1,), "float32", 2, 1, None, {})


@pytest.fixture(scope="module", autouse=True)
def _registered():
    gym.register("Aimed-v0", entry_point=Aim, max_episode_steps=10)
    yield
    del gym.registry["Aimed-v0"]


def rng():
    return np.random.default_rng(0)


def noise(generator=None):
    return Noise(generator or rng(), torch.device("cpu"))


# ---- terms by hand -----------------------------------------------------------------------------------


def test_logged_actions_have_the_likelihood_of_their_kind():
    x, action = torch.tensor([[0.2, -0.4]]), torch.tensor([[0.5, 1.0]])
    assert log_prob_of_data(MEANS, x, action).item() == pytest.approx(-(0.3**2 + 1.4**2))
    wide = torch.tensor([[0.2, -0.4, 0.0, 0.0]])  # σ = 1: a density inside, the mass beyond the bound at it
    inside, mass = -0.5 * 0.3**2 - 0.5 * math.log(2 * math.pi), 0.5 * math.erfc(1.4 / math.sqrt(2))
    assert log_prob_of_data(GAUSSIAN, wide, action).item() == pytest.approx(inside + math.log(mass), abs=1e-5)
    expected = squashed_log_prob(wide[:, :2], wide[:, 2:], unsquash(action))
    assert log_prob_of_data(SQUASHED, wide, action).item() == pytest.approx(expected.item())
    assert torch.isfinite(expected).all()  # an action at the bound too
    told = log_prob_of_data(LOGITS, torch.tensor([[0.0, math.log(3)]]), torch.tensor([1]))
    assert told.item() == pytest.approx(math.log(0.75))


def some(action, notes=None):
    return Batch(torch.zeros(1, 1), action, torch.zeros(1), torch.zeros(1), None, notes=notes or {})


def test_cloning_and_advantage_weights_by_hand():
    action, means = torch.tensor([[0.5, -0.5]]), torch.tensor([[0.0, 0.5]])
    assert Clone()(Prediction(MEANS, means), some(action)).item() == pytest.approx((0.25 + 1.0) / 2)
    squashed = torch.tensor([[0.0, 0.5, 0.0, 0.0]])
    error = Clone("error")(Prediction(SQUASHED, squashed), some(action)).item()
    assert error == pytest.approx((0.25 + (math.tanh(0.5) + 0.5) ** 2) / 2)
    noted = some(action, {ADVANTAGE: torch.tensor([0.2])})
    assert AdvantageWeighted(3.0)(Prediction(MEANS, means), noted).item() == pytest.approx(math.exp(0.6) * 1.25)
    better = some(action, {ADVANTAGE: torch.tensor([9.0])})
    assert AdvantageWeighted(3.0, cap=4.0)(Prediction(MEANS, means), better).item() == pytest.approx(4 * 1.25)


# ---- one update --------------------------------------------------------------------------------------


def actor_gradient(student, batch, weighing):
    student.update(batch, weighing, rng())
    return student.online["actor"].grad.clone()


def test_the_actor_of_td3bc_descends_the_authors_loss():
    (weight, term), *_ = TD3BC(alpha=2.5).phases(10)[0].objective.at(Progress()).terms
    student = TD3(hidden=(16,), actor_every=1, q_floor=0.0, lr=1e-12).newborn(SPEC, 0)
    batch = batch_of(64, rng())
    out = student.network.actor(batch.obs)
    q = student.valued(batch.obs, out)
    loss = offline.td3_bc_actor(q, action_error(out, batch.action), 2.5).mean()
    expected = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(student.network.actor.parameters()))])
    found = actor_gradient(student, batch, Weighing(terms=[(weight, term)]))
    torch.testing.assert_close(found * 2.5 / q.detach().abs().mean(), expected, atol=1e-6, rtol=1e-4)


def test_awac_moves_the_actor_by_weighted_imitation_alone():
    objective = AWAC().phases(10)[0].objective.at(Progress())
    student = SAC(hidden=(16,), lr=1e-12, backup_entropy=False).newborn(SPEC, 0)
    alpha, batch = float(student.alpha), batch_of(64, rng())
    noted = judging.with_advantage(student, batch.obs, student.network.actor(batch.obs), batch, noise())
    q = student.valued(batch.obs, batch.action)
    drawn = student.drawn(student.network.actor(batch.obs), noise()).action[0]
    torch.testing.assert_close(noted.notes[ADVANTAGE], (q - student.valued(batch.obs, drawn)).detach())
    # the update draws for its targets first
    generator = rng()
    generator.standard_normal((64, 2), np.float32)
    noted = judging.with_advantage(student, batch.obs, student.network.actor(batch.obs), batch, noise(generator))
    x = student.network.actor(batch.obs)
    weight = offline.exponential_weight(noted.notes[ADVANTAGE], 1.0, 100.0)
    loss = offline.weighted_imitation(log_prob_of_data(SQUASHED, x, batch.action), weight).mean()
    expected = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(student.network.actor.parameters()))])
    torch.testing.assert_close(actor_gradient(student, batch, objective), expected, atol=1e-6, rtol=1e-4)
    assert float(student.alpha) == alpha


def test_iql_asks_about_no_action_that_the_data_has_not():
    student = TD3(hidden=(16,), expectile=0.7, lr=1e-12, actor_lr=1e-12).newborn(SPEC, 0)
    batch, net = batch_of(64, rng()), student.network
    q = student.targets["critic"].module(batch.obs, batch.action).amin(0)
    value, after = net.value(batch.obs), net.value(batch.next_obs)
    error = offline.expectile_error(value, q, 0.7).mean()
    with torch.no_grad():
        target = batch.reward + batch.discount * after
        td = (net.critic(batch.obs, batch.action) - target).square().sum(0).mean()
    noted = judging.with_advantage(student, batch.obs, net.actor(batch.obs), batch, noise()).notes[ADVANTAGE]
    torch.testing.assert_close(noted, (q - value).detach())
    objective = IQL().phases(10)[0].objective.at(Progress())
    means = [student.update(batch, objective, rng()).means for _ in range(2)]
    assert means[0]["value"].item() == pytest.approx(error.item(), rel=1e-4)
    assert means[0]["td"].item() == pytest.approx(td.item(), rel=1e-4)
    weight = offline.exponential_weight(noted, 3.0, 100.0)
    loss = (weight * (net.actor(batch.obs) - batch.action).square().sum(-1)).mean()
    assert means[1]["weighted_cloning"].item() == pytest.approx(loss.item(), rel=1e-4)


def test_iql_and_the_expectile_say_what_critics_they_need():
    for student, name in ((D4PG(), "D4PG"), (TQC(), "TQC"), (ModernSAC(), "ModernSAC")):
        with pytest.raises(UserError, match=f"iql needs critics of plain values; {name}'s are distributions: td3, sac"):
            IQL().equipped(student, None)
        with pytest.raises(UserError, match=r"--student.expectile 0.7 needs critics of plain values: td3, sac"):
            replace(student, expectile=0.7).check(1)
    assert IQL().equipped(ModernSAC(loss="squared"), None).expectile == 0.7
    with pytest.raises(UserError, match=r"^--student.expectile must be below 1, not 1.5$"):
        TD3(expectile=1.5).check(1)


def test_values_of_state_learn_the_expectile_of_the_datas_actions():
    student = TD3(hidden=(32,), expectile=0.9, lr=3e-3).newborn(SPEC, 0)
    student.targets["critic"].module.forward = lambda obs, action: action[:, 0].expand(2, -1)  # Q is known
    batch = batch_of(512, rng())._replace(action=torch.linspace(-1, 1, 512)[:, None].expand(-1, 2).contiguous())
    batch = batch._replace(obs=torch.zeros(512, 2), next_obs=torch.zeros(512, 2))
    for _ in range(300):
        student.update(batch, Weighing(policy=0.0), rng())
    # of the uniform distribution on [-1, 1]: τ(1 − v)² = (1 − τ)(1 + v)², so v = 1/2 at τ = 0.9
    assert student.network.value(batch.obs[:1]).item() == pytest.approx(0.5, abs=0.03)


def test_calql_adds_its_term_to_every_critics_loss_and_no_policy_action_falls_below_the_return():
    student = SAC(hidden=(16,), lr=1e-12, backup_entropy=False).newborn(SPEC, 0)
    batch = batch_of(32, rng())
    batch = batch._replace(notes={RETURN: torch.full((32,), 50.0)})  # above every value: the bound is what counts
    term = SampledConservative(actions=3)
    means = student.update(batch, Weighing(terms=[(5.0, term)]), rng()).means
    generator = rng()
    generator.standard_normal((32, 2), np.float32)  # for the targets
    uniform = torch.from_numpy(generator.uniform(-1, 1, (3, 32, 2)).astype(np.float32))
    net, expected = student.network, 0.0
    draws = [student.drawn(net.actor(obs), noise(generator), 3) for obs in (batch.obs, batch.next_obs)]
    for i in range(2):
        data = net.critic(batch.obs, batch.action)[i]
        random = torch.stack([net.critic(batch.obs, a)[i] for a in uniform], -1)
        log_prob = torch.cat([d.log_prob for d in draws]).T
        whole = torch.cat([random + 2 * math.log(2), 50.0 - log_prob], -1).logsumexp(-1) - data
        expected += whole.mean().item()
    assert means["conservative"].item() == pytest.approx(expected, rel=1e-4)
    assert {"td", "actor", "conservative"} == set(means)
    lower = SampledConservative(3, calibrated=False)
    assert student.update(batch, Weighing(terms=[(5.0, lower)]), rng()).means["conservative"] < means["conservative"]


def test_a_term_of_the_critics_moves_them_and_not_the_actor():
    student = SAC(hidden=(16,)).newborn(SPEC, 0)
    before = {k: v.clone() for k, v in student.state().items()}
    batch = batch_of(32, rng())._replace(notes={RETURN: torch.zeros(32)})
    student.update(batch, Weighing(policy=0.0, terms=[(5.0, SampledConservative(2))]), rng())
    now = student.state()
    assert torch.equal(now["actor"], before["actor"]) and not torch.equal(now["critic"], before["critic"])


def test_the_rate_of_the_actor_alone_is_scaled():
    steps = []
    for factor in (1.0, 0.5):
        student = TD3(hidden=(16,), actor_every=1).newborn(SPEC, 0)
        before = {name: part.data.clone() for name, part in student.online.items()}
        student.update(batch_of(32, rng()), Weighing(actor_lr=factor), rng())
        steps.append({name: part.data - before[name] for name, part in student.online.items()})
    torch.testing.assert_close(0.5 * steps[0]["actor"], steps[1]["actor"], atol=1e-8, rtol=1e-3)
    torch.testing.assert_close(steps[0]["critic"], steps[1]["critic"])


def test_an_on_policy_actor_stands_still_where_the_policy_has_no_weight():
    student = PPO(hidden=(8,), rollout=4, batch_size=4).newborn(SPEC, 0)
    memory = memory_for(SPEC, student.settings.layout(), Storage(60), 1)
    obs, one = np.zeros((1, 2), np.float32), np.ones(1, np.float32)
    for _ in range(4):
        acted = student.act(
            TimeStep(torch.from_numpy(obs), torch.ones(1, dtype=torch.bool)), torch.zeros(1, 0), 0.0, rng()
        )
        memory.rows.add(obs, acted.action, one, one < 0, one < 0, obs, notes=acted.notes)
    memory.rows.foresee(obs)
    memory.begin(student)
    before = {name: value.clone() for name, value in student.weights().items()}
    student.update(memory.sample(4, rng()), Weighing(policy=0.0), rng())
    moved = {name for name, value in student.weights().items() if not torch.equal(value, before[name])}
    assert moved and all(name.startswith(("critic_torso", "value")) for name in moved)


# ---- returns to go -------------------------------------------------------------------------------------


@pytest.mark.parametrize("capacity", [40, 400])
def test_returns_to_go_equal_their_definition_while_rows_come_and_go(capacity):
    table, generator = Replay(FLAT, capacity, 2), rng()
    returns, episodes = ReturnsToGo(table, 0.9, RETURN), [[[]], [[]]]
    for t in range(90):
        reward = generator.normal(size=2).astype(np.float32)
        over = generator.random(2) < 0.2
        obs = np.full((2, 1), t, np.float32)
        table.add(obs, np.zeros(2, int), reward, over, np.zeros(2, bool), obs)
        for s in range(2):
            episodes[s][-1].append(float(reward[s]))
            episodes[s] += [[]] if over[s] else []
        if generator.random() < 0.3:
            returns.renew()
    returns.renew()
    for s in range(2):
        expected = []
        for episode in episodes[s][:-1]:
            rest = [sum(0.9**k * r for k, r in enumerate(episode[i:])) for i in range(len(episode))]
            expected += [*rest, 0.0]  # the tail
        expected += [-math.inf] * len(episodes[s][-1])
        added = int(table.added[s])
        newest = np.arange(max(0, added - table.rows), added)
        found = table.columns[RETURN][table.base[s] + newest % table.rows]
        np.testing.assert_allclose(found, np.array(expected)[newest], rtol=1e-4, atol=1e-5)


# ---- phases, and who acts --------------------------------------------------------------------------------


def test_the_clone_holds_the_student_less_and_less():
    first, second = BC(final=0.01).phases(1000)
    assert (first.objective.own, first.objective.policy, first.objective.terms[0].term) == (1.0, 0.0, Clone())
    assert BC(values=False).phases(9)[0].objective.own == 0.0 and not BC(weight=0.0).phases(9)[1].objective.terms
    (hold,) = second.objective.terms
    assert hold.term.of == START and hold.term.name == "clone"
    assert [hold.weight(Progress(f)) for f in (0.0, 0.5, 1.0)] == pytest.approx([0.2, 0.02, 0.002])
    assert (second.newborn, second.refresh) == (False, {LAGGING}) and str(Geometric(0.1)) == "1 → 0.1 geometrically"


def test_a_clone_may_stand_still_while_its_critics_learn_what_it_is_worth():
    _, critic, online = BC(critic_env_steps=40).phases(100)
    assert (critic.env_steps, online.env_steps) == (40, 60) and critic.refresh == frozenset({LAGGING})
    assert critic.objective.policy == 0 and not critic.objective.terms and not critic.newborn and online.warm
    assert len(BC().phases(100)) == 2 and not BC().phases(100)[1].warm
    with pytest.raises(UserError, match="--critic-env-steps 100 must be at least 1 and leave some"):
        BC(critic_env_steps=100).phases(100)


def test_students_are_told_as_they_prepare_a_rollout_whether_their_actor_stands_still(agents, tmp_path, monkeypatch):
    told, prepared = [], PolicyStudent.prepare
    monkeypatch.setattr(PolicyStudent, "prepare", lambda *args: told.append(args[2].still) or prepared(*args))
    student = PPO(hidden=(8,), rollout=8, batch_size=8, epochs=1)
    method = BC(offline_updates=4, weight=0.0, critic_env_steps=16)
    small = {"envs": 1, "env_steps": 32, "evaluations": 1}
    execute(run_of(method, student, agents, teacher=f"store:{agents / 'td3'}", **small), tmp_path / "run")
    assert told == [True, True, False, False]


def test_observations_stay_as_they_are_known_while_an_off_policy_actor_stands_still():
    student = ModernSAC(hidden=(8,), batch_size=4).newborn(SPEC, 0)
    batch, count = batch_of(4, rng()), student.network.norm.moments.count
    student.update(batch, Weighing(policy=0.0), rng())
    still = count.clone()
    student.update(batch, Weighing(), rng())
    assert (count - still).item() == pytest.approx(4) and still < 1


@pytest.mark.parametrize("method", [BC(), TD3BC(), AWAC(), IQL(), CalQL()])
def test_offline_first_then_online_without_random_actions_on_synchronised_targets(method):
    first, second = method.phases(1000)
    assert (first.updates, second.env_steps, second.newborn, second.refresh) == (20_000, 1000, False, {LAGGING})
    assert second.prior_share == (0.0 if isinstance(method, BC) else 0.5)


@pytest.mark.parametrize(
    "method",
    [
        *(BC(final=0.0), TD3BC(alpha=0.0), TD3BC(end=2.0), AWAC(temperature=0.0), IQL(beta=-1.0), CalQL(actions=0)),
        *(AWAC(share=2.0), Kickstart(teacher_acts=1.5), Kickstart(teacher_std=-1.0), QDagger(actor_lr=0.0)),
    ],
)
def test_settings_that_cannot_mean_anything_are_refused(method):
    with pytest.raises(UserError, match="--"):
        method.phases(1000)


def test_the_teacher_acts_in_a_share_of_the_steps():
    guide = PPD(teacher_acts=0.3).phases(100)[0].guide
    assert guide is not None and guide.share is not None and guide.share(Progress()) == 0.3
    assert guide.share(Progress(scores=(0.5,), lows=(0.5,))) == 0.15  # it leaves with its term
    guided = guided_by(Alarmed(), guide, 4000)  # who goes left, and the student right
    step = TimeStep(torch.zeros(4000, 40), torch.ones(4000, dtype=torch.bool))
    for _ in range(2):
        share = (guided.act(step, torch.zeros(4000, 0), 0.0, rng()).action == 0).mean()
        assert abs(share - 0.3) < 4 * (0.21 / 4000) ** 0.5


# ---- runs ------------------------------------------------------------------------------------------------


def run_of(method, student, folder, **changes):
    fields = {"env_steps": 40, "evaluations": 2, "eval_episodes": 2, "final_episodes": 2, "reference_episodes": 2}
    fields |= {"data_env_steps": 60, "store": str(folder / "store")}
    return Run(**{"env": "Aimed-v0", "method": method, "student": student, **fields, **changes})


SMALL = {"hidden": (8,), "batch_size": 8, "warmup": 10, "replay_size": 500}
OWN = {
    "ppo": {"hidden": (8,), "rollout": 4, "batch_size": 8},
    "a2c": {"hidden": (8,), "rollout": 2},
    "primal_dual": {"hidden": (8,), "rollout": 4},
    "d4pg": {**SMALL, "update_every": 2},
}


def small(name, **changes):
    return STUDENTS[name](**{**OWN.get(name, SMALL), **changes})


@pytest.fixture(scope="module")
def agents(tmp_path_factory):
    """Agents of sac and td3, as teachers that play data."""
    folder = tmp_path_factory.mktemp("agents")
    for name in ("sac", "td3"):
        execute(run_of(Scratch(), small(name), folder, evaluations=1), folder / name)
    return folder


LOGGED = {"bc": BC, "td3bc": TD3BC, "awac": AWAC, "iql": IQL, "calql": CalQL}
REFUSED = {
    **{(m, s): "no prior data can be mixed" for m in LOGGED if m != "bc" for s in ("ppo", "a2c", "primal_dual")},
    **{("iql", s): "state values" for s in ("ppo", "a2c", "primal_dual", "dqn")},
    **{("iql", s): "plain values" for s in ("tqc", "d4pg", "modern_sac")},
    **{("calql", s): "reads squashed" for s in ("td3", "d4pg")},
    ("calql", "modern_sac"): "scales rewards",
    **{(m, "dqn"): "pretrain" for m in LOGGED if m != "iql"},
}
ALL = ("td3", "sac", "tqc", "d4pg", "modern_sac", "ppo", "a2c", "primal_dual", "dqn")
TRAINED = {("td3bc", "td3"), ("awac", "tqc"), ("iql", "sac"), ("calql", "sac"), ("bc", "primal_dual"), ("bc", "d4pg")}
"""Pairs that train here; of the others what can be said before training."""


@pytest.mark.parametrize("student", ALL)
@pytest.mark.parametrize("name", LOGGED)
def test_every_method_from_logs_suits_every_student_or_says_in_one_line_why_not(name, student, agents, tmp_path):
    method = LOGGED[name](**{"offline_updates": 4, **({"actions": 2} if name == "calql" else {})})
    run = run_of(method, small(student), agents, teacher=f"store:{agents / 'sac'}", evaluations=1)
    if student == "dqn":
        run = replace(run, env="CartPole-v1", teacher=None, data="nowhere")
    if (name, student) in REFUSED:
        with pytest.raises(UserError, match=REFUSED[name, student]) as refused:
            execute(run, tmp_path / "run")
        assert "\n" not in str(refused.value) and not (tmp_path / "run").exists()
        return
    told = [warning for warning in prepare(run).warnings if "sets the student's" in warning]
    assert bool(told) == (name == "iql" or (name in ("awac", "calql") and hasattr(run.student, "backup_entropy")))
    if (name, student) in TRAINED:
        result = execute(run, tmp_path / "run")
        assert result["offline_updates"] == 4 and result["updates"] > 0 and np.isfinite(result["score"])
        again = open_teacher(f"store:{tmp_path / 'run'}", 2)
        assert (again.card.alpha is None) == (not hasattr(run.student, "learn_alpha"))


def lines_of(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        line.pop("seconds")
    return lines


@pytest.mark.parametrize("name", ["bc", "calql"])
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(name, agents, tmp_path):
    method = LOGGED[name](**{"offline_updates": 4, **({"actions": 2} if name == "calql" else {})})
    run = run_of(method, small("sac"), agents, teacher=f"store:{agents / 'td3'}")
    execute(run, tmp_path / "whole")
    check_it_goes_on(run, tmp_path / "whole", 4)
    if name == "bc":
        online = [line for line in lines_of(tmp_path / "whole") if line["phase"] == "online" and "loss_clone" in line]
        assert len(online) == 2 and 0 <= online[0]["loss_clone"] < online[1]["loss_clone"]


def test_an_on_policy_student_clones_and_is_held_to_its_clone(agents, tmp_path):
    run = run_of(
        BC(offline_updates=30), small("ppo", lr=3e-3), agents, teacher=f"store:{agents / 'td3'}", env_steps=160
    )
    execute(run, tmp_path / "run")
    lines = lines_of(tmp_path / "run")
    cloned = [line["loss_cloning"] for line in lines if "loss_cloning" in line]
    assert cloned[-1] < cloned[0] and any("loss_clone" in line for line in lines)


def test_the_teachers_entropy_is_handed_over_where_its_files_tell_it(agents, teachers, tmp_path):
    alpha = open_teacher(f"store:{agents / 'sac'}", 2).card.alpha
    run = run_of(QDagger(), small("sac"), agents, teacher=f"store:{agents / 'sac'}")
    prepared = prepare(run)
    assert prepared.run.student.alpha == pytest.approx(alpha) and prepared.recorded == run
    assert any("sets the student's alpha" in warning for warning in prepared.warnings)
    assert prepare(replace(run, method=QDagger(alpha="own"))).run.student.alpha == 1.0
    assert prepare(replace(run, teacher=f"store:{agents / 'td3'}")).run.student.alpha == 1.0
    assert prepare(replace(run, student=small("td3"))).run.student == small("td3")
    zoo = next((teachers / "sb3" / "sac-HalfCheetah-v3").glob("*.zip"), None)
    if zoo:
        assert open_teacher(f"sb3:{zoo}").card.alpha == pytest.approx(math.exp(-1.32), rel=0.01)


def test_a_teacher_of_means_gets_a_spread_where_one_is_asked_for(agents, tmp_path):
    run = run_of(Kickstart(teacher_std=0.2), small("sac"), agents, teacher=f"store:{agents / 'td3'}", evaluations=1)
    term = prepare(run).run.phases()[0].objective.terms[0].term
    told = Prediction(MEANS, torch.tensor([[0.0]]))
    batch = some(torch.zeros(1, 1))._replace(predictions={"teacher": told})
    kl = term(Prediction(SQUASHED, torch.tensor([[0.5, 0.0]])), batch).item()
    assert kl == pytest.approx(-math.log(0.2) + (0.04 + 0.25) / 2 - 0.5)  # N(0, 0.2) against N(0.5, 1), before tanh
    assert execute(run, tmp_path / "run")["updates"] > 0
    for changed in (replace(run, teacher=f"store:{agents / 'sac'}"), replace(run, student=small("td3"))):
        with pytest.raises(UserError, match="--teacher-std is for"):
            prepare(changed)


def test_a_divergence_goes_both_ways_and_an_error_of_actions_has_no_direction(agents):
    run = run_of(Kickstart(direction="reverse"), small("sac"), agents, teacher=f"store:{agents / 'sac'}")
    assert all(
        method.phases(9)[-1].objective.terms[0].term.reverse for method in (PPD(direction="reverse"), run.method)
    )
    prepare(run)
    for changed in (replace(run, teacher=f"store:{agents / 'td3'}"), replace(run, student=small("td3"))):
        with pytest.raises(UserError, match="--direction reverse is a KL's"):
            prepare(changed)


def test_a_rate_of_the_actors_own_needs_an_actor_with_an_optimiser_of_its_own(agents):
    run = run_of(QDagger(actor_lr=3.0), small("sac"), agents, teacher=f"store:{agents / 'td3'}")
    offline_phase, online = prepare(run).run.phases()
    assert (offline_phase.objective.at(Progress()).actor_lr, online.objective.at(Progress()).actor_lr) == (3.0, 1.0)
    with pytest.raises(UserError, match="no optimiser of its own"):
        prepare(replace(run, student=small("ppo")))


def test_methods_from_logs_are_registered():
    assert all(METHODS[name] is kind for name, kind in LOGGED.items()) and SampledConservative.wants == JUDGED
