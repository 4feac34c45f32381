"""Torsos, noisy layers and image augmentation."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, vmap
from torch.fx.experimental.proxy_tensor import make_fx

from reincarnate.nets.augment import draw_intensity, draw_shift, intensity, shift
from reincarnate.nets.noisy import NoisyLinear, draw_noise, noise_size, noise_windows, set_noise
from reincarnate.nets.torsos import HIDDEN, TORSOS, GridImpalaCNN, ImpalaCNN, ImpalaStack, SameConv2d, same_padding

SHAPES = {name: (4, 84, 84) for name in TORSOS} | {"mlp": (5,), "minatar": (10, 10, 4)}
SHAPES |= {"screen": (40, 84, 3), "keyed": (1 + 36 * 40 * 3 + 2,)}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def observe(name, n=2):
    obs = torch.randint(0, 256, (n, *SHAPES[name]), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return obs if len(SHAPES[name]) == 3 and SHAPES[name][1] == 84 else (obs > 127).float()


def torso(name, hidden=(), seed=0, **options):
    torch.manual_seed(seed)
    options |= {"screens": [(1, (36, 40, 3))]} if name == "keyed" else {}
    return TORSOS[name](SHAPES[name], hidden or HIDDEN[name], **options)


def shapes(module):
    return {name: tuple(p.shape) for name, p in module.named_parameters()}


# ---- torsos ----------------------------------------------------------------------------------------


def linear_shapes(prefix, inputs, *hidden):
    sizes = (inputs, *hidden)
    return {
        k: v
        for i in range(len(hidden))
        for k, v in (
            (f"{prefix}layers.{i}.weight", (sizes[i + 1], sizes[i])),
            (f"{prefix}layers.{i}.bias", (sizes[i + 1],)),
        )
    }


def test_parameter_names_shapes_and_order_of_the_first_torsos_are_what_stored_agents_have():
    nature = {
        "conv1.weight": (32, 4, 8, 8),
        "conv1.bias": (32,),
        "conv2.weight": (64, 32, 4, 4),
        "conv2.bias": (64,),
        "conv3.weight": (64, 64, 3, 3),
        "conv3.bias": (64,),
        **linear_shapes("fc.", 3136, 512),
    }
    minatar = {"conv1.weight": (16, 4, 3, 3), "conv1.bias": (16,), **linear_shapes("fc.", 1024, 128)}
    expected = {"mlp": linear_shapes("", 5, 256, 256), "minatar": minatar, "nature": nature}
    for name, wanted in expected.items():
        net = torso(name)
        assert list(shapes(net).items()) == list(wanted.items())
        assert list(net.state_dict()) == list(wanted)
    assert torso("nature").conv2.weight.is_contiguous(memory_format=torch.channels_last)


def test_weights_are_drawn_layer_by_layer_as_ever():
    net = torso("nature")
    torch.manual_seed(0)
    layers = nn.Conv2d(4, 32, 8, 4), nn.Conv2d(32, 64, 4, 2), nn.Conv2d(64, 64, 3), nn.Linear(3136, 512)
    obs = observe("nature")
    x = obs.float() / 255
    for layer in layers[:3]:
        x = torch.relu(layer(x))
    for own, plain in zip((net.conv1, net.conv2, net.conv3, net.fc.layers[0]), layers, strict=True):
        assert torch.equal(own.weight, plain.weight) and torch.equal(own.bias, plain.bias)
    torch.testing.assert_close(net(obs), torch.relu(layers[3](x.flatten(1))))


def test_same_padding_follows_tensorflows_rule():
    by_hand = {
        (84, 8, 4): (2, 2),  # 21 windows: 20·4 + 8 - 84 = 4
        (21, 4, 2): (1, 2),  # 11 windows: 10·2 + 4 - 21 = 3, the odd one after
        (11, 3, 1): (1, 1),
        (84, 3, 2): (0, 1),  # 42 windows: 41·2 + 3 - 84 = 1
        (21, 3, 2): (1, 1),
        (5, 2, 2): (0, 1),
        (8, 2, 4): (0, 0),  # windows that leave gaps need no zeros
    }
    assert {case: same_padding(*case) for case in by_hand} == by_hand


def padded(x, pads, value=0.0):
    return np.pad(x, ((0, 0), *pads), constant_values=value)


def windows(x, kernel, stride):
    """[C, H, W] -> [I, J, C, K, K]."""
    rows, columns = ((n - kernel) // stride + 1 for n in x.shape[1:])
    cut = lambda i, j: x[:, i * stride : i * stride + kernel, j * stride : j * stride + kernel]
    return np.stack([np.stack([cut(i, j) for j in range(columns)]) for i in range(rows)])


@pytest.mark.parametrize(
    "size, kernel, stride, pads",
    [
        ((7, 6), 4, 2, ((1, 2), (1, 1))),
        ((9, 5), 8, 4, ((3, 4), (3, 4))),
        ((6, 7), 3, 1, ((1, 1), (1, 1))),
        ((5, 4), 2, 2, ((0, 1), (0, 0))),
    ],
)
def test_a_same_convolution_equals_loops_over_a_padded_image(size, kernel, stride, pads):
    torch.manual_seed(0)
    conv = SameConv2d(2, 3, kernel, stride, size)
    x = torch.randn(2, *size)
    cut = windows(padded(x.numpy(), pads), kernel, stride)
    expected = (
        np.einsum("ijckl,ockl->oij", cut, conv.weight.detach().numpy()) + conv.bias.detach().numpy()[:, None, None]
    )
    assert expected.shape[1:] == tuple(math.ceil(n / stride) for n in size)
    np.testing.assert_allclose(conv(x[None])[0].detach().numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("size, pads", [((6, 7), ((0, 1), (1, 1))), ((5, 8), ((1, 1), (0, 1)))])
def test_impalas_pool_equals_loops_over_an_image_padded_by_the_same_rule(size, pads):
    x = torch.randn(2, *size, generator=torch.Generator().manual_seed(0)) - 5  # zeros as padding would win
    expected = windows(padded(x.numpy(), pads, -np.inf), 3, 2).max((3, 4)).transpose(2, 0, 1)
    np.testing.assert_array_equal(ImpalaStack(2, 2, size).pool(x[None])[0].numpy(), expected)


def test_dopamines_nature_network_goes_from_84_to_21_to_11_to_11():
    net = torso("nature-same")
    seen = []
    for layer in (net.conv1, net.conv2, net.conv3):
        layer.register_forward_hook(lambda _m, _i, out: seen.append(tuple(out.shape[1:])))
    assert net(observe("nature-same")).shape == (2, 512)
    assert seen == [(32, 21, 21), (64, 11, 11), (64, 11, 11)]
    assert net.fc.layers[0].weight.shape == (512, 7744)
    assert list(shapes(net)) == list(shapes(torso("nature")))


def test_features_are_flattened_channels_first():
    net = torso("nature-same")
    x = observe("nature-same").float() / 255
    for layer in (net.conv1, net.conv2, net.conv3):
        x = torch.relu(layer(x))
    flat = x.contiguous().view(2, -1)
    torch.testing.assert_close(net(observe("nature-same")), net.fc(flat))


@pytest.mark.parametrize("name", ["nature", "nature-same", "impala"])
def test_other_screens_fit_too(name):
    obs = torch.zeros(2, 3, 64, 50, dtype=torch.uint8)
    assert TORSOS[name]((3, 64, 50), (7,))(obs).shape == (2, 7)


def test_impala_has_the_shapes_and_the_number_of_parameters_worked_by_hand():
    net = torso("impala")
    seen = []
    for stack in net.stacks:
        stack.register_forward_hook(lambda _m, _i, out: seen.append(tuple(out.shape[1:])))
    assert net(observe("impala")).shape == (2, 512)
    assert seen == [(16, 42, 42), (32, 21, 21), (32, 11, 11)]
    # 4·16·9+16 + 4·(16·16·9+16); 16·32·9+32 + 4·(32·32·9+32); 5·(32·32·9+32); 32·11·11·512+512
    assert sum(p.numel() for p in net.parameters()) == 592 + 9_280 + 4_640 + 36_992 + 46_240 + 1_982_976
    assert net.stacks[0].conv.weight.is_contiguous(memory_format=torch.channels_last)


def test_impala_of_a_grid_has_the_shapes_worked_by_hand_and_sees_rows_as_rows():
    net, screens = GridImpalaCNN((10, 8, 5), (6,)), ImpalaCNN((5, 10, 8), (6,))
    screens.load_state_dict(net.state_dict())
    seen = []
    for stack in net.stacks:
        stack.register_forward_hook(lambda _m, _i, out: seen.append(tuple(out.shape[1:])))
    grid = torch.rand(2, 10, 8, 5) < 0.5
    out = net(grid)
    assert seen == [(16, 5, 4), (32, 3, 2), (32, 2, 1)] and net.fc.layers[0].in_features == 64
    torch.testing.assert_close(out, screens(torch.stack([grid[..., i] for i in range(5)], 1)))


def test_a_residual_block_adds_two_convolutions_to_its_input():
    block = torso("impala", (4,)).stacks[0].blocks[0]
    x = torch.randn(1, 16, 5, 5)
    torch.testing.assert_close(block(x) - x, block.conv2(block.conv1(x.clamp(min=0)).clamp(min=0)))


@pytest.mark.parametrize("name", ["minatar", "nature", "nature-same", "impala"])
def test_width_two_doubles_the_filters_and_leaves_the_hidden_layer(name):
    once, twice = shapes(torso(name, (8,))), shapes(torso(name, (8,), width=2))
    assert once.keys() == twice.keys()
    for key in once:
        wide = list(once[key])
        if not key.startswith("fc."):
            wide[0] *= 2
        if key.endswith("weight") and key not in ("conv1.weight", "stacks.0.conv.weight"):
            wide[1] *= 2
        assert twice[key] == tuple(wide), key


def test_a_perceptron_has_no_filters_to_multiply():
    with pytest.raises(ValueError, match="width"):
        torso("mlp", width=2)


@pytest.mark.parametrize("name", list(TORSOS))
def test_every_torso_runs_with_layer_norm_and_its_gradient_is_finite(name):
    net, plain = torso(name, layer_norm=True), torso(name)
    added = shapes(net).keys() - shapes(plain).keys()
    assert added and all("norm" in n for n in added)
    assert all(torch.equal(p, net.get_parameter(n)) for n, p in plain.named_parameters())
    out = net(observe(name))
    out.square().mean().backward()
    assert out.shape == (2, net.features) and out.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_layer_norms_stand_before_the_relus_they_are_named_after():
    assert {n for n in shapes(torso("mlp", layer_norm=True)) if "norm" in n} == {
        "norms.0.weight",
        "norms.0.bias",
        "norms.1.weight",
        "norms.1.bias",
    }
    nature = shapes(torso("nature", layer_norm=True))
    assert nature["norm1.weight"] == (32, 20, 20) and nature["fc.norms.0.weight"] == (512,)
    assert {n for n in shapes(torso("impala", layer_norm=True)) if "norm" in n} == {
        "fc.norms.0.weight",
        "fc.norms.0.bias",
    }
    net = torso("mlp", (6,), layer_norm=True)
    x = net.layers[0](observe("mlp"))
    normal = (x - x.mean(1, keepdim=True)) / (x.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(net(observe("mlp")), normal.clamp(min=0))


# ---- noisy layers ----------------------------------------------------------------------------------


def test_a_noisy_layer_equals_its_explicit_noisy_weights():
    layer = NoisyLinear(5, 3)
    set_noise(layer, draw_noise(8, np.random.default_rng(0)))
    before, after = layer.noise[:5], layer.noise[5:]
    weight = layer.weight + layer.weight_sigma * torch.outer(after, before)
    x = torch.randn(2, 4, 5)
    torch.testing.assert_close(layer(x), x @ weight.T + layer.bias + layer.bias_sigma * after)
    assert not torch.allclose(layer(x), nn.functional.linear(x, layer.weight, layer.bias))


def test_without_noise_a_noisy_layer_is_the_plain_one():
    layer, x = NoisyLinear(5, 3), torch.randn(4, 5)
    assert torch.equal(layer(x), nn.functional.linear(x, layer.weight, layer.bias))


def test_a_noisy_layers_mean_over_many_draws_is_the_plain_layer():
    torch.manual_seed(0)
    layer, x, draws = NoisyLinear(6, 4), torch.randn(3, 6), 20_000
    noise = draw_noise(draws * 10, np.random.default_rng(0)).view(draws, 10)
    plain = layer(x).detach()
    out = vmap(lambda n: functional_call(layer, {"noise": n}, (x,)))(noise).detach()
    error = (out.mean(0) - plain) / (out.std(0) / draws**0.5)
    assert error.abs().max() < 4  # standard errors, over 12 numbers
    assert out.std(0).min() > 0.05


def test_noisy_weights_start_as_published_and_the_noise_is_not_stored():
    layer = NoisyLinear(16, 50, sigma0=0.4)
    assert list(layer.state_dict()) == ["weight", "bias", "weight_sigma", "bias_sigma"]
    assert 0.24 < layer.weight.abs().max() <= 0.25 and layer.bias.abs().max() <= 0.25
    assert (layer.weight_sigma == 0.1).all() and (layer.bias_sigma == 0.1).all()


def test_drawn_noise_is_the_signed_root_of_normal_draws():
    plain = np.random.default_rng(3).standard_normal(1000, dtype=np.float32)
    noise = draw_noise(1000, np.random.default_rng(3)).numpy()
    assert noise.dtype == np.float32
    np.testing.assert_allclose(noise * np.abs(noise), plain, rtol=1e-5)


def test_one_vector_holds_the_noise_of_every_noisy_layer_of_a_torso():
    net = torso("minatar", (8, 4), linear=NoisyLinear)
    assert noise_size(net) == 1024 + 8 + 8 + 4
    flat = torch.arange(1044.0)
    cut = noise_windows(net, flat)
    assert list(cut) == ["fc.layers.0.noise", "fc.layers.1.noise"]
    assert cut["fc.layers.1.noise"].data_ptr() == flat[1032:].data_ptr()
    set_noise(net, flat)
    assert torch.equal(net.fc.layers[1].noise, flat[1032:])
    flat.zero_()
    assert net.fc.layers[1].noise[0] == 1032  # a copy
    plain = torso("minatar", (8, 4))
    assert noise_size(plain) == 0 and noise_windows(plain, torch.empty(0)) == {}


def test_an_impala_with_noisy_layers_keeps_its_names():
    net = ImpalaCNN((4, 84, 84), (8,), linear=NoisyLinear)
    assert {n for n in shapes(net) if n.startswith("fc.")} == {
        f"fc.layers.0.{n}" for n in ("weight", "bias", "weight_sigma", "bias_sigma")
    }


# ---- augmentation ----------------------------------------------------------------------------------


def test_a_shift_by_the_centre_offset_is_the_identity():
    obs = observe("nature", 3)
    assert torch.equal(shift(obs, torch.full((3, 2), 4)), obs)


def test_a_shift_repeats_the_border_and_moves_all_frames_of_an_example_together():
    image = torch.tensor([[1, 2, 3], [4, 5, 6]], dtype=torch.uint8)
    obs = torch.stack([image, image + 10]).expand(2, 2, 2, 3)
    out = shift(obs, torch.tensor([[0, 1], [1, 2]]), pad=1)
    down = torch.tensor([[1, 2, 3], [1, 2, 3]], dtype=torch.uint8)  # one row up in the padded image
    left = torch.tensor([[2, 3, 3], [5, 6, 6]], dtype=torch.uint8)
    assert out.dtype == torch.uint8
    assert torch.equal(out, torch.stack([torch.stack([down, down + 10]), torch.stack([left, left + 10])]))


def test_a_shift_equals_padding_and_cropping():
    x = torch.rand(6, 2, 9, 7, generator=torch.Generator().manual_seed(0))
    offsets = draw_shift(6, 4, np.random.default_rng(0))
    wide = nn.functional.pad(x, (4, 4, 4, 4), mode="replicate")
    expected = [wide[i, :, r : r + 9, c : c + 7] for i, (r, c) in enumerate(offsets.tolist())]
    assert torch.equal(shift(x, offsets), torch.stack(expected))


def test_intensity_scales_each_example():
    obs = torch.tensor([[0, 51], [255, 102]], dtype=torch.uint8).view(2, 1, 1, 2)
    out = intensity(obs, torch.tensor([1.0, 0.5]))
    torch.testing.assert_close(out, torch.tensor([[0, 0.2], [0.5, 0.2]]).view(2, 1, 1, 2))
    assert out.dtype == torch.float32


def test_draws_cover_their_ranges_and_follow_the_generator():
    offsets = draw_shift(500, 4, np.random.default_rng(0))
    assert offsets.dtype == torch.int64 and set(offsets.flatten().tolist()) == set(range(9))
    scale = draw_intensity(2000, 0.05, np.random.default_rng(0))
    assert scale.dtype == torch.float32 and scale.shape == (2000,)
    torch.testing.assert_close([scale.min().item(), scale.max().item()], [0.9, 1.1], rtol=0, atol=1e-6)
    assert torch.equal(scale, draw_intensity(2000, 0.05, np.random.default_rng(0)))


def test_augmentation_can_be_traced_and_mapped():
    def augment(obs, offsets, scale):
        return intensity(shift(obs, offsets), scale)

    rng = np.random.default_rng(0)
    obs = observe("nature", 6)[..., :12, :10]
    a, b = ((obs, draw_shift(6, 4, rng), draw_intensity(6, 0.05, rng)) for _ in range(2))
    torch.testing.assert_close(make_fx(augment)(*a)(*b), augment(*b))
    halves = vmap(augment)(*(t.unflatten(0, (2, 3)) for t in b))
    torch.testing.assert_close(halves.flatten(0, 1), augment(*b))
