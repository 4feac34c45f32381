"""All parameters of a network in one vector, so that an optimiser step or a target sync is a handful of operations.

On a small network most of an update's time is the overhead of many small operations; see `benchmarks/`.
"""

import torch
from jaxtyping import Float32
from torch import Tensor, nn


class Flat:
    """A module whose parameters are views of `data`, and their gradients views of `grad`, both float32[P].

    Parameters keep their strides (channels-last convolution kernels stay so).
    """

    def __init__(self, module: nn.Module, trainable: bool = True):
        self.module = module.requires_grad_(trainable)
        parameters = list(module.parameters())
        total = sum(p.numel() for p in parameters)
        self.data: Tensor = torch.empty(total)
        self.grad: Tensor | None = torch.zeros(total) if trainable else None
        first = 0
        for p in parameters:
            view = _view(self.data, first, p)
            view.copy_(p.data)
            p.data = view
            if self.grad is not None:
                p.grad = _view(self.grad, first, p)
            first += p.numel()

    def windows(self, data: Float32[Tensor, "P"]) -> dict[str, Tensor]:
        """Any vector of this length, cut into the module's parameters by name."""
        first, cut = 0, {}
        for name, p in self.module.named_parameters():
            cut[name] = _view(data, first, p)
            first += p.numel()
        return cut

    def join(self, tensors: dict[str, Tensor]) -> Float32[Tensor, "P"]:
        """The opposite of `windows`: tensors by name, laid out as the parameters are in memory."""
        parts = []
        for name, p in self.module.named_parameters():
            order = sorted(range(p.ndim), key=lambda d, p=p: -p.stride(d))
            parts.append(tensors[name].permute(order).reshape(-1))
        return torch.cat(parts)


def _view(flat: Tensor, first: int, like: Tensor) -> Tensor:
    """A window of `flat` with the shape and the memory order of `like` (which must be dense)."""
    return flat.as_strided(like.shape, like.stride(), first)


class Adam:
    """Adam (Kingma & Ba, 2015) on one flat vector; ε is added to the bias-corrected √v, as in PyTorch.

    This is PyTorch's own fused kernel without the optimiser class around it, whose bookkeeping costs more than the
    arithmetic on a small network (docs/log.md).
    """

    def __init__(self, size: int, eps: float, betas: tuple[float, float] = (0.9, 0.999)):
        self.eps, self.betas = eps, betas
        self.mean, self.square, self.steps = torch.zeros(size), torch.zeros(size), torch.zeros(())

    @torch.no_grad()
    def step(self, data: Float32[Tensor, "P"], grad: Float32[Tensor, "P"], lr: float) -> None:
        """Move `data` against `grad`."""
        self.steps += 1
        torch._fused_adam_(  # pyright: ignore[reportPrivateImportUsage]
            [data],
            [grad],
            [self.mean],
            [self.square],
            [],
            [self.steps],
            lr=lr,
            beta1=self.betas[0],
            beta2=self.betas[1],
            weight_decay=0.0,
            eps=self.eps,
            amsgrad=False,
            maximize=False,
        )
