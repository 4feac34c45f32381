"""Populations that select: the worse take over from the better, explore settings, and say from whom."""

import json
from dataclasses import replace

import pytest
import torch
from probes import on_catch

from reincarnate.agents.agent import open_agent
from reincarnate.errors import UserError
from reincarnate.methods import Kickstart, Scratch
from reincarnate.run.directory import RunDirectory
from reincarnate.run.execute import execute_together
from reincarnate.run.settings import Run
from reincarnate.store.lineage import lineage_of
from reincarnate.store.nodes import company_words, of_agent
from reincarnate.store.render import as_text
from reincarnate.students import A2C, D4PG, DQN, PPO, TD3
from reincarnate.students.continuous import ContinuousStudent
from reincarnate.training.pbt import PBT, _accepted
from reincarnate.training.points import Points
from reincarnate.training.snapshot import Snapshot
from reincarnate.training.training import mutable
from reincarnate.types import BEST

SMALL = {"hidden": (8,), "warmup": 20, "batch_size": 8, "update_every": 2, "replay_size": 2000}
QUICK = {"evaluations": 2, "eval_episodes": 2, "final_episodes": 1, "reference_episodes": 2}


def test_student_and_method_declare_what_may_change():
    assert mutable(A2C(entropy=0.01), Scratch()) == {"student.lr": 7e-4, "student.entropy": 0.01}
    taught = Kickstart().suited("values")
    assert mutable(DQN(), taught) == {"student.lr": 1e-4, "method.weight": 3.0, "method.temperature": 0.1}


def members(scores, **settings):
    """Trainings on Catch whose last scores were these."""
    trainings = []
    for seed, score in enumerate(scores):
        training = on_catch(DQN(**SMALL), Scratch().phases(40), seed)
        training.method, training.score, training.at.barrier = Scratch(), score, 2
        trainings.append(training)
    return trainings, PBT(**settings).exchange(len(scores))


def test_the_worst_takes_over_the_best_and_its_settings_moved():
    trainings, exchange = members([3.0, 1.0, 9.0, 5.0])
    trainings[2].change({"student.lr": 0.01})
    lines = [[] for _ in trainings]
    exchange.judged(trainings, [own.append for own in lines])
    assert torch.equal(trainings[1].student.online.data, trainings[2].student.online.data)
    assert trainings[1].student.settings.lr in (pytest.approx(0.0125), pytest.approx(0.008))
    assert trainings[2].student.settings.lr == 0.01 and trainings[0].student.settings.lr == 1e-4
    (line,) = lines[1]
    assert line["kind"] == "copy" and line["from"] == 2 and line["its_score"] == 9.0 and line["score"] == 1.0
    assert trainings[1].at.copied[0]["from"] == 2 and not lines[0] + lines[2] + lines[3]
    trainings[1].student.online.data.add_(1.0)  # a copy: not the same memory
    assert not torch.equal(trainings[1].student.online.data, trainings[2].student.online.data)


def test_who_takes_over_is_held_to_the_best_of_those_it_took_over_and_not_to_its_own():
    trainings, exchange = members([3.0, 1.0])
    for training in trainings:
        training.best = training.first = Snapshot(training.student, training.student.weights())
    mine, other = trainings[1], trainings[0]
    assert not same_weights(mine.best, other.best)
    exchange.judged(trainings, [pytest.fail, lambda line: None])
    assert same_weights(mine.best, other.best) and same_weights(mine.first, other.first)
    assert mine.best is not other.best and mine.live[BEST] is not other.live[BEST]


def same_weights(one, other):
    return all(
        torch.equal(mine, its) for mine, its in zip(one.weights().values(), other.weights().values(), strict=True)
    )


def test_the_best_evaluation_is_of_the_weights_that_its_checkpoint_holds():
    trainings, exchange = members([3.0, 1.0])
    trainings[1].at.best_barrier, trainings[1].at.best_score = 2, 1.0  # its best so far, just evaluated
    exchange.judged(trainings, [pytest.fail, lambda line: None])
    assert (trainings[1].at.best_barrier, trainings[1].at.best_score) == (2, 3.0)
    trainings, exchange = members([3.0, 1.0])
    trainings[1].at.best_barrier, trainings[1].at.best_score = 1, 4.0  # an earlier one stays
    exchange.judged(trainings, [pytest.fail, lambda line: None])
    assert (trainings[1].at.best_barrier, trainings[1].at.best_score) == (1, 4.0)


def test_nobody_takes_over_when_nothing_is_left_to_learn():
    trainings, exchange = members([3.0, 1.0])
    for training in trainings:
        training.at.phase_env_steps = 40
    exchange.judged(trainings, [pytest.fail, pytest.fail])


def test_points_tell_each_members_own_weight():
    trainings, _ = members([0.0, 1.0])
    run, lines = Run("CartPole-v1", Kickstart().suited("values"), DQN(**SMALL), teacher="none", env_steps=400), []
    for training, weight in zip(trainings, (2.0, 1.5), strict=True):
        training.method, training.unroll, training.phases = run.method, run.phases, run.phases()
        training.change({"method.weight": weight})
    points = Points(trainings, [lines.append] * 2, 0, 200, lambda number: None)
    for training in trainings:
        training.at.phase_env_steps = 150
    points()
    assert [line["weight"] for line in lines] == [2.0, 1.5]


def test_equals_are_left_alone():
    trainings, exchange = members([2.0, 2.0])
    exchange.judged(trainings, [pytest.fail, pytest.fail])


def test_newborns_but_the_first_begin_with_settings_of_their_own():
    trainings, exchange = members([0.0, 0.0, 0.0])
    for training in trainings:
        training.at.barrier = 1
    exchange.begin(trainings)
    rates = [training.student.settings.lr for training in trainings]
    assert rates[0] == 1e-4 and len(set(rates)) == 3 and all(1e-4 / 3 <= rate <= 3e-4 for rate in rates)
    exchange.begin(trainings)
    assert [training.student.settings.lr for training in trainings] == rates


def test_a_setting_is_not_moved_to_where_the_student_would_refuse_it():
    (training, _), _ = members([0.0, 1.0])
    training.student.settings = noisy = replace(D4PG(), noise=0.9)  # all that a selection looks at
    moved = {"student.noise": 0.9 * 1.25, "student.lr": noisy.lr * 1.25}
    training.change(_accepted(training, {"student.noise": 0.9, "student.lr": noisy.lr}, moved))
    assert training.student.settings.noise == 0.9 and training.student.settings.lr == noisy.lr * 1.25


def test_a_methods_weight_changes_the_phases_that_follow():
    (training, _), _ = members([0.0, 1.0])
    run = Run("CartPole-v1", Kickstart().suited("values"), DQN(**SMALL), teacher="none")
    training.method, training.unroll, training.phases = run.method, run.phases, run.phases()
    training.change({"method.weight": 1.5, "method.temperature": 0.2})
    assert training.phases[0].objective.terms[0].term.temperature == 0.2
    assert training.weight(training.phases[0]) == pytest.approx(1.5)


PPO_OF_16 = PPO(hidden=(8,), rollout=16, batch_size=16, epochs=1)


@pytest.mark.parametrize("student", [DQN(**SMALL), pytest.param(PPO_OF_16, marks=pytest.mark.slow)], ids=["dqn", "ppo"])
def test_a_population_that_selects_goes_on_to_the_same_bits(tmp_path, monkeypatch, student):
    monkeypatch.chdir(tmp_path)
    copies = {} if isinstance(student, DQN) else {"envs": 2}
    run = Run("CartPole-v1", Scratch(), student, env_steps=60, population=2, exchange=PBT(), **QUICK, **copies)
    places = [[tmp_path / name / f"s{i}" for i in range(2)] for name in ("whole", "cut")]
    results = execute_together(run.members(), places[0])
    copied = [result.get("copied", []) for result in results]
    assert any(copied), "nobody ever copied: the test says nothing"
    lines = [json.loads(line) for place in places[0] for line in (place / "metrics.jsonl").read_text().splitlines()]
    assert sum(line["kind"] == "copy" for line in lines) == sum(map(len, copied))
    save = RunDirectory.checkpoint

    def stopping(directory, training):
        save(directory, training)
        if training.at.barrier == 2 and training.seed == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RunDirectory, "checkpoint", stopping)
        execute_together(run.members(), places[1])
    again = execute_together(run.members(), places[1], [True] * 2)
    assert [result.get("copied", []) for result in again] == copied
    agents = [[open_agent(place).sha256 for place in folder] for folder in places]
    assert agents[0] == agents[1]
    told = [open_agent(place).student.lr for place in places[0]]
    assert len(set(told)) > 1 and min(told) > 0
    check_lineage(places[0], results, copied)


def check_lineage(places, results, copied):
    """Each agent says how many they were and whom it took over, and that what others learnt is in its cost."""
    for place, result, own in zip(places, results, copied, strict=True):
        value = json.loads((place / "agent/agent.json").read_text())
        node = of_agent(value)
        assert value["about"]["population"] == 2 and value["about"].get("copied", []) == own
        assert value["about"].get("changed") == result.get("changed") and not node.cost["env_steps"].whole
        steps = f"{own[-1]['env_steps']:,}" if own else ""
        words = f", took over seed {own[-1]['from']} at {steps} env steps" if own else ""
        assert f"one of a population of 2{words}" in node.detail
    assert "one of a population of 2" in as_text(lineage_of(str(places[0]), {}))


def test_one_that_went_on_from_a_mean_says_of_whom():
    about = {"population": 4, "copied": [{"env_steps": 1000, "updates": 9, "mean_of": [0, 2]}]}
    assert company_words(about) == "one of a population of 4, went on from the mean of seeds 0 and 2 at 1,000 env steps"
    assert company_words({}) == "" and company_words({"population": 3, "copied": "x"}) == "one of a population of 3"
    assert company_words({"population": 3, "copied": [{"from": "x"}]}) == "one of a population of 3"


@pytest.mark.parametrize(
    "exchange, said",
    [
        (PBT(share=0.6), "share must lie above 0"),
        (PBT(factor=1.0), "factor must be above 1"),
        (PBT(explores=("student.gamma",)), "explores student.gamma: this student and method can move student.lr"),
    ],
)
def test_a_selection_that_cannot_be_is_one_line(tmp_path, exchange, said):
    run = Run("CartPole-v1", Scratch(), DQN(**SMALL), env_steps=60, population=2, exchange=exchange, **QUICK)
    with pytest.raises(UserError, match=said):
        execute_together(run.members(), [tmp_path / "a", tmp_path / "b"])
    assert not (tmp_path / "a").exists()
    with pytest.raises(UserError, match="needs a population"):
        replace(exchange, share=0.2, factor=1.2).check(1)


def test_each_member_explores_by_its_own_settings(tmp_path, monkeypatch):
    acted, act = {}, ContinuousStudent.act

    def noted(student, step, carry, explore, rng):
        if explore < 1:  # past the warm-up
            acted.setdefault(id(student), set()).add(explore == student.settings.noise)
        return act(student, step, carry, explore, rng)

    monkeypatch.setattr(ContinuousStudent, "act", noted)
    student = TD3(hidden=(8,), warmup=20, batch_size=8)
    run = Run("Pendulum-v1", Scratch(), student, env_steps=60, population=3, exchange=PBT(), log="", **QUICK)
    run = replace(run, store=str(tmp_path / "store"))
    execute_together(run.members(), [tmp_path / str(i) for i in range(3)])
    assert list(acted.values()) == [{True}] * 3
