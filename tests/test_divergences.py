"""Divergences between predictions, against numbers worked by hand and against Monte Carlo."""

import math
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, kl_divergence

from reincarnate.losses import divergences, log_probs
from reincarnate.losses.terms import Distil
from reincarnate.types import BEST, Batch, Prediction

SAMPLES = 200_000


class Told(NamedTuple):
    kind: str
    x: Tensor


def row(*numbers):
    return torch.tensor([numbers])


def generator():
    return torch.Generator().manual_seed(0)


P = row(0.3, -0.5), row(-0.2, -1.0)  # mean, log σ
Q = row(0.1, 0.4), row(0.1, -0.4)


# ---- categorical ------------------------------------------------------------------------------------


def test_the_kl_of_categoricals_by_hand_in_both_directions():
    # p = (3/4, 1/4), q uniform
    p, q = row(math.log(3), 0.0), row(7.0, 7.0)
    forward = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    backward = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    torch.testing.assert_close(divergences.categorical_kl(p, q), torch.tensor([forward]))
    torch.testing.assert_close(divergences.categorical_kl(q, p), torch.tensor([backward]))


def test_the_kl_of_categoricals_is_that_of_softened_policies():
    p, q = torch.randn(6, 4, generator=generator()), torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    soft_p, soft_q = Categorical(logits=p / 0.1), Categorical(logits=q / 0.7)
    torch.testing.assert_close(divergences.categorical_kl(p, q, 0.1, 0.7), kl_divergence(soft_p, soft_q))


def test_the_kl_of_categoricals_agrees_with_monte_carlo():
    p, q = row(0.3, -1.0, 0.9), row(0.0, 0.5, 0.2)
    actions = torch.multinomial(p.softmax(-1)[0], SAMPLES, replacement=True, generator=generator())
    log_ratio = p.log_softmax(-1)[0] - q.log_softmax(-1)[0]
    assert divergences.categorical_kl(p, q).item() == pytest.approx(log_ratio[actions].mean().item(), abs=0.01)


def test_an_action_the_teacher_never_takes_adds_nothing():
    kl = divergences.categorical_kl(row(0.0, -math.inf), row(0.0, 0.0))
    torch.testing.assert_close(kl, torch.tensor([math.log(2)]))
    both_masked = divergences.categorical_kl(row(0.0, -math.inf), row(0.0, -math.inf))
    torch.testing.assert_close(both_masked, torch.zeros(1))


def test_a_masked_action_leaves_the_students_gradient_finite():
    student = torch.zeros(1, 3, requires_grad=True)
    divergences.categorical_kl(row(0.0, 1.0, -math.inf), student).sum().backward()
    assert student.grad is not None
    assert student.grad.isfinite().all()


# ---- Gaussians --------------------------------------------------------------------------------------


def test_the_kl_of_gaussians_by_hand():
    # σ 1 and 2, means 0 and 1: ln 2 + (1 + 1)/8 - 1/2; the second component agrees and adds nothing
    kl = divergences.gaussian_kl(row(0.0, 5.0), row(0.0, 0.3), row(1.0, 5.0), row(math.log(2), 0.3))
    torch.testing.assert_close(kl, torch.tensor([math.log(2) + 0.25 - 0.5]))
    # and back: -ln 2 + (4 + 1)/2 - 1/2
    kl = divergences.gaussian_kl(row(1.0), row(math.log(2)), row(0.0), row(0.0))
    torch.testing.assert_close(kl, torch.tensor([-math.log(2) + 2.0]))


def test_the_kl_of_gaussians_agrees_with_monte_carlo():
    mean, log_std = P
    drawn = mean + log_std.exp() * torch.randn(SAMPLES, 2, generator=generator())
    log_ratio = log_probs.gaussian_log_prob(*(x.expand_as(drawn) for x in P), drawn)
    log_ratio = log_ratio - log_probs.gaussian_log_prob(*(x.expand_as(drawn) for x in Q), drawn)
    assert divergences.gaussian_kl(*P, *Q).item() == pytest.approx(log_ratio.mean().item(), abs=0.01)


def test_the_kl_of_squashed_gaussians_is_that_of_their_bases_by_monte_carlo():
    mean, log_std = P
    base = mean + log_std.exp() * torch.randn(SAMPLES, 2, generator=generator())
    densities = [log_probs.squashed_log_prob(*(x.expand_as(base) for x in who), base) for who in (P, Q)]
    expected = (densities[0] - densities[1]).mean().item()
    teacher, student = (Told("squashed", torch.cat(who, -1)) for who in (P, Q))
    assert divergences.divergence(teacher, student).item() == pytest.approx(expected, abs=0.01)


def test_reverse_swaps_teacher_and_student():
    teacher, student = (Told("gaussian", torch.cat(who, -1)) for who in (P, Q))
    swapped = divergences.divergence(teacher, student, reverse=True)
    torch.testing.assert_close(swapped, divergences.gaussian_kl(*Q, *P))
    torch.testing.assert_close(divergences.divergence(teacher, student), divergences.gaussian_kl(*P, *Q))


def test_reverse_keeps_each_policys_own_temperature():
    teacher, student = Told("values", row(1.0, 2.0)), Told("logits", row(0.5, 0.0))
    there = divergences.divergence(teacher, student, temperature=0.5, teacher_temperature=2.0, reverse=True)
    torch.testing.assert_close(there, divergences.categorical_kl(student.x, teacher.x, 0.5, 2.0))


@pytest.mark.parametrize("reverse", [False, True])
def test_what_a_teacher_of_one_of_several_tasks_has_not_has_no_part(reverse):
    teacher, own = Told("logits", row(1.0, 2.0, -torch.inf)), row(0.5, 0.0, 3.0).requires_grad_()
    loss = divergences.divergence(teacher, Told("logits", own), reverse=reverse)
    parties = (row(1.0, 2.0), row(0.5, 0.0))
    torch.testing.assert_close(loss, divergences.categorical_kl(*(parties[::-1] if reverse else parties)))
    loss.sum().backward()
    assert own.grad is not None and own.grad.isfinite().all() and own.grad[..., 2] == 0 and own.grad.abs().sum() > 0


@pytest.mark.parametrize("lacking", [False, True])
def test_the_slope_of_a_categorical_kl_is_that_of_autograd(lacking):
    p, q = torch.randn(5, 4, generator=generator()), torch.randn(5, 4, generator=generator()).requires_grad_()
    if lacking:
        p[1:3, 2] = -torch.inf  # actions that a task of several has not
    expected = divergences.divergence(Told("values", p), Told("values", q), temperature=0.5, teacher_temperature=2.0)
    expected.sum().backward()
    kl, slope = divergences.categorical_kl_at_once(p, q.detach(), 2.0, 0.5)
    torch.testing.assert_close(kl, expected.detach())
    torch.testing.assert_close(slope, q.grad)


# ---- means ------------------------------------------------------------------------------------------


def test_the_error_of_actions_by_hand():
    # (0.5² + 1²)/2
    torch.testing.assert_close(divergences.action_error(row(0.5, -0.5), row(0.0, 0.5)), torch.tensor([0.625]))


def test_the_error_of_actions_is_the_expected_one_by_monte_carlo_less_the_noise_of_the_labels():
    # labels a_T + 0.2 ε: the mean error is the error of the means plus the variance 0.04
    own, told = row(0.3, -0.2), row(-0.1, 0.1)
    noisy = told + 0.2 * torch.randn(SAMPLES, 2, generator=generator())
    expected = divergences.action_error(own.expand_as(noisy), noisy).mean().item()
    assert divergences.action_error(own, told).item() + 0.04 == pytest.approx(expected, abs=0.005)


def test_the_scale_of_values_is_their_mean_size_with_a_floor_and_no_gradient():
    q = torch.tensor([-3.0, 1.0], requires_grad=True)
    scale = divergences.q_scale(q, floor=0.5)
    assert scale.item() == 2.0
    assert not scale.requires_grad
    assert divergences.q_scale(torch.tensor([0.1, -0.1]), floor=0.5).item() == 0.5


def test_a_clipped_teachers_mean_outside_the_box_is_brought_to_its_bound_for_a_student_of_means():
    teacher, student = Told("gaussian", row(3.0, 0.0)), Told("means", row(1.0))
    torch.testing.assert_close(divergences.divergence(teacher, student), torch.zeros(1))


def test_a_clipped_teacher_and_a_squashed_student_are_compared_by_their_greedy_actions():
    teacher, student = Told("gaussian", row(-2.0, 0.7)), Told("squashed", row(0.5, -3.0))
    expected = (math.tanh(0.5) + 1) ** 2
    torch.testing.assert_close(divergences.divergence(teacher, student), torch.tensor([expected]))


def test_a_teacher_of_means_is_an_action_error_without_a_spread():
    teacher, student = Told("means", row(0.25)), Told("gaussian", row(0.75, -1.0))
    torch.testing.assert_close(divergences.divergence(teacher, student), torch.tensor([0.25]))


def test_a_term_turns_round_and_its_anchor_does_not():
    teacher = Prediction("values", row(0.0, math.log(3.0)))  # 1/4, 3/4
    student = Prediction("values", row(0.0, 0.0))  # 1/2, 1/2
    nothing = torch.zeros(1)
    batch = Batch(nothing, nothing, nothing, nothing, None, predictions={"teacher": teacher, BEST: teacher})
    forward, back = (Distil(1.0, 1.0, reverse=reverse) for reverse in (False, True))
    assert forward(student, batch).item() == pytest.approx(0.25 * math.log(0.5) + 0.75 * math.log(1.5))
    assert back(student, batch).item() == pytest.approx(0.5 * math.log(2.0) + 0.5 * math.log(2 / 3))
    assert back.own_best() == forward.own_best() and str(back) == "KL(student ‖ teacher), τ = 1 / 1 (teacher)"


def test_a_teacher_of_means_is_a_gaussian_with_a_spread_by_hand():
    # σ_T = σ = 0.2, means 0.5 apart: 0.25 / (2 · 0.04)
    teacher, student = Told("means", row(0.25)), Told("gaussian", row(0.75, math.log(0.2)))
    kl = divergences.divergence(teacher, student, teacher_std=0.2)
    torch.testing.assert_close(kl, torch.tensor([3.125]))


def test_a_teacher_at_the_bound_gives_a_squashed_student_a_finite_goal():
    teacher, student = Told("means", row(1.0)), Told("squashed", row(0.0, 0.0))
    kl = divergences.divergence(teacher, student, teacher_std=1.0)
    torch.testing.assert_close(kl, torch.tensor([0.5 * math.atanh(0.999) ** 2]), rtol=1e-4, atol=0)


def test_no_gradient_reaches_the_teacher():
    teacher, student = (torch.randn(3, 4, generator=generator()).requires_grad_() for _ in range(2))
    divergences.divergence(Told("squashed", teacher), Told("squashed", student), reverse=True).sum().backward()
    assert teacher.grad is None
    assert student.grad is not None


# ---- what cannot be taught --------------------------------------------------------------------------


@pytest.mark.parametrize("teacher", divergences.DISCRETE)
@pytest.mark.parametrize("student", divergences.CONTINUOUS)
def test_a_discrete_teacher_cannot_teach_a_continuous_student_nor_the_other_way_round(teacher, student):
    with pytest.raises(TypeError, match=f"tells '{teacher}' cannot teach a student that tells '{student}'"):
        divergences.divergence(Told(teacher, row(1.0, 2.0)), Told(student, row(1.0, 2.0)))
    with pytest.raises(TypeError, match="its action is a vector of numbers, the student's one of so many actions"):
        divergences.divergence(Told(student, row(1.0, 2.0)), Told(teacher, row(1.0, 2.0)))


def test_an_unknown_kind_is_named():
    with pytest.raises(TypeError, match="'beta' is no kind of prediction; there are values, logits, means"):
        divergences.divergence(Told("beta", row(1.0)), Told("means", row(1.0)))
