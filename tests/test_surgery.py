"""Surgery on weights: functions stay, reports are exact, inputs are left alone. And the plasticity operations."""

import numpy as np
import pytest
import torch
from torch import nn

from reincarnate.errors import UserError
from reincarnate.nets.flat import Flat
from reincarnate.nets.noisy import NoisyLinear, draw_noise, noise_size, set_noise
from reincarnate.nets.plasticity import (
    dormant,
    following,
    freeze,
    frozen_mask,
    reset_dormant,
    reset_head,
    shrink_and_perturb,
    touched,
)
from reincarnate.nets.qnet import ImplicitQNetwork, QNetwork
from reincarnate.nets.surgery import add_actions, add_channels, deepen, keep_actions, load, widen
from reincarnate.nets.torsos import TORSOS

VECTOR, GRID, SCREENS = (5,), (6, 6, 3), (4, 84, 84)


def network(
    torso="mlp", obs=VECTOR, hidden=(8, 6), actions=3, dueling=False, outputs=1, norm=False, linear=nn.Linear, seed=0
):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = QNetwork(TORSOS[torso](obs, hidden, norm, linear), actions, outputs, dueling, linear)
        with torch.no_grad():
            for p in net.parameters():
                p.add_(0.01 * torch.randn(p.shape))
        return net


def look(*shape, batch=7):
    return torch.from_numpy(np.random.default_rng(3).random((batch, *shape), np.float32))


def same(net, other, weights, obs, actions=slice(None)):
    """Whether `other`, with these weights, gives the values of `net`."""
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    report = load(other, weights)
    assert not (report.missing or report.unused or report.mismatched), report
    torch.testing.assert_close(other(obs)[:, actions], net(obs), rtol=1e-5, atol=1e-5)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


@pytest.mark.parametrize("dueling", [False, True])
def test_a_wider_perceptron_computes_the_same(dueling):
    net = network(dueling=dueling)
    rng = np.random.default_rng(0)
    weights = widen(net.state_dict(), "torso.layers.0", ["torso.layers.1"], 19, rng)
    weights = widen(weights, "torso.layers.1", following(net)["torso.layers.1"], 7, rng)
    same(net, network(hidden=(19, 7), dueling=dueling), weights, look(*VECTOR))


def test_a_wider_convolution_before_fully_connected_layers_computes_the_same():
    net, other = network("minatar", GRID), network("minatar", GRID)
    other.torso.conv1 = nn.Conv2d(3, 21, 3)
    other.torso.fc.layers[0] = nn.Linear(21 * 16, 8)
    rng = np.random.default_rng(0)
    weights = widen(net.state_dict(), "torso.conv1", ["torso.fc.layers.0"], 21, rng, outputs_per_unit=16)
    same(net, other, weights, look(*GRID))


def test_a_wider_convolution_before_another_computes_the_same():
    net, other = (network("nature", SCREENS, (8,)) for _ in range(2))
    other.torso.conv1, other.torso.conv2 = nn.Conv2d(4, 40, 8, stride=4), nn.Conv2d(40, 64, 4, stride=2)
    weights = widen(net.state_dict(), "torso.conv1", ["torso.conv2"], 40, np.random.default_rng(0))
    same(net, other, weights, look(*SCREENS, batch=2))


def test_a_wider_noisy_network_computes_the_same_without_noise():
    net, other = network(linear=NoisyLinear), network(hidden=(11, 6), linear=NoisyLinear)
    weights = widen(net.state_dict(), "torso.layers.0", ["torso.layers.1"], 11, np.random.default_rng(0))
    same(net, other, weights, look(*VECTOR))
    spread = [w["torso.layers.1.weight_sigma"].square().sum() for w in (net.state_dict(), weights)]
    torch.testing.assert_close(*spread)


def test_noise_parts_the_copies_and_leaves_the_originals():
    weights = network().state_dict()
    wide = widen(weights, "torso.layers.0", ["torso.layers.1"], 80, np.random.default_rng(0), noise=0.1)
    first = wide["torso.layers.0.weight"]
    assert torch.equal(first[:8], weights["torso.layers.0.weight"])
    assert len(first.unique(dim=0)) == 80
    distance = torch.cdist(first[8:], first[:8]).min(1).values / 5**0.5 / first[:8].std()
    assert 0.05 < distance.mean() < 0.2


def test_what_cannot_be_widened_is_refused():
    weights, rng = network().state_dict(), np.random.default_rng(0)
    with pytest.raises(UserError, match=r"torso\.norms\.0"):
        widen(network(norm=True).state_dict(), "torso.layers.0", ["torso.layers.1"], 9, rng)
    with pytest.raises(UserError, match=r"torso\.norm1"):
        grid = network("minatar", GRID, norm=True).state_dict()
        widen(grid, "torso.conv1", ["torso.fc.layers.0"], 20, rng, outputs_per_unit=16)
    with pytest.raises(UserError, match="cannot be widened to 4"):
        widen(weights, "torso.layers.0", ["torso.layers.1"], 4, rng)
    with pytest.raises(UserError, match="takes 8 inputs, not 8 units × 2"):
        widen(weights, "torso.layers.0", ["torso.layers.1"], 9, rng, outputs_per_unit=2)
    with pytest.raises(UserError, match=r"there are: advantage, torso\.layers\.0"):
        widen(weights, "torso.conv9", ["torso.layers.1"], 9, rng)


@pytest.mark.parametrize("after, new, hidden", [(0, 1, (8, 8, 6)), (1, 2, (8, 6, 6))])
def test_a_deeper_perceptron_computes_the_same(after, new, hidden):
    net = network()
    weights = deepen(net.state_dict(), f"torso.layers.{after}", f"torso.layers.{new}")
    same(net, network(hidden=hidden), weights, look(*VECTOR))


def test_an_identity_layer_behind_a_convolution_computes_the_same():
    net = network("minatar", GRID)
    weights = deepen(net.state_dict(), "torso.conv1", "torso.fc.layers.0")
    same(net, network("minatar", GRID, (256, 8, 6)), weights, look(*GRID))


def test_a_deeper_noisy_network_computes_the_same_with_its_noise():
    net, other = network(linear=NoisyLinear), network(hidden=(8, 8, 6), linear=NoisyLinear)
    noise = [draw_noise(noise_size(n), np.random.default_rng(1)) for n in (net, other)]
    set_noise(net, noise[0])
    # the added layer, of 8 inputs and 8 outputs, has noise of its own
    set_noise(other, torch.cat([noise[0][:13], noise[1][:16], noise[0][13:]]))
    same(net, other, deepen(net.state_dict(), "torso.layers.0", "torso.layers.1"), look(*VECTOR))


@pytest.mark.parametrize("after, new", [("torso.layers.0", "torso.layers.2"), ("torso.layers.0", "torso.extra")])
def test_a_layer_that_does_not_come_next_is_refused(after, new):
    with pytest.raises(UserError, match="comes next"):
        deepen(network().state_dict(), after, new)


def test_deepening_a_normalised_network_is_refused():
    with pytest.raises(UserError, match=r"torso\.norms\.0"):
        deepen(network(norm=True).state_dict(), "torso.layers.0", "torso.layers.1")


@pytest.mark.parametrize("outputs", [1, 5])
@pytest.mark.parametrize("dueling", [False, True])
@pytest.mark.parametrize("given", [False, True])
def test_old_actions_keep_their_values_when_actions_are_added(outputs, dueling, given):
    net = network(dueling=dueling, outputs=outputs)
    row = {"advantage.weight": torch.ones(outputs, 6), "advantage.bias": torch.ones(outputs)}
    weights = add_actions(net.state_dict(), 7, atoms=outputs, fill=row if given else None)
    other = network(actions=7, dueling=dueling, outputs=outputs)
    same(net, other, weights, look(*VECTOR), actions=slice(3))
    if not given:
        values = other(look(*VECTOR))
        torch.testing.assert_close(values[:, 6], values[:, :3].mean(1))


@pytest.mark.parametrize("linear", [nn.Linear, NoisyLinear])
def test_actions_that_stay_keep_their_values_when_others_go(linear):
    net, other = (network(actions=actions, dueling=True, linear=linear) for actions in (5, 2))
    weights = keep_actions(net.state_dict(), [3, 1], ("advantage",))
    other.load_state_dict(weights)
    torch.testing.assert_close(other(look(*VECTOR)), net(look(*VECTOR))[:, [3, 1]])


def test_noisy_heads_get_actions_too():
    net = network(linear=NoisyLinear, dueling=True)
    other = network(actions=5, linear=NoisyLinear, dueling=True)
    same(net, other, add_actions(net.state_dict(), 5), look(*VECTOR), actions=slice(3))


def test_actions_that_do_not_fit_the_head_are_refused():
    weights = network(actions=4).state_dict()
    with pytest.raises(UserError, match="has 4 rows"):
        add_actions(weights, 3)
    with pytest.raises(UserError, match="has 4 rows"):
        add_actions(weights, 8, atoms=3)
    with pytest.raises(UserError, match=r"fill needs 'advantage\.weight'"):
        add_actions(weights, 5, fill={})


@pytest.mark.parametrize("position, old", [("end", slice(3)), ("start", slice(2, 5))])
def test_new_observation_channels_change_nothing(position, old):
    net, other = network("minatar", GRID), network("minatar", (6, 6, 5))
    weights = add_channels(net.state_dict(), "torso.conv1", 5, position)
    load(other, weights)
    obs = look(6, 6, 5)
    torch.testing.assert_close(other(obs), net(obs[..., old]), rtol=1e-5, atol=1e-5)
    with pytest.raises(UserError, match="takes 3 channels"):
        add_channels(net.state_dict(), "torso.conv1", 2)


def test_load_reports_exactly_what_it_did():
    net, other = network(seed=1), network(actions=4, hidden=(8, 6, 6))
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    given = {f"body.{name}": tensor for name, tensor in net.state_dict().items()} | {"steps": torch.tensor(3)}
    report = load(other, given, ((r"body\.", ""),))
    moved = tuple(f"torso.layers.{i}.{part}" for i in (0, 1) for part in ("weight", "bias"))
    assert report.loaded == moved
    assert report.missing == ("torso.layers.2.weight", "torso.layers.2.bias")
    assert report.unused == ("steps",)
    assert report.mismatched == (("advantage.weight", (3, 6), (4, 6)), ("advantage.bias", (3,), (4,)))
    for name, tensor in other.state_dict().items():
        assert torch.equal(tensor, net.state_dict()[name] if name in moved else before[name])
    assert str(report).startswith("loaded: 4\nnot in the weights: ")
    assert "advantage.weight: [3, 6] there, [4, 6] here" in str(report).replace("weight [", "weight: [")


def test_load_keeps_parameters_where_a_flat_vector_has_them():
    net = network()
    flat = Flat(net)
    load(net, network(seed=1).state_dict())
    assert torch.equal(flat.data, torch.cat([p.reshape(-1) for p in network(seed=1).parameters()]))


def test_renames_apply_the_first_pattern_that_fits_and_may_use_groups():
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    renames = ((r"torso\.layers\.(\d)", r"torso.layers.1\1"), (r"0\.", "torso.layers.0."), ("2", "torso.layers.1"))
    report = load(network(obs=(2,), hidden=(2, 2)), net.state_dict(), renames)
    assert len(report.loaded) == 4 and not report.unused


def test_weights_of_which_none_fits_are_refused():
    with pytest.raises(UserError, match="no weight fits"):
        load(network(), {"elsewhere": torch.zeros(3)})
    with pytest.raises(UserError, match="given none; wanted torso"):
        load(network(), {})
    with pytest.raises(UserError, match=r"given value\.bias \[3\]; wanted .* and [0-9] more"):
        load(network(dueling=True), {"value.bias": torch.zeros(3)})
    with pytest.raises(UserError, match="more than one"):
        load(network(), {"a": torch.zeros(3), "b": torch.zeros(3)}, (("a|b", "advantage.bias"),))
    with pytest.raises(UserError, match="bad rename"):
        load(network(), {"a": torch.zeros(3)}, (("(", ""),))


def test_shrink_and_perturb_mixes_what_is_named():
    weights = {"torso.w": torch.tensor([1.0, 2.0]), "head.w": torch.tensor([4.0])}
    fresh = {"torso.w": torch.tensor([3.0, -2.0]), "head.w": torch.tensor([0.0])}
    mixed = shrink_and_perturb(weights, fresh, 0.75)
    assert mixed["torso.w"].tolist() == [1.5, 1.0] and mixed["head.w"].tolist() == [3.0]
    assert shrink_and_perturb(weights, fresh, 0.75, "head")["torso.w"].tolist() == [1.0, 2.0]
    assert shrink_and_perturb(weights, fresh, 0.5, lambda name: name == "head.w")["head.w"].tolist() == [2.0]
    assert weights["torso.w"].tolist() == [1.0, 2.0]
    with pytest.raises(UserError, match="between 0 and 1"):
        shrink_and_perturb(weights, fresh, 1.5)
    with pytest.raises(UserError, match="no fresh weights"):
        shrink_and_perturb(weights, {}, 0.5)


def test_a_reset_head_leaves_the_torso():
    weights, fresh = network().state_dict(), network(seed=1, actions=5).state_dict()
    new = reset_head(weights, fresh)
    assert new.keys() == weights.keys()
    for name in new:
        assert torch.equal(new[name], (weights if name.startswith("torso.") else fresh)[name])


def test_results_share_no_memory_with_their_inputs():
    net, rng = network(), np.random.default_rng(0)
    weights = net.state_dict()
    before = {name: tensor.clone() for name, tensor in weights.items()}
    for new in (
        widen(weights, "torso.layers.0", ["torso.layers.1"], 8, rng, noise=1.0),
        deepen(weights, "torso.layers.0", "torso.layers.1"),
        add_actions(weights, 3),
        add_channels(weights, "torso.layers.0", 5),
        reset_head(weights, weights),
        shrink_and_perturb(weights, weights, 1.0),
    ):
        for tensor in new.values():
            tensor.zero_()
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights.items())


def test_the_frozen_mask_is_laid_out_as_the_flat_vector():
    net = network("nature", SCREENS, (8,))
    flat = Flat(net)
    prefixes = ("torso.conv2", "advantage.bias")
    mask = frozen_mask(net, prefixes)
    ones = {name: torch.full_like(p, float(name.startswith(prefixes))) for name, p in net.named_parameters()}
    assert mask.dtype == torch.float32 and torch.equal(mask, flat.join(ones))
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    flat.data.add_(1 - mask)
    changed = {name for name, p in net.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {name for name in before if not name.startswith(prefixes)}


def test_frozen_parameters_get_no_gradient():
    net = network()
    assert freeze(net, ["torso.layers.0"]) == ["torso.layers.0.weight", "torso.layers.0.bias"]
    net(look(*VECTOR)).sum().backward()
    assert {name for name, p in net.named_parameters() if p.grad is None} == {
        "torso.layers.0.weight",
        "torso.layers.0.bias",
    }
    with pytest.raises(UserError, match=r"no parameter starts with 'torso\.layer'"):
        freeze(net, ["torso.layer"])


def test_dormant_units_of_a_hand_made_layer_are_found():
    net = network(obs=(1,), hidden=(4,))
    with torch.no_grad():
        net.torso.layers[0].weight.copy_(torch.tensor([[1.0], [-1.0], [0.2], [2.8]]))
        net.torso.layers[0].bias.zero_()
    # means 1, 0, 0.2 and 2.8 of 1 on average
    found = {t: dormant(net, torch.ones(2, 1), t)["torso.layers.0"].tolist() for t in (0.0, 0.3, 1.1)}
    assert found == {0.0: [0, 1, 0, 0], 0.3: [0, 1, 1, 0], 1.1: [1, 1, 1, 0]}


TORSOS_AND_LOOKS = pytest.mark.parametrize("torso, obs", [("mlp", VECTOR), ("minatar", GRID), ("nature", SCREENS)])


@TORSOS_AND_LOOKS
def test_resetting_dead_units_changes_no_value_and_only_what_is_touched(torso, obs):
    net, fresh = network(torso, obs, dueling=True), network(torso, obs, dueling=True, seed=1).state_dict()
    flat = Flat(net)
    with torch.no_grad():
        for name in following(net):
            net.get_submodule(name).bias[[1, 4]] = -100.0
    seen = look(*obs, batch=3)
    masks, before, values = dormant(net, seen, 0.0), flat.data.clone(), net(seen)
    assert masks.keys() == following(net).keys()
    assert all(mask[[1, 4]].all() and not mask.all() for mask in masks.values())
    written = touched(net, masks)
    assert reset_dormant(net, masks, fresh) == sum(int(mask.sum()) for mask in masks.values())
    torch.testing.assert_close(net(seen), values, rtol=1e-5, atol=1e-5)
    changed = flat.data != before
    assert changed.any() and not changed[flat.join(written) == 0].any()
    for name, mask in masks.items():
        assert torch.equal(net.get_submodule(name).bias[mask], fresh[f"{name}.bias"][mask])
    first = next(iter(masks))
    incoming = net.get_submodule(first).weight[masks[first]]
    assert torch.equal(incoming, fresh[f"{first}.weight"][masks[first]])


@TORSOS_AND_LOOKS
def test_units_dead_behind_their_normalisation_are_found_and_get_a_fresh_gain(torso, obs):
    net, fresh = network(torso, obs, norm=True), network(torso, obs, norm=True, seed=1).state_dict()
    norms = {name: name.replace("layers", "norms").replace("conv", "norm") for name in following(net)}
    with torch.no_grad():
        for norm in norms.values():
            net.get_submodule(norm).weight[2] = 0.0
            net.get_submodule(norm).bias[2] = -1.0
    masks = dormant(net, look(*obs, batch=3), 0.0)
    assert all(masks[name][2] for name in norms)
    reset_dormant(net, masks, fresh)
    for norm in norms.values():
        assert torch.equal(net.get_submodule(norm).weight[2], fresh[f"{norm}.weight"][2])


def test_following_names_the_chain_and_refuses_what_is_none():
    chain = following(network("minatar", GRID, dueling=True, norm=True, linear=NoisyLinear))
    assert chain == {
        "torso.conv1": ("torso.fc.layers.0",),
        "torso.fc.layers.0": ("torso.fc.layers.1",),
        "torso.fc.layers.1": ("advantage", "value"),
    }
    with pytest.raises(UserError, match="ImpalaCNN"):
        following(network("impala", SCREENS, (8,)))


def test_the_implicit_network_has_dormant_units_behind_its_product_too():
    torso = TORSOS["mlp"](VECTOR, (8,), False, nn.Linear)
    net = ImplicitQNetwork(torso, 6, 3, True, nn.Linear)
    assert following(net) == {"torso.layers.0": ("fc",), "fc": ("advantage", "value")}
    with torch.no_grad():
        net.fc.bias[2] = -100.0
    obs, fractions = look(*VECTOR), torch.rand(7, 4)
    masks = dormant(net, obs, 0.0, fractions=fractions)
    assert masks["fc"][2] and len(masks["fc"]) == 6
    values = net(obs, fractions)
    fresh = {name: torch.ones_like(tensor) for name, tensor in net.state_dict().items()}
    assert reset_dormant(net, masks, fresh)
    torch.testing.assert_close(net(obs, fractions), values)
