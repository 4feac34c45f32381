"""Actor-Mimic's losses by hand, its maps, and its weights on a new task."""

import threading

import numpy as np
import pytest
import torch

from reincarnate import envs
from reincarnate.agents.agent import save_agent
from reincarnate.losses.divergences import categorical_kl
from reincarnate.losses.mimic import FeatureRegression, PolicyRegression, feature_regression, policy_regression
from reincarnate.methods import ActorMimic
from reincarnate.priors import weights
from reincarnate.students import DQN, PQN
from reincarnate.types import FEATURES, LOGITS, Batch, Prediction, Weighing

GAMES = "MinAtar/Breakout-v1,MinAtar/Seaquest-v1"
TARGET = "MinAtar/SpaceInvaders-v1"
RNG = np.random.default_rng(0)


def test_the_policy_regression_by_hand():
    teacher = torch.tensor([[0.0, np.log(3.0) * 2]])  # at τ = 2: 1/4, 3/4
    student = torch.tensor([[0.0, 0.0]])
    assert policy_regression(teacher, student, 2.0).item() == pytest.approx(np.log(2.0))
    student = torch.tensor([[0.0, np.log(3.0)]])  # the same policy: its own entropy
    assert policy_regression(teacher, student, 2.0).item() == pytest.approx(-0.25 * np.log(0.25) - 0.75 * np.log(0.75))


def test_the_temperature_is_the_teachers_alone():
    x = torch.tensor([[0.0, 1.0]])
    assert policy_regression(x, x, 0.5).item() != pytest.approx(policy_regression(x, x, 1.0).item())
    own = (x / 0.5).softmax(-1)
    assert policy_regression(x, x, 0.5).item() == pytest.approx(-(own * x.log_softmax(-1)).sum().item())


def test_an_action_that_a_task_has_not_has_no_probability_and_no_gradient():
    teacher = torch.tensor([[0.0, -torch.inf, 1.0]])
    student = torch.tensor([[0.0, 50.0, 1.0]], requires_grad=True)
    loss = policy_regression(teacher, student, 1.0)
    two = torch.tensor([[0.0, 1.0]])
    assert loss.item() == pytest.approx(policy_regression(two, two, 1.0).item())  # the 50 is not looked at
    loss.sum().backward()
    assert student.grad is not None and student.grad[0, 1] == 0 and torch.isfinite(student.grad).all()


def test_its_gradient_is_that_of_the_divergence():
    teacher, x = torch.randn(5, 4), torch.randn(5, 4, requires_grad=True)
    (one,) = torch.autograd.grad(policy_regression(teacher, x, 0.3).sum(), x)
    (other,) = torch.autograd.grad(categorical_kl(teacher, x, 0.3).sum(), x)
    assert torch.allclose(one, other, atol=1e-6)


def test_the_feature_regression_by_hand():
    mapped, told = torch.tensor([[1.0, 2.0, 0.0]]), torch.tensor([[0.0, 4.0, 0.0]])
    assert feature_regression(mapped, told).item() == 5.0


def test_the_phase_has_no_loss_of_the_students_own():
    (phase,) = ActorMimic(temperature=1.0, beta=0.5).phases(1000)
    assert phase.objective.own == 0 and [t.weight.value for t in phase.objective.terms] == [1.0, 0.5]  # pyright: ignore
    assert phase.listens == {"teacher", FEATURES} and not phase.newborn
    (phase,) = ActorMimic(beta=0.0).phases(1000)
    assert phase.listens == {"teacher"}


def followed(n: int = 32) -> Batch:
    """A batch of two tasks: teachers of 3 and 2 features, of which the second's are padded."""
    task, obs = torch.arange(n) % 2, torch.randn(n, 4)
    told = torch.cat([obs[:, :2], obs[:, 2:3]], 1)
    told[task == 1, 2] = 0
    said = {"teacher": Prediction(LOGITS, torch.zeros(n, 2)), FEATURES: Prediction(FEATURES, told)}
    zeros = torch.zeros(n)
    return Batch(obs, torch.zeros(n, dtype=torch.int64), zeros, zeros, obs, said, task=task)


def test_a_student_learns_a_map_to_each_teachers_features_and_keeps_it_through_a_checkpoint():
    torch.manual_seed(0)
    config, spec, batch = DQN(hidden=(16,), lr=1e-2), envs.spec("CartPole-v1"), followed()
    weighing = Weighing(0.0, [(1.0, PolicyRegression(1.0)), (0.1, FeatureRegression())])
    student = config.newborn(spec, 0)
    student.follow((3, 2))
    losses = [student.update(batch, weighing, RNG).means["features"].item() for _ in range(80)]
    assert losses[-1] < 0.5 * losses[0]
    assert student.gradient_norms(batch, weighing, RNG)["features"] > 0
    twin = config.newborn(spec, 1)
    twin.follow((3, 2))
    twin.restore(student.state())
    assert twin.update(batch, weighing, RNG).means["features"] == student.update(batch, weighing, RNG).means["features"]
    assert not any("maps" in name for name in student.weights())  # no part of the agent


def test_features_are_those_of_the_learners_own_pass_whoever_passes_the_network_meanwhile():
    config, spec, batch = DQN(hidden=(16,)), envs.spec("CartPole-v1"), followed()
    student = config.newborn(spec, 0)
    student.follow((3, 2))
    network = student.network
    passed = []

    def beside(module, given, out):
        """As a thread does that passes the successors of the batch."""
        if not passed:
            passed.append(True)
            thread = threading.Thread(target=lambda: network(batch.obs + 1))
            thread.start()
            thread.join()

    handle = network.register_forward_hook(beside)
    _, _, seen = student._maps.forward(network, batch, ())
    handle.remove()
    _, _, own = student._maps.forward(network, batch, ())
    assert passed
    torch.testing.assert_close(seen, own)


def test_following_features_draws_nothing_from_the_students_own_streams():
    config, spec = DQN(hidden=(16,)), envs.spec("CartPole-v1")
    plain, follower = config.newborn(spec, 0), config.newborn(spec, 0)
    follower.follow((3, 2))
    batch, alone = followed(), Weighing(0.0, [(1.0, PolicyRegression(1.0))])
    for student in (plain, follower):
        student.update(batch, alone, np.random.default_rng(0))
    assert all(
        torch.allclose(a, b, atol=1e-6)
        for a, b in zip(plain.weights().values(), follower.weights().values(), strict=True)
    )


# ---- transfer ----------------------------------------------------------------------------------------


@pytest.fixture
def mimic(tmp_path):
    """An agent of two games, ten channels and six actions, as after training."""
    config = PQN(hidden=(8,))
    student = config.newborn(envs.spec(GAMES), 3)
    return save_agent(tmp_path / "agent", student, {"env_steps": 1}, "card")


@pytest.mark.parametrize("target", [TARGET, "MinAtar/Freeway-v1"])
def test_a_mimic_on_a_new_game_says_what_it_would_say_of_it_padded(mimic, target):
    spec, config = envs.spec(target), PQN(hidden=(8,))
    student = config.newborn(spec, 0)
    fitted = weights.fit(mimic, (), spec, student.weights(), RNG)
    done = weights.begin(student, fitted)
    channels = spec.obs_shape[-1]
    obs = RNG.random((5, *spec.obs_shape)) < 0.3
    padded = np.concatenate([obs, np.zeros((5, 10, 10, 10 - channels), bool)], -1)
    names = envs.spec(GAMES).protocol["actions"]
    rows = [names.index(name) for name in envs.action_names(target) or ()]
    before = mimic.policy().network(torch.from_numpy(padded))[:, rows]  # pyright: ignore
    assert torch.allclose(student.network(torch.from_numpy(obs)), before, atol=1e-5)
    assert any(f"first {channels} channels of the agent's 10" in line for line in done)
    assert any(str(rows) in line for line in done)


def test_the_head_can_be_new(mimic):
    spec, config = envs.spec(TARGET), PQN(hidden=(8,))
    student = config.newborn(spec, 0)
    fresh = {name: value.clone() for name, value in student.weights().items()}
    weights.begin(student, weights.fit(mimic, ("reset-head",), spec, fresh, RNG))
    assert torch.equal(student.weights()["advantage.weight"], fresh["advantage.weight"])
    assert torch.equal(
        student.weights()["torso.conv1.weight"], mimic.network().state_dict()["torso.conv1.weight"][:, :6]
    )


def test_actions_the_mimic_never_had_begin_at_the_mean_of_those_it_had(tmp_path):
    config = DQN(hidden=(8,))
    old = envs.spec("MinAtar/Breakout-v1,MinAtar/Freeway-v1")  # nobody fires there
    agent = save_agent(tmp_path / "agent", config.newborn(old, 0), {"env_steps": 1}, "card")
    student = config.newborn(envs.spec(TARGET), 1)
    done = weights.begin(student, weights.fit(agent, (), student.spec, student.weights(), RNG))
    head = agent.network().state_dict()["advantage.bias"]
    assert torch.allclose(student.weights()["advantage.bias"], torch.stack([*head[[0, 1, 2]], head.mean()]))
    assert any("3 are new" in line for line in done)
