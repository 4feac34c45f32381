"""Dopamine's replay becomes a dataset whose transitions are those that Dopamine itself calls valid, and a few more.

The folders in tests/fixtures/dopamine_replay were written, and sampled, by Dopamine's own buffer; all others are written
here, by the rules in `written`.
"""

import gzip
import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from asking import cut
from hypothesis import given, settings
from hypothesis import strategies as st

from reincarnate.data.dataset import Dataset, verify
from reincarnate.data.readers import import_data, read_logged, reader_of
from reincarnate.errors import UserError
from reincarnate.types import TaskSpec

FIXTURES = Path(__file__).parent / "fixtures" / "dopamine_replay"
STACK, GAMMA = 4, 0.9
PONG = TaskSpec("Pong", (4, 84, 84), "uint8", 6, 4, 1.0, {"env": "Pong"})
LETTERS = TaskSpec("small", (4, 1, 2), "uint8", 6, 4, 1.0, {"env": "small"})


# ---- a writer and a sampler made from the format's rules ---------------------------------------------------


@dataclass
class Ring:
    """A circular replay: columns, rows ever written, and the indices at which an episode ended in any way."""

    capacity: int
    shape: tuple[int, ...] = (1, 2)

    def __post_init__(self) -> None:
        garbage = np.random.default_rng(99)
        self.frames = garbage.integers(0, 256, (self.capacity, *self.shape)).astype(np.uint8)
        self.actions = garbage.integers(-9, 99, self.capacity).astype(np.int32)
        self.rewards = garbage.random(self.capacity).astype(np.float32) * 50
        self.terminals = np.zeros(self.capacity, np.uint8)
        self.terminals[::3] = 1
        self.ends: set[int] = set()
        self.count, self.fresh, self.shown = 0, True, 0
        self.watch: Callable[[], object] = lambda: None  # told of every row

    def _put(self, frame: int, action: int, reward: float, terminal: bool, end: bool) -> None:
        at = self.count % self.capacity
        self.frames[at], self.actions[at], self.rewards[at], self.terminals[at] = 0, action, reward, terminal
        self.frames[at].flat[:2] = divmod(frame, 256)
        (self.ends.add if end else self.ends.discard)(at)
        self.count += 1
        self.watch()

    def add(self, action: int, reward: float, terminal: bool, end: bool) -> None:
        for _ in range((STACK - 1) * self.fresh):
            self._put(0, 0, 0.0, False, False)
        self.shown += 1  # no frame is shown twice, none is 0
        self._put(self.shown, action, reward, terminal, terminal or end)
        self.fresh = terminal or end

    def save(self, folder: Path, suffix: int, count: int | None = None, ends: bool = True) -> Path:
        folder.mkdir(exist_ok=True, parents=True)
        columns = {
            "observation": self.frames,
            "action": self.actions,
            "reward": self.rewards,
            "terminal": self.terminals,
        }
        arrays = {f"$store$_{name}": column for name, column in columns.items()}
        arrays["add_count"] = np.array(self.count if count is None else count)
        arrays["invalid_range"] = np.arange(5)  # of another n: nobody may look at it
        for name, array in arrays.items():
            with gzip.open(folder / f"{name}_ckpt.{suffix}.gz", "wb", 1) as file:
                np.save(file, array)
        if ends:
            with gzip.open(folder / f"episode_end_indices_ckpt.{suffix}.gz", "wb") as file:
                pickle.dump({np.int64(i) if i % 2 else i for i in self.ends}, file)
        return folder

    # Dopamine's own rules, one row at a time.

    def id(self, row: int) -> int:
        high, low = self.frames[row % self.capacity].flat[:2]
        return int(high) * 256 + int(low)

    def valid(self, row: int, n: int) -> bool:
        cursor, full = self.count % self.capacity, self.count >= self.capacity
        if not full and not STACK - 1 <= row < cursor - n:
            return False
        if row in {(cursor + k) % self.capacity for k in range(-n, STACK)}:
            return False
        if any(self.terminals[(row - k) % self.capacity] for k in range(1, STACK)):
            return False
        window = [(row + k) % self.capacity for k in range(n)]
        if any(j in self.ends and not self.terminals[j] for j in window):
            return False
        return self.id(row) != 0  # what Dopamine does not ask: padding is no observation

    def state(self, row: int) -> tuple[int, ...]:
        return tuple(self.id(row + k) for k in range(1 - STACK, 1))

    def transition(self, row: int, n: int) -> tuple:
        window = [(row + k) % self.capacity for k in range(n)]
        length = next((k + 1 for k, j in enumerate(window) if self.terminals[j]), n)
        ended = any(self.terminals[j] for j in window)
        total = sum(GAMMA**k * float(self.rewards[j]) for k, j in enumerate(window[:length]))
        following = None if ended else self.state(row + length)
        return self.state(row), int(self.actions[row]), total, ended, following


def first_whole(ring: Ring) -> int:
    """The id of the first frame of the oldest episode whose beginning is still there."""
    if ring.count < ring.capacity:
        return 1
    oldest = [(ring.count + k) % ring.capacity for k in range(ring.capacity)]
    first = next((k for k, row in enumerate(oldest) if row in ring.ends), ring.capacity)
    return next((ring.id(row) for row in oldest[first + 1 :] if ring.id(row)), 1 << 30)


def play(ring: Ring, episodes: list[tuple[int, str]], seed: int) -> None:
    """Episodes by length and ending: terminated, cut by a limit, or both at once."""
    rng = np.random.default_rng(seed)
    for length, ending in episodes:
        for t in range(length):
            last = t == length - 1
            terminal, end = last and ending in "tb", last and ending in "lb"
            ring.add(int(rng.integers(6)), float(rng.choice([-1, 0, 0, 1])), terminal, end)


# ---- what our dataset says ---------------------------------------------------------------------------------


def ids(frames: np.ndarray) -> tuple[int, ...]:
    """A stack by the numbers of its frames."""
    return tuple(int(frame.flat[0]) * 256 + int(frame.flat[1]) for frame in frames)


def imported(address: Path | str, store: Path, spec: TaskSpec = LETTERS) -> Dataset:
    dataset = import_data(f"dopamine:{address}", spec, store, lambda *_: None)
    verify(dataset)
    return dataset


def transitions(dataset: Dataset, n: int, name=ids) -> dict[tuple, tuple]:
    """Every transition of a dataset, by its state: action, n-step reward, discount, successor."""
    source = cut(dataset, n, GAMMA)
    rows = np.flatnonzero(source.columns["flags"] & 4 == 0)
    batch = source.gather(rows)
    assert batch.next_obs is not None
    parts = (batch.obs, batch.action, batch.reward, batch.discount, batch.next_obs)
    obs, action, reward, discount, after = (part.numpy() for part in parts)
    found = {
        name(o): (int(a), float(r), float(d), name(x))
        for o, a, r, d, x in zip(obs, action, reward, discount, after, strict=True)
    }
    assert len(found) == len(rows), "a state appears twice"
    return found


def agree(found: dict, transition: tuple, n: int) -> None:
    state, action, total, ended, following = transition
    got = found[state]
    assert got[0] == action and got[1] == pytest.approx(total, abs=1e-5)
    assert got[2] == pytest.approx(0 if ended else GAMMA**n)
    assert ended or got[3] == following


def same_as_dopamine(ring: Ring, found: dict, n: int) -> None:
    """All that Dopamine would sample, from whole episodes, is there; beyond it only what it leaves out for simplicity:
    steps whose n a time limit or the cursor cuts short, and a termination in the rows before the cursor.
    """
    begins, wanted = first_whole(ring), set()
    for row in range(ring.capacity):
        if ring.valid(row, n) and ring.id(row) >= begins:
            wanted.add(ring.state(row))
            agree(found, ring.transition(row, n), n)
    for state in set(found) - wanted:
        discount, newest = found[state][2], state[-1] > ring.shown - n
        assert (discount == 0 and newest) or discount > GAMMA**n + 1e-6


# ---- Dopamine's own files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("name", ["wrapped", "partial", "ended"])
def test_transitions_are_those_that_dopamine_samples_from_the_same_buffer(name: str, n: int, tmp_path: Path):
    found = transitions(imported(FIXTURES / name, tmp_path, PONG), n, lambda o: tuple(int(f[0, 0]) for f in o))
    expected = np.load(FIXTURES / name / f"expected_{n}.npz")
    oldest, compared = min(state[-1] for state in found), 0
    for k in range(len(expected["index"])):
        state = tuple(int(i) for i in expected["state"][k])
        if state[-1] < oldest:  # 0: padding after a time limit; others: an episode whose beginning is gone
            continue
        ended = bool(expected["terminal"][k])
        total, following = float(expected["reward"][k]), tuple(map(int, expected["next_state"][k]))
        agree(found, (state, int(expected["action"][k]), total, ended, following), n)
        compared += 1
    assert compared >= 12 and (n > 1 or compared == len(found))


def test_a_folder_is_recognised_and_so_is_the_one_it_lies_in(tmp_path: Path):
    shutil.copytree(FIXTURES / "wrapped", tmp_path / "run" / "checkpoints")
    for path in (tmp_path / "run", tmp_path / "run" / "checkpoints"):
        assert reader_of(str(path)) == ("dopamine", str(path))
    logged = read_logged(str(tmp_path / "run"), None)
    assert (logged.spec.stack, logged.spec.reward_clip, logged.spec.id) == (4, 1.0, "")
    assert 2 <= logged.spec.actions <= 6 and logged.about == {"suffixes": [7]}


# ---- the four traps ----------------------------------------------------------------------------------------

EPISODES = [(5, "t"), (9, "l"), (3, "t"), (12, "l"), (1, "t"), (7, "b"), (20, "t")]


@pytest.mark.parametrize("capacity", [40, 57, 83])
@pytest.mark.parametrize("n", [1, 2, 5])
def test_nothing_crosses_the_cursor_whatever_n_the_buffer_was_saved_with(n: int, capacity: int, tmp_path: Path):
    ring = Ring(capacity)
    play(ring, EPISODES, seed=1)
    same_as_dopamine(ring, transitions(imported(ring.save(tmp_path / "r", 0), tmp_path), n), n)


def test_padding_after_a_time_limit_never_mixes_two_episodes(tmp_path: Path):
    ring = Ring(64)
    play(ring, [(6, "l"), (6, "l"), (6, "t")], seed=2)
    found = transitions(imported(ring.save(tmp_path / "r", 0), tmp_path), n=3)
    assert {state[-1] for state in found} == set(range(1, 19)) - {6, 12}  # the last frames: nobody knows what followed
    for state in found:
        shown = [frame for frame in state if frame]
        assert shown == list(range(shown[0], shown[-1] + 1)) and state == (0,) * (4 - len(shown)) + tuple(shown)
        assert len({(frame - 1) // 6 for frame in shown}) == 1, "frames of two episodes in one observation"
    _, _, discount, following = found[2, 3, 4, 5]
    assert discount == pytest.approx(GAMMA) and following == (3, 4, 5, 6)  # one step, then the limit


def test_without_the_list_of_ends_terminals_are_all_there_is_and_the_data_says_so(tmp_path: Path):
    ring = Ring(64)
    play(ring, [(6, "t"), (9, "t"), (14, "t")], seed=3)
    bare = imported(ring.save(tmp_path / "bare", 0, ends=False), tmp_path)
    assert transitions(bare, 2) == transitions(imported(ring.save(tmp_path / "listed", 0), tmp_path), 2)
    assert any("time limits were stored as terminations" in line for line in bare.manifest["about"]["warnings"])


def logs(folder: Path, capacity: int, files: int) -> Ring:
    """As the DQN-replay logs were written: a file whenever one row is left, at last one that says its cursor.

    Returns all that was ever played, in a ring that never forgets.
    """
    ring, everything, rng = Ring(capacity), Ring(capacity * (files + 2)), np.random.default_rng(4)
    ring.watch = lambda: (
        ring.save(folder, ring.count // capacity, ends=False) if ring.count % capacity == capacity - 1 else None
    )
    while ring.count < capacity * files + capacity // 2:
        what = int(rng.integers(6)), float(rng.integers(-1, 2)), bool(rng.random() < 0.15), False
        ring.add(*what)
        everything.add(*what)
    ring.save(folder, files, count=ring.count % capacity, ends=False)
    return everything


@pytest.mark.parametrize("ends", [False, True])
def test_a_replay_that_is_not_full_is_read_whatever_lies_beyond_what_was_written(ends: bool, tmp_path: Path):
    """Dopamine never sets its arrays: terminals of 7 and -9 as actions lie where nothing was written."""
    ring = Ring(80)
    play(ring, [(9, "t"), (11, "t"), (6, "t")], seed=3)
    ring.terminals[ring.count :] = 7
    ring.rewards[ring.count :] = np.nan
    assert ring.count < ring.capacity
    dataset = imported(ring.save(tmp_path / "young", 0, ends=ends), tmp_path)
    found = transitions(dataset, 1)
    same_as_dopamine(ring, found, 1)
    assert len(found) == 9 + 11 + 6


def test_vectors_lose_no_step_whose_episode_began_before_the_ring(tmp_path: Path):
    """Without stacks each row is a whole observation."""
    folder = tmp_path / "vectors"
    folder.mkdir()
    at = np.arange(40)
    columns = {
        "$store$_observation": at[:, None, None] * np.ones((1, 3, 1), np.float32),
        "$store$_action": (at % 3).astype(np.int32),
        "$store$_reward": at.astype(np.float32),
        "$store$_terminal": (at % 10 == 4).astype(np.uint8),
        "add_count": np.array(40 + 40),
    }
    for name, column in columns.items():
        with gzip.open(folder / f"{name}_ckpt.0.gz", "wb", 1) as file:
            np.save(file, column)
    logged = read_logged(str(folder), None)
    assert not [line for line in logged.warnings if "overwritten" in line]
    assert logged.transitions == 39  # the last was cut by the file's end, without what followed


def all_of(ring: Ring, n: int) -> dict[tuple, tuple]:
    return {ring.state(row): ring.transition(row, n) for row in range(ring.capacity) if ring.valid(row, n)}


@pytest.mark.parametrize("suffixes", ["0", "1", "3", "all", "1-2", "0-3"])
def test_of_the_dqn_replay_logs_every_file_gives_its_own_steps_and_no_garbage(suffixes: str, tmp_path: Path):
    everything = logs(tmp_path / "replay_logs", capacity=60, files=3)
    found, truth = transitions(imported(f"{tmp_path}@{suffixes}", tmp_path), n=1), all_of(everything, 1)
    for state in found:
        agree(found, truth[state], 1)
    newest = max(state[-1] for state in found)
    played = [frame for (*_, frame) in truth]
    expected = {"0": 0, "1": 1, "1-2": 2}.get(suffixes)
    if expected is None:  # the last file ends where playing ended
        assert newest == max(played)
    if suffixes in ("all", "0-3"):  # at most the episode that was going on is lost with each file
        assert len(found) > 0.8 * len(played)


def test_checkpoints_that_overlap_are_read_without_repeating_a_step(tmp_path: Path):
    ring, everything = Ring(50), Ring(500)
    for k, (seed, episodes) in enumerate(enumerate([EPISODES, EPISODES[:3], EPISODES[2:5], EPISODES * 3])):
        play(ring, episodes, seed)
        play(everything, episodes, seed)
        ring.save(tmp_path / "r", 10 * k)
    everything.add(1, 0.0, False, False)  # the rows before the cursor are never valid
    found, truth = transitions(imported(f"{tmp_path / 'r'}@all", tmp_path), n=1), all_of(everything, 1)
    for state in found:
        agree(found, truth[state], 1)
    alone = [transitions(imported(f"{tmp_path / 'r'}@{n}", tmp_path), n=1) for n in (0, 10, 20, 30)]
    assert max(map(len, alone)) < len(found) <= len(set().union(*alone))


def test_an_episode_too_long_to_wait_for_its_beginning_is_cut_where_the_file_wraps_around(tmp_path: Path, monkeypatch):
    ring = Ring(40)
    play(ring, [(6, "t"), (12, "t"), (25, "t"), (5, "t")], seed=6)
    ring.save(tmp_path / "r", 0)
    whole = transitions(imported(tmp_path / "r", tmp_path / "a"), n=1)
    monkeypatch.setattr("reincarnate.data.readers.dopamine.HELD", 11 * 2)  # bytes, of 11 frames
    wrapping = [ring.id(row) for row in range(40) if ring.id(row) in range(19, 44)]  # of the long episode, as they lie
    after = wrapping[: wrapping.index(19)]
    assert len(after) == 12 and wrapping[-1] == 31
    cut = imported(tmp_path / "r", tmp_path / "b")
    parts = transitions(cut, n=1)
    assert {state[-1] for state in whole} - {state[-1] for state in parts} == {31, *after}
    assert parts[27, 28, 29, 30][3] == (28, 29, 30, 31) and parts[27, 28, 29, 30][2] == pytest.approx(GAMMA)
    assert "left out 16 steps" in cut.manifest["about"]["warnings"][0]
    monkeypatch.setattr("reincarnate.data.readers.dopamine.HELD", 12 * 2)
    assert transitions(imported(tmp_path / "r", tmp_path / "c"), n=1) == whole


# ---- any buffer --------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    st.integers(12, 90),
    st.lists(st.tuples(st.integers(1, 30), st.sampled_from("tlb")), min_size=1, max_size=12),
    st.integers(0, 25),
    st.integers(1, 6),
    st.integers(0, 3),
)
def test_any_buffer_gives_what_the_rules_say(tmp_path_factory, capacity, episodes, left_open, n, held):
    folder = tmp_path_factory.mktemp("ring")
    ring = Ring(capacity)
    play(ring, episodes, seed=n)
    play(ring, [(left_open, "-")], seed=0)
    ring.save(folder / "r", 0)
    try:
        with pytest.MonkeyPatch.context() as patch:
            if held == 0:  # no episode may wait for its beginning: it is cut where the file wraps around
                patch.setattr("reincarnate.data.readers.dopamine.HELD", 0)
            patch.setattr("reincarnate.data.readers.dopamine.BLOCK", 14)  # seven frames at once
            found = transitions(imported(folder / "r", folder), n)
    except UserError as error:
        assert "no whole episode" in str(error)
        found = {}
    if held:
        same_as_dopamine(ring, found, n)
    elif n == 1:
        written = [row for row in range(min(ring.count, capacity)) if ring.id(row)]
        truth = {ring.state(row): ring.transition(row, 1) for row in written}
        for state in found:
            agree(found, truth[state], 1)


# ---- what is refused ---------------------------------------------------------------------------------------


def refused(address: str, match: str) -> None:
    with pytest.raises(UserError, match=match) as caught:
        for _ in read_logged(f"dopamine:{address}", LETTERS).blocks():
            pass
    assert "\n" not in str(caught.value)


def small(folder: Path) -> Ring:
    ring = Ring(30)
    play(ring, [(6, "t"), (4, "l"), (9, "t")], seed=5)
    ring.save(folder, 0)
    return ring


def test_what_is_not_there_is_named(tmp_path: Path):
    small(tmp_path / "r")
    refused(str(tmp_path), "no replay of Dopamine's there")
    refused(f"{tmp_path / 'r'}@3", "no such suffix; there are 0")
    (tmp_path / "r" / "$store$_reward_ckpt.0.gz").unlink()
    refused(f"{tmp_path / 'r'}", "reward_ckpt.0.gz is missing")


def test_the_layout_of_dopamine_4_1_is_refused_and_told_why():
    folder = str(FIXTURES.parent / "dopamine_agents" / "dqn")  # saved by Dopamine 4.1.2
    assert reader_of(folder) == ("dopamine", folder)
    refused(folder, "sums of n rewards, from which no other n can be had")


@pytest.mark.parametrize("asked", ["run", "run/checkpoints", "run/checkpoints/7", "run/checkpoints/7/replay"])
def test_the_layout_of_dopamine_4_1_is_known_in_every_folder_that_could_be_named(asked: str, tmp_path: Path):
    replay = tmp_path / "run" / "checkpoints" / "7" / "replay"
    replay.mkdir(parents=True)
    (replay / "checkpoint.msgpack").write_bytes(b"")
    assert reader_of(str(tmp_path / asked)) == ("dopamine", str(tmp_path / asked))
    refused(str(tmp_path / asked), "sums of n rewards, from which no other n can be had")


def test_a_file_cut_short_or_with_a_wrong_checksum_is_refused(tmp_path: Path):
    small(tmp_path / "r")
    path = tmp_path / "r" / "$store$_observation_ckpt.0.gz"
    content = path.read_bytes()
    path.write_bytes(content[:-30])
    refused(f"{tmp_path / 'r'}", "cut short")
    path.write_bytes(content[:-6] + b"\0\0" + content[-4:])
    refused(f"{tmp_path / 'r'}", "damaged")


def test_rows_that_should_be_padding_and_are_not_are_refused(tmp_path: Path):
    ring = small(tmp_path / "r")
    ring.ends.add(7)
    ring.save(tmp_path / "r", 0)
    refused(f"{tmp_path / 'r'}", "must pad the beginnings")


def test_a_pickle_of_anything_but_numbers_is_refused(tmp_path: Path):
    small(tmp_path / "r")
    path = tmp_path / "r" / "episode_end_indices_ckpt.0.gz"
    for content, words in ((pickle.dumps({"a"}), "whole number"), (pickle.dumps({999}), "row numbers go from"),
                           (pickle.dumps(Path.cwd), "no business there"), (b"", "read safely")):  # fmt: skip
        path.write_bytes(gzip.compress(content))
        refused(f"{tmp_path / 'r'}", words)


def test_a_shape_or_a_bomb_beyond_the_file_is_refused_before_anything_is_set_aside(tmp_path: Path):
    small(tmp_path / "r")
    header = np.lib.format.magic(1, 0) + (118).to_bytes(2, "little")
    fields = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }"
    with gzip.open(tmp_path / "r" / "$store$_reward_ckpt.0.gz", "wb") as file:
        file.write(header + fields.ljust(117) + b"\n" + bytes(1 << 20))
    refused(f"{tmp_path / 'r'}", "more than it can hold")
    (tmp_path / "r" / "episode_end_indices_ckpt.0.gz").write_bytes(gzip.compress(bytes(80 << 20)))
    shutil.copy(tmp_path / "r" / "$store$_terminal_ckpt.0.gz", tmp_path / "r" / "$store$_reward_ckpt.0.gz")
    refused(f"{tmp_path / 'r'}", "over 64 MiB unpacked")
