"""How fresh dense layers are drawn: from torch's global generator, which the builders fork and seed."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

Init = Literal["default", "orthogonal", "uniform"]
"""`default`: torch's, U(±1/√in), biases too. `orthogonal`: of gain √2, biases 0 (PPO's codes). `uniform`:
U(±0.333·√(3/in)), biases 0 (uniform scaling: acme's D4PG)."""
UNIFORM_SCALE = 0.333


@torch.no_grad()
def draw(weight: Tensor, bias: Tensor, init: Init, gain: float) -> None:
    """Fill one layer: weight [out, in], or a convolution's [out, in, ...], in any memory order, and bias [out].

    `gain` is the orthogonal matrix's.
    """
    outputs, inputs = len(weight), weight[0].numel()
    fresh = torch.empty(outputs, inputs, device=weight.device)
    if init == "orthogonal":
        nn.init.orthogonal_(fresh, gain)
        bias.zero_()
    elif init == "uniform":
        limit = UNIFORM_SCALE * math.sqrt(3 / inputs)
        nn.init.uniform_(fresh, -limit, limit)
        bias.zero_()
    else:
        nn.init.uniform_(fresh, -(inputs**-0.5), inputs**-0.5)
        nn.init.uniform_(bias, -(inputs**-0.5), inputs**-0.5)
    weight.copy_(fresh.reshape(weight.shape))


@torch.no_grad()
def draw_he(weight: Tensor, bias: Tensor) -> None:
    """N(0, 2/in), biases 0: the residual blocks of SimBa."""
    fresh = torch.empty(*weight.shape, device=weight.device)
    nn.init.kaiming_normal_(fresh)
    weight.copy_(fresh)
    bias.zero_()


HIDDEN_GAIN = math.sqrt(2)


def redraw(module: nn.Module, init: Init, gain: float = HIDDEN_GAIN) -> None:
    """Fill every plain linear layer and convolution below `module` in order; norms stay as they are."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            assert layer.bias is not None
            draw(layer.weight, layer.bias, init, gain)
