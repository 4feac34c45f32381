"""Observations stored by a codec that their task names: replay, n-step targets, checkpoints, datasets, reports."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from probes import Corridor, corridor_spec
from test_replay import every_transition, play

from reincarnate.data import Replay, open_dataset, save_dataset
from reincarnate.data.codecs import CODECS, register_codec, stored_form
from reincarnate.data.layouts import Rollout, Sequences, Transitions
from reincarnate.data.memory import Memory
from reincarnate.data.segments import load_segments, take_segment
from reincarnate.envs.vector import Copies
from reincarnate.errors import UserError
from reincarnate.priors.data_report import describe_data
from reincarnate.students import DQN
from reincarnate.types import VALUES, Codec, Prediction, TaskSpec


class Halved:
    """The corridor's one number as two bytes: a quarter of it, so that what comes back is only nearly the same."""

    def form(self, spec: TaskSpec) -> tuple[tuple[int, ...], str]:
        return (2,), "uint8"

    def encode(self, obs: np.ndarray) -> np.ndarray:
        whole = np.rint(obs / 4).astype(np.uint8)
        return np.concatenate([whole, np.full_like(whole, 7)], axis=1)

    def decode(self, stored: np.ndarray) -> np.ndarray:
        assert (stored[:, 1] == 7).all() or (stored == 0).all()
        return 4.0 * stored[:, :1].astype(np.float32)


@pytest.fixture
def coded() -> TaskSpec:
    before = dict(CODECS._added)
    register_codec("halved", Halved())
    yield replace(corridor_spec(), codec="halved")
    CODECS._added = before


def filled(spec: TaskSpec, streams: int = 2, steps: int = 40, capacity: int = 30) -> Replay:
    replay = Replay(spec, capacity * streams, streams)
    env = Copies(spec, lambda: Corridor(9, False), streams, None)
    replay.cut(play(env, replay, steps))
    return replay


def test_transitions_come_back_decoded_and_rewards_are_untouched(coded):
    assert isinstance(Halved(), Codec) and stored_form(coded) == ((2,), "uint8")
    plain, packed = filled(corridor_spec()), filled(coded)
    assert packed.columns["frame"].shape == (60, 2) and packed.columns["frame"].dtype == np.uint8
    a, b = (every_transition(replay, Transitions(3, 0.5)) for replay in (plain, packed))
    assert torch.equal(a.reward, b.reward) and torch.equal(a.discount, b.discount)
    for ours, theirs in ((b.obs, a.obs), (b.next_obs, a.next_obs)):
        assert torch.equal(ours, 4 * (theirs / 4).round()) and ours.dtype == torch.float32
    part = packed.shard(1, 2)
    assert torch.equal(every_transition(part, Transitions(3, 0.5)).obs, b.obs[len(b.obs) // 2 :])


def test_sequences_and_rollouts_come_back_decoded(coded):
    plain, packed = filled(corridor_spec()), filled(coded)
    stream, position = np.array([0, 1]), np.array([20, 22])
    a, b = (Sequences(5, 0, 0.9).gather(replay, stream, position, []) for replay in (plain, packed))
    assert b.obs.shape == (2, 5, 1) and torch.equal(b.obs, 4 * (a.obs / 4).round())
    assert torch.equal(b.next_obs, 4 * (a.next_obs / 4).round())
    fresh = Replay(coded, 40, 2)
    last = play(Copies(coded, lambda: Corridor(9, False), 2, None), fresh, 6)
    fresh.foresee(last)
    rollout = Rollout(6, 0.9).gather(fresh, [])
    assert rollout.obs[0, :, 0].tolist() == [0, 0, 0, 4, 4, 4] and rollout.next_obs[0, -1, 0] == 8  # 5 / 4 is 1.25


def test_policies_are_asked_about_what_is_stored(coded):
    packed, seen = filled(coded), []

    def predict(obs: torch.Tensor) -> Prediction:
        seen.append(obs)
        return Prediction(VALUES, obs.repeat(1, 2))

    batch = Memory(packed, Transitions(1, 0.9)).sample(16, np.random.default_rng(0), {"teacher": predict})
    assert set(torch.cat(seen).flatten().tolist()) == {0.0, 4.0, 8.0}
    assert torch.equal(batch.predictions["teacher"].x[:, :1], batch.obs)


def test_segments_and_datasets_hold_the_packed_rows(coded, tmp_path):
    packed = filled(coded)
    entry = take_segment(packed, None).save(tmp_path / "s.safetensors")
    again = Replay(coded, 60, 2)
    load_segments(again, tmp_path, [entry])
    again.restore(packed.state())
    assert np.array_equal(again.columns["frame"], packed.columns["frame"])
    dataset = save_dataset(packed, tmp_path / "data", {"kind": "replay"})
    opened = open_dataset(dataset.path)
    assert opened.spec == coded and np.load(dataset.path / "frame.npy").dtype == np.uint8
    assert set(opened.rows().observe(np.int64(0), np.arange(8), np.arange(8)).flatten().tolist()) == {0.0, 4.0, 8.0}
    report = describe_data(opened, np.random.default_rng(0))
    assert report.obs_range is not None and report.obs_range[1].tolist() == [8.0]


def test_a_student_learns_from_packed_observations(coded):
    packed, student = filled(coded), DQN(hidden=(4,)).newborn(coded, 0)
    batch = Memory(packed, Transitions(3, 0.9)).sample(8, np.random.default_rng(0))
    assert batch.obs.shape == (8, 1) and student.network(batch.obs).shape == (8, 2)


def test_without_a_codec_a_spec_is_written_as_before(coded, tmp_path):
    for spec, there in ((corridor_spec(), False), (coded, True)):
        dataset = save_dataset(filled(spec), tmp_path / "d", {"kind": "replay"})
        written = json.loads((dataset.path / "manifest.json").read_text())["spec"]
        assert ("codec" in written) == there and "bounds" not in written


# ---- bad input -----------------------------------------------------------------------------------------


def test_a_codec_that_nobody_registered_is_one_line(coded, tmp_path):
    with pytest.raises(UserError, match=r"unknown codec of observations 'halve'; did you mean halved\?"):
        Replay(replace(coded, codec="halve"), 60, 2)
    dataset = save_dataset(filled(coded), tmp_path, {"kind": "replay"})
    del CODECS._added["halved"]
    with pytest.raises(UserError, match="unknown codec of observations 'halved'"):
        open_dataset(dataset.path)


def test_a_thing_that_cannot_decode_is_no_codec():
    with pytest.raises(UserError, match="cannot be the codec of observations 'half': it has no form, encode, decode"):
        register_codec("half", object())
