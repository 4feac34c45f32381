"""All parameters of a network in one vector, so that an optimiser step or a target sync is a handful of operations.

On a small network most of an update's time is the overhead of many small operations; see `benchmarks/`.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float32
from torch import Tensor, nn


class Flat:
    """A module whose parameters are views of `data`, and their gradients views of `grad`, both float32[P].

    Parameters keep their strides (channels-last convolution kernels stay so).
    """

    def __init__(self, module: nn.Module, trainable: bool = True):
        self.module = module.requires_grad_(trainable)
        total = sum(p.numel() for p in module.parameters())
        device = next((p.device for p in module.parameters()), None)
        self.data: Tensor = torch.empty(total, dtype=torch.float32, device=device)
        self.grad: Tensor | None = None
        for window, p in zip(self.windows(self.data).values(), module.parameters(), strict=True):
            window.copy_(p.data)
        self.move(self.data, torch.zeros_like(self.data) if trainable else None)

    @classmethod
    def stack(cls, flats: "Sequence[Flat]") -> "Flat":
        """Several of one shape as the rows of one: `data` float32[S, P]. They live on as views of it."""
        self = cls.__new__(cls)
        self.module = flats[0].module
        self.data = torch.stack([flat.data for flat in flats])
        self.grad = None if flats[0].grad is None else torch.zeros_like(self.data)
        for i, flat in enumerate(flats):
            flat.move(self.data[i], None if self.grad is None else self.grad[i])
        return self

    def windows(self, data: Float32[Tensor, "*S P"]) -> dict[str, Tensor]:
        """Any vector of this length, or stack of them, cut into the module's parameters by name: [*S, *shape]."""
        first, cut = 0, {}
        for name, p in self.module.named_parameters():
            cut[name] = _view(data, first, p)
            first += p.numel()
        return cut

    def join(self, tensors: dict[str, Tensor], out: Tensor | None = None) -> Float32[Tensor, "*S P"]:
        """The opposite of `windows`: tensors by name, laid out as the parameters are in memory; into `out` if given."""
        parts = []
        for name, p in self.module.named_parameters():
            order = sorted(range(p.ndim), key=lambda d, p=p: -p.stride(d))
            stacked = range(tensors[name].ndim - p.ndim)
            parts.append(tensors[name].permute((*stacked, *(len(stacked) + d for d in order))).flatten(len(stacked)))
        return torch.cat(parts, -1, out=out)

    def move(self, data: Float32[Tensor, "P"], grad: Float32[Tensor, "P"] | None) -> None:
        """Let parameters and gradients live in these vectors from now on (`data` holds their values already)."""
        first = 0
        for p in self.module.parameters():
            p.data = _view(data, first, p)
            if grad is not None:
                p.grad = _view(grad, first, p)
            first += p.numel()
        self.data, self.grad = data, grad


def _view(flat: Tensor, first: int, like: Tensor) -> Tensor:
    """A window of each row of `flat` with the shape and the memory order of `like` (which must be dense)."""
    rows = flat.shape[:-1]
    return flat.as_strided((*rows, *like.shape), (*flat.stride()[:-1], *like.stride()), flat.storage_offset() + first)
