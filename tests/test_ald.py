"""Actor-learner distillation: who tells whom what, which losses move whom, and what is replayed."""

import numpy as np
import pytest
import torch
from test_recurrent_students import LEARNER, POINT, POLICY, lived

from reincarnate.data.memory import Memory
from reincarnate.errors import UserError
from reincarnate.losses.divergences import categorical_kl
from reincarnate.methods import ALD
from reincarnate.run.plan import describe
from reincarnate.students import PQN
from reincarnate.training.cast import tell_each_other
from reincarnate.types import Progress


def both(method, keeps=1):
    """A student and a learner that have prepared the same rollout and told each other of it."""
    student, memory, _ = lived(POLICY, 8)
    learner = method.settings_of("learner", POLICY).newborn(POINT, 1)
    memory.keeps = keeps
    memories = {"student": memory, "learner": Memory(memory.rows, learner.settings.layout(), reader="learner")}
    memories["learner"]._mark[:] = 0
    phase = method.phases(8)[0]
    objectives = {"student": phase.objective, "learner": phase.others["learner"]}
    cast = {"student": student, "learner": learner}
    for name in ("learner", "student"):
        memories[name].begin(cast[name])
    own = {name: memories[name].prepared for name in cast}
    tell_each_other(memories, {name: who.kind for name, who in cast.items()}, objectives, "student")
    return cast, memories, objectives, own


def test_each_hears_of_the_other_and_ratios_are_to_whoever_acted():
    cast, memories, _, own = both(ALD(**LEARNER))
    student, learner = memories["student"].prepared, memories["learner"].prepared
    assert torch.equal(student.predictions["learner"].x, own["learner"].notes["told"])
    assert torch.equal(learner.predictions["student"].x, own["student"].notes["told"])
    assert torch.equal(learner.notes["log_prob"], own["student"].notes["log_prob"])
    assert torch.equal(student.reward, own["learner"].notes["value"])
    assert torch.equal(learner.reward, own["learner"].reward)  # its own returns
    assert not torch.equal(own["learner"].notes["log_prob"], own["student"].notes["log_prob"])
    assert learner.carry.shape[1] == cast["learner"]._net.memory.carry != student.carry.shape[1]


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_the_student_s_loss_is_the_divergence_and_the_error_of_values_alone(direction):
    cast, memories, objectives, _ = both(ALD(**LEARNER, policy=2.0, value=0.5, direction=direction))
    batch = memories["student"].prepared
    weighing = objectives["student"].at(Progress())
    each = cast["student"].losses(batch, weighing)
    weight = dict(zip(each, cast["student"].weights_of(weighing, [*each]).tolist(), strict=True))
    assert weight == {"policy": 0.0, "value": 0.5, "entropy": 0.0, "kl": 0.0, "distil": 2.0}
    x, value, _ = cast["student"]._net.recall(batch.obs, batch.begins, batch.carry)
    told = batch.predictions["learner"].x
    pair = (told, x) if direction == "forward" else (x, told)
    assert torch.allclose(each["distil"], categorical_kl(*pair).flatten())
    assert torch.allclose(each["value"], 0.5 * (value - batch.reward).square().flatten())
    weighing = objectives["learner"].at(Progress())
    weights = cast["learner"].weights_of(weighing, [*cast["learner"].losses(memories["learner"].prepared, weighing)])
    assert weights[0] == 1.0 and weights[-1] == pytest.approx(0.1)


def test_rollouts_are_replayed_until_environments_restart():
    _, memories, _, _ = both(ALD(**LEARNER), keeps=2)
    memory = memories["student"]
    newest = memory.prepared
    memory.keep(newest._replace(reward=newest.reward + 100))
    assert len(memory) == 2 * memory.newest == 48
    drawn = memory.sample(48, np.random.default_rng(0))
    assert ((drawn.reward > 50).sum(), drawn.predictions["learner"].x.shape) == (24, (12, 4, 3))
    memory.keep(newest)
    assert len(memory) == 48
    memory.cut()
    assert len(memory) == 0


def test_the_plan_says_what_both_learn():
    line = describe(ALD(regular=0.2).phases(1000), POLICY, 8)[0]
    assert "values towards the learner's" in line and "KL(learner ‖ own)" in line and "0.2 × KL(student ‖ own)" in line


def test_a_student_whose_actor_and_critic_share_nothing_has_no_learner_beside_it():
    with pytest.raises(UserError, match="needs an on-policy student with a memory"):
        ALD().settings_of("learner", PQN(memory="lstm"))
