"""The primal-dual student: its update by hand, its arms, what it refuses and warns of, exact resume, a task solved."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from interrupting import check_it_goes_on

from reincarnate.data.memory import Storage, memory_for
from reincarnate.errors import UserError
from reincarnate.losses.log_probs import log_prob_of
from reincarnate.losses.terms import Distil
from reincarnate.methods import Kickstart, QDagger, Scratch
from reincarnate.run.execute import execute
from reincarnate.run.prepare import prepare
from reincarnate.run.settings import Run
from reincarnate.students import PPO, PrimalDual
from reincarnate.types import Batch, Prediction, TaskSpec, TimeStep, Weighing

POINT = TaskSpec("Point", (2,), "float32", 3, 1, None, {})
ARM = TaskSpec("Arm", (2,), "float32", 2, 1, None, {}, ((-2.0, -1.0), (2.0, 3.0)))
TINY = PrimalDual(hidden=(8,), rollout=5, gamma=0.9)
QUICK = {"eval_episodes": 1, "final_episodes": 1, "reference_episodes": 1, "data_env_steps": 100, "evaluations": 2}
RULE = """
import torch
def lean(obs):
    push = (obs[:, 2] + obs[:, 3] > 0).float()
    return torch.stack([1 - push, push], 1) * 4
"""


def prepared(student, copies=2, steps=5):
    """A rollout as examples, in which episodes end both ways."""
    rng = np.random.default_rng(0)
    rows = memory_for(student.spec, student.settings.layout(), Storage(200), copies).rows
    obs, begins = rng.normal(size=(copies, 2)).astype(np.float32), np.ones(copies, bool)
    for _ in range(steps):
        step = TimeStep(torch.from_numpy(obs), torch.from_numpy(begins))
        acted = student.act(step, student.initial(copies), 0.0, rng)
        after, reward = rng.normal(size=(copies, 2)).astype(np.float32), rng.normal(size=copies).astype(np.float32)
        over, limit = rng.random(copies) < 0.3, rng.random(copies) < 0.3
        rows.add(obs, acted.action, reward, over, limit & ~over, after, notes=acted.notes)
        begins = over | limit
        obs = np.where(begins[:, None], rng.normal(size=(copies, 2)).astype(np.float32), after)
    rows.foresee(obs)
    return student.prepare(student.settings.layout().gather(rows, []))


def gradients(loss, module):
    found = torch.autograd.grad(loss, list(module.parameters()), allow_unused=True)
    return torch.cat(
        [torch.zeros(p.numel()) if g is None else g.flatten() for g, p in zip(found, module.parameters(), strict=True)]
    )


@pytest.mark.parametrize("spec", [POINT, ARM], ids=["categorical", "gaussian"])
@pytest.mark.parametrize("linear, through", [("state", True), ("start", True), ("none", True), ("none", False)])
def test_an_update_is_a_step_of_the_value_then_of_the_policy_by_the_new_advantage(linear, through, spec):
    student = replace(TINY, linear=linear, through=through, penalty=0.5).newborn(spec, 0)
    batch, net = prepared(student), student.network
    value, after = net.values(batch.obs), net.values(batch.next_obs)
    delta = batch.reward + batch.discount * (after if through else after.detach()) - value
    first = {"state": value, "start": net.values(batch.notes.get("start", batch.obs)), "none": None}[linear]
    loss = 0.5 * delta.square() + (0 if first is None else 0.1 * first + delta)
    steps = []
    student._optimizers["value"].step = lambda data, grad, lr: (steps.append((grad.clone(), lr)), data.add_(0.01))
    student._optimizers["policy"].step = lambda data, grad, lr: steps.append((grad.clone(), lr))
    expected = gradients(loss.mean(), net)[student._parts["value"]]
    student.update(batch, Weighing(lr_scale=0.5), np.random.default_rng(0))
    torch.testing.assert_close(steps[0][0], expected, atol=1e-6, rtol=1e-4)
    with torch.no_grad():  # δ as the moved value has it
        anew = batch.reward + batch.discount * net.values(batch.next_obs) - net.values(batch.obs)
    policy = -(log_prob_of(student.kind, net.tell(batch.obs), batch.action) * anew).mean()
    torch.testing.assert_close(steps[1][0], gradients(policy, net)[student._parts["policy"]], atol=1e-6, rtol=1e-4)
    assert [lr for _, lr in steps] == [0.5 * TINY.value_lr, 0.5 * TINY.lr]


def test_the_start_of_an_episode_is_noted_until_the_next_one_begins():
    student, seen = replace(TINY, linear="start").newborn(POINT, 0), []
    for t, begins in enumerate([[True, True], [False, True], [False, False]]):
        step = TimeStep(torch.full((2, 2), float(t)), torch.tensor(begins))
        seen.append(student.act(step, student.initial(2), 0.0, np.random.default_rng(0)).notes["start"][:, 0].tolist())
    assert seen == [[0, 0], [0, 1], [0, 1]]


def test_prior_data_teaches_the_value_and_terms_the_policy():
    student = TINY.newborn(POINT, 0)
    obs, logits = torch.randn(16, 2), torch.randn(16, 3)
    data = Batch(obs, torch.zeros(16, dtype=torch.int64), torch.ones(16), torch.zeros(16), obs)
    before = student.online.data.clone()
    student.update(data, Weighing(), np.random.default_rng(0))
    moved = student.online.data != before
    assert moved[student._parts["value"]].any() and not moved[student._parts["policy"]].any()
    taught = data._replace(predictions={"teacher": Prediction("logits", logits)})
    learnt = student.update(taught, Weighing(0.0, [(1.0, Distil(1.0, 1.0))]), np.random.default_rng(0))
    assert set(learnt.means) == {"distil"} and (student.online.data != before)[student._parts["policy"]].any()


def test_draws_heed_the_mask_and_have_the_policys_frequencies():
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


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"through": False}, "no Lagrangian"),
        ({"linear": "none", "penalty": 0.0}, "leaves nothing"),
        ({"rollout": 0}, "--student.rollout"),
        ({"gamma": 1.5}, "between 0 and 1"),
        ({"hidden": (0,)}, "each at least 1"),
    ],
)
def test_settings_that_cannot_mean_anything_are_refused(changes, said):
    with pytest.raises(UserError, match=said):
        replace(PrimalDual(), **changes).check(1)


def test_tasks_with_chance_draw_a_warning(tmp_path):
    def warnings(env, **changes):
        found = prepare(Run(env, Scratch(), replace(PrimalDual(), **changes), store=str(tmp_path))).warnings
        return [warning for warning in found if "double sampling" in warning]

    assert not warnings("CartPole-v1") and not warnings("MinAtar/Breakout-v1", linear="none", through=False)
    assert "MinAtar/Breakout-v1 is random (sticky_actions)" in warnings("MinAtar/Breakout-v1")[0]
    assert "not known" in warnings("LunarLander-v3")[0]


# ---- whole runs -----------------------------------------------------------------------------------------


def cartpole(method, folder, student=TINY, **changes):
    return Run("CartPole-v1", method, student, store=str(folder / "store"), **{**QUICK, "env_steps": 120, **changes})


@pytest.fixture(scope="module")
def rule(tmp_path_factory):
    file = tmp_path_factory.mktemp("rule") / "rule.py"
    file.write_text(RULE)
    return f"py:{file}:lean"


def test_a_run_that_was_stopped_goes_on_to_the_same_bits(rule, tmp_path):
    student = replace(TINY, linear="start")
    run = cartpole(QDagger(offline_updates=6), tmp_path, student, teacher=rule, teacher_plays="greedy", envs=2)
    execute(run, tmp_path / "whole")
    check_it_goes_on(run, tmp_path / "whole", 4)


def test_a_primal_dual_agent_teaches_and_is_taught(tmp_path):
    execute(cartpole(Scratch(), tmp_path, evaluations=1), tmp_path / "first")
    student = PPO(hidden=(8,), rollout=8, batch_size=16, epochs=1)
    taught = cartpole(Kickstart(), tmp_path, student, teacher=f"store:{tmp_path / 'first'}", evaluations=1)
    assert execute(taught, tmp_path / "second")["updates"] > 0


def test_a_student_improves_in_seconds(tmp_path):
    quick = PrimalDual(hidden=(32,), lr=3e-3, value_lr=1e-2, rollout=4)
    execute(cartpole(Scratch(), tmp_path, quick, env_steps=8192, envs=8), tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    first, last = [line["return"] for line in lines if line["kind"] == "train"]
    assert last > 1.5 * first
