"""On-policy students: advantages by brute force, updates as another codebase makes them, methods, resuming."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from interrupting import check_it_goes_on
from probes import on_catch
from probes import run as run_on_catch
from safetensors.torch import load_file

from reincarnate import envs
from reincarnate.agents.agent import open_agent
from reincarnate.data.memory import Storage, memory_for
from reincarnate.envs.checks import Unsound
from reincarnate.errors import UserError
from reincarnate.losses.log_probs import categorical_log_prob, gaussian_log_prob
from reincarnate.losses.terms import Distil, Proximal
from reincarnate.methods import METHODS, Kickstart, QDagger, Scratch
from reincarnate.methods.checks import THROUGHOUT
from reincarnate.nets.few import FEW
from reincarnate.nets.optimizers import UncentredRMSProp
from reincarnate.run.execute import execute, execute_together
from reincarnate.run.prepare import prepare
from reincarnate.run.settings import Run
from reincarnate.seeds import stream
from reincarnate.sharing.export import export
from reincarnate.students import A2C, PPO, PQN, STUDENTS, PolicySettings, PPOCleanRL, PPOContinuous
from reincarnate.teachers import open_teacher
from reincarnate.training.evaluate import Evaluation
from reincarnate.types import Batch, Objective, Phase, Prediction, TaskSpec, TimeStep, Weighing

POINT = TaskSpec("Point", (2,), "float32", 3, 1, None, {})
ARM = TaskSpec("Arm", (2,), "float32", 2, 1, None, {}, ((-2.0, -1.0), (2.0, 3.0)))
TINY = PPO(hidden=(8,), rollout=6, batch_size=4, epochs=2, gamma=0.9)
RULE = """
import torch
def lean(obs):
    push = (obs[:, 2] + obs[:, 3] > 0).float()
    return torch.stack([1 - push, push], 1) * 4
"""
QUICK = {"eval_episodes": 1, "final_episodes": 1, "reference_episodes": 1, "data_env_steps": 100, "evaluations": 2}


def rollout(student, copies=3, steps=6, seed=0):
    """A rollout [copies, steps] of random experience in which episodes end both ways."""
    rng = np.random.default_rng(seed)
    rows = memory_for(student.spec, student.settings.layout(), Storage(400), copies).rows
    obs = rng.normal(size=(copies, 2)).astype(np.float32)
    for _ in range(steps):
        step = TimeStep(torch.from_numpy(obs), torch.zeros(copies, dtype=torch.bool))
        acted = student.act(step, student.initial(copies), 0.0, rng)
        true_next = rng.normal(size=(copies, 2)).astype(np.float32)
        over, limit = rng.random(copies) < 0.25, rng.random(copies) < 0.25
        rows.add(
            obs,
            acted.action,
            rng.normal(size=copies).astype(np.float32),
            over,
            limit & ~over,
            true_next,
            notes=acted.notes,
        )
        obs = np.where((over | limit)[:, None], rng.normal(size=(copies, 2)).astype(np.float32), true_next)
    rows.foresee(obs)
    return student.settings.layout().gather(rows, [])


def even(index):
    """An evaluation that costs nothing."""
    return Evaluation((0.0, 1.0), 2)


def by_time(x):
    """[C, T] as the learner's examples, oldest first."""
    return x.transpose(0, 1).flatten(0, 1)


@pytest.mark.parametrize("spec", [POINT, ARM], ids=["categorical", "gaussian"])
def test_advantages_of_a_rollout_equal_their_definition_at_terminations_and_limits(spec):
    student = TINY.newborn(spec, 0)
    whole = rollout(student)
    assert whole.ended.any() and (whole.discount == 0).any() and (whole.ended & (whole.discount > 0)).any()
    ready = student.prepare(whole)
    net, lam = student.network, TINY.lam
    expected = torch.zeros_like(whole.reward)
    with torch.no_grad():
        for c in range(3):
            for t in range(6):
                total, factor = 0.0, 1.0
                for k in range(t, 6):
                    value, after = net.values(whole.obs[c, k : k + 1]), net.values(whole.next_obs[c, k : k + 1])
                    total = total + factor * (whole.reward[c, k] + whole.discount[c, k] * after - value)
                    factor = factor * lam * whole.discount[c, k]
                    if whole.ended[c, k]:
                        break
                expected[c, t] = total
        value = by_time(net.values(whole.obs.flatten(0, 1)).view(3, 6))
    torch.testing.assert_close(ready.notes["advantage"], by_time(expected), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ready.notes["value"], value)
    torch.testing.assert_close(ready.reward, by_time(expected) + value, atol=1e-5, rtol=1e-5)
    assert (ready.discount == 0).all() and ready.next_obs is None


def test_probabilities_are_those_of_the_action_as_drawn_and_of_a_teachers_as_it_was():
    student = TINY.newborn(ARM, 0)
    with torch.no_grad():
        student.network.head.log_std.fill_(1.0)  # wide: many draws are clipped
    student.publish()
    whole = rollout(student)
    base = whole.notes["base"]
    assert (base.abs() > 1).any() and (whole.action.abs() <= 1 + 1e-6).all()
    led = whole.action.clone()
    led[1, 2] = torch.tensor([0.25, -0.5])
    ready = student.prepare(whole._replace(action=led))
    drawn = base.clone()
    drawn[1, 2] = led[1, 2]
    torch.testing.assert_close(ready.action, by_time(drawn))
    mean, log_std = student.network.tell(by_time(whole.obs)).chunk(2, -1)
    torch.testing.assert_close(ready.notes["log_prob"], gaussian_log_prob(mean, log_std, by_time(drawn)).detach())


def test_draws_have_the_policys_frequencies_and_heed_the_mask():
    student = TINY.newborn(POINT, 3)
    with torch.no_grad():
        student.network.head.logits.bias.copy_(torch.tensor([0.0, 1.0, -1.0]))
        student.network.head.logits.weight.zero_()
    student.publish()
    n = 20_000
    step = TimeStep(torch.zeros(n, 2), torch.zeros(n, dtype=torch.bool))
    actions = student.act(step, student.initial(n), 0.0, np.random.default_rng(0)).action
    expected = torch.tensor([0.0, 1.0, -1.0]).softmax(-1).numpy()
    assert np.abs(np.bincount(actions, minlength=3) / n - expected).max() < 4 * (0.25 / n) ** 0.5
    masked = step._replace(mask=torch.tensor([True, False, True]).expand(n, -1))
    assert set(student.act(masked, student.initial(n), 0.0, np.random.default_rng(0)).action) == {0, 2}


def test_actions_that_are_not_allowed_have_no_probability_in_learning_either():
    student = TINY.newborn(POINT, 0)
    whole = rollout(student)
    mask = torch.zeros(3, 6, 3, dtype=torch.bool)
    mask.scatter_(2, whole.action[..., None], True)
    ready = student.prepare(whole._replace(mask=mask))
    torch.testing.assert_close(ready.notes["log_prob"], torch.zeros(18))  # one action is left
    learnt = student.update(ready, Weighing(), np.random.default_rng(0))
    assert float(learnt.means["entropy"]) == 0 and all(torch.isfinite(m) for m in learnt.means.values())


# ---- parity -------------------------------------------------------------------------------------------


def sb3_ppo(student, entropy, steps, copies, epochs, norm):
    """The PPO of Stable-Baselines3 with this student's weights and an empty buffer."""
    sb3 = pytest.importorskip("stable_baselines3")
    from gymnasium import Env, spaces
    from stable_baselines3.common.logger import configure
    from stable_baselines3.common.vec_env import DummyVecEnv

    class Blank(Env):
        observation_space = spaces.Box(-9, 9, (2,), np.float32)
        action_space = spaces.Box(-1, 1, (2,), np.float32) if student.spec.continuous else spaces.Discrete(3)

    model = sb3.PPO(
        "MlpPolicy",
        DummyVecEnv([Blank] * copies),
        n_steps=steps,
        batch_size=steps * copies,
        n_epochs=epochs,
        gamma=0.9,
        ent_coef=entropy,
        normalize_advantage=norm,
        policy_kwargs={"net_arch": [8]},
        device="cpu",
    )
    model.set_logger(configure(None, []))
    ours = student.network
    pairs = [
        (model.policy.mlp_extractor.policy_net[0], ours.torso.layers[0]),
        (model.policy.mlp_extractor.value_net[0], ours.critic_torso.layers[0]),
        (model.policy.action_net, ours.head.mean if student.spec.continuous else ours.head.logits),
        (model.policy.value_net, ours.value),
    ]
    for theirs, own in pairs:
        theirs.load_state_dict(own.state_dict())
    spread = [(model.policy.log_std, ours.head.log_std)] if student.spec.continuous else []
    return model, [(a.weight, b.weight) for a, b in pairs] + [(a.bias, b.bias) for a, b in pairs] + spread


@pytest.mark.parametrize("spec", [POINT, ARM], ids=["categorical", "gaussian"])
@pytest.mark.parametrize("norm", [True, False], ids=["normalised", "plain"])
def test_updates_move_parameters_as_those_of_stable_baselines3_do(spec, norm):
    copies, steps, epochs = 3, 6, 4
    settings = replace(TINY, entropy=0.02, norm_advantage=norm, batch_size=0, epochs=epochs, max_grad_norm=0.3)
    student = settings.newborn(spec, 1)
    model, pairs = sb3_ppo(student, 0.02, steps, copies, epochs, norm)
    model.max_grad_norm = 0.3
    whole = rollout(student, copies, steps)
    with torch.no_grad():  # the peer adds the bootstrap at a limit to the reward, as its collector does
        limit = whole.ended & (whole.discount > 0)
        after = student.network.values(whole.next_obs.flatten(0, 1)).view(copies, steps)
        rewards = whole.reward + torch.where(limit, 0.9 * after, torch.zeros(()))
        values, ready = student.network.values(whole.obs.flatten(0, 1)).view(copies, steps), student.prepare(whole)
    log_prob = ready.notes["log_prob"].view(steps, copies)
    action = ready.action.view(steps, copies, -1).numpy()
    starts = np.ones(copies, bool)
    for t in range(steps):
        model.rollout_buffer.add(
            whole.obs[:, t].numpy(), action[t], rewards[:, t].numpy(), starts, values[:, t], log_prob[t]
        )
        starts = whole.ended[:, t].numpy()
    model.rollout_buffer.compute_returns_and_advantage(after[:, -1], starts)
    mine = ready.notes["advantage"].view(steps, copies).numpy()
    np.testing.assert_allclose(model.rollout_buffer.advantages, mine, atol=1e-5)
    model.train()
    for _ in range(epochs):
        student.update(ready, Weighing(), np.random.default_rng(0))
    for theirs, own in pairs:
        torch.testing.assert_close(own.detach(), theirs.detach(), atol=2e-6, rtol=1e-5)
    assert student.updates == epochs


def test_rmsprop_is_pytorchs():
    x = torch.tensor([1.0, -2.0, 3.0], requires_grad=True)
    theirs, own = torch.optim.RMSprop([x], lr=0.1, alpha=0.99, eps=1e-5), UncentredRMSProp(3, 1e-5)
    data = x.detach().clone()
    for k in range(3):
        x.grad = torch.tensor([1.0, 0.1, -2.0]) * (k + 1)
        own.step(data, x.grad, 0.1)
        theirs.step()
    torch.testing.assert_close(data, x.detach())


def test_one_epoch_over_one_batch_has_the_policy_gradient():
    student = A2C(hidden=(8,), rollout=6, value_weight=0.0, max_grad_norm=0.0).newborn(POINT, 0)
    ready = student.prepare(rollout(student))
    loss = -(categorical_log_prob(student.network.tell(ready.obs), ready.action) * ready.notes["advantage"]).mean()
    expected = torch.autograd.grad(loss, student.network.head.logits.weight)[0]
    student.online.grad.zero_()
    student.update(ready, Weighing(), np.random.default_rng(0))
    torch.testing.assert_close(student.network.head.logits.weight.grad, expected)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("spec", [POINT, ARM], ids=["categorical", "gaussian"])
def test_the_quick_way_through_small_networks_has_their_numbers_and_gradients(spec, activation):
    students = [replace(TINY, hidden=(8, 5), activation=activation, entropy=0.1).newborn(spec, 0) for _ in range(2)]
    students[1]._quick = students[1]._quick_acting = None
    assert students[0]._quick is not None
    whole = rollout(students[0])
    ready = [student.prepare(whole) for student in students]
    for name in ("advantage", "value", "log_prob"):
        torch.testing.assert_close(ready[0].notes[name], ready[1].notes[name])
    learnt = [student.update(ready[0], Weighing(), np.random.default_rng(0)) for student in students]
    torch.testing.assert_close(students[0].online.grad, students[1].online.grad)
    torch.testing.assert_close(learnt[0].means, learnt[1].means)
    assert students[0].online.grad.abs().sum() > 0 and learnt[0].each.shape == (18,)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("spec", [POINT, ARM], ids=["categorical", "gaussian"])
def test_few_observations_are_answered_with_the_networks_numbers_as_they_are_now(spec, activation):
    student = replace(TINY, hidden=(8, 5), activation=activation).newborn(spec, 0)
    for n in (1, FEW // 8, FEW // 8 + 1):
        obs = torch.randn(n, *spec.obs_shape, generator=torch.Generator().manual_seed(n))
        said = student.predict(TimeStep(obs, torch.ones(n, dtype=torch.bool)), student.initial(n))[0].x
        torch.testing.assert_close(said, student.network.tell(obs))
        student.online.data.add_(0.1)
        student.publish()


def test_weights_without_bounds_are_told_of_and_no_warning_is_given():
    student = replace(TINY, hidden=(8, 5), activation="relu").newborn(ARM, 0)
    student.online.data.fill_(1e30)
    student.publish()
    rng = np.random.default_rng(0)
    with pytest.raises(Unsound, match="predicts"):
        student.act(TimeStep(torch.ones(1, *ARM.obs_shape), torch.ones(1).bool()), student.initial(1), 0.0, rng)


# ---- what its settings do -------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [POINT, ARM])
@pytest.mark.parametrize("more", [{}, {"entropy": 0.01, "clip_value": 0.2, "norm_advantage": False}])
def test_an_update_without_autograd_is_the_one_with_it(spec, more, monkeypatch):
    settings = replace(TINY, **more)
    ours, theirs = (settings.newborn(spec, 0) for _ in range(2))
    monkeypatch.setattr(theirs, "_plain", lambda *_: False)
    for k in range(3):
        batch, rng = ours.prepare(rollout(ours, seed=k)), np.random.default_rng(0)
        found, expected = ours.update(batch, Weighing(), rng), theirs.update(batch, Weighing(), rng)
        assert found.means.keys() == expected.means.keys()
        for name, mean in expected.means.items():
            assert torch.allclose(found.means[name], mean, atol=1e-6), name
        assert torch.allclose(found.each, expected.each, atol=1e-6)
        assert torch.allclose(ours.online.grad, theirs.online.grad, atol=1e-6)
        theirs.restore(ours.state())


def interpreted(graph, inputs, options):
    """In place of TorchInductor: the traced graph itself, in milliseconds."""
    return graph


@pytest.mark.parametrize("spec", [POINT, ARM])
@pytest.mark.parametrize("more", [{"norm_obs": True, "decorrelate": 0.1}, {"entropy": 0.01, "shared": "on"}])
def test_a_programs_updates_are_the_plain_ones_also_with_a_teacher_whose_weight_falls(spec, more, monkeypatch):
    monkeypatch.setattr(torch._inductor, "compile", interpreted)
    ours, theirs = (replace(TINY, **more).newborn(spec, 0) for _ in range(2))
    ours.compile()
    told = Prediction(ours.kind, torch.randn(18, 3 if spec is POINT else 4, generator=torch.Generator().manual_seed(0)))
    for k in range(4):
        batch = theirs.prepare(rollout(theirs, seed=k))._replace(predictions={"teacher": told})
        ours.restore(theirs.state())
        weighing = Weighing(terms=[(1.0 / (k + 1), Distil(1.0, 1.0))])
        found, expected = (s.update(batch, weighing, np.random.default_rng(0)) for s in (ours, theirs))
        torch.testing.assert_close(found.means, expected.means)
        torch.testing.assert_close(found.each, expected.each)
        torch.testing.assert_close(ours.online.grad, theirs.online.grad)
    assert len(ours._program._programs) == 1


def test_a_batch_of_another_size_and_prior_data_are_learnt_from_plainly(monkeypatch):
    monkeypatch.setattr(torch._inductor, "compile", interpreted)
    student = TINY.newborn(ARM, 0)
    student.compile()
    whole, rng = student.prepare(rollout(student)), np.random.default_rng(0)
    assert student._program(whole, Weighing()) is not None
    smaller = student.prepare(rollout(student, steps=5))
    assert student._program(smaller, Weighing()) is None
    assert student.update(smaller, Weighing(), rng).each.shape == (15,)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what PyTorch's compiler imports
def test_a_compiled_student_learns_as_a_plain_one(store, tmp_path):
    ends = []
    for way in ("on", "off"):
        out = tmp_path / way
        execute(cartpole(Scratch(), store, replace(SMALL, norm_obs=True), compile=way), out)
        ends.append(
            (
                json.loads((out / "result.json").read_text())["compiled"],
                load_file(out / "agent" / "weights.safetensors"),
            )
        )
    assert [compiled for compiled, _ in ends] == [True, False]
    for name, weight in ends[0][1].items():
        torch.testing.assert_close(weight, ends[1][1][name], atol=1e-3, rtol=1e-3)


def test_an_actor_that_shall_stand_still_keeps_its_weights_and_its_view_of_observations():
    student = replace(TINY, norm_obs=True, lr=0.1).newborn(POINT, 0)
    student.update(student.prepare(rollout(student)), Weighing(), np.random.default_rng(0))  # Adam remembers it
    still = Weighing(policy=0.0)
    before = {name: value.clone() for name, value in student.weights().items()}
    for seed in (1, 2):
        student.update(student.prepare(rollout(student, seed=seed), still), still, np.random.default_rng(0))
    moved = {name for name, value in student.weights().items() if not torch.equal(value, before[name])}
    assert moved and all(name.startswith(("critic_torso", "value")) for name in moved)
    student.prepare(rollout(student, seed=3))
    count = next(name for name in before if name.endswith("count") and "obs" in name)
    assert student.weights()[count] > before[count]


def test_the_actor_stands_still_while_the_critic_warms_up():
    student = replace(TINY, critic_updates=2).newborn(POINT, 0)
    ready = student.prepare(rollout(student))
    before = student.weights()
    before = {name: value.clone() for name, value in before.items()}
    distil = Distil(1.0, 1.0)
    taught = ready._replace(predictions={"teacher": Prediction("logits", torch.randn(18, 3))})
    for _ in range(2):
        student.update(taught, Weighing(1.0, [(3.0, distil)]), np.random.default_rng(0))
    moved = {name for name, value in student.weights().items() if not torch.equal(value, before[name])}
    assert moved and all(name.startswith(("critic_torso", "value")) for name in moved)
    student.update(taught, Weighing(1.0, [(3.0, distil)]), np.random.default_rng(0))
    assert not torch.equal(student.weights()["head.logits.weight"], before["head.logits.weight"])


def test_the_learning_rate_falls_with_the_env_steps_before_the_rollout():
    student = replace(TINY, anneal_env_steps=36, max_grad_norm=0.0).newborn(POINT, 0)
    rates = []
    student.optimizer.step = lambda data, grad, lr: rates.append(lr)
    for seed in range(3):
        ready = student.prepare(rollout(student, seed=seed))
        student.update(ready, Weighing(lr_scale=0.5), np.random.default_rng(0))
    assert rates == pytest.approx([TINY.lr / 2, TINY.lr / 4, 0.0])


def test_statistics_are_learnt_from_rollouts_published_and_kept():
    student = replace(TINY, norm_obs=True, norm_reward=True).newborn(POINT, 0)
    whole = rollout(student)
    ready = student.prepare(whole)
    norm, flat = student.network.obs_norm, whole.obs.flatten(0, 1)
    torch.testing.assert_close(norm.moments.mean.float(), flat.mean(0), atol=1e-3, rtol=1e-3)
    seen = student.network.seen(flat)
    assert seen.mean().abs() < 0.01 and abs(float(seen.std(correction=0)) - 1) < 0.01
    running, factor = torch.zeros(3), []
    for t in range(6):  # by the definition, step by step
        running = running * 0.9 + whole.reward[:, t]
        factor.append(running.clone())
        running = running * ~whole.ended[:, t]
    last = torch.cat(factor).var(correction=0)
    scaled = whole.reward[:, -1] / last.sqrt()
    assert student.network.reward_norm.moments.var == pytest.approx(float(last), rel=1e-3)
    gain = (ready.reward - ready.notes["value"]).view(6, 3)[-1]  # the last step's advantage is its TD error
    after = student.network.values(whole.next_obs[:, -1]) * whole.discount[:, -1]
    torch.testing.assert_close(
        gain, scaled + after.detach() - ready.notes["value"].view(6, 3)[-1], atol=1e-3, rtol=1e-3
    )
    step = TimeStep(flat, torch.zeros(18, dtype=torch.bool))
    before = student.predict(step, student.initial(18))[0].x
    student.publish()
    assert not torch.equal(student.predict(step, student.initial(18))[0].x, before)
    other = replace(TINY, norm_obs=True, norm_reward=True).newborn(POINT, 5)
    other.restore({name: value.clone() for name, value in student.state().items()})
    assert all(torch.equal(value, other.state()[name]) for name, value in student.state().items())
    torch.testing.assert_close(
        other.predict(step, other.initial(18))[0].x, student.predict(step, student.initial(18))[0].x
    )


def test_prior_data_teaches_the_critic_and_terms_the_actor():
    student = TINY.newborn(POINT, 0)
    rng = torch.Generator().manual_seed(0)
    obs, teacher = torch.randn(64, 2, generator=rng), torch.randn(64, 3, generator=rng)
    action = torch.randint(0, 3, (64,), generator=rng)
    data = Batch(obs, action, torch.ones(64), torch.zeros(64), obs, {"teacher": Prediction("logits", teacher)})
    still = {name: value.clone() for name, value in student.weights().items()}
    student.update(data, Weighing(), np.random.default_rng(0))
    moved = {name for name, value in student.weights().items() if not torch.equal(value, still[name])}
    assert moved and all(name.startswith(("critic_torso", "value")) for name in moved)
    first = student.update(data, Weighing(1.0, [(1.0, Distil(1.0, 1.0))]), np.random.default_rng(0)).means
    for _ in range(60):
        last = student.update(data, Weighing(1.0, [(1.0, Distil(1.0, 1.0))]), np.random.default_rng(0)).means
    assert set(last) == {"value", "distil"} and all(last[name] < first[name] for name in last)


def test_proximal_distillation_by_hand():
    term = Proximal(1.0, 1.0, clip=0.2)
    logits = torch.zeros(2, 2)
    teacher = torch.tensor([[0.0, np.log(3.0)], [0.0, np.log(3.0)]], dtype=torch.float32)  # 1/4, 3/4
    old = torch.tensor([0.25, 0.8]).log()  # the policy that acted; now 0.5: ratios 2 and 0.625
    batch = Batch(
        logits, torch.tensor([0, 1]), torch.zeros(2), torch.zeros(2), None, {"teacher": Prediction("logits", teacher)}
    )
    kl = 0.25 * np.log(0.25 / 0.5) + 0.75 * np.log(0.75 / 0.5)
    fresh = batch._replace(notes={"log_prob": old})
    assert term(Prediction("logits", logits), fresh).tolist() == pytest.approx([2 * kl, 0.8 * kl])
    assert term(Prediction("logits", logits), batch).tolist() == pytest.approx([kl, kl])  # prior data: plain


def test_the_ratio_of_proximal_distillation_heeds_what_was_allowed():
    student, term = TINY.newborn(POINT, 0), Proximal(1.0, 1.0, clip=0.2)
    whole = rollout(student)
    mask = torch.ones(3, 6, 3, dtype=torch.bool)
    mask[..., 2] = False
    ready = student.prepare(whole._replace(mask=mask, action=whole.action % 2))
    said = Prediction("logits", student.network.tell(ready.obs))
    ready = ready._replace(predictions={"teacher": Prediction("logits", torch.randn(18, 3))})
    torch.testing.assert_close(term(said, ready), Distil(1.0, 1.0)(said, ready))  # nothing was learnt: every ratio is 1


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"rollout": 0}, "rollout"),
        ({"batch_size": 500}, "more than a rollout holds"),
        ({"lam": 1.5}, "between 0 and 1"),
        ({"clip": 0.0}, "above 0"),
        ({"hidden": (0,)}, "each at least 1"),
    ],
)
def test_numbers_that_mean_nothing_are_refused(changes, said):
    with pytest.raises(UserError, match=said):
        replace(TINY, **changes).check(8)


def test_presets_hold_what_their_codebases_have():
    assert (PPO().lr, PPO().rollout * PPO.copies, PPO().epochs, PPO().batch_size) == (3e-4, 2048, 10, 64)
    assert PPO().pace(8) == (2048, 320, 64, 0) and A2C().pace(8) == (40, 1, 40, 0)
    assert (PPOCleanRL().entropy, PPOCleanRL().pace(4)) == (0.01, (512, 16, 128, 0))
    assert PPOContinuous().norm_obs and PPOContinuous().pace(1) == (2048, 320, 64, 0)
    torso = PPO().network(POINT).torso.layers[0].weight
    torch.testing.assert_close(torso.T @ torso, 2 * torch.eye(2), atol=1e-5, rtol=1e-5)
    assert PPO().network(POINT).head.logits.weight.norm(dim=-1).max() < 0.011


# ---- whole runs -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rule(tmp_path_factory):
    file = tmp_path_factory.mktemp("rule") / "rule.py"
    file.write_text(RULE)
    return f"py:{file}:lean"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return str(tmp_path_factory.mktemp("store"))


SMALL = PPO(hidden=(16,), rollout=8, batch_size=32, epochs=2, lr=1e-3)


def lines_of(run: Path):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        line.pop("seconds")
    return lines


def cartpole(method, store, student=SMALL, **changes):
    return Run(
        "CartPole-v1", method, student, store=store, teacher_plays="greedy", **{**QUICK, "env_steps": 130, **changes}
    )


SHORT = {
    "qdagger": {"offline_updates": 20},
    "dagger": {"offline_updates": 20},
    "bc": {"offline_updates": 20},
    "dqfd": {"offline_updates": 20},
    "pretrain": {"offline_updates": 20},
    "warmcritic": {"critic_env_steps": 64},
    "wsrl": {"start": "teacher", "warmup_env_steps": 60},
    "jsrl": {"horizon": 20},
}
MIXED = ("rehearsal", "rlpd", "td3bc", "awac", "calql")
REFUSED = {**dict.fromkeys(MIXED, "no prior data can be mixed"), "wsrl": "fills a replay", "iql": "state values"}
REFUSED |= {"ald": "student with a memory"}
REFUSED_OF_GAUSSIANS = {"dqfd": "compares discrete", "pretrain": "compares discrete"}


@pytest.mark.parametrize("name", [name for name in METHODS if name != "finetune"])
def test_every_method_trains_a_categorical_student_or_refuses_in_a_line(name, rule, store, tmp_path):
    run = cartpole(METHODS[name](**SHORT.get(name, {})), store, teacher=rule)
    if name in REFUSED:
        with pytest.raises(UserError, match=REFUSED[name]) as refused:
            execute(run, tmp_path / "run")
        assert "\n" not in str(refused.value) and not (tmp_path / "run").exists()
        return
    result = execute(run, tmp_path / "run")
    assert result["updates"] > 0 and np.isfinite(result["score"])
    weights = load_file(tmp_path / "run/agent/weights.safetensors")
    fresh = SMALL.newborn(envs.spec("CartPole-v1"), 0).weights()
    assert not torch.equal(weights["head.logits.weight"], fresh["head.logits.weight"])


def test_ratios_are_for_on_policy_students_and_one_that_remembers_is_not_compiled(rule, store):
    with pytest.raises(UserError, match="needs an on-policy student"):
        prepare(cartpole(METHODS["ppd"](), store, STUDENTS["dqn"](), teacher=rule))
    for name in ("sac", "td3"):
        swing = Path(rule.split(":")[1]).with_name("swing.py")
        swing.write_text("import torch\ndef still(obs):\n    return torch.zeros(len(obs), 1)\nstill.tells = 'means'\n")
        run = replace(
            cartpole(METHODS["ppd"](), store, STUDENTS[name](), teacher=f"py:{swing}:still"), env="Pendulum-v1"
        )
        with pytest.raises(UserError, match="needs an on-policy student"):
            prepare(run)
    with pytest.raises(UserError, match="cannot be compiled"):
        prepare(cartpole(Scratch(), store, replace(TINY, memory="gru", segment=2), compile="on"))


def test_an_agent_is_fine_tuned_exported_and_teaches(store, tmp_path):
    student = replace(SMALL, norm_obs=True)
    execute(cartpole(Scratch(), store, student, keep="all"), tmp_path / "first")
    tuned = cartpole(METHODS["finetune"](reuse="all"), store, student, weights=str(tmp_path / "first"))
    notes = []
    execute(tuned, tmp_path / "second", note=notes.append)
    assert any("optimiser: its state is reused" in note for note in notes)
    teacher = open_teacher(f"store:{tmp_path / 'first'}", 2)
    assert teacher.card.tells == "logits" and teacher.frozen
    words = export(open_agent(tmp_path / "second"), "torchscript", tmp_path / "agent.pt")
    assert words.difference is not None and words.difference < 1e-5
    execute(cartpole(Kickstart(), store, teacher=f"store:{tmp_path / 'first'}"), tmp_path / "third")


def test_a_gaussian_student_learns_from_a_gaussian_teacher_and_refuses_the_rest(teachers, store, tmp_path):
    zoo = next((teachers / "sb3" / "sac-Pendulum-v1").glob("*.zip"))
    student = replace(SMALL, norm_obs=True, norm_reward=True)
    for name in ("kickstart", "qdagger", "dqfd", "pretrain"):
        run = cartpole(METHODS[name](**SHORT.get(name, {})), store, student, teacher=f"sb3:{zoo}")
        run = replace(run, env="Pendulum-v1", evaluations=1)
        if name in REFUSED_OF_GAUSSIANS:
            with pytest.raises(UserError, match=REFUSED_OF_GAUSSIANS[name]):
                prepare(run)
            continue
        assert execute(run, tmp_path / name)["updates"] > 0
    assert open_agent(tmp_path / "qdagger").policy().kind == "gaussian"
    assert open_teacher(f"store:{tmp_path / 'qdagger'}", 1).card.tells == "gaussian"


@pytest.mark.parametrize(
    "config", [replace(SMALL, norm_obs=True, norm_reward=True, anneal_env_steps=300), A2C(hidden=(16,))]
)
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(config, rule, store, tmp_path):
    run = cartpole(QDagger(offline_updates=10), store, config, env_steps=260, teacher=rule)
    execute(run, tmp_path / "whole")
    check_it_goes_on(run, tmp_path / "whole", 2, 4)


def test_seeds_together_equal_seeds_apart(store, tmp_path):
    runs = [cartpole(Scratch(), store, replace(SMALL, norm_obs=True), seed=seed) for seed in range(2)]
    execute_together(runs, [tmp_path / f"t{seed}" for seed in range(2)])
    for seed, run in enumerate(runs):
        execute(run, tmp_path / f"a{seed}")
        assert lines_of(tmp_path / f"a{seed}") == lines_of(tmp_path / f"t{seed}")


@pytest.mark.parametrize(
    "quick",
    [
        replace(SMALL, hidden=(32,), rollout=64, epochs=4, batch_size=128, lr=5e-3),
        A2C(hidden=(32,), rollout=16, lr=1e-2),
    ],
    ids=["ppo", "a2c"],
)
def test_a_student_improves_in_seconds(quick, store, tmp_path):
    execute(cartpole(Scratch(), store, quick, env_steps=4096, evaluations=2), tmp_path / "run")
    first, last = [line["return"] for line in lines_of(tmp_path / "run") if line["kind"] == "train"]
    assert last > 1.5 * first


def test_a_teacher_of_another_codebase_kickstarts_it_in_seconds(teachers, store, tmp_path):
    zoo = next((teachers / "sb3" / "ppo-CartPole-v1").glob("*.zip"))
    quick = replace(SMALL, hidden=(32,), rollout=32, epochs=8, batch_size=64, lr=3e-3)
    run = cartpole(Kickstart(), store, quick, env_steps=2048, teacher=f"sb3:{zoo}", evaluations=1, final_episodes=10)
    assert execute(run, tmp_path / "run")["score"] > 200


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ppo", "ppo-cleanrl", "a2c"])
def test_cartpole_is_solved(name, store, tmp_path):
    steps = {"ppo": 40_960, "ppo-cleanrl": 120_000, "a2c": 400_000}[name]
    execute(cartpole(Scratch(), store, STUDENTS[name](), env_steps=steps, evaluations=8), tmp_path / "run")
    scores = [line["score"] for line in lines_of(tmp_path / "run") if line["kind"] == "eval"]
    assert max(scores) > 450  # the last one may be in a dip


@pytest.mark.slow
def test_pendulum_is_swung_up(store, tmp_path):
    config = PPOContinuous(rollout=256, gamma=0.9, lr=1e-3)
    run = Run("Pendulum-v1", Scratch(), config, env_steps=102_400, envs=8, store=store, evaluations=2, seed=1)
    assert execute(run, tmp_path / "run")["score"] > -400


def test_an_unfit_phase_is_said_of_the_student_alone():
    student = TINY.newborn(POINT, 0)
    assert student.unfit([Phase("online", env_steps=1, objective=Objective(), guide=THROUGHOUT)]) is None
    assert "mixed" in student.unfit([Phase("online", env_steps=1, prior_share=0.5)])
    assert isinstance(TINY, PolicySettings) and stream(0, "x").random() == stream(0, "x").random()


# ---- rollouts that nobody can learn from -----------------------------------------------------------------


@pytest.mark.parametrize(
    "student", [PQN(hidden=(4,), rollout=8, batch_size=16), replace(TINY, rollout=8, batch_size=16)]
)
def test_a_stretch_of_fewer_steps_than_copies_is_passed_over(student):
    training = on_catch(student, [Phase("online", env_steps=200, evaluations=40)], copies=16, evaluate=even)
    run_on_catch(training)
    assert training.at.env_steps == 200 and training.at.updates == 0


def test_what_was_played_before_the_first_update_is_in_no_rollout():
    config, lengths = PQN(hidden=(4,), rollout=8, batch_size=16, epochs=1, warmup=320), []
    training = on_catch(config, [Phase("online", env_steps=480, evaluations=1)], copies=4, evaluate=even)
    gather = type(training.memory).begin

    def begin(memory, student, *more):
        gather(memory, student, *more)
        lengths.append(memory.prepared.reward.numel())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(training.memory), "begin", begin)
        run_on_catch(training)
    assert lengths == [32] * 5 and training.at.updates == 10  # 320 of 480 env steps are waited for
