"""Targets and losses of off-policy actor-critics, and of learning from logs, against numbers worked by hand."""

import math

import pytest
import torch

from reincarnate.losses import actor_critic, distributions, divergences, offline


def each(*numbers):
    return torch.tensor(numbers)


# ---- targets ----------------------------------------------------------------------------------------


def test_target_smoothing_clips_the_noise_and_then_the_action():
    # σ 0.2, clip 0.5: noise 1 -> 0.2; 5 -> 0.5; -5 -> -0.5; the last action would leave the box
    action, noise = torch.tensor([[0.0, 0.0, 0.0, 0.9]]), torch.tensor([[1.0, 5.0, -5.0, 1.0]])
    smoothed = actor_critic.smoothed_action(action, noise, 0.2, 0.5)
    torch.testing.assert_close(smoothed, torch.tensor([[0.2, 0.5, -0.5, 1.0]]))


def test_the_least_critic_of_all_or_of_the_drawn():
    q = torch.tensor([[1.0, 5.0], [2.0, 4.0], [3.0, 3.0]])
    torch.testing.assert_close(actor_critic.least(q), each(1.0, 3.0))
    torch.testing.assert_close(actor_critic.least(q, torch.tensor([1, 2])), each(2.0, 3.0))


def test_the_target_of_sac_by_hand():
    # min Q = 2, α ln π = 0.5 · -1: V = 2.5; 1 + 0.9 · 2.5, and a termination
    value = actor_critic.soft_value(each(2.0, 2.0), each(-1.0, -1.0), 0.5)
    target = actor_critic.bootstrapped(each(1.0, 1.0), each(0.9, 0.0), value.requires_grad_())
    torch.testing.assert_close(target, each(3.25, 1.0))
    assert not target.requires_grad


def test_truncation_drops_the_greatest_of_the_pooled_quantiles():
    # two critics of three quantiles, one dropped each: the four least of six remain, both of the dropped from critic 1
    quantiles = torch.tensor([[[1.0, 2.0, 3.0]], [[0.0, 7.0, 9.0]]])
    torch.testing.assert_close(actor_critic.truncated_quantiles(quantiles, 1), torch.tensor([[0.0, 1.0, 2.0, 3.0]]))
    assert actor_critic.truncated_quantiles(quantiles, 0).shape == (1, 6)
    with pytest.raises(ValueError, match="3 of 3 quantiles a critic cannot be dropped"):
        actor_critic.truncated_quantiles(quantiles, 3)


# ---- critics ----------------------------------------------------------------------------------------


def test_the_squared_error_sums_over_critics():
    # (1 - 3)² + (4 - 3)²
    q = torch.tensor([[1.0], [4.0]])
    torch.testing.assert_close(actor_critic.squared_error(q, each(3.0)), each(5.0))


def test_the_quantile_error_by_hand():
    # one critic, τ 1/4 and 3/4, predictions 0 and 0, one target 2: Huber 1.5; (1/4 · 1.5 + 3/4 · 1.5)/2
    quantiles, targets = torch.zeros(1, 1, 2), torch.tensor([[2.0]])
    torch.testing.assert_close(actor_critic.quantile_error(quantiles, targets), each(0.75))
    # a second critic at 2 has no error: the mean over critics halves it
    both = torch.stack([torch.zeros(1, 2), torch.full((1, 2), 2.0)])
    torch.testing.assert_close(actor_critic.quantile_error(both, targets), each(0.375))


def test_the_quantile_error_is_sb3_contribs():
    utils = pytest.importorskip("sb3_contrib.common.utils")
    generator = torch.Generator().manual_seed(0)
    quantiles, targets = torch.randn(2, 5, 25, generator=generator), torch.randn(5, 46, generator=generator)
    theirs = utils.quantile_huber_loss(
        quantiles.movedim(0, 1), targets[:, None].expand(5, 2, 46), sum_over_quantiles=False
    )
    torch.testing.assert_close(actor_critic.quantile_error(quantiles, targets).mean(), theirs)


def test_the_categorical_error_by_hand():
    # target all on the first atom; critics (3/4, 1/4) and (1/2, 1/2)
    logits = torch.tensor([[[math.log(3), 0.0]], [[0.0, 0.0]]])
    loss = actor_critic.categorical_error(logits, torch.tensor([[1.0, 0.0]]))
    torch.testing.assert_close(loss, each(-math.log(0.75) - math.log(0.5)))


# ---- actors -----------------------------------------------------------------------------------------


def test_the_clipped_policy_gradient_is_the_slope_scaled_to_its_limit():
    action = torch.tensor([[0.1, 0.2], [0.3, 0.4]], requires_grad=True)
    slope = torch.tensor([[3.0, 4.0], [0.3, 0.4]])  # norms 5 and 0.5
    loss = actor_critic.clipped_dpg(action, slope, 1.0)
    torch.testing.assert_close(loss.detach(), each(0.5, 0.125))
    loss.sum().backward()
    torch.testing.assert_close(action.grad, torch.tensor([[-0.6, -0.8], [-0.3, -0.4]]))


def test_without_a_limit_the_policy_gradient_is_that_of_the_value():
    def q_of(action):
        return (action * torch.tensor([2.0, -1.0])).sum(-1) + action.square().sum(-1)

    one = torch.tensor([[0.1, 0.2]], requires_grad=True)
    actor_critic.deterministic_actor(q_of(one)).sum().backward()
    other = one.detach().clone().requires_grad_()
    (slope,) = torch.autograd.grad(q_of(other).sum(), other)
    actor_critic.clipped_dpg(other, slope, None).sum().backward()
    torch.testing.assert_close(one.grad, other.grad)


def test_the_soft_actors_loss_by_hand():
    torch.testing.assert_close(actor_critic.soft_actor(each(-1.0), each(2.0), 0.5), each(-2.5))


@pytest.mark.parametrize(("of_log", "slope"), [(True, 2.0), (False, 2.0 * 0.5)])
def test_the_temperature_rises_while_the_entropy_is_below_its_goal(of_log, slope):
    # ln π = 1 (entropy -1), goal 1: descent moves ln α up by 2 (or α · 2)
    log_alpha = torch.tensor(math.log(0.5), requires_grad=True)
    actor_critic.temperature_loss(log_alpha, each(1.0), 1.0, of_log).sum().backward()
    assert log_alpha.grad is not None
    assert log_alpha.grad.item() == pytest.approx(-slope)


# ---- from logs --------------------------------------------------------------------------------------


def test_advantage_weights_by_hand_are_capped_and_do_not_overflow():
    weight = offline.exponential_weight(each(0.0, math.log(2), 1000.0), 2.0, 100.0)
    torch.testing.assert_close(weight, each(1.0, 4.0, 100.0))
    torch.testing.assert_close(offline.weighted_imitation(each(-0.5, -0.5, -1.0), weight), each(0.5, 2.0, 100.0))


def test_the_expectile_error_by_hand():
    # u = 2 above: 0.7 · 4; u = -2 below: 0.3 · 4
    loss = offline.expectile_error(each(0.0, 4.0), each(2.0, 2.0), 0.7)
    torch.testing.assert_close(loss, each(2.8, 1.2))


def test_the_expectile_of_a_sample_is_where_the_error_is_least():
    # 0 and 1 equally likely: τ-expectile = τ
    value = torch.full((2,), 0.9, requires_grad=True)
    offline.expectile_error(value, each(0.0, 1.0), 0.9).sum().backward()
    assert value.grad is not None
    assert value.grad.sum().item() == pytest.approx(0, abs=1e-6)


def test_td3_bc_by_hand_and_free_of_the_rewards_scale():
    # mean|Q| = 2: -2.5 · (1, -3)/2 + error
    error = divergences.action_error(torch.tensor([[0.5], [0.0]]), torch.tensor([[0.0], [0.0]]))
    expected = each(-1.25 + 0.25, 3.75)
    torch.testing.assert_close(offline.td3_bc_actor(each(1.0, -3.0), error, 2.5), expected)
    torch.testing.assert_close(offline.td3_bc_actor(each(100.0, -300.0), error, 2.5), expected)
    assert offline.td3_bc_actor(each(0.0, 0.0), error, 2.5).isfinite().all()


def test_the_sampled_conservative_loss_by_hand():
    # one component: uniform density ½. Q of the uniform action 0: weight 2; of the policy's (density 1) ln 3: 3
    loss = offline.sampled_conservative(
        each(0.5), torch.tensor([[0.0]]), torch.tensor([[math.log(3)]]), torch.zeros(1, 1), 1
    )
    torch.testing.assert_close(loss, each(math.log(5) - 0.5))


def test_the_sampled_conservative_loss_estimates_the_integral_it_stands_for():
    # Q(a) = a on [-1, 1]: ln ∫ e^a da = ln(e - 1/e), and ln of the number of samples on top
    actions = 2 * torch.rand(1, 100_000, generator=torch.Generator().manual_seed(0)) - 1
    loss = offline.sampled_conservative(each(0.0), actions, torch.empty(1, 0), torch.empty(1, 0), 1)
    expected = math.log(math.e - 1 / math.e) + math.log(100_000)
    assert loss.item() == pytest.approx(expected, abs=0.01)


def test_calql_pushes_no_policy_action_below_the_return_that_followed():
    q = torch.tensor([[1.0]], requires_grad=True)
    arguments = each(0.0), torch.tensor([[0.0]]), q, torch.zeros(1, 1), 1
    bounded = offline.sampled_conservative(*arguments, lower_bound=each(2.0))
    torch.testing.assert_close(bounded.detach(), each(math.log(2 + math.exp(2))))
    bounded.sum().backward()
    assert q.grad is not None
    assert q.grad.item() == 0
    free = offline.sampled_conservative(*arguments, lower_bound=each(-1.0))
    torch.testing.assert_close(free.detach(), each(math.log(2 + math.e)))


def test_a_lower_temperature_is_nearer_the_greatest():
    arguments = each(0.0), torch.tensor([[0.0]]), torch.tensor([[3.0]]), torch.zeros(1, 1), 1
    loss = offline.sampled_conservative(*arguments, temperature=0.01)
    torch.testing.assert_close(loss, each(3.0))


def test_d4pgs_target_is_the_projection_that_value_students_use():
    # a terminal transition with reward 1 on atoms -1, 0, 1: all on the last
    support = distributions.support(-1.0, 1.0, 3)
    target = distributions.project(torch.full((1, 3), 1 / 3), each(1.0), each(0.0), support)
    loss = actor_critic.categorical_error(torch.zeros(1, 1, 3), target)
    torch.testing.assert_close(loss, each(math.log(3)))
