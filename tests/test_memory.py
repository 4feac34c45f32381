"""Memories: row by row and segment by segment say the same, episodes do not leak, and shapes are the papers'."""

import copy
import math
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import functional_call

from reincarnate.errors import UserError
from reincarnate.nets import memory
from reincarnate.nets.memory import MemoryShape
from reincarnate.nets.memory.gates import GateName, gate
from reincarnate.nets.memory.gtrxl import GTrXL, sinusoids, skew, visible

F = 5
GATES = get_args(GateName)
SHAPES = {
    "none": MemoryShape("none"),
    "lstm": MemoryShape("lstm", 16),
    "two lstm": MemoryShape("lstm", 8, 2),
    "gru": MemoryShape("gru", 16),
    **{f"gtrxl {g}": MemoryShape("gtrxl", 32, 3, 4, 16, g) for g in GATES},  # the sizes of facts: d 32, L 3, M 16
    "short gtrxl": MemoryShape("gtrxl", 8, 2, 2, 1),
}
REMEMBERING = [name for name in SHAPES if name != "none"]
KINDS = ["two lstm", "gru", "gtrxl gru", "gtrxl trxl", "short gtrxl"]


def make(name, seed=0, lively=True):
    torch.manual_seed(seed)
    made = memory.build(F, SHAPES[name])
    if lively:  # u and v are born as zeros, which would hide their part
        for key, value in made.named_parameters():
            if key in ("u", "v"):
                torch.nn.init.normal_(value)
    return made


def experience(rows, copies=3, resets=0.1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(copies, rows, F, generator=generator)
    return x, torch.rand(copies, rows, generator=generator) < resets


def by_rows(net, x, begins, carry):
    outs = []
    for t in range(x.shape[1]):
        out, carry = net(x[:, t], begins[:, t], carry)
        outs.append(out)
    return torch.stack(outs, 1), carry


def by_segments(net, x, begins, carry, lengths):
    outs = []
    for part, marks in zip(x.split(lengths, 1), begins.split(lengths, 1), strict=True):
        out, carry = net(part, marks, carry)
        outs.append(out)
    return torch.cat(outs, 1), carry


# ---- one network, two ways of reading --------------------------------------------------------------


@pytest.mark.parametrize("name, rows, resets", [(k, r, p) for k in KINDS for r in (12, 40) for p in (0.0, 0.1, 0.6)])
def test_acting_step_by_step_and_learning_on_segments_give_the_same_outputs(name, rows, resets):
    net, (x, begins) = make(name), experience(rows, resets=resets)
    acted, acted_carry = by_rows(net, x, begins, net.initial(3))
    learnt, learnt_carry = net(x, begins, net.initial(3))
    torch.testing.assert_close(learnt, acted, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(learnt_carry, acted_carry, atol=2e-6, rtol=2e-6)


@pytest.mark.parametrize("name", SHAPES)
def test_the_two_ways_are_one_function_so_that_in_doubles_nothing_but_rounding_is_left(name):
    net, (x, begins) = make(name).double(), experience(24)
    acted, acted_carry = by_rows(net, x.double(), begins, net.initial(3))
    learnt, learnt_carry = net(x.double(), begins, net.initial(3))
    torch.testing.assert_close(learnt, acted, atol=1e-13, rtol=1e-13)
    torch.testing.assert_close(learnt_carry, acted_carry, atol=1e-13, rtol=1e-13)


@pytest.mark.parametrize("rows", [12, 40])
@pytest.mark.parametrize("name", KINDS)
def test_two_segments_equal_one(name, rows):
    net, (x, begins) = make(name), experience(rows)
    whole, whole_carry = net(x, begins, net.initial(3))
    for first in (1, rows - 5):
        parts, carry = by_segments(net, x, begins, net.initial(3), [first, rows - first])
        torch.testing.assert_close(parts, whole, atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(carry, whole_carry, atol=2e-6, rtol=2e-6)


@settings(max_examples=20)
@given(
    name=st.sampled_from(["two lstm", "gru", "gtrxl gru", "short gtrxl"]),
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    resets=st.sampled_from([0.0, 0.2, 1.0]),
    seed=st.integers(0, 99),
)
def test_however_experience_is_cut_outputs_stay(name, lengths, resets, seed):
    net, (x, begins) = make(name), experience(sum(lengths), 2, resets, seed)
    whole, _ = net(x, begins, net.initial(2))
    torch.testing.assert_close(by_segments(net, x, begins, net.initial(2), lengths)[0], whole, atol=2e-6, rtol=2e-6)


@pytest.mark.parametrize("name", ["two lstm", "gru", "gtrxl gru", "gtrxl trxl"])
def test_gradients_agree_too_where_the_whole_history_lies_in_the_segment(name):
    net, (x, begins) = make(name), experience(1)
    grads = []
    for view in (lambda: net(x[:, 0], begins[:, 0], net.initial(3))[0], lambda: net(x, begins, net.initial(3))[0]):
        net.zero_grad()
        view().square().sum().backward()
        grads.append([torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in net.parameters()])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


# ---- what is seen, and what is not -----------------------------------------------------------------


@pytest.mark.parametrize("name", REMEMBERING)
def test_an_episode_knows_nothing_of_the_one_before(name):
    net, (x, begins) = make(name), experience(12, resets=0.0)
    begins[:, 7] = True
    other = x.clone()
    other[:, :7] += 1
    a, b = net(x, begins, net.initial(3))[0], net(other, begins, torch.rand(3, net.carry))[0]
    assert torch.equal(a[:, 7:], b[:, 7:]) and not torch.equal(a[:, :7], b[:, :7])
    fresh = net(x[:, 7:], begins[:, 7:], net.initial(3))[0]
    torch.testing.assert_close(a[:, 7:], fresh, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", REMEMBERING)
def test_memory_reaches_over_rows_and_segments_and_never_into_the_future(name):
    net, (x, begins) = make(name), experience(12, resets=0.0)
    out, carry = net(x[:, :6], begins[:, :6], net.initial(3))
    other = x.clone()
    other[:, 5] += 1
    out2, carry2 = net(other[:, :6], begins[:, :6], net.initial(3))
    assert torch.equal(out[:, :5], out2[:, :5]) and not torch.equal(out[:, 5], out2[:, 5])
    later, later2 = net(x[:, 6:], begins[:, 6:], carry)[0], net(x[:, 6:], begins[:, 6:], carry2)[0]
    assert not torch.allclose(later[:, 0], later2[:, 0], atol=1e-5)


def test_copies_do_not_see_each_other():
    for name in KINDS:
        net, (x, begins) = make(name), experience(12)
        alone = net(x[1:2], begins[1:2], net.initial(1))[0]
        torch.testing.assert_close(net(x, begins, net.initial(3))[0][1:2], alone, atol=1e-6, rtol=1e-6)


def test_each_layer_looks_back_exactly_as_far_as_its_length():
    net = GTrXL(F, 8, 1, 2, length=4)
    x, begins = experience(12, 1, 0.0)
    x.requires_grad_()
    net(x, begins, net.initial(1))[0][0, 9].sum().backward()
    assert (x.grad[0].abs().sum(-1) > 0).nonzero()[:, 0].tolist() == [5, 6, 7, 8, 9]


def test_the_mask_is_banded_knows_episodes_and_hides_unfilled_memory():
    begins = torch.tensor([[False, False, True, False]])
    seen = visible(begins, torch.tensor([1.0]), 3)[0].int().tolist()
    #         remembered |   new          only the last remembered row is filled
    assert seen == [
        [0, 0, 1, 1, 0, 0, 0],
        [0, 0, 1, 1, 1, 0, 0],
        [0, 0, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 1, 1],
    ]
    begins[:] = False
    full = visible(begins, torch.tensor([3.0]), 3)[0].int().tolist()
    assert full[0] == [1, 1, 1, 1, 0, 0, 0] and full[3] == [0, 0, 0, 1, 1, 1, 1]


def test_unfilled_memory_is_not_attended_to_whatever_stands_there():
    net = make("gtrxl gru")
    x, begins = experience(6, resets=0.0)
    rubbish = torch.randn(3, net.carry)
    rubbish[:, -1] = 0
    for rows in (x, x[:, 0]):
        marks = begins if rows is x else begins[:, 0]
        assert torch.equal(net(rows, marks, rubbish)[0], net(rows, marks, net.initial(3))[0])


def test_no_gradient_reaches_a_transformers_memory_and_an_lstms_may():
    x, begins = experience(6, resets=0.0)
    for name, flows in (("gtrxl gru", False), ("gtrxl trxl", False), ("lstm", True), ("gru", True)):
        net = make(name)
        carry = torch.rand(3, net.carry).requires_grad_()
        for rows, marks in ((x, begins), (x[:, 0], begins[:, 0])):
            out, after = net(rows, marks, carry)
            grad = torch.autograd.grad(out.sum(), carry, allow_unused=True)[0]
            assert (grad is not None and bool(grad.abs().sum() > 0)) is flows
            assert after.requires_grad is flows


# ---- the papers' equations ---------------------------------------------------------------------------


def test_relative_attention_is_dai_et_al_s_four_terms_written_out():
    torch.manual_seed(0)
    net = GTrXL(F, 8, 1, 2, length=3, gate_name="none").double()
    layer = net.layers[0]
    torch.nn.init.normal_(net.u), torch.nn.init.normal_(net.v)
    torch.nn.init.normal_(layer.norm1.weight), torch.nn.init.normal_(layer.norm1.bias)
    x, begins = experience(5, 1, 0.0)
    e = net.embed(x.double())[0]
    y = layer.norm1(e)
    q, k, v = (m(y).unflatten(-1, (2, 4)) for m in (layer.query, layer.key, layer.value))
    attended = torch.zeros(5, 2, 4, dtype=torch.float64)
    for i in range(5):
        for h in range(2):
            seen = range(max(0, i - 3), i + 1)
            rates = [10_000.0 ** -(j / 8) for j in (0, 2, 4, 6)]
            scores = []
            for j in seen:
                wave = [math.sin((i - j) * r) for r in rates] + [math.cos((i - j) * r) for r in rates]
                r_ij = (layer.position.weight @ torch.tensor(wave, dtype=torch.float64)).unflatten(-1, (2, 4))[h]
                terms = q[i, h] @ k[j, h] + q[i, h] @ r_ij + net.u[h] @ k[j, h] + net.v[h] @ r_ij
                scores.append(terms / 2)  # √4
            for weight, j in zip(torch.stack(scores).softmax(0), seen, strict=True):
                attended[i, h] += weight * v[j, h]
    hidden = e + layer.out(attended.flatten(1)).relu()
    expected = hidden + layer.narrow(layer.wide(layer.norm2(hidden)).relu()).relu()
    torch.testing.assert_close(net(x.double(), begins, net.initial(1))[0][0], expected, atol=1e-6, rtol=1e-6)


def test_gates_compute_their_equations_on_single_numbers():
    x, y = torch.tensor([0.5]), torch.tensor([-1.0])
    sigma = lambda a: 1 / (1 + math.exp(-a))
    expected = {
        "none": -0.5,
        "trxl": -0.5,
        "input": sigma(1.0) * 0.5 - 1.0,  # every weight is 2
        "output": 0.5 - sigma(1.0 - 1),
        "highway": sigma(1.0 + 1) * 0.5 - (1 - sigma(1.0 + 1)),
        "sigtanh": 0.5 + sigma(-2.0 - 1) * math.tanh(-2.0),
    }
    r, z = sigma(-2.0 + 1.0), sigma(-2.0 + 1.0 - 2)
    expected["gru"] = (1 - z) * 0.5 + z * math.tanh(-2.0 + 2 * r * 0.5)
    assert set(expected) == set(GATES)
    for name, number in expected.items():
        made = gate(name, 1, None)
        for key, value in made.named_parameters():
            if key != "b":
                torch.nn.init.constant_(value, 2.0)
        assert made(x, y).item() == pytest.approx(number, abs=1e-6), name


def test_a_newborn_gru_gate_lets_an_eighth_through():
    torch.manual_seed(0)
    made, x = gate("gru", 64, None), torch.randn(4096, 64)
    z = torch.sigmoid(made.w(torch.relu(torch.randn(4096, 64))).chunk(3, -1)[1] + made.u(x).chunk(2, -1)[1] - made.b)
    assert 0.11 < z.mean() < 0.15  # σ(−2) = 0.119 at zero input; σ is convex there, so spread lifts the mean
    assert torch.sigmoid(-made.b)[0].item() == pytest.approx(0.1192, abs=1e-4)


def test_a_newborn_gtrxl_is_nearly_without_memory_and_one_with_open_gates_is_not():
    def influence(bias):
        torch.manual_seed(0)
        net = GTrXL(F, 32, 2, 4, 8, "gru", bias)
        x, begins = experience(8, 16, 0.0)
        other = x.clone()
        other[:, :7] = experience(7, 16, 0.0, seed=1)[0]
        moved = (net(x, begins, net.initial(16))[0] - net(other, begins, net.initial(16))[0])[:, 7].norm()
        return moved / net(x, begins, net.initial(16))[0][:, 7].norm()

    assert influence(2.0) < 0.5 * influence(0.0) and influence(2.0) < 0.05


def test_parameters_are_as_many_as_the_formulas_say():
    d, f, layers, heads, length = 64, F, 2, 4, 32
    gates = {
        "gru": 6 * d * d + d,
        "input": d * d,
        "output": d * d + d,
        "highway": d * d + d,
        "sigtanh": 2 * d * d + d,
        "none": 0,
        "trxl": 0,
    }
    for name, of_gate in gates.items():
        layer = 2 * 2 * d + 5 * d * d + (4 * d * d + 4 * d) + (4 * d * d + d) + 2 * of_gate
        net = memory.build(f, MemoryShape("gtrxl", d, layers, heads, length, name))
        assert count(net) == f * d + d + layers * layer + 2 * d
        assert net.carry == layers * length * d + 1 and net.features == d
    for name, blocks, states in (("lstm", 4, 2), ("gru", 3, 1)):
        net = memory.build(f, MemoryShape(name, d, layers))
        assert count(net) == blocks * ((f * d + d * d + 2 * d) + (layers - 1) * (2 * d * d + 2 * d))
        assert net.carry == states * layers * d
    assert count(memory.build(f, MemoryShape("none"))) == 0


def count(net):
    return sum(p.numel() for p in net.parameters())


def test_an_lstm_and_a_gru_are_pytorchs():
    x, begins = experience(9, resets=0.0)
    for name in ("two lstm", "gru"):
        net = make(name)
        torch.testing.assert_close(net(x, begins, net.initial(3))[0], net.net(x)[0])


def test_positions_are_distances_and_skewing_puts_them_beside_their_rows():
    waves = sinusoids(3, 4)
    assert waves[-1].tolist() == [0, 0, 1, 1] and waves[0, 0] == pytest.approx(math.sin(3))
    by_distance = torch.tensor([[13.0, 12, 11, 10], [23, 22, 21, 20]])  # row t, distances 3 … 0
    assert skew(by_distance).tolist() == [[13, 12, 11, 10, 0], [0, 23, 22, 21, 20]]


# ---- what others build on ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHAPES)
def test_a_memory_keeps_to_its_face(name):
    net, (x, begins) = make(name), experience(4)
    assert net.initial(3).shape == (3, net.carry) and net.initial(3).dtype == torch.float32
    assert not net.initial(3).any()
    for rows, marks, shape in ((x, begins, (3, 4)), (x[:, 0], begins[:, 0], (3,))):
        before = torch.rand(3, net.carry)
        kept = before.clone()
        out, carry = net(rows, marks, before)
        assert out.shape == (*shape, net.features) and carry.shape == (3, net.carry)
        assert torch.equal(before, kept), "a stored carry must not change"
    again = copy.deepcopy(net)
    assert torch.equal(net(x, begins, net.initial(3))[0], again(x, begins, again.initial(3))[0])
    weights = {k: v.clone() for k, v in make(name, seed=1).state_dict().items()}
    lent = functional_call(net, weights, (x, begins, net.initial(3)))[0]
    net.load_state_dict(weights)
    torch.testing.assert_close(net(x, begins, net.initial(3))[0], lent)


def test_a_nan_in_an_lstms_carry_ends_with_its_episode():
    x, begins = experience(2, resets=0.0)
    for name in ("lstm", "gru"):
        net = make(name)
        bad = torch.full((3, net.carry), torch.nan)
        assert net(x, begins | True, bad)[0].isfinite().all()


@pytest.mark.parametrize("name", ["lstm", "gtrxl gru"])
def test_a_memory_learns_to_recall_what_it_saw_five_rows_ago(name):
    torch.manual_seed(0)
    net, head = make(name, lively=False), torch.nn.Linear(SHAPES[name].memory_size, 2)
    optimizer = torch.optim.Adam([*net.parameters(), *head.parameters()], 1e-2)
    rng = np.random.default_rng(0)
    begins = torch.zeros(32, 6, dtype=torch.bool)
    begins[:, 0] = True
    accuracy = []
    for _ in range(300):
        x, bit = torch.zeros(32, 6, F), torch.from_numpy(rng.integers(2, size=32))
        x[torch.arange(32), 0, bit] = 1
        x[:, 5, 4] = 1
        answer = head(net(x, begins, net.initial(32))[0][:, 5])
        loss = torch.nn.functional.cross_entropy(answer, bit)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        accuracy.append((answer.argmax(1) == bit).float().mean().item())
        if len(accuracy) >= 10 and min(accuracy[-10:]) == 1:
            return
    raise AssertionError(f"still {np.mean(accuracy[-10:]):.0%} right")


# ---- bad input -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape, words",
    [
        (MemoryShape("gtrxl", memory_length=0), "memory_length is 0"),
        (MemoryShape("gtrxl", 30, memory_heads=4), "size 30 cannot have 4 heads"),
        (MemoryShape("gtrxl", 9, memory_heads=3), "must be even"),
        (MemoryShape("gtrxl", memory_heads=0), "0 heads"),
        (MemoryShape("lstm", -1), "memory_size is -1"),
        (MemoryShape("lstm", memory_layers=-2), "memory_layers is -2"),
    ],
)
def test_a_memory_that_cannot_be_built_is_refused_in_one_line(shape, words):
    with pytest.raises(UserError, match=words) as error:
        memory.build(F, shape)
    assert "\n" not in str(error.value)


def test_a_carry_of_the_wrong_width_is_refused():
    x, begins = experience(2)
    for name in REMEMBERING:
        net = make(name)
        with pytest.raises(UserError, match=f"carry of width {net.carry + 1}.*has {net.carry} numbers"):
            net(x, begins, torch.zeros(3, net.carry + 1))
