"""Policies saved as TorchScript act as their makers' do; code that does more than a policy needs is never compiled."""

import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from asking import says
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from reincarnate.cli import main
from reincarnate.errors import UserError
from reincarnate.files.atomic import sha256_file
from reincarnate.teachers import open_teacher, torchscript
from reincarnate.teachers.effort import Bounded
from reincarnate.types import Teacher

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what importing another library warns about is not ours
    import stable_baselines3

OBS = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
SCREENS = torch.randint(0, 256, (4, 2, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def mlp() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)).eval()


def saved(module: nn.Module, path: Path, example: Tensor | None = None) -> str:
    """Traced where there is an example, else compiled from its source. Returns the address."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that torch would rather have another format
        made = torch.jit.script(module) if example is None else torch.jit.trace(module, example)
        torch.jit.save(made, str(path))
    return f"torchscript:{path}"


def told(teacher: Teacher, obs: Tensor = OBS) -> Tensor:
    out, state = says(teacher, obs, teacher.initial(len(obs)))
    assert state.shape[-1] == 0 and out.dtype == torch.float32 and not out.requires_grad
    return out


def refused(uri: str, match: str, ask: Tensor | None = None, actions: int | None = None) -> None:
    with pytest.raises(UserError, match=match) as caught:
        teacher = open_teacher(uri, actions)
        if ask is not None:
            says(teacher, ask)
    assert "\n" not in str(caught.value) and "a.pt" in str(caught.value)


# ---- what others save --------------------------------------------------------------------------------


class Convolutional(nn.Module):
    """Much of what image policies are made of."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(2, 6, 3, 2, padding=1), nn.BatchNorm2d(6), nn.ELU(), nn.MaxPool2d(2), nn.Flatten()
        )
        self.norm, self.drop = nn.LayerNorm(54), nn.Dropout(0.5)
        self.advantage, self.value = nn.Linear(54, 4), nn.Linear(54, 1)
        self.scale: list[int] = [1, 255]
        self.register_buffer("gain", torch.ones(4))

    def forward(self, obs: Tensor) -> Tensor:
        x = self.drop(self.norm(self.trunk(obs.float() / self.scale[1])))
        advantage = self.advantage(x)
        return self.value(x) + (advantage - advantage.mean(1, keepdim=True)) * self.gain


class Recurrent(nn.Module):
    """A network with memory that looks at one step alone, and chooses by branches and a loop."""

    def __init__(self, kind: type[nn.Module]):
        super().__init__()
        self.memory, self.head = kind(3, 5), nn.Linear(5, 2)

    def forward(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        hidden, _state = self.memory(obs[None])
        q = self.head(hidden[0])
        if obs.shape[0] > 3:
            q = q * 2
        for i in range(3):
            q = q + 0.5 * i
        return q, q.argmax(-1)


class Attentive(nn.Module):
    def __init__(self):
        super().__init__()
        self.into, self.out = nn.Linear(1, 6), nn.Linear(18, 2)

    def forward(self, obs: Tensor) -> Tensor:
        x = self.into(obs[..., None])
        weights = torch.softmax(torch.einsum("bik,bjk->bij", x, x) / 6**0.5, -1)
        return torch.log_softmax(self.out((weights @ x).flatten(1)), -1)


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("make", [mlp, Attentive, Convolutional])
def test_a_module_acts_as_it_did(make: Callable[[], nn.Module], traced: bool, tmp_path: Path):
    torch.manual_seed(0)
    module, obs = make().eval(), SCREENS if make is Convolutional else OBS
    teacher = open_teacher(saved(module, tmp_path / "a.pt", obs[:2] if traced else None))
    assert isinstance(teacher, Teacher)
    for size in (len(obs), 1, 3, len(obs)):  # the first calls are profiled, later ones are not
        with torch.no_grad():
            assert torch.allclose(told(teacher, obs[:size]), module(obs[:size]), atol=1e-6)
    assert teacher.card.parameters == sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_branches_short_loops_and_layers_with_memory_may_lie_inside(kind: type[nn.Module], tmp_path: Path):
    module = Recurrent(kind).eval()
    uri = saved(module, tmp_path / "a.pt")
    assert torch.allclose(told(open_teacher(f"{uri}?output=0&tells=values")), module(OBS)[0].detach(), atol=1e-6)
    chosen = open_teacher(f"{uri}?output=1&tells=actions", 2)
    assert torch.equal(told(chosen).argmax(-1), module(OBS)[1]) and chosen.card.actions == 2
    refused(uri, "say which output to take, .*: 0, 1")


@pytest.mark.parametrize("kind", ["PPO", "SAC", "TD3"])
def test_actors_that_are_traced_from_sb3_act_as_it_says(kind: str, tmp_path: Path):
    """As SB3's documentation exports them."""
    env = gym.make("CartPole-v1" if kind == "PPO" else "Pendulum-v1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        agent = getattr(stable_baselines3, kind)("MlpPolicy", env, device="cpu", seed=0)
    obs = torch.randn(20, env.observation_space.shape[0], generator=torch.Generator().manual_seed(0))
    best, _ = agent.predict(obs.numpy(), deterministic=True)
    if kind == "PPO":
        policy = nn.Sequential(agent.policy.mlp_extractor.policy_net, agent.policy.action_net)
        assert (told(open_teacher(saved(policy, tmp_path / "a.pt", obs[:1])), obs).argmax(-1).numpy() == best).all()
        return
    actor = agent.policy.actor
    layers = [actor.latent_pi, actor.mu, nn.Tanh()] if kind == "SAC" else [actor.mu]
    uri = saved(nn.Sequential(*layers), tmp_path / "a.pt", obs[:1])
    teacher = open_teacher(f"{uri}?tells=means&low=-2&high=2")
    np.testing.assert_allclose(told(teacher, obs), best, atol=1e-5)
    assert teacher.card.tells == "means" and teacher.card.bounds == ((-2.0,), (2.0,))


def test_without_a_word_it_is_taken_for_logits_aloud(tmp_path: Path):
    uri = saved(mlp(), tmp_path / "a.pt")
    card = open_teacher(uri).card
    assert card.tells == "logits" and "is taken for logits" in card.warnings[0]
    assert "code was read first" in card.safety and "their work are limited" in card.safety
    asked = open_teacher(f"{uri}?tells=values").card
    assert asked.tells == "values" and not asked.warnings
    refused(f"{uri}?tells=actions", "name a task")
    refused(f"{uri}?tells=actions", "not one whole number for each", OBS, 2)
    refused(f"{uri}?tells=probabilities", "rows do not sum to 1", OBS)
    refused(uri, r"not logits \[7, 5\]", OBS, 5)


def test_the_command_line_plays_it_and_knows_it_by_its_content(tmp_path: Path, capsys):
    uri = saved(nn.Linear(4, 2), tmp_path / "policy.bin", torch.zeros(1, 4))
    main(["evaluate", f"{uri}?tells=values", "--env", "CartPole-v1", "--episodes", "2"])
    assert capsys.readouterr().out.startswith("CartPole-v1: ")
    main(["inspect", str(tmp_path / "policy.bin"), "--env", "CartPole-v1", "--episodes", "2"])
    assert "TorchScript" in capsys.readouterr().out
    torch.save(mlp().state_dict(), tmp_path / "weights.pt")
    assert not torchscript.recognises(tmp_path / "weights.pt") and not torchscript.recognises(tmp_path)


def test_a_call_that_fails_is_one_line(tmp_path: Path):
    refused(
        saved(mlp(), tmp_path / "a.pt"),
        r"failed on observations \[2, 9\]: .*(shapes cannot be multiplied|must have same reduction dim)",
        torch.zeros(2, 9),
    )


def test_only_a_module_from_observations_is_a_teacher(tmp_path: Path):
    class Two(nn.Module):
        def forward(self, obs: Tensor, state: Tensor) -> Tensor:
            return obs + state

    class Words(nn.Module):
        def forward(self, obs: Tensor) -> dict[str, Tensor]:
            return {"q": obs}

    class Pair(nn.Module):
        def forward(self, obs: Tensor) -> tuple[Tensor, int]:
            return obs, 3

    refused(saved(Two(), tmp_path / "a.pt"), "forward needs obs, state; one tensor was expected")
    refused(saved(Words(), tmp_path / "a.pt"), "forward gives a Dict")
    refused(saved(Pair(), tmp_path / "a.pt") + "?output=1", "its output is a int, not a tensor", OBS)


def test_what_was_traced_while_training_is_refused(tmp_path: Path):
    for layer in (nn.Dropout(0.5), nn.BatchNorm1d(3)):
        refused(saved(nn.Sequential(layer).train(), tmp_path / "a.pt", OBS), "was traced while training .*call .eval")


def test_a_module_that_changes_itself_is_refused(tmp_path: Path):
    class Counts(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("seen", torch.zeros(1))

        def forward(self, obs: Tensor) -> Tensor:
            self.seen.add_(1.0)
            return obs * self.seen

    class Keeps(nn.Module):
        def __init__(self):
            super().__init__()
            self.last = torch.zeros(1)

        def forward(self, obs: Tensor) -> Tensor:
            self.last = obs
            return obs

    refused(saved(Counts(), tmp_path / "a.pt"), "changes itself while it acts", OBS)
    refused(saved(Keeps(), tmp_path / "a.pt"), "has a Assign in a function")


# ---- what others might put there ---------------------------------------------------------------------


def changed(path: Path, changes: dict[str, Callable[[bytes], bytes]], more: dict[str, bytes] | None = None) -> str:
    """The archive with some members (by how their names end) changed and others added."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            change = next((change for end, change in changes.items() if name.endswith(end)), lambda content: content)
            archive.writestr(name, change(content))
        for name, content in (more or {}).items():
            archive.writestr(f"{next(iter(members)).partition('/')[0]}/{name}", content)
    return f"torchscript:{path}"


PLAIN = """class Policy(Module):
  __parameters__ = ["weight", ]
  __buffers__ = []
  weight : Tensor
  training : bool
  def forward(self: __torch__.Policy,
    obs: Tensor) -> Tensor:
    weight = self.weight
    return torch.matmul(obs, weight)
"""


class Policy(nn.Module):
    """Saved, its code is near to `PLAIN`, which may stand in its place."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, 2))

    def forward(self, obs: Tensor) -> Tensor:
        return obs @ self.weight


def with_code(folder: Path, code: str, more: dict[str, bytes] | None = None) -> str:
    path = folder / "a.pt"
    saved(Policy(), path)

    def replaced(old: bytes) -> bytes:
        place = old[old.index(b"self: ") + 6 : old.index(b",\n")].decode()
        return code.replace("__torch__.Policy", place).encode()

    with zipfile.ZipFile(path) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".py")]
    return changed(path, {name: replaced}, more)


def forward(*lines: str, inside: str = "") -> str:
    """The plain policy with these lines before its last one, and more in its class."""
    head, tail = PLAIN.rsplit("    return", 1)
    indented = "".join(f"    {line}\n" for line in lines)
    return f"{head}{indented}    return{tail}{inside}"


def test_the_plain_policy_in_hand_written_code_works(tmp_path: Path):
    assert torch.equal(told(open_teacher(with_code(tmp_path, PLAIN))), OBS @ torch.ones(3, 2))


SETSTATE = """  def __setstate__(self: __torch__.Policy,
    state: Tensor) -> NoneType:
    return None
"""
RECURSIVE = """  def again(self: __torch__.Policy,
    obs: Tensor) -> Tensor:
    _0 = (self).again(obs, )
    return _0
"""
DEFAULT = """  def more(self: __torch__.Policy,
    obs: Tensor,
    n: int=torch.len([1])) -> Tensor:
    return obs
"""
DOUBLING = "".join(
    f"  def twice{i}(self: __torch__.Policy,\n    obs: Tensor) -> Tensor:\n"
    + (
        f"    a = (self).twice{i - 1}(obs, )\n    b = (self).twice{i - 1}(a, )\n    return b\n"
        if i
        else "    return torch.neg(obs)\n"
    )
    for i in range(40)
)
WRONG = {
    "a method __setstate__, which torch would run by itself": forward(inside=SETSTATE),
    "calls torch.save, which is not on the list": forward('torch.save(obs, "/tmp/x")'),
    "calls torch.from_file": forward('x = torch.from_file("/etc/passwd", False, 10)'),
    "calls ops.aten.save": forward('ops.aten.save(obs, "/tmp/x")'),
    "calls ops.mine.run": forward("ops.mine.run(obs)"),
    "calls ops.prim.PythonOp": forward("ops.prim.PythonOp(obs)"),
    "calls torch.randn": forward("x = torch.randn([2])"),
    "calls torch.set_": forward("torch.set_(weight, weight, 5, [10], [1])"),
    "calls torch.as_strided": forward("x = torch.as_strided(weight, [1000], [1])"),
    "calls torch.warn": forward('torch.warn("hello")'),
    "calls torch.append": forward("torch.append([1], 2)"),
    "keeps ops.aten.save for later": forward("x = ops.aten.save", 'x(obs, "/tmp/x")'),
    "keeps torch.save for later": forward("x = [torch.save]"),
    "calls print, which it does not define": forward("print(obs)"),
    "calls x.numpy, which it does not define": forward("x = torch.neg(obs)", "y = x.numpy()"),
    "calls __torch__.torch.classes.mine.Evil, which it does not define": forward("x = __torch__.torch.classes.mine.Evil(3)"),
    "calls .* from within itself": forward("x = (self).again(obs, )", inside=RECURSIVE),
    "makes over 100,000 calls for one answer": forward("x = (self).twice39(obs, )", inside=DOUBLING),
    "over 100,000 calls for one answer": forward("for i in range(1000):", "  for j in range(1000):", "    x = torch.neg(obs)"),
    "a default is computed|default is computed": forward(inside=DEFAULT),
    "a loop whose number of turns is not written there": forward("while True:", "  obs = torch.neg(obs)"),
    "loop whose number of turns": forward("for i in range(torch.size(obs, 0)):", "  x = torch.neg(obs)"),
    "loop whose number of turns is not": forward("for i in range(1000000000):", "  x = torch.neg(obs)"),
    "loop whose number of turns is not bounded": forward("for i in range(torch.len(obs)):", "  obs = torch.neg(obs)"),
    "number of turns is not bounded": forward("y = torch.unbind(obs)", "for i in range(torch.len(y)):", "  obs = torch.neg(obs)"),
    "has a Assign in a function": forward("self.weight = obs"),
    "a Assign in a function .line": forward("torch = self.weight"),
    "hides a name of torch's own": PLAIN.replace("obs: Tensor", "obs: Tensor,\n    torch: int=3"),
    "has a Import outside of classes": "import os\n" + PLAIN,
    "has a With in a function": forward("with torch.neg(obs):", "  pass"),
    "has a ListComp in an expression": forward("x = [y for y in [obs]]"),
    "has a Lambda as what is called": forward("x = (lambda y: y)(obs)"),
    "has a Lambda in an expression": forward("x = [lambda y: y]"),
    "has a Assign in class": PLAIN.replace("  weight :", "  __forward_hooks__ = [1]\n  weight :"),
    "neither a module nor a named tuple": PLAIN.replace("(Module)", "(Thing)"),
    "not the code that torch prints: .*nested": forward(f"x = {'torch.neg(' * 90}obs{')' * 90}"),
    "not the code that torch prints": forward("x = " + "(" * 300 + "obs" + ")" * 300),
    "not the code that torch prints.*": "def def",
    "letters that torch does not print": forward("x\t= obs"),
    "for two modules|name m for two": forward("m = self", "m = 3"),
    "its constants are not tensors, or fewer": forward("x = CONSTANTS.c0"),
    "not code that torch compiles": forward("x = torch.neg(3, 4, 5)"),
    "operator aten::mul, which is not on the list": forward("obs = torch.reshape(obs, torch.mul([1], 1000000000))"),
    "attribute weight is not of type int": PLAIN.replace("weight : Tensor", "weight : int"),
    "attribute training is not of type List": PLAIN.replace("training : bool", "training : List[int]"),
    "attribute missing is not of type": PLAIN.replace("  training", "  missing : Tensor\n  training"),
}  # fmt: skip


@pytest.mark.parametrize("words", WRONG)
def test_code_that_does_more_than_a_policy_needs_is_refused_in_words(words: str, tmp_path: Path):
    refused(with_code(tmp_path, WRONG[words]), words)
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


def test_loops_over_the_lengths_of_lists_are_fine(tmp_path: Path):
    code = forward("size = torch.size(obs)", "for i in range(torch.sub(torch.len(size), 1)):", "  x = torch.neg(obs)")
    assert told(open_teacher(with_code(tmp_path, code))).shape == (7, 2)


def test_what_is_not_looked_at_is_not_handed_on(tmp_path: Path):
    extra = {
        "extra/x": b"x",
        "code/../../x.py": b"x",
        "bytecode.pkl": b"x",
        "code/__torch__.py.debug_pkl": b"cos\nsystem\n.",
    }
    assert told(open_teacher(with_code(tmp_path, PLAIN, extra))).shape == (7, 2)


def huge_storage(content: bytes) -> bytes:
    """The storage of six numbers is said to have 4 · 10^9."""
    assert content.count(b"K\x06") == 1
    return content.replace(b"K\x06", b"\x8a\x05" + struct.pack("<Q", 4 * 10**9)[:5])


def huge_shape(content: bytes) -> bytes:
    assert content.count(b"K\x03K\x02") == 1
    return content.replace(b"K\x03K\x02", b"M\xff\xffM\xff\xff")


def huge_memo(content: bytes) -> bytes:
    at = content.index(b"q\x00")
    return content[:at] + b"r\xff\xff\xff\x7f" + content[at + 2 :]


PARTS: dict[str, dict[str, Callable[[bytes], bytes]]] = {
    "declares 4000000000 numbers, more than the file holds": {"data.pkl": huge_storage},
    r"declares shape \(65535, 65535\), more than": {"data.pkl": huge_shape},
    "wants more room than it needs": {"data.pkl": huge_memo},
    "posix.system, which has no business there": {"data.pkl": lambda _: b"\x80\x02cposix\nsystem\n."},
    "which torch does not write": {"constants.pkl": lambda _: b"\x80\x02\x8c\x01a."},
    "not those of a module": {"data.pkl": lambda _: b"\x80\x02K\x01."},
    "damaged, or not a pickle": {"data.pkl": lambda _: b"\x80\x02h\x05."},
    "a damaged pickle": {"data.pkl": lambda content: content[:-1]},
    "nested over 64 deep": {"constants.pkl": lambda _: b"\x80\x02" + b"]" * 100 + b"a" * 99 + b"."},
    "its constants are not tensors": {"constants.pkl": lambda _: b"\x80\x02K\x01\x85."},
    "another byte order or version": {"version": lambda _: b"x"},
    "another byte order": {"byteorder": lambda _: b"big"},
    "holds NaN": {"data/0": lambda content: struct.pack("<f", float("nan")) + content[4:]},
}


@pytest.mark.parametrize("words", PARTS)
def test_data_that_are_not_as_declared_are_refused_in_words(words: str, tmp_path: Path):
    saved(Policy(), tmp_path / "a.pt")
    refused(changed(tmp_path / "a.pt", PARTS[words]), words)


def test_archives_that_are_none_are_refused(tmp_path: Path):
    path = tmp_path / "a.pt"
    path.write_bytes(b"nothing of the kind")
    refused(f"torchscript:{path}", "not a zip archive")
    torch.save({"weight": torch.ones(2)}, path)
    refused(f"torchscript:{path}", "not saved by TorchScript: it has no code")
    refused(f"torchscript:{tmp_path}/none/a.pt", "No such file")
    saved(Policy(), path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data/77", bytes(70_000_000))
    refused(f"torchscript:{path}", "unpack to far more")


def test_two_members_that_torch_would_confuse_are_refused(tmp_path: Path):
    code = {
        "code/__torch__/B.py": b"def f(x: Tensor) -> Tensor:\n  return x\n",
        "code/__torch__/b.py": b"def f(x: Tensor) -> Tensor:\n  return x\n",
    }
    refused(with_code(tmp_path, PLAIN, code), "almost the same name")


def test_objects_within_objects_without_end_are_refused(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("reincarnate.teachers.torchscript.archive.MOST_VISITS", 2)
    refused(saved(Policy(), tmp_path / "a.pt"), "over 2 values in each other")


class Repeats(nn.Module):
    """What it makes is as long as its own numbers say."""

    def __init__(self, numbers: list[int]):
        super().__init__()
        self.register_buffer("numbers", torch.tensor(numbers))

    def forward(self, obs: Tensor) -> Tensor:
        return obs[:, :2] + 0 * torch.repeat_interleave(self.numbers)[:1]


class AsObserved(nn.Module):
    """What it makes is as long as its first observation says."""

    def forward(self, obs: Tensor) -> Tensor:
        return obs[:, :2] + 0 * torch.zeros([int(obs[0, 0])])[:1]


class AsOftenAsObserved(nn.Module):
    def forward(self, obs: Tensor) -> Tensor:
        return obs[:, :2] + 0 * torch.repeat_interleave(obs[0].long())[:1]


class OfManyAtOnce(nn.Module):
    """Little work of one observation, much of many."""

    def forward(self, obs: Tensor) -> Tensor:
        n = obs.shape[0]
        return obs[:, :2] + 0 * torch.zeros([n, n, n, n, n, n, n, n]).sum()


@pytest.mark.parametrize("own", [[280_000_000, 1, 1], [2**62, 2**62, 2**62, 2**62 + 5]])
def test_what_makes_as_much_as_its_numbers_say_is_bounded_before_it_runs(own: list[int], tmp_path: Path):
    refused(saved(Repeats(own), tmp_path / "a.pt"), r"repeat_interleave would make [\d,]+ numbers", OBS)
    assert told(open_teacher(saved(Repeats([2, 3]), tmp_path / "b.pt"))).shape == (7, 2)


def test_a_mask_and_the_places_of_what_is_not_zero_are_bounded_before_they_run(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("reincarnate.files.limits.NUMBERS", 1000)
    flags, places = torch.ones(40, dtype=torch.bool), torch.zeros(30, 1, dtype=torch.int64)
    with Bounded("a.pt", 1):
        assert torch.where(flags)[0].shape == (40,) and torch.zeros(40, 3)[flags].shape == (40, 3)
        with pytest.raises(UserError, match="nonzero would make 1,600 numbers"):
            torch.where(flags.reshape([1] * 39 + [40]))
        with pytest.raises(UserError, match="index would make 1,200 numbers"):
            torch.zeros(40, 3)[flags, places]


@pytest.mark.parametrize("kind", [AsObserved, AsOftenAsObserved, OfManyAtOnce])
def test_a_size_that_observations_say_is_looked_at_each_time(kind: type[nn.Module], tmp_path: Path):
    teacher = open_teacher(saved(kind(), tmp_path / "a.pt"))
    assert told(teacher, torch.ones(1, 3)).shape == (1, 2)
    with pytest.raises(UserError, match=r"would make [\d,]+ numbers, more than a policy can need"):
        says(teacher, torch.full((16, 3), 1e9))


CHANGES = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4)


@settings(max_examples=60)
@given(CHANGES, st.sampled_from(["data.pkl", "constants.pkl", ".py", "the file"]))
def test_any_change_of_bytes_ends_in_a_teacher_or_one_line(tmp_path_factory, changes, place: str):
    path = tmp_path_factory.getbasetemp() / "changed.pt"
    saved(Policy(), path)

    def spoilt(content: bytes) -> bytes:
        new = bytearray(content)
        for where, value in changes:
            new[int(where * len(new))] = value
        return bytes(new)

    if place == "the file":
        path.write_bytes(spoilt(path.read_bytes()))
    else:
        changed(path, {place: spoilt})
    try:
        told(open_teacher(f"torchscript:{path}", 2))
    except UserError as error:
        assert "\n" not in str(error)


def test_a_file_that_is_read_in_another_way_is_another_teacher(tmp_path):
    address = saved(mlp(), tmp_path / "a.pt", OBS)
    ways = ("", "?tells=logits", "?tells=probabilities", "?output=0")
    assert len({open_teacher(address + way).card.sha256 for way in ways}) == 4
    assert open_teacher(address).card.sha256 == sha256_file(tmp_path / "a.pt")
