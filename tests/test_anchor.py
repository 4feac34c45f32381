"""A student that is weaned holds on to its own best: the term, its weight, the snapshot, the checkpoint, seeds together."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from interrupting import essence, on_start, resumed, small_run, stopped
from probes import catch, on_catch
from test_recurrent_students import POLICY, TINY, lived
from thinning import slow

from reincarnate.errors import UserError
from reincarnate.losses.terms import Distil, LargeMargin
from reincarnate.methods import DQfD, Kickstart, QDagger, Scratch
from reincarnate.methods.schedules import ByScore, Guarded, Linear, Rest, Scaled
from reincarnate.methods.weaning import Weaning
from reincarnate.run.checkpoints import restore_students, state_of
from reincarnate.run.execute import execute, execute_together
from reincarnate.run.settings import from_record, record
from reincarnate.students import DQN, PQN, R2D2
from reincarnate.training.asking import of_live
from reincarnate.training.diagnostics import _of_actions, _temperatures
from reincarnate.training.evaluate import Evaluation
from reincarnate.training.loop import Loop
from reincarnate.training.population import Alone
from reincarnate.training.snapshot import Snapshot
from reincarnate.types import (
    BEST,
    LOGITS,
    START,
    VALUES,
    Batch,
    Objective,
    Prediction,
    Progress,
    Weighing,
    WeightedTerm,
)

SEEN = ("entropy", "action_gap", "value_scale", "agreement_teacher", "kl_teacher", "grad_td")


def terms(method, progress):
    return {term.of: weight for weight, term in method.phases(1000)[-1].objective.at(progress).terms}


def lines(out, kind="train"):
    found = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [line for line in found if line["kind"] == kind]


# ---- the rule ----------------------------------------------------------------------------------------


def test_what_the_teacher_gives_up_the_own_best_takes():
    method = Kickstart(weight=2.0, temperature=1.0, wean=Weaning(by="linear", end=0.5, anchor=0.4))
    assert terms(method, Progress(0.1)) == pytest.approx({"teacher": 1.6})  # no evaluation yet, so no best
    assert terms(method, Progress(0.1, scores=(0.3,))) == pytest.approx({"teacher": 1.6, BEST: 0.08})
    assert terms(method, Progress(0.9, scores=(0.3,))) == pytest.approx({BEST: 0.4})


@pytest.mark.parametrize(
    "method",
    [
        Kickstart(wean=Weaning(by="fixed")),
        Kickstart(wean=Weaning(anchor=0.0)),
        QDagger(weight=0.0),
        DQfD(expert="logged"),
    ],
)
def test_without_a_teacher_that_leaves_there_is_no_anchor(method):
    assert BEST not in method.phases(1000)[-1].listens


def test_the_anchor_is_half_of_lambda_for_values_that_a_policy_taught_and_none_under_a_teacher_of_values():
    assert QDagger().suited(LOGITS, VALUES).wean.anchor == 1.5
    assert Kickstart(weight=0.5).suited(LOGITS, VALUES).wean.anchor == 0.5  # at least
    for tells, learns in ((LOGITS, LOGITS), ("gaussian", "squashed")):  # not studied, or not better
        assert QDagger().suited(tells, learns).wean.anchor == 0.5
    assert QDagger().suited(VALUES, VALUES).wean.anchor == 0.0  # the paper's
    assert QDagger(wean=Weaning(anchor=0.2)).suited(LOGITS, VALUES).wean.anchor == 0.2
    anchored = QDagger(temperature=1.0).suited(LOGITS, VALUES).phases(1000)[1].objective.terms[1]
    assert anchored.weight == Scaled(1.5, Rest(QDagger().wean.schedule()))


def test_the_anchor_has_the_form_of_the_teachers_term():
    kl = QDagger(temperature=1.0, teacher_temperature=0.3).phases(1000)[1].objective.terms[1].term
    margin = DQfD(margin=0.7).phases(1000)[1].objective.terms[1].term
    assert kl == Distil(1.0, 1.0, BEST) and margin == LargeMargin(0.7, True, BEST)
    assert kl.name == margin.name == "anchor"


def test_the_margin_term_reads_whom_it_is_of():
    out, best = Prediction("values", torch.tensor([[1.0, 0.0]])), torch.tensor([[0.0, 3.0]])
    batch = Batch(torch.zeros(1, 1), torch.tensor([0]), torch.zeros(1), torch.zeros(1), torch.zeros(1, 1))
    batch = batch._replace(predictions={BEST: Prediction("values", best)})
    assert LargeMargin(1.0, False, BEST)(out, batch).item() == pytest.approx(2.0)
    assert LargeMargin(1.0, False, None)(out, batch).item() == 0.0


def test_weaning_by_score_looks_at_the_lower_bound_unless_told():
    progress = Progress(0.2, scores=(1.2,), lows=(0.7,))
    assert Weaning().schedule()(progress) == pytest.approx(0.3)
    assert Weaning(score="mean").schedule()(progress) == 0.0
    assert ByScore(lower=True)(Progress(0.2, scores=(1.4, 0.5), lows=(1.01, 0.1))) == 0.0  # sticky
    assert ByScore(sticky=False, lower=True)(Progress(0.2, scores=(1.4, 0.5), lows=(1.01, 0.1))) == pytest.approx(0.9)


def test_a_guard_over_the_lower_bound_sees_only_what_was_known():
    seen = Progress(0.2, scores=(0.9, 0.9), lows=(0.8, 0.8), evaluations=10)
    assert Guarded(ByScore(0.6, lower=True), 0.5, 0.25)(seen) == pytest.approx(0.2)


def test_rest_is_what_is_left():
    assert Rest(Linear(0.5))(Progress(0.25, scores=(0.0,))) == pytest.approx(0.5)
    assert "1 − [" in str(Rest(Linear(0.5)))


def test_a_negative_anchor_is_refused():
    with pytest.raises(UserError, match=r"--wean\.anchor"):
        Kickstart(wean=Weaning(anchor=-1.0)).phases(100)


def test_a_record_from_before_the_anchor_is_weaned_as_then(tmp_path):
    run = small_run(tmp_path)
    told = record(run)
    assert from_record(told) == run
    for key in ("anchor", "score"):
        del told["method"]["wean"][key]
    assert from_record(told).method.wean == replace(run.method.wean, anchor=0.0, score="mean")


# ---- in a run ------------------------------------------------------------------------------------------


def test_the_best_of_the_phase_is_kept_and_pulls(tmp_path):
    run = small_run(tmp_path, evaluations=4)
    execute(run, tmp_path / "run")
    assert all(np.isfinite(line[key]) for line in lines(tmp_path / "run")[1:] for key in SEEN)
    after = lines(tmp_path / "run")[1:]
    assert all(line["loss_anchor"] >= 0 and 0 <= line["agreement_best"] <= 1 for line in after)


def test_the_snapshot_is_of_the_best_evaluation_the_latest_of_equals(tmp_path):
    run, kept = small_run(tmp_path), []

    def look(training):
        evaluate = iter([3.0, 5.0, 5.0, 4.0, 2.0])

        def told(k):
            score = next(evaluate)
            kept.append(training.best and training.best.weights())
            return Evaluation((score, score), 1)

        training.evaluate, training.look = told, kept

    with on_start(look):
        execute(run, tmp_path / "run")
    first = kept[2]
    assert kept[0] is None and kept[1] is None and first is not None  # the newborn's evaluation is no phase's
    assert any(not torch.equal(kept[3][name], first[name]) for name in first)  # an equal score renews it
    assert all(torch.equal(kept[4][name], kept[3][name]) for name in first)  # a lower one does not


@pytest.mark.parametrize("student", [slow(None), "pqn"])
def test_an_anchored_run_that_is_stopped_goes_on_to_the_same_bits(tmp_path, student):
    run = small_run(tmp_path)
    if student:
        own = PQN(hidden=(8,), rollout=8, batch_size=16, epsilon_steps=100)
        run = replace(run, student=own, envs=4, env_steps=256)
    execute(run, tmp_path / "whole")
    resumed(run, stopped(run, tmp_path / "parts", 3))
    assert essence(tmp_path / "parts") == essence(tmp_path / "whole")
    assert any("loss_anchor" in line for line in lines(tmp_path / "whole"))


def test_a_checkpoint_holds_the_best(tmp_path):
    def look(training):
        seen.append(training)

    seen = []
    with on_start(look):
        execute(small_run(tmp_path), tmp_path / "run")
    training = seen[0]
    training.best = Snapshot(training.student, training.student.weights())
    state = {name: value.clone() for name, value in state_of(training).items()}
    training.best = None
    restore_students(training, state)
    assert training.best is not None
    assert all(torch.equal(state[f"best/{name}"], value) for name, value in training.best.weights().items())


def test_anchored_seeds_together_are_as_alone(tmp_path):
    own = DQN(hidden=(16,), warmup=30, batch_size=8, replay_size=200, lr=1e-3)
    runs = [replace(small_run(tmp_path), student=own, seed=seed, compile="off") for seed in (1, 2)]
    execute_together(runs, [tmp_path / "1", tmp_path / "2"])
    for run in runs:
        execute(run, tmp_path / f"alone{run.seed}")
        together, alone = (lines(tmp_path / name) for name in (str(run.seed), f"alone{run.seed}"))
        assert [line.keys() for line in together] == [line.keys() for line in alone]
        for one, other in zip(together, alone, strict=True):
            if "loss_anchor" in one:
                assert one["loss_anchor"] == pytest.approx(other["loss_anchor"], rel=1e-2, abs=1e-5)


# ---- a student that remembers ----------------------------------------------------------------------------


REMEMBERING = {
    "ppo": POLICY,
    "ppo, a critic with a memory of its own": replace(POLICY, shared="off", critic_memory="gru"),
    "pqn": PQN(**TINY, rollout=8, segment=4, batch_size=16),
    "r2d2": R2D2(**TINY, unroll=4, burn_in=2, overlap=2, batch_size=12),
}


@pytest.mark.parametrize("settings", REMEMBERING.values(), ids=REMEMBERING)
def test_who_is_its_own_best_is_at_no_distance_from_it_whatever_it_remembers(settings):
    student, memory, _ = lived(settings, getattr(settings, "rollout", 40))
    with torch.no_grad():  # as of one that has learnt something: what it remembers decides
        student.online.data.add_(torch.randn(student.online.data.shape, generator=torch.Generator().manual_seed(1)))
    student.publish()
    training = on_catch(DQN(hidden=(4,)), Scratch().phases(40))
    training.cast["student"] = student
    training.best = training.first = Snapshot(student, student.weights())
    if memory.fresh:
        memory.begin(student)
    batch = memory.sample(24, np.random.default_rng(0))
    assert not batch.begins[:, 0].all() and batch.carry.any()
    held = Weighing(terms=[(1.0, Distil(1.0, 1.0, BEST)), (1.0, Distil(1.0, 1.0, START))])
    heard = Loop([training], {"student": Alone(training)}, catch())._hear(training, batch, held)
    empty = of_live(training.best.policy, batch)
    assert not torch.allclose(heard.predictions[BEST].x, empty.x, atol=1e-2)  # what it would say without its memory
    means = student.update(heard, held, np.random.default_rng(0)).means
    assert float(means["anchor"]) == pytest.approx(0, abs=1e-6) == float(means["clone"])


# ---- diagnostics -----------------------------------------------------------------------------------------


def test_diagnostics_by_hand():
    said = Prediction("values", torch.tensor([[2.0, 0.0], [0.0, 1.0]]))
    teacher = Prediction("logits", torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
    batch = Batch(torch.zeros(2, 1), torch.zeros(2).long(), torch.zeros(2), torch.zeros(2), None, {"teacher": teacher})
    objective = Objective(terms=(WeightedTerm(Distil(2.0, 1.0), lambda progress: 1.0),))
    found = _of_actions(said, batch, *_temperatures(objective))
    assert found["action_gap"] == 1.0 and found["value_scale"] == pytest.approx(0.75)  # the lower of two medians
    assert found["agreement_teacher"] == 0.5
    p = torch.tensor([[1.0, 0.0], [0.0, 0.5]]).softmax(-1)  # at τ = 2
    assert found["entropy"] == pytest.approx(float(-(p * p.log()).sum(-1).mean()))
    q = torch.tensor([1.0, 0.0]).softmax(-1)
    assert found["kl_teacher"] == pytest.approx(float((q * (q.log() - p.log())).sum(-1).mean()), abs=1e-6)


def test_the_gradients_lengths_include_the_weights(tmp_path):
    seen = []
    with on_start(seen.append):
        execute(small_run(tmp_path), tmp_path / "run")
    student, rng = seen[0].student, np.random.default_rng
    batch = seen[0].memory.sample(8, rng(0))
    batch = batch._replace(predictions={"teacher": Prediction("logits", torch.randn(8, 2))})
    before = {name: value.clone() for name, value in student.state().items()}
    once, twice = (student.gradient_norms(batch, Weighing(1.0, [(w, Distil(1.0, 1.0))]), rng(1)) for w in (1.0, 2.0))
    assert twice["distil"] == pytest.approx(2 * once["distil"]) and once["td"] == twice["td"] > 0
    assert all(torch.equal(value, before[name]) for name, value in student.state().items())
