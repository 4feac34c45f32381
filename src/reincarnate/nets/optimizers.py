"""Optimisers on one flat vector of parameters, or on a stack of such vectors (one row per seed).

On a small network PyTorch's optimiser classes cost more than the arithmetic they do (docs/log.md).
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float32
from torch import Tensor

from reincarnate.native import Kernels

OptimizerName = Literal["adam", "rmsprop"]
PolicyOptimizer = Literal["adam", "rmsprop"]
"""Of on-policy students, whose RMSProp is PyTorch's."""
Rate = float | Sequence[float]
"""A learning rate, or one for each row of a stack."""


@runtime_checkable
class Optimizer(Protocol):
    """Moves `data` in place against `grad`; `state` is all it remembers, as tensors that it updates in place."""

    state: dict[str, Tensor]

    @property
    def kernels(self) -> Kernels | None: ...  # compiled ones that it uses

    def step(self, data: Tensor, grad: Tensor, lr: Rate) -> None: ...


class Adam:
    """Adam (Kingma & Ba, 2015); ε is added to the bias-corrected √v, as in PyTorch, whose fused kernel this is.

    `decay` is AdamW's decoupled weight decay (Loshchilov & Hutter, 2019).
    """

    kernels: Kernels | None = None

    def __init__(
        self,
        size: int,
        eps: float,
        decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
        device: torch.device | None = None,
    ):
        self.eps, self.decay, self.betas = eps, decay, betas
        zeros = partial(torch.zeros, dtype=torch.float32, device=device)
        self.state = {"mean": zeros(size), "square": zeros(size), "steps": zeros(())}

    def step(self, data: Tensor, grad: Tensor, lr: Rate) -> None:
        """One step; the shapes of `data`, `grad` and the moments agree."""
        if self.kernels:
            self.kernels.adam(data, grad, self.state, lr, (*self.betas, self.eps, self.decay))
        else:
            self._by_torch(data, grad, lr)

    @torch.no_grad()
    def _by_torch(self, data: Tensor, grad: Tensor, lr: Rate) -> None:
        state = self.state
        state["steps"] += 1
        taken = state["steps"]
        taken = taken.view(-1)[0] if taken.ndim else taken  # rows of a stack are in step
        kernel: Any = torch._fused_adamw_ if self.decay else torch._fused_adam_  # pyright: ignore
        for rate, data_, grad_, mean, square in _by_rate(lr, data, grad, state["mean"], state["square"]):
            kernel(
                data_,
                grad_,
                mean,
                square,
                [],
                [taken] * len(data_),
                lr=rate,
                beta1=self.betas[0],
                beta2=self.betas[1],
                weight_decay=self.decay,
                eps=self.eps,
                amsgrad=False,
                maximize=False,
            )


class RMSProp:
    """Centred RMSProp (Graves, 2013), Nature DQN's optimiser as Dopamine runs it: step / √(v − m² + ε).

    ε inside the root, as in TensorFlow and in Graves' equation 40; PyTorch adds it outside.
    """

    kernels: Kernels | None = None

    def __init__(self, size: int, eps: float, smoothing: float = 0.95, device: torch.device | None = None):
        self.eps, self.smoothing = eps, smoothing
        self.state = {name: torch.zeros(size, dtype=torch.float32, device=device) for name in ("mean", "square")}

    @torch.no_grad()
    def step(self, data: Tensor, grad: Tensor, lr: Rate) -> None:
        """One step; the shapes of `data`, `grad` and the moments agree."""
        mean, square, keep = self.state["mean"], self.state["square"], self.smoothing
        mean.mul_(keep).add_(grad, alpha=1 - keep)
        square.mul_(keep).addcmul_(grad, grad, value=1 - keep)
        root = (square - mean * mean + self.eps).sqrt_()
        for rate, *rows in _by_rate(lr, data, grad, root):
            for part, slope, scale in zip(*rows, strict=True):
                part.addcdiv_(slope, scale, value=-rate)


class UncentredRMSProp:
    """RMSProp as PyTorch has it, step / (√v + ε), and so the A2C of Stable-Baselines3 (smoothing 0.99, ε 1e-5)."""

    kernels: Kernels | None = None

    def __init__(self, size: int, eps: float, smoothing: float = 0.99, device: torch.device | None = None):
        self.eps, self.smoothing = eps, smoothing
        self.state = {"square": torch.zeros(size, dtype=torch.float32, device=device)}

    @torch.no_grad()
    def step(self, data: Tensor, grad: Tensor, lr: float) -> None:
        """One step; the shapes of `data`, `grad` and the moments agree."""
        square = self.state["square"]
        square.mul_(self.smoothing).addcmul_(grad, grad, value=1 - self.smoothing)
        data.addcdiv_(grad, square.sqrt().add_(self.eps), value=-lr)


def _by_rate(lr: Rate, *stacks: Tensor) -> list[tuple[Any, ...]]:
    """(learning rate, and of each stack a list of its rows), for each learning rate that occurs."""
    if isinstance(lr, float | int):  # asking whether it is a sequence takes longer
        return [(lr, *[[stack] for stack in stacks])]
    if len(set(lr)) == 1:
        return [(lr[0], *[[stack] for stack in stacks])]
    own = {rate: [i for i, other in enumerate(lr) if other == rate] for rate in lr}
    return [(rate, *[[stack[i] for i in rows] for stack in stacks]) for rate, rows in own.items()]


def clip_norm(
    grad: Float32[Tensor, "*S P"], limit: float, optimizer: "Optimizer | UncentredRMSProp | None" = None
) -> None:
    """Scale each row of gradients, in place, so that its norm is at most `limit`.

    Parameters that the optimiser leaves alone have no part in the norm, as where they ask for no gradient.
    """
    if isinstance(optimizer, Frozen):
        grad.masked_fill_(optimizer.mask, 0.0)
    if optimizer is not None and optimizer.kernels:
        optimizer.kernels.clip(grad, limit)
        return
    norm = torch.linalg.vector_norm(grad, dim=-1, keepdim=True)  # `grad.norm` says the same after more questions
    grad.mul_((limit / (norm + 1e-6)).clamp_(max=1.0))


def optimizer(
    name: OptimizerName, size: int, eps: float, decay: float = 0.0, device: torch.device | None = None
) -> Adam | RMSProp:
    """A fresh optimiser for `size` parameters."""
    return Adam(size, eps, decay, device=device) if name == "adam" else RMSProp(size, eps, device=device)


def policy_optimizer(
    name: PolicyOptimizer, size: int, eps: float, device: torch.device | None = None
) -> Adam | UncentredRMSProp:
    """A fresh optimiser of an on-policy student."""
    return Adam(size, eps, device=device) if name == "adam" else UncentredRMSProp(size, eps, device=device)


def adopt(optimizer: Any, name: str, data: Tensor, state: dict[str, Tensor]) -> str:
    """Take over an optimiser's memory out of a student's `state()`, where `data`, its parameters, are as they were.

    `name` is the optimiser's, under which its tensors stand there. Says what was done.
    """
    own = optimizer.state
    if "online" not in state or not torch.equal(state["online"], data.cpu()):
        return "optimiser: new (the network is not as it was)"
    if any(f"{name}.{key}" not in state or state[f"{name}.{key}"].shape != own[key].shape for key in own):
        return "optimiser: new (it was another one)"
    for key, tensor in own.items():
        tensor.copy_(state[f"{name}.{key}"])
    return "optimiser: its state is reused"


class Frozen:
    """An optimiser that leaves some parameters alone, whatever their gradient, decay or momentum."""

    def __init__(self, inner: Any, mask: Bool[Tensor, "P"]):
        self.inner, self.mask, self.state = inner, mask, inner.state

    @property
    def kernels(self) -> Kernels | None:
        """Those of the optimiser within."""
        return self.inner.kernels

    @kernels.setter
    def kernels(self, compiled: Kernels | None) -> None:
        self.inner.kernels = compiled

    @torch.no_grad()
    def step(self, data: Tensor, grad: Tensor, lr: Rate) -> None:
        """One step of the others."""
        kept = data.clone()
        self.inner.step(data, grad, lr)
        data.copy_(torch.where(self.mask, kept, data))


def stack(optimizers: Sequence[Any]) -> Any:
    """One optimiser over the rows of several, whose states become views of its own.

    Adam's step counts must agree: seeds trained together are in step. Where they are `Frozen`, all are.
    """
    first = optimizers[0]
    if isinstance(first, Frozen):
        return Frozen(stack([o.inner for o in optimizers]), torch.stack([o.mask for o in optimizers]))
    size = first.state["mean"].numel()
    joint = Adam(size, first.eps, first.decay, first.betas) if isinstance(first, Adam) else RMSProp(size, first.eps)
    if isinstance(first, Adam):
        steps = [int(o.state["steps"]) for o in optimizers]
        assert len(set(steps)) == 1, "optimisers that are not in step cannot be stacked"
    for name in joint.state:
        joint.state[name] = torch.stack([o.state[name] for o in optimizers])
        for row, o in zip(joint.state[name], optimizers, strict=True):
            o.state[name] = row
    return joint
