"""Plain MLPs of several seeds at once, without autograd: as `nets.fused`, with batched matrix products."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from reincarnate.native import Kernels
from reincarnate.native import Tower as Told
from reincarnate.nets.compiled import CompiledTower
from reincarnate.nets.flat import Flat
from reincarnate.nets.fused import fits
from reincarnate.nets.torsos import as_float
from reincarnate.nets.towers import Layer, Tower, flat


class FusedStack:
    """S QNetworks of one shape, rows of one `Flat`; observations are [S·B, *O], the parts one after another."""

    alone = False

    def __init__(self, stack: Flat, kernels: Kernels | None = None):
        assert fits(stack.module)
        self.kernels = kernels
        torso = stack.module.torso
        names = [*(f"torso.layers.{i}" for i in range(len(torso.layers))), "advantage"]  # pyright: ignore
        data, self._seeds = stack.windows(stack.data), len(stack.data)
        grad = stack.windows(stack.data if stack.grad is None else stack.grad)
        self._layers = [
            (data[f"{n}.bias"][:, None], data[f"{n}.weight"].mT, grad[f"{n}.bias"], grad[f"{n}.weight"]) for n in names
        ]
        if kernels:
            parts: list[Layer] = [
                (data[f"{n}.weight"][0], data[f"{n}.bias"][0], weight[0], bias[0])
                for n, (*_, bias, weight) in zip(names, self._layers, strict=True)
            ]
            self._tower = CompiledTower(kernels, Tower(parts), self._seeds, stack.data.stride(0))

    def __call__(self, obs: Tensor) -> Tensor:
        """The outputs [S·B, A], by compiled kernels."""
        return self._tower.forward(flat(obs))[-1]

    @property
    def told(self) -> Told:
        """The layers, for a kernel."""
        return self._tower.told

    def descend(self, obs: Tensor, loss: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Tensor:
        """Fill the stack's gradient with a loss's, which knows its derivative by the outputs [S·B, A]; returns it."""
        steps = self._forward(as_float(obs).view(self._seeds, -1, self._layers[0][1].shape[1]))
        found, slope = loss(steps.pop().flatten(0, 1))
        grad: Float[Tensor, "S B O"] = slope.view(self._seeds, -1, slope.shape[-1])
        for i in range(len(self._layers) - 1, -1, -1):
            _, turned, bias_grad, weight_grad = self._layers[i]
            torch.bmm(grad.mT, steps[i], out=weight_grad)
            torch.sum(grad, 1, out=bias_grad)
            if i:
                grad = torch.ops.aten.threshold_backward(grad.bmm(turned.mT), steps[i], 0)
        return found

    def _forward(self, x: Tensor) -> list[Tensor]:
        """Every layer's input, and the output last."""
        steps = [x]
        for bias, turned, _, _ in self._layers[:-1]:
            steps.append(torch.baddbmm(bias, steps[-1], turned).relu_())
        bias, turned, _, _ = self._layers[-1]
        return [*steps, torch.baddbmm(bias, steps[-1], turned)]
