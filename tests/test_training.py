"""The loop: what changes and what does not, one seed one result, and learning on a toy."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from probes import Catch, CatchTeacher, CountingTeacher, catch, memory_of, on_catch, plays_of, run, says
from thinning import slow, thinned

from reincarnate.errors import UserError
from reincarnate.losses.terms import Distil
from reincarnate.methods import (
    JSRL,
    RLPD,
    WSRL,
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
from reincarnate.methods.weaning import Weaning
from reincarnate.nets.flat import Flat
from reincarnate.nets.optimizers import Adam
from reincarnate.seeds import stream
from reincarnate.students import DQN, Rainbow
from reincarnate.students.exploration import Exploration
from reincarnate.training.evaluate import play_episodes
from reincarnate.training.players import Greedy, RandomPlayer
from reincarnate.types import Batch, Method, Phase, Source, Student, Teacher, Term, VectorEnv, Weighing

CONFIG = DQN(
    hidden=(32,),
    lr=3e-3,
    batch_size=16,
    update_every=1,
    target_every=50,
    warmup=40,
    epsilon_steps=100,
    replay_size=3000,
    n_step=1,
)
SMALL = {
    "scratch": Scratch(),
    "kickstart": Kickstart(temperature=1.0, wean=Weaning(score="mean", anchor=0.0)),  # the paper's rule
    "qdagger": QDagger(offline_updates=150, temperature=1.0),
    "finetune": FineTune(),
    "rehearsal": Rehearsal(),
    "rlpd": RLPD(),
    "pretrain": Pretrain(offline_updates=150),
    "dqfd": DQfD(offline_updates=150),
    "jsrl": JSRL(horizon=7),
    "dagger": Dagger(offline_updates=150, temperature=1.0),
    "wsrl": WSRL(start="teacher", warmup_env_steps=60),
    "warmcritic": WarmCritic(critic_env_steps=100),
}


def prior_data(teacher, steps=600):
    return plays_of(teacher, steps)


def raise_student(method, seed=0, config=CONFIG, teacher=None, env_steps=300, overlap=False, evaluations=3, envs=1):
    """Train on Catch; returns the training and its evaluation scores."""
    teacher = teacher or CatchTeacher()
    training = on_catch(
        config,
        [replace(p, evaluations=evaluations) for p in method.phases(env_steps)],
        seed,
        envs,
        teacher if "teacher" in method.needs else None,
        prior_data(teacher) if "data" in method.needs else None,
    )
    scores = []
    run(training, lambda line: scores.append(line["score"]) if line["kind"] == "eval" else None, overlap=overlap)
    return training, scores


def weights(training):
    return training.student.state()["online"].clone()


LIKE = ("scratch", "qdagger", "rlpd", "jsrl")  # one loop interprets all: alone, offline first, a mixture, guided


@pytest.mark.parametrize("name", thinned(LIKE, lambda name: name == "qdagger"))
def test_a_run_is_a_function_of_its_seed(name):
    (a, first), (b, second), (c, _) = (raise_student(SMALL[name], seed, env_steps=120) for seed in (0, 0, 1))
    assert first == second and torch.equal(weights(a), weights(b))
    assert not torch.equal(weights(a), weights(c))


@pytest.mark.parametrize("name", thinned(LIKE, lambda name: name == "scratch"))
def test_stepping_beside_the_learner_changes_nothing(name):
    config = replace(CONFIG, update_every=4)
    (a, first), (b, second) = (raise_student(SMALL[name], config=config, overlap=o) for o in (False, True))
    assert first == second and torch.equal(weights(a), weights(b))


@pytest.mark.parametrize("name", thinned(SMALL, lambda name: name in ("qdagger", "jsrl")))
def test_counters_count_what_they_are_named_for(name):
    training, scores = raise_student(SMALL[name], env_steps=120)
    offline = sum(p.updates for p in training.phases)
    not_learnt_from = 60 if name == "wsrl" else CONFIG.warmup
    assert training.at.env_steps == 120
    assert training.at.updates == offline + 120 - not_learnt_from
    assert training.student.updates == training.at.updates
    assert len(scores) == 1 + 3 * len(training.phases)
    assert np.isfinite(scores).all() and torch.isfinite(weights(training)).all()


def test_evaluation_does_not_touch_trainings_random_streams():
    # other episodes, other streams, the global generators disturbed: the same weights
    a, _ = raise_student(Scratch(), env_steps=120, evaluations=2)
    calls = []

    def evaluate(index):
        calls.append(index)
        np.random.seed(index)
        torch.manual_seed(index)
        return play_episodes(catch(7), Greedy(b.student.policy, Catch.spec, 0.5), 100, stream(99, "evaluate", index))

    b = on_catch(CONFIG, [replace(p, evaluations=2) for p in Scratch().phases(120)], evaluate=evaluate)
    run(b)
    assert calls == [0, 1, 2] and torch.equal(weights(a), weights(b))


def test_an_update_changes_the_student_and_never_the_teacher():
    teacher = CatchTeacher()
    before = copy.deepcopy(teacher.parameter)
    training, _ = raise_student(SMALL["qdagger"], teacher=teacher)
    assert torch.equal(teacher.parameter, before) and teacher.parameter.grad is None
    assert not torch.equal(weights(training), CONFIG.newborn(Catch.spec, 0).state()["online"])


def test_a_term_of_weight_zero_changes_nothing_and_asks_no_teacher():
    teacher = CatchTeacher()
    plain, _ = raise_student(Scratch(), teacher=teacher)
    weaned = Kickstart(weight=0.0, temperature=1.0, wean=Weaning(lr_final=1.0))
    kicked, _ = raise_student(weaned, teacher=teacher)
    assert torch.equal(weights(plain), weights(kicked)) and teacher.asked == 0


def test_the_switch_synchronises_the_target_keeps_the_optimiser_and_begins_with_an_empty_replay():
    config = replace(CONFIG, target_every=10_000, warmup=10_000)  # nothing is learnt online, nothing synchronised
    training, _ = raise_student(SMALL["qdagger"], config=config, env_steps=50)
    state = training.student.state()
    assert torch.equal(state["target"], state["online"])
    assert int(state["adam.steps"]) == 150
    assert training.memory.rows.transitions == 50


def test_without_the_switch_the_target_is_still_the_newborn():
    config = replace(CONFIG, target_every=10_000)
    training, _ = raise_student(Scratch(), config=config, env_steps=100)
    assert not torch.equal(training.student.state()["target"], training.student.state()["online"])


def test_a_student_taught_before_explores_no_more_and_a_newborn_anneals():
    exploration = Exploration(steps=200, end=0.1)
    newborn, taught = Kickstart().phases(1000)[0], QDagger().phases(1000)[1]
    told = [exploration.epsilon(t, newborn.newborn, wait=100) for t in (0, 100, 200, 300, 900)]
    assert told == pytest.approx([1, 1, 0.55, 0.1, 0.1])
    assert exploration.epsilon(0, taught.newborn, wait=100) == 0.1


def test_a_recurrent_teacher_annotates_as_it_watches_each_episode_from_its_start():
    training, _ = raise_student(
        Kickstart(temperature=1.0, wean=Weaning(by="fixed")), teacher=CountingTeacher(), env_steps=100
    )
    columns, n = training.memory.rows.columns, int(training.memory.rows.added[0])
    live = (columns["flags"][:n] & 4) == 0
    assert np.array_equal(columns["teacher"][:n][live, 0], columns["age"][:n][live].astype(np.float32))


def test_everything_that_meets_in_the_loop_fulfils_its_protocol():
    assert isinstance(CONFIG.newborn(Catch.spec, 0), Student) and isinstance(CatchTeacher(), Teacher)
    assert isinstance(catch(), VectorEnv) and isinstance(memory_of(CONFIG, Catch.spec, 1), Source)
    assert isinstance(Distil(1.0, 1.0), Term) and all(isinstance(method, Method) for method in SMALL.values())


@pytest.mark.slow
def test_double_and_dueling_students_train():
    for config in (replace(CONFIG, double=True), replace(CONFIG, dueling=True), replace(CONFIG, n_step=3)):
        training, _ = raise_student(SMALL["qdagger"], config=config, env_steps=100)
        assert torch.isfinite(weights(training)).all()


def test_several_environments_share_one_budget():
    training, _ = raise_student(Scratch(), env_steps=200, envs=4)
    assert training.at.env_steps == 200 and training.memory.rows.transitions == 200


def test_one_update_of_a_linear_student_by_hand():
    # one weight per action, no hidden layer cannot be built, so: identity of the flat Adam with PyTorch's own
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    twin = copy.deepcopy(module)
    flat, own = Flat(module), Adam(26, eps=1.5e-4)
    other = torch.optim.Adam(twin.parameters(), lr=1e-2, eps=1.5e-4)
    x = torch.randn(5, 3)
    for _ in range(5):
        assert flat.grad is not None
        flat.grad.zero_()
        module(x).square().mean().backward()
        own.step(flat.data, flat.grad, 1e-2)
        other.zero_grad()
        twin(x).square().mean().backward()
        other.step()
    for a, b in zip(module.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_td_alone_finds_the_values_of_a_two_step_chain():
    # reward 1 after two steps, γ = 0.5: Q(start) = 0.5, Q(next) = 1 for the only action that matters
    from reincarnate.types import TaskSpec

    spec = TaskSpec("Chain", (2,), "float32", 2, 1, None, {})
    student = replace(CONFIG, lr=1e-2, target_every=20, gamma=0.5).newborn(spec, 0)
    obs, nxt = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    batch = Batch(obs, torch.tensor([0, 0]), torch.tensor([0.0, 1.0]), torch.tensor([0.5, 0.0]), nxt)
    other = batch._replace(action=torch.tensor([1, 1]), reward=torch.tensor([-1.0, -1.0]), discount=torch.zeros(2))
    rng = np.random.default_rng(0)
    for _ in range(400):
        student.update(batch, Weighing(), rng)
        student.update(other, Weighing(), rng)
    student.publish()
    values = says(student, obs.numpy())
    np.testing.assert_allclose(values, [[0.5, -1.0], [1.0, -1.0]], atol=0.05)


def test_random_play_on_catch_scores_what_arithmetic_says():
    result = play_episodes(catch(16), RandomPlayer(Catch.spec), 800, stream(0, "random"))
    assert len(result.returns) == 800 and result.env_steps == 800 * 7
    low, high = result.interval()
    assert low < -0.6 < high or abs(result.mean + 0.6) < 0.1


@pytest.mark.parametrize("name", ["kickstart", slow("qdagger")])
def test_a_taught_student_of_catch_surpasses_one_that_learns_from_scratch(name):
    taught = np.mean([raise_student(SMALL[name], seed)[1][-1] for seed in range(2)])
    alone = np.mean([raise_student(Scratch(), seed)[1][-1] for seed in range(2)])
    assert taught > alone + 0.3


@pytest.mark.slow
def test_a_student_of_catch_learns_from_scratch_to_play_better_than_at_random():
    finals = [raise_student(Scratch(), seed, env_steps=900, evaluations=1)[1][-1] for seed in range(2)]
    assert np.mean(finals) > 0.2  # random play: -0.6


def test_phases_without_evaluations_left_end():
    phase = Phase("online", env_steps=10, evaluations=20)
    training, scores = raise_student(Scratch(), env_steps=10, evaluations=20)
    assert training.at.env_steps == phase.env_steps and len(scores) == 11


def test_a_run_that_diverges_stops_and_says_so():
    with pytest.raises(UserError, match="diverged"):
        raise_student(Scratch(), config=replace(CONFIG, lr=1e30))
    with pytest.raises(UserError, match="diverged"):
        raise_student(Scratch(), config=Rainbow(hidden=(8,), warmup=20, lr=1e30, batch_size=8))


def test_a_loss_that_is_not_part_of_every_update_is_the_mean_of_those_it_was_part_of():
    training = on_catch(CONFIG, Scratch().phases(40), 0)
    for update in range(10):
        training.learnt("student", {"td": 1.0, **({"distil": 2.0} if update < 5 else {})})
    line = training.point(training.phases[0])
    assert (line["loss_td"], line["loss_distil"]) == (1.0, 2.0)
