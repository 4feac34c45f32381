"""Actors and state-action critics: what they tell, how they are drawn, and that n critics at once are n critics."""

import dataclasses
import math

import pytest
import torch
from safetensors.torch import load, save

from reincarnate.errors import UserError
from reincarnate.nets import actors, dense, init, qcritics
from reincarnate.types import TaskSpec

BOX = TaskSpec("Box-v0", (5,), "float32", 3, 1, None, {}, ((-1.0,) * 3, (1.0,) * 3))
CHOICE = TaskSpec("Choice-v0", (5,), "float32", 4, 1, None, {})
GRID = TaskSpec("Grid-v0", (10, 10, 4), "bool", 6, 1, None, {})
SMALL = dense.DenseShape((16, 16))
OBS = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
ACTION = torch.rand(7, 3, generator=torch.Generator().manual_seed(1)) * 2 - 1
SHAPES = {
    "plain": SMALL,
    "norms": dataclasses.replace(SMALL, norm="every"),
    "acme": dataclasses.replace(SMALL, norm="first", activation="elu", init="uniform"),
    "tanh": dataclasses.replace(SMALL, activation="tanh", init="orthogonal", head_gain=0.01),
    "simba": dense.DenseShape((16,), simba=2),
}


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


# ---- what actors tell -------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize(("kind", "numbers"), [("means", 3), ("gaussian", 6), ("squashed", 6)])
def test_a_continuous_actor_tells_its_kind(shape, kind, numbers):
    actor = actors.build_actor(BOX, shape, kind, 0)
    assert actor.kind == kind
    assert actor(OBS).shape == (7, numbers)
    assert actor(OBS).isfinite().all()


def test_a_deterministic_actor_stays_in_the_box():
    actor = actors.build_actor(BOX, SMALL, "means", 0)
    assert actor(1000 * OBS).abs().max() <= 1


def test_a_discrete_actor_tells_logits_of_flat_observations_and_of_grids():
    assert actors.build_actor(CHOICE, SMALL, "logits", 0)(OBS).shape == (7, 4)
    grids = torch.ones(2, 10, 10, 4, dtype=torch.bool)
    assert actors.build_actor(GRID, dense.DenseShape((32,), init="orthogonal"), "logits", 0)(grids).shape == (2, 6)


@pytest.mark.parametrize(("spec", "kind"), [(BOX, "logits"), (CHOICE, "means"), (CHOICE, "squashed")])
def test_an_actor_that_does_not_suit_the_tasks_actions_is_refused(spec, kind):
    with pytest.raises(UserError, match=f"an actor that tells '{kind}' does not suit {spec.id}"):
        actors.build_actor(spec, SMALL, kind, 0)


def test_ppos_spread_is_a_vector_of_its_own_and_sacs_depends_on_the_state():
    ppo = actors.build_actor(BOX, SMALL, "gaussian", 0, dataclasses.replace(actors.PPO_SPREAD, initial=-2.0))
    torch.testing.assert_close(ppo(OBS)[:, 3:], torch.full((7, 3), -2.0))
    assert ppo.state_dict()["head.log_std"].shape == (3,)
    sac = actors.build_actor(BOX, SMALL, "squashed", 0)
    assert sac(OBS)[:, 3:].std(0).min() > 0


@pytest.mark.parametrize(
    ("spread", "expected"),
    [
        (actors.Spread(bound="clamp", low=-20.0, high=2.0), [-20.0, 0.0, 2.0]),
        (actors.Spread(bound="tanh", low=-5.0, high=2.0), [-5.0, -1.5, 2.0]),
        (actors.Spread(bound="none"), [-100.0, 0.0, 100.0]),
    ],
)
def test_the_bounds_of_the_spread_by_hand(spread, expected):
    torch.testing.assert_close(spread.bounded(torch.tensor([-100.0, 0.0, 100.0])), torch.tensor(expected))


def test_iqls_mean_is_a_tanh_and_its_actions_a_clipped_gaussians():
    actor = actors.build_actor(BOX, SMALL, "gaussian", 0, actors.PPO_SPREAD, tanh_mean=True)
    assert actor(1000 * OBS)[:, :3].abs().max() <= 1


def test_an_actor_critic_shares_a_torso_only_where_it_is_asked_to():
    shared = actors.build_actor_critic(CHOICE, SMALL, None, "logits", 0)
    apart = actors.build_actor_critic(CHOICE, SMALL, dense.DenseShape((8,)), "logits", 0)
    for network in (shared, apart):
        logits, value = network(OBS)
        assert (logits.shape, value.shape) == ((7, 4), (7,))
        torch.testing.assert_close(network.tell(OBS), logits)
    names = {name.split(".")[0] for name in apart.state_dict()}
    assert names == {"torso", "head", "critic_torso", "value"}
    assert not any(name.startswith("critic_torso") for name in shared.state_dict())


def test_state_values_have_one_number_an_observation():
    assert actors.build_value(BOX, SMALL, 0)(OBS).shape == (7,)


# ---- drawing actions --------------------------------------------------------------------------------


def test_a_drawn_squashed_action_by_hand():
    # mean 0.5, σ 1, noise 0: a = tanh 0.5, density of the normal at its mean over the slope of tanh
    drawn = actors.drawn("squashed", torch.tensor([[0.5, 0.0]]), torch.zeros(1, 1))
    torch.testing.assert_close(drawn.action, torch.tensor([[math.tanh(0.5)]]))
    expected = -0.5 * math.log(2 * math.pi) - math.log(1 - math.tanh(0.5) ** 2)
    torch.testing.assert_close(drawn.log_prob, torch.tensor([expected]))


def test_a_drawn_clipped_action_keeps_the_log_probability_of_the_one_before_the_clip():
    drawn = actors.drawn("gaussian", torch.tensor([[0.5, 0.0]]), torch.tensor([[2.0]]))
    torch.testing.assert_close(drawn.action, torch.tensor([[1.0]]))
    torch.testing.assert_close(drawn.base, torch.tensor([[2.5]]))
    torch.testing.assert_close(drawn.log_prob, torch.tensor([-2.0 - 0.5 * math.log(2 * math.pi)]))


def test_a_drawn_action_passes_gradients_to_mean_and_spread():
    x = torch.tensor([[0.5, -1.0]], requires_grad=True)
    actors.drawn("squashed", x, torch.ones(1, 1)).action.sum().backward()
    slope = 1 - math.tanh(0.5 + math.exp(-1)) ** 2
    torch.testing.assert_close(x.grad, torch.tensor([[slope, slope * math.exp(-1)]]))


# ---- critics ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("outputs", [1, 25])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_n_critics_at_once_are_n_critics(shape, outputs):
    critics = qcritics.build_critics(3, 5, 3, shape, seed=0, outputs=outputs)
    together = critics(OBS, ACTION)
    assert together.shape == ((3, 7) if outputs == 1 else (3, 7, 25))
    x = torch.cat([OBS, ACTION], -1)
    for i in range(3):
        out = member(critics, shape, i)(x)
        torch.testing.assert_close(together[i], out[:, 0] if outputs == 1 else out)
    assert (together[0] - together[1]).abs().max() > 0


def member(critics, shape, i):
    """One critic as a network of plain layers with the weights of the i-th."""
    torso = (
        dense.Simba(8, 16, shape.simba) if shape.simba else dense.Dense(8, shape.hidden, shape.activation, shape.norm)
    )
    alone = torch.nn.ModuleDict({"torso": torso, "head": torch.nn.Linear(16, critics.outputs)})
    weights = {n: w[i].T if w.shape[1] > 1 else w[i, 0] for n, w in critics.state_dict().items()}
    alone.load_state_dict(weights)
    return lambda x: alone["head"](alone["torso"](x))


def test_each_members_gradient_is_its_own():
    critics = qcritics.build_critics(2, 5, 3, SMALL, seed=0)
    critics(OBS, ACTION)[0].sum().backward()
    gradient = critics.head.weight.grad
    assert gradient is not None
    assert gradient[0].abs().max() > 0
    assert gradient[1].abs().max() == 0


def test_the_gradient_with_respect_to_the_action_reaches_the_actor():
    critics, action = qcritics.build_critics(2, 5, 3, SMALL, seed=0), ACTION.clone().requires_grad_()
    critics(OBS, action)[0].sum().backward()
    assert action.grad is not None
    assert action.grad.abs().min() > 0


@pytest.mark.parametrize(
    ("shape", "words"), [(dense.DenseShape(()), "one layer or more"), (dense.DenseShape((8, 8), simba=1), "one width")]
)
def test_a_shape_that_cannot_be_built_is_refused(shape, words):
    with pytest.raises(UserError, match=words):
        qcritics.build_critics(2, 5, 3, shape, seed=0)
    with pytest.raises(UserError, match=words):
        actors.build_actor(BOX, shape, "means", 0)


# ---- fresh weights ----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_fresh_weights_are_a_function_of_the_seed_alone(shape):
    def all_of(seed):
        yield actors.build_actor(BOX, shape, "squashed", seed)
        yield actors.build_actor_critic(BOX, shape, shape, "gaussian", seed)
        yield actors.build_value(BOX, shape, seed)
        yield qcritics.build_critics(2, 5, 3, shape, seed)

    first = list(all_of(7))
    torch.rand(5)  # another state of the global generator
    before = torch.get_rng_state()
    for one, again, other in zip(first, all_of(7), all_of(8), strict=True):
        assert same(one, again)
        assert not same(one, other)
    assert torch.equal(before, torch.get_rng_state())


def test_weights_go_through_safetensors():
    critics = qcritics.build_critics(2, 5, 3, SHAPES["simba"], seed=0)
    other = qcritics.build_critics(2, 5, 3, SHAPES["simba"], seed=1)
    other.load_state_dict(load(save(critics.state_dict())))
    torch.testing.assert_close(other(OBS, ACTION), critics(OBS, ACTION), rtol=0, atol=0)


def test_the_orthogonal_init_of_ppo():
    shape = dense.DenseShape((16, 16), activation="tanh", init="orthogonal", head_gain=0.01)
    network = actors.build_actor_critic(CHOICE, shape, dataclasses.replace(shape, head_gain=1.0), "logits", 0)
    weights = network.state_dict()
    hidden, policy, value = (weights[n] for n in ("torso.layers.1.weight", "head.logits.weight", "value.weight"))
    torch.testing.assert_close(hidden @ hidden.T, 2 * torch.eye(16), rtol=0, atol=1e-5)
    torch.testing.assert_close(policy @ policy.T, 1e-4 * torch.eye(4), rtol=0, atol=1e-8)
    torch.testing.assert_close(value @ value.T, torch.eye(1), rtol=0, atol=1e-5)
    assert all(w.abs().max() == 0 for n, w in weights.items() if n.endswith("bias"))


def test_a_shared_torso_leaves_the_value_head_its_own_gain():
    shape = dense.DenseShape((16,), init="orthogonal", head_gain=0.01)
    value = actors.build_actor_critic(CHOICE, shape, None, "logits", 0).state_dict()["value.weight"]
    torch.testing.assert_close(value.norm(), torch.tensor(1.0))


def test_the_orthogonal_init_reaches_convolutions_whatever_their_order_in_memory():
    for order in (torch.contiguous_format, torch.channels_last):
        conv = torch.nn.Conv2d(3, 8, 3).to(memory_format=order)
        with torch.random.fork_rng(devices=[]):
            init.redraw(conv, "orthogonal")
        rows = conv.weight.detach().reshape(8, -1)
        torch.testing.assert_close(rows @ rows.T, 2 * torch.eye(8), rtol=0, atol=1e-5)


def test_the_uniform_and_the_default_init_keep_their_bounds():
    for name, limit in (("uniform", 0.333 * math.sqrt(3 / 64)), ("default", 1 / 8)):
        layer = torch.nn.Linear(64, 64)
        with torch.random.fork_rng(devices=[]):
            init.draw(layer.weight, layer.bias, name, 1.0)
        assert 0.98 * limit < layer.weight.abs().max() <= limit
        assert (layer.bias.abs().max() == 0) == (name == "uniform")
