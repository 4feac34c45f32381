"""Losses against numbers worked by hand."""

import math

import pytest
import torch

from reincarnate.losses import values as losses
from reincarnate.losses.divergences import categorical_kl

Q = torch.tensor([[1.0, 2.0], [0.5, -1.0]])
ACTION = torch.tensor([1, 0])


def test_q_learning_by_hand_with_a_continuing_and_a_terminal_row():
    # row 0: target 0.5 + 0.9 * 3 = 3.2, error 1.2, Huber 1.2 - 0.5 = 0.7
    # row 1: terminal, target 1.0, error 0.5, Huber 0.125
    reward, discount = torch.tensor([0.5, 1.0]), torch.tensor([0.9, 0.0])
    next_value = losses.max_value(torch.tensor([[3.0, 1.0], [100.0, 200.0]]))
    loss = losses.q_learning(Q, ACTION, reward + discount * next_value)
    torch.testing.assert_close(loss, torch.tensor([0.7, 0.125]))


def test_no_gradient_flows_into_the_target():
    next_value = torch.tensor([3.0, 0.0], requires_grad=True)
    q = Q.clone().requires_grad_()
    losses.q_learning(q, ACTION, 0.9 * next_value).sum().backward()
    assert next_value.grad is None
    assert q.grad is not None


def test_distillation_by_hand():
    # teacher softmax(ln 3, 0) = (3/4, 1/4); student uniform: KL = 3/4 ln(3/2) + 1/4 ln(1/2)
    student, teacher = torch.zeros(1, 2), torch.tensor([[math.log(3), 0.0]])
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    torch.testing.assert_close(categorical_kl(teacher, student, 1.0, 1.0), torch.tensor([expected]))


def test_distillation_softens_both_policies_by_their_temperatures():
    # τ = 0.5 doubles the logits: teacher (9/10, 1/10); the student at τ = 0.5 has (ln 3 / 2) * 2 -> (3/4, 1/4)
    student, teacher = torch.tensor([[math.log(3) / 2, 0.0]]), torch.tensor([[math.log(3), 0.0]])
    expected = 0.9 * math.log(0.9 / 0.75) + 0.1 * math.log(0.1 / 0.25)
    torch.testing.assert_close(categorical_kl(teacher, student, 0.5, 0.5), torch.tensor([expected]))


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_the_gradient_of_distillation_is_zero_at_the_teachers_own_logits(temperature):
    teacher = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    student = teacher.clone().requires_grad_()
    categorical_kl(teacher, student, temperature, temperature).sum().backward()
    assert student.grad is not None
    assert student.grad.abs().max() < 1e-5


def test_the_gradient_of_distillation_is_the_difference_of_policies_over_the_temperature():
    generator = torch.Generator().manual_seed(1)
    teacher = torch.randn(4, 3, generator=generator)
    student = torch.randn(4, 3, generator=generator).requires_grad_()
    categorical_kl(teacher, student, 0.5, 0.5).sum().backward()
    expected = (torch.softmax(student.detach() / 0.5, -1) - torch.softmax(teacher / 0.5, -1)) / 0.5
    torch.testing.assert_close(student.grad, expected)


def test_distillation_averaged_over_a_batch_does_not_depend_on_its_size():
    # the best-known replication sums over the batch: 32 times too much at batch 32
    generator = torch.Generator().manual_seed(2)
    student, teacher = torch.randn(1, 4, generator=generator), torch.randn(1, 4, generator=generator)
    one = categorical_kl(teacher, student, 0.1, 0.1).mean()
    many = categorical_kl(teacher.expand(32, -1), student.expand(32, -1), 0.1, 0.1)
    assert many.shape == (32,)
    torch.testing.assert_close(many.mean(), one)


MARGIN_Q = torch.tensor([[1.0, 1.5, 0.0], [3.0, 1.0, 2.5], [9.0, 0.0, 0.0]])
EXPERT = torch.tensor([0, 0, 0])


def test_large_margin_by_hand():
    # margin 0.8; Q + m: (1, 2.3, 0.8), (3, 1.8, 3.3), (9, 0.8, 0.8); less Q of the expert's action: 1.3, 0.3, 0
    loss = losses.large_margin(MARGIN_Q, EXPERT, 0.8, all_actions=False)
    torch.testing.assert_close(loss, torch.tensor([1.3, 0.3, 0.0]))


def test_large_margin_over_all_actions_by_hand():
    # row 0: (0 + 1.3 + 0)/3; row 1: (0 + 0 + 0.3)/3; the same with margin 2: (0 + 2.5 + 1)/3, (0 + 0 + 1.5)/3
    loss = losses.large_margin(MARGIN_Q, EXPERT, 0.8, all_actions=True)
    torch.testing.assert_close(loss, torch.tensor([1.3 / 3, 0.1, 0.0]))
    loss = losses.large_margin(MARGIN_Q, EXPERT, 2.0, all_actions=True)
    torch.testing.assert_close(loss, torch.tensor([3.5 / 3, 0.5, 0.0]))


def test_large_margin_takes_the_expert_of_each_row():
    # Q + 1: (2, 2.5, 0) and (4, 1, 3.5)
    loss = losses.large_margin(MARGIN_Q[:2], torch.tensor([2, 1]), 1.0, all_actions=False)
    torch.testing.assert_close(loss, torch.tensor([2.5, 3.0]))


@pytest.mark.parametrize(("all_actions", "expected"), [(False, [-1.0, 1.0, 0.0]), (True, [-2 / 3, 1 / 3, 1 / 3])])
def test_the_gradient_of_large_margin_lifts_the_expert_and_lowers_its_rivals(all_actions, expected):
    # margin 2: both rivals are within it, 1.5 the better one
    q = MARGIN_Q[:1].clone().requires_grad_()
    losses.large_margin(q, EXPERT[:1], 2.0, all_actions).sum().backward()
    torch.testing.assert_close(q.grad, torch.tensor([expected]))


def test_conservative_by_hand():
    # ln(3 + 1) - ln 3 and ln(3 + 1) - 0; τ = 0.5 doubles the values: ln(9 + 1) - ln 9
    q = torch.tensor([[math.log(3), 0.0], [math.log(3), 0.0]])
    loss = losses.conservative(q, torch.tensor([0, 1]), 1.0)
    torch.testing.assert_close(loss, torch.tensor([math.log(4 / 3), math.log(4)]))
    loss = losses.conservative(q, torch.tensor([0, 1]), 0.5)
    torch.testing.assert_close(loss, torch.tensor([math.log(10 / 9), math.log(10)]))


def test_conservative_does_not_overflow_at_a_low_temperature():
    loss = losses.conservative(torch.tensor([[100.0, 99.0]]), torch.tensor([1]), 0.01)
    torch.testing.assert_close(loss, torch.tensor([100.0]))


def test_q_learnings_slope_is_the_one_of_autograd():
    rng = torch.Generator().manual_seed(0)
    q = torch.randn(9, 3, generator=rng, dtype=torch.float64, requires_grad=True)
    action = torch.randint(3, (9,), generator=rng)
    target = q.detach().gather(1, action[:, None])[:, 0] - torch.linspace(-2, 2, 9, dtype=torch.float64)
    loss, slope = losses.q_learning_at_once(q.detach(), action, target)
    expected = losses.q_learning(q, action, target)
    assert torch.allclose(loss, expected)
    assert torch.allclose(slope, *torch.autograd.grad(expected.sum(), q))
    assert slope[0].abs().sum() == 1 and loss[0] == 1.5  # an error of 2: ½·1 + 1·(2 − 1)
