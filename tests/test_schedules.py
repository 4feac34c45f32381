"""λ and what hangs on it: bounded, sticky where asked, zero for ever after the end."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from probes import on_catch

from reincarnate.methods import METHODS, Kickstart, QDagger, Scratch
from reincarnate.methods.schedules import ByScore, Decaying, Guarded, KeepingUp, Linear
from reincarnate.methods.weaning import Weaning
from reincarnate.run.execute import _warn_of_weaning
from reincarnate.students import DQN
from reincarnate.training.evaluate import Scale
from reincarnate.types import LAGGING, Phase, Progress

FINITE = st.floats(-1e6, 1e6)


@given(FINITE, FINITE, st.lists(FINITE, min_size=1, max_size=4), st.floats(0, 1), st.booleans())
def test_lambda_is_between_0_and_1_whatever_the_returns(random, teacher, scores, fraction, sticky):
    scale = Scale(random, teacher)
    progress = Progress(fraction, scores=tuple(scale.normalise(s) for s in scores))
    assert 0.0 <= ByScore(0.6, sticky)(progress) <= 1.0


@pytest.mark.parametrize("random, teacher", [(-21.0, 19.0), (-1500.0, -200.0), (0.0, 400.0)])
def test_lambda_is_1_at_random_0_at_the_teacher_and_halfway_between_for_rewards_of_any_sign(random, teacher):
    scale = Scale(random, teacher)
    for score, expected in ((random, 1.0), (teacher, 0.0), ((random + teacher) / 2, 0.5), (2 * random - teacher, 1.0)):
        assert ByScore()(Progress(scores=(scale.normalise(score),))) == pytest.approx(expected)


@pytest.mark.parametrize("random, teacher", [(5.0, 5.0), (5.0, 3.0), (-5.0, -9.0)])
def test_a_teacher_no_better_than_random_is_weaned_once_the_student_is_as_good(random, teacher):
    scale = Scale(random, teacher)
    assert ByScore()(Progress(scores=(scale.normalise(teacher),))) == 0.0
    assert ByScore()(Progress(scores=(scale.normalise(random + 1),))) == 0.0


@given(st.lists(st.floats(-2, 2), max_size=5), st.floats(0.6, 1.0, exclude_min=True))
def test_lambda_is_0_for_ever_after_the_hard_end(scores, fraction):
    assert ByScore(0.6)(Progress(fraction, scores=tuple(scores))) == 0.0


def test_lambda_is_1_until_the_first_evaluation_of_the_phase():
    assert ByScore(0.6)(Progress(0.05)) == 1.0


def test_sticky_weaning_never_returns_and_the_formula_does():
    fell_back = Progress(0.3, scores=(0.5, 1.1, 0.2))
    assert ByScore(sticky=True)(fell_back) == 0.0
    assert ByScore(sticky=False)(fell_back) == pytest.approx(0.8)


def test_linear_weaning_by_hand():
    assert [Linear(0.5)(Progress(f)) for f in (0.0, 0.25, 0.5, 0.9)] == [1.0, 0.5, 0.0, 0.0]


def test_the_learning_rate_is_coupled_to_lambda():
    online = QDagger().phases(1000)[1]
    assert online.objective.lr_scale is not None
    assert online.objective.lr_scale(Progress(0.1, scores=(0.0,))) == pytest.approx(1.0)
    assert online.objective.lr_scale(Progress(0.1, scores=(0.5,))) == pytest.approx(0.55)
    assert online.objective.lr_scale(Progress(0.9)) == pytest.approx(0.1)


def test_fixed_weaning_keeps_the_teacher_to_the_end():
    online = Kickstart(wean=Weaning(by="fixed")).phases(1000)[0]
    assert online.objective.terms[0].weight(Progress(1.0, scores=(2.0,))) == 3.0


def test_qdagger_unrolls_as_in_the_paper():
    offline, online = QDagger(offline_updates=500).phases(1000)
    assert (offline.updates, offline.env_steps, online.updates, online.env_steps) == (500, 0, 0, 1000)
    assert offline.objective.terms[0].weight(Progress(1.0, scores=(5.0,))) == 3.0  # λ = 1 throughout the offline phase
    assert online.refresh == {LAGGING} and not online.newborn and not offline.refresh
    assert offline.objective.terms[0].term == online.objective.terms[0].term


def test_kickstarting_and_qdagger_differ_only_in_the_phases_they_yield():
    kick, dagger = Kickstart().phases(1000)[0], QDagger().phases(1000)[1]
    assert kick.objective == dagger.objective
    assert (kick.newborn, kick.refresh) == (True, frozenset())


def test_scratch_has_no_terms_and_needs_no_prior():
    (phase,) = Scratch().phases(1000)
    assert not phase.objective.terms and not Scratch.needs


def test_a_phase_names_env_steps_or_updates_and_not_both():
    for steps, updates in ((0, 0), (5, 5)):
        with pytest.raises(ValueError, match="not both"):
            Phase("odd", env_steps=steps, updates=updates)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_prints_its_plan(name):
    from reincarnate.run.plan import describe
    from reincarnate.students import DQN

    assert all(
        len(line) > 20 and "object at" not in line for line in describe(METHODS[name]().phases(10_000), DQN(), 1)
    )


def lambdas(schedule, scores):
    """λ after each evaluation of ten."""
    return [schedule(Progress((k + 1) / 10, scores=tuple(scores[: k + 1]))) for k in range(len(scores))]


def test_the_guard_by_hand():
    # λ by score; 0.4 is more than half below the best, 0.9: λ rises from 0.1 to max(0.1 + 0.25, 1 - 0.4) = 0.6,
    # then what was lifted falls by 0.25 / 2 with each evaluation, as the score recovers
    scores = (0.5, 0.9, 0.4, 0.95, 0.95, 0.95)
    guarded = Weaning(guard=0.5, sticky=False).schedule()
    assert lambdas(guarded, scores) == pytest.approx([0.5, 0.1, 0.6, 0.475, 0.35, 0.225])
    assert lambdas(Weaning(sticky=False).schedule(), scores) == pytest.approx([0.5, 0.1, 0.6, 0.05, 0.05, 0.05])


def test_the_guard_outlives_sticky_weaning_and_weans_more_slowly_each_time():
    scores = (1.1, 1.0, 0.5, 1.0, 0.4)
    guarded = Weaning(guard=0.2).schedule()
    # weaned at once; 0.5 < 0.8·1.1 lifts to max(0.25, 0.5); 1.0: 0.5 - 0.125; 0.4 < 0.8: max(0.375 + 0.25, 0.6)
    assert lambdas(guarded, scores) == pytest.approx([0.0, 0.0, 0.5, 0.375, 0.625])
    later = Progress(0.6, scores=(*scores, 0.4))
    assert guarded(later) == pytest.approx(0.625 - 0.25 / 4)


def test_the_guard_leaves_a_student_above_its_teacher_alone():
    # 1.2 is far below the best, 3.0, but above the teacher; 0.9 is below both: λ rises to max(0 + 0.25, 1 - 0.9)
    scores = (0.5, 3.0, 1.2, 1.1, 0.9)
    assert lambdas(Weaning(guard=0.2).schedule(), scores) == pytest.approx([0.5, 0.0, 0.0, 0.0, 0.25])


def test_the_guard_outlives_the_hard_end():
    scores = (0.2, 0.4, 0.5, 0.6, 0.6, 0.6, 0.1)
    assert lambdas(Weaning(guard=0.3).schedule(), scores)[-1] == pytest.approx(0.9)
    assert lambdas(Weaning().schedule(), scores)[-1] == 0.0


@given(st.lists(FINITE, max_size=12), st.floats(0, 1), st.floats(0.01, 0.99), st.floats(0.01, 1), st.booleans())
def test_a_guarded_lambda_is_between_0_and_1_and_never_below_the_plain_one(scores, fraction, drop, step, sticky):
    progress = Progress(fraction, scores=tuple(scores))
    weight = Guarded(ByScore(0.6, sticky), drop, step)(progress)
    assert ByScore(0.6, sticky)(progress) <= weight <= 1.0


def test_a_guard_that_is_never_needed_changes_nothing():
    rising = tuple(k / 10 for k in range(10))
    for wean in (Weaning(), Weaning(by="linear"), Weaning(by="fixed")):
        assert lambdas(replace(wean, guard=0.3).schedule(), rising) == lambdas(wean.schedule(), rising)


def test_jsrls_horizon_falls_with_each_tenth_of_the_phase():
    horizon = Decaying(1000, 0.8)
    assert [horizon(Progress(f)) for f in (0.0, 0.09, 0.1, 0.25, 0.95)] == [1000, 1000, 800, 640, 134]


def test_the_curriculums_horizon_falls_only_when_the_student_keeps_up():
    horizon = KeepingUp(100, 0.5, tolerance=0.1)
    scores = (0.2, 0.5, 0.3, 0.45)  # up, up, 0.2 below the best, within the tolerance
    assert [horizon(Progress(scores=scores[:k])) for k in range(5)] == [100, 50, 25, 25, 12]


@pytest.mark.parametrize(("scores", "lows", "said"), [([0.3], [0.1], False), ([1.2], [0.9], True)])
def test_a_weight_that_fell_with_time_is_not_laid_to_the_score(scores, lows, said):
    training, notes = on_catch(DQN(hidden=(8,)), Scratch().phases(40), 0), []
    training.at.scores, training.at.lows, training.at.phase_env_steps = scores, lows, 40
    line = {"kind": "eval", "phase": "online", "weight": 0.0, "normalised": scores[0]}
    _warn_of_weaning(training, line, notes.append)
    assert bool(notes) == said
