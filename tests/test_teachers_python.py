"""Teachers written by the user, and the lifts between what teachers can tell."""

import os
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from asking import says
from torch import nn

from reincarnate.agents.acting import play
from reincarnate.errors import UserError
from reincarnate.teachers import open_teacher
from reincarnate.teachers.holding import networks_of
from reincarnate.teachers.lifts import action_gap, entropy, from_actions, from_probabilities
from reincarnate.types import Teacher, TimeStep

SOURCE = """
import torch
from torch import nn

def logits(obs):
    return obs * 2.0

def values(obs):
    return obs + 1.0
values.tells = "values"

def probabilities(obs):
    return torch.softmax(obs, -1)
probabilities.tells = "probabilities"

def not_probabilities(obs):
    return obs
not_probabilities.tells = "probabilities"

def actions(obs):
    return obs.argmax(-1)
actions.tells = "actions"

def strange(obs):
    return obs
strange.tells = "fortunes"

def nan(obs):
    return obs * float("nan")

def flat(obs):
    return obs.sum(-1)

def no_tensor(obs):
    return obs.tolist()

def broken(obs):
    raise RuntimeError("no luck today")

def boastful(obs):
    return obs
boastful.card = {"colour": "red"}

def described(obs):
    return obs
described.card = {"algorithm": "guessing", "actions": 3, "obs_shape": [3], "protocol": {"sticky_actions": 0.0}}

number = 7

class Unsteady:  # sound at its first call, and otherwise at those after it
    def __init__(self, how):
        self.how, self.calls = how, 0

    def __call__(self, obs):
        self.calls += 1
        if self.calls == 1:
            return obs
        if self.how == "raises":
            raise RuntimeError("tired")
        return {"wider": torch.cat([obs, obs], 1), "fewer": obs[:1], "numpy": obs.numpy(), "whole": obs.long()}[self.how]

class Scaled(nn.Module):
    def __init__(self, scale="1", path=""):
        super().__init__()
        self.layer = nn.Linear(3, 3)
        nn.init.ones_(self.layer.weight), nn.init.zeros_(self.layer.bias)
        self.scale = float(scale)

    def forward(self, obs):
        return self.layer(obs) * self.scale

def make(kind):
    return {"good": logits, "bad": 5}[kind]

class Memory:
    view = "rgb"
    card = {"obs_shape": (210, 160, 3)}

    def initial_state(self, n):
        return torch.zeros(n, 3)

    def __call__(self, obs, state):
        return obs + state, state + 1

class Grows(Memory):
    def __call__(self, obs, state):
        return obs, torch.cat([state, state], 1)

class Forgets(Memory):
    def __call__(self, obs, state):
        return obs, None

class Unlike(Memory):
    def initial_state(self, n):
        return torch.zeros(1, 3)

class Untold(Memory):
    def initial_state(self, n):
        return [0.0] * n

class Unready(Memory):
    def initial_state(self, n):
        raise RuntimeError("not yet")
"""
OBS = torch.tensor([[0.1, 0.5, 0.2], [3.0, -1.0, 2.0]])


@pytest.fixture
def source(tmp_path: Path) -> str:
    (tmp_path / "mine.py").write_text(SOURCE)
    return f"py:{tmp_path}/mine.py"


def told(uri: str, actions: int | None = None) -> torch.Tensor:
    teacher = open_teacher(uri, actions)
    return says(teacher, OBS, teacher.initial(2))[0]


def test_a_function_tells_logits_unless_it_says_otherwise(source: str):
    teacher = open_teacher(f"{source}:logits")
    assert isinstance(teacher, Teacher) and teacher.view == "student"
    assert torch.equal(told(f"{source}:logits"), 2 * OBS) and teacher.card.tells == "logits"


def test_values_are_told_as_they_are(source: str):
    assert torch.equal(told(f"{source}:values"), OBS + 1)
    assert open_teacher(f"{source}:values").card.tells == "values"


def test_probabilities_become_logits_with_the_same_softmax(source: str):
    assert torch.allclose(told(f"{source}:probabilities").softmax(-1), OBS.softmax(-1), atol=1e-6)
    assert open_teacher(f"{source}:probabilities").card.tells == "logits"
    with pytest.raises(UserError, match="do not sum to 1"):
        told(f"{source}:not_probabilities")


def test_actions_become_nearly_certain_logits(source: str):
    expected = torch.tensor([[0.005, 0.99, 0.005], [0.99, 0.005, 0.005]])
    assert torch.allclose(told(f"{source}:actions", 3).exp(), expected)
    assert open_teacher(f"{source}:actions", 3).card.actions == 3
    with pytest.raises(UserError, match="card must say how many"):
        open_teacher(f"{source}:actions")
    with pytest.raises(UserError, match=r"outside 0\.\.0"):
        told(f"{source}:actions", 1)


def test_a_module_is_frozen_and_counted(source: str):
    teacher = open_teacher(f"{source}:Scaled")
    out, _ = says(teacher, OBS)
    module = teacher._policy  # type: ignore[attr-defined]
    assert isinstance(module, nn.Module) and not module.training and not out.requires_grad
    assert not any(parameter.requires_grad for parameter in module.parameters())
    assert teacher.card.parameters == 12


def test_a_factory_gets_its_arguments_as_text(source: str):
    assert open_teacher(f"{source}:Scaled?scale=2.5")._policy.scale == 2.5  # type: ignore[attr-defined]
    assert torch.equal(told(f"{source}:make?kind=good"), 2 * OBS)


def test_two_teachers_of_one_file_are_not_one(tmp_path: Path):
    (tmp_path / "two.py").write_text("import torch\ndef a(obs):\n    return torch.zeros(len(obs), 2)\nb = a\n")
    assert len({open_teacher(f"py:{tmp_path / 'two.py'}:{name}").card.sha256 for name in ("a", "b")}) == 2


def test_the_hash_covers_the_source_its_arguments_and_the_files_they_name(source: str, tmp_path: Path):
    weights = tmp_path / "weights.bin"
    weights.write_bytes(b"one")
    digest = lambda query: open_teacher(f"{source}:Scaled?{query}").card.sha256
    first = digest(f"path={weights}")
    assert first == digest(f"path={weights}") != digest(f"path={weights}&scale=2")
    weights.write_bytes(b"two")
    second = digest(f"path={weights}")
    assert first != second
    (tmp_path / "mine.py").write_text(SOURCE + "\n# changed\n")
    assert second != digest(f"path={weights}")


LOADED = """
import torch
network = torch.nn.Linear(3, 2)
network.load_state_dict(torch.load("my_agent.pt", weights_only=True))
class Held:
    def __init__(self):
        self.model = {"policy": network}
    def __call__(self, obs):
        return self.model["policy"](obs)
table = torch.ones(2)
def policy(obs):
    return network(obs)
def deeper(obs):
    return policy(obs)
def other(obs):
    return obs[:, :2] * table
"""


def test_the_hash_covers_the_numbers_that_its_code_read_from_elsewhere(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(LOADED)
    names = ("policy", "deeper", "Held", "other")

    def hashes(seed: int) -> list[str]:
        torch.manual_seed(seed)
        torch.save(nn.Linear(3, 2).state_dict(), "my_agent.pt")
        return [open_teacher(f"py:mine.py:{name}").card.sha256 for name in names]

    first, again, second = hashes(1), hashes(1), hashes(2)
    assert first == again and len(set(first)) == 4
    assert [a == b for a, b in zip(first, second, strict=True)] == [False, False, False, True]


def test_what_holds_itself_is_looked_at_once():
    class Policy:
        def __call__(self, obs):
            return self.me.table + len(self.kept)

    policy = Policy()
    policy.me, policy.table, policy.kept = policy, torch.ones(2), [np.zeros(3), object()]
    assert [tuple(one.shape) for one in networks_of(policy)] == [(2,)]  # a list's arrays lie deeper


def test_a_script_that_runs_is_not_run_again_in_itself(tmp_path: Path, monkeypatch):
    file = tmp_path / "script.py"
    file.write_text("raise SystemExit\n")
    script = ModuleType("__main__")
    script.__file__, script.lean = str(file), lambda obs: obs[:, :2]  # pyright: ignore
    monkeypatch.setitem(sys.modules, "__main__", script)
    assert torch.equal(says(open_teacher(f"py:{file}:lean"), torch.ones(1, 3))[0], torch.ones(1, 2))


def test_a_file_that_opens_itself_and_one_whose_neighbour_is_not_found_say_what_to_do(tmp_path: Path):
    itself, folder = tmp_path / "itself.py", tmp_path / "a b"
    itself.write_text(f"from reincarnate.teachers import open_teacher\nopen_teacher('py:{itself}:rule')\n")
    with pytest.raises(UserError, match=r'^py:\S+itself.py: it opens itself as it is imported: put .* "__main__"$'):
        open_teacher(f"py:{itself}:rule")
    folder.mkdir()
    (folder / "rule.py").write_text("from helper import sign\n")
    (folder / "helper.py").write_text("")
    with pytest.raises(UserError, match=r"No module named 'helper'; it lies beside the file: PYTHONPATH='\S+a b' lets"):
        open_teacher(f"py:{folder}/rule.py:lean")
    assert "helper" not in sys.modules


def test_a_memory_is_carried_by_the_caller(source: str):
    teacher = open_teacher(f"{source}:Memory")
    state = teacher.initial(2)
    first, state = says(teacher, OBS, state)
    second, state = says(teacher, OBS, state)
    assert torch.equal(first, OBS) and torch.equal(second, OBS + 1) and teacher.view == "rgb"
    assert teacher.card.obs_shape is None, "a shape in another view is not the task's"


IN_PLACE = """
import torch
def plain(obs):
    return obs * 0.5
def in_place(obs):
    return obs.mul_(0.5)
in_place.features = lambda obs: obs.zero_()
class Counts:
    def initial_state(self, n):
        return torch.zeros(n, 1)
    def __call__(self, obs, state):
        return obs, state.add_(1.0)
"""


def test_a_teacher_that_works_in_place_changes_nothing_that_is_kept(tmp_path):
    (tmp_path / "mine.py").write_text(IN_PLACE)
    plain, teacher, counts = (open_teacher(f"py:{tmp_path}/mine.py:{name}") for name in ("plain", "in_place", "Counts"))
    obs, begins = torch.arange(6.0).view(2, 3), torch.zeros(2, dtype=torch.bool)
    step = TimeStep(obs, begins)
    assert torch.equal(says(teacher, obs)[0], says(plain, obs)[0]) and torch.equal(obs, torch.arange(6.0).view(2, 3))
    teacher.features(obs)
    assert torch.equal(obs, torch.arange(6.0).view(2, 3))
    before = counts.predict(step, counts.initial(2))[1]
    after = counts.predict(step, before)[1]
    assert before.tolist() == [[1.0], [1.0]] and after.tolist() == [[2.0], [2.0]]


EXITS = """
import sys
def leaves(obs):
    sys.exit(0)
class Unborn:
    def __init__(self):
        sys.exit(1)
"""


def test_a_teacher_that_leaves_the_program_is_a_line(tmp_path):
    (tmp_path / "mine.py").write_text(EXITS)
    (tmp_path / "script.py").write_text("import argparse\nargparse.ArgumentParser().parse_args(['--more'])\n")
    with pytest.raises(UserError, match=r"failed on its first observations: SystemExit: sys.exit\(0\) was called"):
        says(open_teacher(f"py:{tmp_path}/mine.py:leaves"), torch.zeros(1, 2))
    with pytest.raises(UserError, match=r"Unborn could not be made: SystemExit: sys.exit\(1\)"):
        open_teacher(f"py:{tmp_path}/mine.py:Unborn")
    with pytest.raises(UserError, match=r"script.py: cannot be imported: SystemExit.*put parse_args\(\) under if"):
        open_teacher(f"py:{tmp_path}/script.py:policy")


def test_the_card_carries_what_the_teacher_says_of_itself(source: str):
    card = open_teacher(f"{source}:described").card
    assert (card.algorithm, card.actions, card.obs_shape) == ("guessing", 3, (3,))
    assert card.protocol == {"sticky_actions": 0.0} and "your own code" in card.safety


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        (":absent", "no 'absent' in it; it has Forgets, Grows, Memory, Scaled"),
        (":number", "number is a int, which cannot be called"),
        (":strange", "tells 'fortunes'"),
        (":boastful", "its card has 'colour'"),
        (":make?kind=other", "make could not be made: KeyError"),
        (":make?kind=bad", "made a int, which cannot be called"),
        (":make?kind", "comes key=value"),
        (":Scaled?size=3", "unexpected keyword argument"),
        ("", "write py:module:NAME"),
    ],
)
def test_what_cannot_be_opened_says_why(source: str, rest: str, words: str):
    with pytest.raises(UserError, match=words):
        open_teacher(source + rest)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nan", "not all finite"),
        ("flat", r"gave float32 \[2\], not logits of shape \[2, actions\]"),
        ("no_tensor", "gave a list, not a tensor"),
        ("broken", "RuntimeError: no luck today"),
        ("Grows", r"its memory became float32 \[2, 6\], where its initial_state has \[2, 3\]"),
        ("Forgets", r"its memory became a NoneType, where its initial_state has \[2, 3\]"),
        ("Unlike", r"initial_state\(2\) gave float32 \[1, 3\], not a tensor \[2, numbers\]"),
        ("Untold", r"initial_state\(2\) gave a list, not a tensor"),
        ("Unready", r"initial_state\(2\) failed: RuntimeError: not yet"),
    ],
)
def test_what_it_tells_is_checked_at_the_first_call(source: str, name: str, words: str):
    with pytest.raises(UserError, match=words):
        told(f"{source}:{name}")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("raises", "Unsteady.how=raises: failed on observations: RuntimeError: tired"),
        ("wider", r"gave float32 \[2, 6\], not logits of shape \[2, 3\]"),
        ("fewer", r"gave float32 \[1, 3\], not logits of shape \[2, 3\]"),
        ("numpy", "gave a ndarray, not a tensor"),
        ("whole", "not all finite floating-point numbers"),
    ],
)
def test_what_it_tells_is_checked_at_every_later_call_too(source: str, how: str, words: str):
    teacher = open_teacher(f"{source}:Unsteady?how={how}")
    says(teacher, OBS)
    with pytest.raises(UserError, match=words):
        says(teacher, OBS)


def test_code_that_cannot_be_imported_says_why(tmp_path: Path):
    (tmp_path / "bad.py").write_text("1 / 0")
    for uri, words in {
        f"py:{tmp_path}/bad.py:x": "ZeroDivisionError",
        f"py:{tmp_path}/none.py:x": "there is no such file",
        "py:no_such_module_at_all:x": "No module named .* py:path/to/file.py:NAME",
        f"{tmp_path}/bad.py": "say which object",
    }.items():
        with pytest.raises(UserError, match=words):
            open_teacher(uri)


def test_an_importable_module_is_found_by_its_name():
    assert torch.equal(told("py:torch:relu"), OBS.relu())


# ---- lifts -----------------------------------------------------------------------------------------


def test_play_is_greedy_for_values_and_samples_for_logits():
    logits = torch.tensor([[0.0, 2.0, 1.0]]).repeat(20_000, 1)
    rng = np.random.default_rng(0)
    assert (play(logits, "values", rng) == 1).all() and (play(logits, "logits", rng, "greedy") == 1).all()
    for how, tells in (("auto", "logits"), ("sample", "values")):
        shares = np.bincount(play(logits, tells, rng, how), minlength=3) / len(logits)
        assert np.allclose(shares, logits[0].softmax(-1).numpy(), atol=0.01)


def test_play_draws_one_number_a_row_from_the_generator_it_is_given():
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    first, twin = np.random.default_rng(3), np.random.default_rng(3)
    play(logits, "logits", first)
    twin.random(5)
    assert first.random() == twin.random()
    play(logits, "values", first)
    twin.random()
    assert first.random() == np.random.default_rng(3).random(7)[6]


def test_play_never_takes_an_impossible_action():
    logits = torch.tensor([[-1e30, 0.0, -1e30]]).repeat(1000, 1)
    assert (play(logits, "logits", np.random.default_rng(0)) == 1).all()
    with pytest.raises(ValueError, match="how is"):
        play(logits, "logits", np.random.default_rng(0), "boldly")


def test_the_action_gap_is_best_minus_second_best():
    assert torch.allclose(action_gap(torch.tensor([[1.0, 4.0, 2.5], [3.0, 3.0, 0.0]])), torch.tensor([1.5, 0.0]))
    assert torch.isinf(action_gap(torch.zeros(2, 1))).all()


def test_entropy_is_that_of_the_softmax_at_the_temperature():
    logits = torch.tensor([[0.0, 0.0], [2 * np.log(3.0), 0.0]], dtype=torch.float32)
    by_hand = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))
    assert torch.allclose(entropy(logits, 2.0), torch.tensor([np.log(2.0), by_hand], dtype=torch.float32))


def test_lifts_worked_by_hand():
    assert torch.allclose(from_probabilities(torch.tensor([[1.0, 0.0]])), torch.tensor([[0.0, np.log(1e-8)]]).float())
    assert torch.equal(from_actions(torch.tensor([0, 0]), 1), torch.zeros(2, 1))


def test_a_file_is_taken_as_it_is_now_and_leaves_nothing_beside_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    file, said = tmp_path / "rule.py", []
    for best in (0, 1):  # as long as the other, and of the same second
        file.write_text(f"import torch\ndef rule(obs):\n    return torch.eye(2)[{best}].expand(len(obs), 2)\n")
        os.utime(file, (1e9, 1e9))
        teacher = open_teacher(f"py:{file}:rule", 2)
        said.append(says(teacher, torch.zeros(1, 4))[0].argmax().item())
    assert said == [0, 1] and [path.name for path in tmp_path.iterdir()] == ["rule.py"]
