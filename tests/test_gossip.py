"""Populations that gossip: what mixing keeps, that nobody waits for ever, and that a run of them resumes to the bit."""

import math
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from probes import catch, on_catch

from reincarnate.agents.agent import open_agent
from reincarnate.cli import main
from reincarnate.errors import UserError
from reincarnate.methods import Scratch
from reincarnate.run.assemble import assemble
from reincarnate.run.directory import RunDirectory
from reincarnate.run.execute import execute, execute_together
from reincarnate.run.prepare import measure_priors, prepare_all
from reincarnate.run.settings import Run, check_settings
from reincarnate.students import A2C, DQN, PPO, PQN
from reincarnate.training import gossip
from reincarnate.training.evaluate import Evaluation
from reincarnate.training.exchange import Quiet
from reincarnate.training.gossip import Gossip, InStep, Parameters, Peer, average, spread
from reincarnate.training.loop import Loop
from reincarnate.training.mailbox import Mailbox
from reincarnate.training.population import Apart
from reincarnate.training.topology import ball, chosen, contraction, listeners, mixing, neighbours, period, senders

SMALL = {"hidden": (8,), "warmup": 20, "batch_size": 8, "update_every": 2, "replay_size": 2000}
KINDS = ("ring", "exponential", "full", "auto")

# ---- who listens to whom -----------------------------------------------------------------------------------


@settings(max_examples=40)
@given(st.sampled_from(KINDS), st.integers(3, 17), st.integers(0, 9))
def test_every_topology_keeps_the_mean(kind, n, turn):
    weights = mixing(kind, n, turn)
    assert np.allclose(weights.sum(0), 1) and np.allclose(weights.sum(1), 1) and (weights >= 0).all()


@pytest.mark.parametrize("n", [2, 3, 4, 8, 16])
def test_a_ring_contracts_the_spread_by_the_cosine(n):
    assert contraction("ring", n) == pytest.approx(math.cos(math.pi / n), abs=1e-7)
    x = np.random.default_rng(0).standard_normal((n, 5))
    apart = [np.linalg.norm(y - y.mean(0)) for y in (x, mixing("ring", n) @ x)]
    assert apart[1] <= math.cos(math.pi / n) * apart[0] + 1e-9


def test_an_exponential_graph_of_a_power_of_two_averages_exactly_in_a_period():
    assert [period("exponential", n) for n in (4, 8, 9)] == [2, 3, 4]
    assert contraction("exponential", 8) == 0 < contraction("exponential", 6) < contraction("ring", 6)
    assert [senders("exponential", 8, 0, turn) for turn in range(4)] == [[7], [6], [4], [7]]


@pytest.mark.parametrize("kind, n", [("ring", 4), ("exponential", 8), ("full", 3)])
def test_who_listens_is_who_would_be_written_to(kind, n):
    heard = [{other for turn in range(4) for other in senders(kind, n, member, turn)} for member in range(n)]
    assert all(listeners(kind, n, one) == [other for other in range(n) if one in heard[other]] for one in range(n))


def test_auto_is_a_ring_up_to_four_and_exponential_above():
    assert [chosen("auto", n) for n in (2, 4, 5, 16)] == ["ring", "ring", "exponential", "exponential"]
    assert neighbours("ring", 4, 0) == [1, 3] and neighbours("exponential", 8, 0) == [1, 2, 4, 6, 7]
    with pytest.raises(UserError, match="exponential needs 3 members or more, not 2"):
        chosen("exponential", 2)


@pytest.mark.parametrize("kind, n", [("ring", 2), ("ring", 4), ("ring", 8), ("exponential", 8), ("exponential", 6)])
def test_the_spread_stays_within_the_ball_whose_radius_grows_with_the_learning_rate(kind, n):
    rng, largest = np.random.default_rng(n), {}
    for lr in (0.01, 0.1):
        x, steepest, most = np.zeros((n, 20)), 0.0, 0.0
        for turn in range(200):
            g = rng.standard_normal((n, 20))
            steepest = max(steepest, float(np.linalg.norm(g)))
            x = mixing(kind, n, turn) @ (x - lr * g)
            most = max(most, float(np.linalg.norm(x - x.mean(0))))
        assert most <= ball(lr, steepest, kind, n) + 1e-9
        largest[lr] = most
    assert n == 2 or largest[0.1] == pytest.approx(10 * largest[0.01], rel=0.5)
    beta = contraction("ring", n)
    assert ball(1.0, 1.0, "ring", n) == pytest.approx(beta / (1 - beta), abs=1e-6)
    assert ball(1.0, 1.0, "exponential", 8) < 3 < ball(1.0, 1.0, "ring", 8)


# ---- in one process ----------------------------------------------------------------------------------------


def population(config, n: int, env_steps: int = 60, evaluations: int = 1):
    """Trainings on Catch that begin with the same weights."""
    phases = [replace(phase, evaluations=evaluations) for phase in Scratch().phases(env_steps)]
    trainings = [on_catch(config, phases, seed, 2, evaluate=lambda _: Evaluation((0.0, 1.0), 2)) for seed in range(n)]
    for training in trainings[1:]:
        training.student.load(trainings[0].student.weights())
    return trainings


@pytest.mark.parametrize("evaluations", [1, 4])
def test_how_often_members_mix_does_not_depend_on_how_often_they_are_evaluated(evaluations, monkeypatch):
    config, turns = PPO(hidden=(4,), rollout=4, batch_size=8, epochs=1), []
    monkeypatch.setattr(gossip, "senders", lambda kind, n, member, turn: turns.append(turn) or [1 - member])
    trainings = population(config, 2, env_steps=8 * 12, evaluations=evaluations)  # 12 cycles
    loop = Loop(trainings, {"student": Apart(trainings)}, catch(4), exchange=InStep(Gossip(every=4), 2))
    loop.run([lambda line: None] * 2, [lambda: None] * 2, lambda phase: None)
    assert turns == [0, 0, 1, 1, 2, 2]


def vectors(trainings) -> torch.Tensor:
    return torch.stack([Parameters(training.cast).gather() for training in trainings])


@pytest.mark.parametrize("config", [DQN(**SMALL), PPO(hidden=(8,), norm_obs=True)], ids=["floats", "statistics"])
def test_a_round_keeps_the_mean_and_contracts_the_spread(config):
    trainings = population(config, 4)
    for i, training in enumerate(trainings):
        own = Parameters(training.cast)
        own.scatter(own.gather() + torch.randn(own.size, generator=torch.Generator().manual_seed(i)).abs())
    before, exchange = vectors(trainings), InStep(Gossip(), 4)
    exchange.begin(trainings)
    exchange(trainings)
    after = vectors(trainings)
    torch.testing.assert_close(after.mean(0), before.mean(0), rtol=1e-5, atol=1e-6)
    assert spread(after) <= math.cos(math.pi / 4) * spread(before) * (1 + 1e-5)
    torch.testing.assert_close(after[1], (before[1] + before[0]) / 2)
    assert torch.equal(trainings[1].student.acting.data, trainings[1].student.online.data)


@pytest.mark.parametrize("config", [DQN(**SMALL), A2C(hidden=(8,)), PQN(hidden=(8,), rollout=8, batch_size=8)])
def test_members_that_gossip_stay_together_and_those_that_do_not_part(config):
    apart = {}
    for name, exchange in (("gossip", InStep(Gossip(), 3)), ("alone", None)):
        trainings, lines = population(config, 3, 90), []
        loop = Loop(trainings, {"student": Apart(trainings)}, catch(6), exchange=exchange)
        loop.run([lines.append] * 3, [lambda: None] * 3, lambda phase: None)
        apart[name] = spread(vectors(trainings))
        told = [line["spread"] for line in lines if "spread" in line]
        assert told == ([pytest.approx(apart[name])] * 3 if exchange else [])
    assert apart["gossip"] < 0.7 * apart["alone"]


def test_a_message_that_does_not_arrive_is_waited_for_after_tau_rounds():
    rounds = {}
    for tau in (0, 2):
        exchange = InStep(Gossip(tau=tau, arrives=0.05), 2)
        rounds[tau] = [exchange._arrived(0) for _ in range(60)]
    gaps = np.diff([-1, *np.flatnonzero(rounds[2])]) - 1
    assert gaps.max() == 2 and sum(rounds[0]) < 10 < sum(rounds[2])


# ---- across processes --------------------------------------------------------------------------------------


@pytest.fixture
def box():
    made = Mailbox(3, 5)
    yield made
    made.close(unlink=True)


def test_the_latest_message_wins_and_is_read_once(box):
    assert box.latest(1) is None
    for number in range(1, 4):
        box.post(1, np.full(5, number, np.float32))
    other = Mailbox(*box.address)
    message = other.latest(1)
    assert message is not None and message.version == 3 and message.vector.tolist() == [3] * 5
    assert other.latest(1, since=3) is None
    other.close()


def test_a_message_that_is_overwritten_while_it_is_read_is_not_taken(box, monkeypatch):
    box.post(0, np.ones(5, np.float32))
    box._room[0, 1] = 7  # as if half of the next but one were there already
    assert box.latest(0) is None
    box.post(0, np.full(5, 2, np.float32))
    assert box.latest(0).vector.tolist() == [2] * 5  # pyright: ignore


def test_a_message_is_whole_whoever_writes_meanwhile(box):
    stop = threading.Event()

    def write():
        number = 0
        while not stop.is_set():
            number += 1
            box.post(0, np.full(5, number, np.float32))

    writer = threading.Thread(target=write)
    writer.start()
    found = [message for _ in range(2000) if (message := box.latest(0))]
    stop.set()
    writer.join()
    assert found and all(len(set(message.vector)) == 1 for message in found)


def test_no_member_waits_for_one_that_has_left(box):
    said, trainings = [], population(DQN(**SMALL), 2)
    size = Parameters(trainings[0].cast).size
    two = Mailbox(2, size)
    peers = [Peer(Gossip(tau=1), i, two, said.append) for i in range(2)]

    def rounds(i, n):
        for _ in range(n):
            peers[i]([trainings[i]])
        two.leave(i)

    threads = [threading.Thread(target=rounds, args=(i, n), daemon=True) for i, n in enumerate((3, 30))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)
    assert said == ["member 1 goes on without member 0, which has left"]
    assert peers[1].told([])["mixed"] >= 1
    two.close(unlink=True)


def test_members_that_wait_for_each_other_do_not_stand_still():
    trainings = population(DQN(**SMALL), 5)
    five = Mailbox(5, Parameters(trainings[0].cast).size)
    peers = [Peer(Gossip(tau=2), i, five, lambda text: None) for i in range(5)]

    def rounds(i):
        for _ in range(40):
            peers[i]([trainings[i]])
        five.leave(i)

    threads = [threading.Thread(target=rounds, args=(i,), daemon=True) for i in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    assert all(peer.told([])["stale"] <= 2 for peer in peers)
    five.close(unlink=True)


def test_one_that_takes_a_dead_members_place_begins_as_its_neighbours_mean():
    trainings, said = population(DQN(**SMALL), 4), []
    size = Parameters(trainings[0].cast).size
    four = Mailbox(4, size)
    assert average(four, "ring", 1) is None
    four.post(3, np.full(size, 9, np.float32))
    assert average(four, "ring", 1).vector.unique().tolist() == [9]  # pyright: ignore: no neighbour has said anything
    four.post(0, np.full(size, 1, np.float32))
    four.post(2, np.full(size, 2, np.float32))
    student = trainings[1].student
    student.optimizer.state["mean"].fill_(1.0)
    four.leave(1)
    peer = Peer(Gossip(), 1, four, said.append, reborn=True)
    peer.begin([trainings[1]])
    assert not four.has_left(1) and peer.told([])["reborn"] == 1 and "reborn" not in peer.told([])
    (noted,) = trainings[1].at.copied
    assert noted["mean_of"] == [0, 2]
    assert student.online.data.unique().tolist() == [1.5] == student.target.data.unique().tolist()
    assert student.acting.data.unique().tolist() == [1.5] and not student.optimizer.state["mean"].any()
    assert said == ["member 1 goes on from the mean of its neighbours' parameters (0 and 2)"]
    four.close(unlink=True)


# ---- runs ------------------------------------------------------------------------------------------------


QUICK = {"evaluations": 2, "eval_episodes": 1, "final_episodes": 1, "reference_episodes": 2}
RUN = Run("CartPole-v1", Scratch(), DQN(**SMALL), env_steps=60, population=2, exchange=Gossip(), **QUICK)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def agents(folder):
    return [open_agent(folder / f"s{i}").sha256 for i in range(2)]


def test_a_population_that_was_stopped_goes_on_to_the_same_bits(here, monkeypatch):
    places = [[here / name / f"s{i}" for i in range(2)] for name in ("whole", "cut")]
    results = execute_together(RUN.members(), places[0])
    assert [result["population"] for result in results] == [2] * 2
    save = RunDirectory.checkpoint

    def stopping(directory, training):
        save(directory, training)
        if training.at.barrier == 2 and training.seed == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RunDirectory, "checkpoint", stopping)
        execute_together(RUN.members(), places[1])
    with pytest.raises(SystemExit) as refused:
        main(["resume", "cut/s1"])
    assert refused.value.code == 2
    main(["resume", "cut"])
    assert agents(here / "whole") == agents(here / "cut")  # two of a ring are one after each round


def test_members_begin_with_the_same_weights_and_act_differently(here):
    run = replace(RUN, population=3, seed=4)
    prepared = [measure_priors(p, lambda *_: None, lambda _: None) for p in prepare_all(run.members())]
    trainings, loop, _ = assemble(prepared, lambda _: None)
    loop.env.close()
    begun = vectors(trainings)
    assert torch.equal(begun[0], begun[1]) and torch.equal(begun[0], begun[2])
    assert len({training.stream("act").random() for training in trainings}) == 3
    alone = run.student.newborn(prepared[0].spec, 4)
    assert torch.equal(begun[2], Parameters({"student": alone}).gather())


def test_an_exchange_of_ones_own_is_called_at_every_cycle_and_barrier():
    calls = []

    class Counting(Quiet):
        def __call__(self, trainings):
            calls.append("cycle")

        def judged(self, trainings, writes):
            calls.append("judged")
            assert all(training.score == 0.5 for training in trainings)

        def told(self, trainings):
            return {"spread": 7.0}

    trainings, lines = population(DQN(**SMALL), 2, 40, 2), []
    loop = Loop(trainings, {"student": Apart(trainings)}, catch(4), exchange=Counting())
    loop.run([lines.append] * 2, [lambda: calls.append("saved")] * 2, lambda phase: None)
    assert calls == ["saved"] * 2 + (["cycle"] * 10 + ["judged"] + ["saved"] * 2) * 2
    assert [line["spread"] for line in lines if line["kind"] == "train"] == [7.0] * 4


@pytest.mark.parametrize(
    "change, said",
    [
        ({"population": 1}, "needs somebody to gossip with: --population 2"),
        ({"population": 2, "exchange": Gossip(topology="exponential")}, "needs 3 members or more, not 2"),
        ({"exchange": Gossip(arrives=0.0)}, "arrives is a probability above 0"),
        ({"exchange": Gossip(every=0)}, "every must be at least 1"),
        ({"exchange": Gossip(arrives=0.5, processes="each")}, "those in their own keep their own pace"),
    ],
)
def test_a_population_that_cannot_be_is_one_line(change, said):
    with pytest.raises(UserError, match=said):
        check_settings(replace(RUN, **change))


def test_a_population_needs_an_exchange_and_a_member_is_not_trained_alone(here):
    for words, said in (
        ("--population 2", "needs an --exchange"),
        ("--population 2 --exchange gossip --seeds 2", "one population at a time"),
        ("--exchange gossp --population 2", "did you mean gossip"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(f"train scratch --env CartPole-v1 {words}".split())
        assert stop.value.code == 2, said
    with pytest.raises(UserError, match="trained as a whole"):
        execute(RUN.members()[0], here / "alone")
    assert not (here / "alone").exists()


def test_the_command_line_trains_a_population_and_its_members_are_not_compared_as_seeds(here, capsys):
    flags = "--env CartPole-v1 --env-steps 40 --evaluations 1 --eval-episodes 1 --final-episodes 1 --out p"
    small = "--reference-episodes 2 --student.hidden 8 --student.warmup 20 --population 2 --exchange gossip"
    main(["train", "scratch", *flags.split(), *small.split(), "--exchange.every", "3"])
    config = RunDirectory(here / "p/s1", 2).config
    assert config["exchange"]["every"] == 3 and config["first_seed"] == 0 and config["together"] == [0, 1]
    assert "--exchange gossip --exchange.topology auto --exchange.every 3" in config["command"]
    assert "--seed 0" in config["command"] and "--population 2" in config["command"]
    with pytest.raises(SystemExit):
        main(["compare", "p"])
    assert "members of one population" in capsys.readouterr().err
    main(["train", "scratch", *flags.replace(" p", " alone").split(), *small.split()[:6]])
    main(["compare", "p/s0", "alone"])
    assert "population" in capsys.readouterr().out
