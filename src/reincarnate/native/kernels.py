"""The kernels as functions of tensors on a CPU: what they read is counted first, and copied where it lies otherwise."""

import ctypes
from collections.abc import Mapping, Sequence
from ctypes import POINTER, Structure, byref, c_double, c_float, c_int64, c_void_p
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reincarnate.native.build import library


class Layer(Structure):
    """A linear layer where it lies; gradients 0 where it is not trained."""

    _fields_ = [
        *((name, c_void_p) for name in ("weight", "bias", "weight_grad", "bias_grad")),
        ("inputs", c_int64),
        ("outputs", c_int64),
    ]


class Tower(Structure):
    """Linear layers with tanh or ReLU between them, of each of `seeds` networks, `stride` numbers apart."""

    _fields_ = [
        ("layers", c_void_p),
        *((name, c_int64) for name in ("count", "tanh", "seeds", "stride")),
    ]
    sizes: tuple[int, int] = (0, 0)  # how many numbers it reads and tells


class Steps(Structure):
    """A batch of a replay."""

    _fields_ = [(name, c_void_p) for name in ("obs", "next_obs", "action", "reward", "discount", "importance")]


class Rollout(Structure):
    """What was done, and what was known of it."""

    _fields_ = [(name, c_void_p) for name in ("action", "log_prob", "advantage", "value", "target")]


class Ppo(Structure):
    """How PPO's losses are made, and what each weighs."""

    _fields_ = [
        ("clip", c_float),
        ("clip_value", c_float),
        ("standardise", c_int64),
        *((name, c_float) for name in ("policy", "worth", "entropy")),
    ]


class Spread(Structure):
    """A Gaussian's ln σ and where its gradient goes; nothing of discrete actions."""

    _fields_ = [("log_std", c_void_p), ("grad", c_void_p)]


class Pull(Structure):
    """A term that pulls towards what somebody else says (`losses.terms.Distil`)."""

    _fields_ = [("told", c_void_p), ("their_temperature", c_float), ("temperature", c_float)]


class Tree(Structure):
    """A tree of sampling weights (`data.priorities`)."""

    _fields_ = [
        *((name, c_void_p) for name in ("leaves", "middle", "top")),
        *((name, c_int64) for name in ("rows", "blocks", "groups")),
    ]


P, N, F, D = c_void_p, c_int64, c_float, c_double
SIGNATURES: dict[str, tuple[Sequence[Any], Any]] = {
    "tower_forward": ((P, P, N, P, P), None),
    "tower_backward": ((P, P, N, P, P), None),
    "convolution_forward": ((P, N, F, P, P, N, N, N, N, N, P), None),
    "convolution_backward": ((P, N, F, P, N, N, N, N, N, P, P), None),
    "norm_forward": ((P, N, N, P, P, D, P, P, P), None),
    "norm_backward": ((P, P, P, P, N, N, P, P, P, P), None),
    "clip": ((P, N, N, F), None),
    "adam": ((P, P, P, P, P, N, N, D, POINTER(D), D, D, D, D), None),
    "q_learning": ((P, P, P, N, N, P, P), N),
    "tree_sum": ((POINTER(Tree),), None),
    "tree_write": ((POINTER(Tree), P, P, N, N), N),
    "tree_draw": ((POINTER(Tree), P, N, D, P, P), D),
    "learn_q": ((P, P, POINTER(Steps), N, N, P, N, POINTER(F), P, POINTER(F)), N),
    "learn_ppo": ((P, P, P, POINTER(Rollout), N, POINTER(Ppo), POINTER(Spread), P, N, POINTER(F), POINTER(F), P), N),
}


Pulled = tuple[Tensor, float, float]
"""What somebody else says [rows, actions], their temperature, and the student's."""


class Kernels:
    """The library's functions."""

    def __init__(self, functions: ctypes.CDLL):
        for name, (arguments, result) in SIGNATURES.items():
            function = getattr(functions, name)
            function.argtypes, function.restype = arguments, result
        f = functions
        self.tower_forward, self.tower_backward = f.tower_forward, f.tower_backward
        self.convolution_forward, self.convolution_backward = f.convolution_forward, f.convolution_backward
        self.norm_forward, self.norm_backward = f.norm_forward, f.norm_backward
        self._clip, self._adam = f.clip, f.adam
        self._q_learning = f.q_learning
        self._learn_q, self._learn_ppo = f.learn_q, f.learn_ppo
        self.tree_sum, self._tree_write, self._tree_draw = f.tree_sum, f.tree_write, f.tree_draw

    def tree_write(self, tree: Tree, at: np.ndarray, weights: np.ndarray | float) -> None:
        """Rows [k] get these weights [k], or all of them one. IndexError: there is no such row."""
        at, told = np.ascontiguousarray(at, np.int64), np.ascontiguousarray(weights, np.float64)
        if self._tree_write(byref(tree), at.ctypes.data, told.ctypes.data, told.size > 1, at.size):
            raise IndexError(f"rows {at.min()} to {at.max()} of {tree.rows}")

    def tree_draw(self, tree: Tree, draws: np.ndarray, smallest: float) -> tuple[np.ndarray, np.ndarray] | None:
        """One row from each of n equal slices of the total [n], and their probabilities; None where nothing weighs."""
        rows, probabilities = np.empty(len(draws), np.int64), np.empty(len(draws))
        where = rows.ctypes.data, probabilities.ctypes.data
        total = self._tree_draw(byref(tree), draws.ctypes.data, len(draws), smallest, *where)
        return (rows, probabilities) if total else None

    def __reduce__(self) -> tuple[Any, ...]:
        """Copied, and in another process, they are those that are there."""
        return kernels, ()

    def clip(self, grad: Tensor, limit: float) -> None:
        """`optimizers.clip_norm`, of rows [S, P] or a vector."""
        size = grad.shape[-1]
        self._clip(_at(grad, grad.numel()), grad.numel() // max(1, size), size, limit)

    def adam(
        self,
        data: Tensor,
        grad: Tensor,
        state: Mapping[str, Tensor],
        rate: float | Sequence[float],
        told: tuple[float, float, float, float],
    ) -> None:
        """A step of `optimizers.Adam`, of a vector or of rows, perhaps each at its own rate; `told`: β₁, β₂, ε,
        decay."""
        count, size = data.numel(), data.shape[-1]
        rows = count // max(1, size)
        where = [_at(part, count) for part in (data, grad, state["mean"], state["square"])]
        one, each = (0.0, (D * rows)(*rate)) if isinstance(rate, Sequence) else (rate, None)
        self._adam(*where, _at(state["steps"], rows), rows, size, one, each, *told)

    def q_learning(self, q: Tensor, action: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """`losses.values.q_learning_at_once`. IndexError: an action is none of q's."""
        q, n, kept = q.contiguous(), len(q), list[Tensor]()
        loss, slope = torch.empty(n), torch.empty_like(q)
        told = (_at(q, q.numel()), _at(action, n, torch.int64, kept), _at(target, n, kept=kept), *q.shape)
        if self._q_learning(*told, loss.data_ptr(), slope.data_ptr()):
            raise IndexError(_strange(action, q.shape[1]))
        return loss, slope

    def learn_q(
        self,
        towers: tuple[Tower, Tower],
        batch: Sequence[Tensor | None],
        pulls: Sequence[Pulled],
        twice: bool,
        weights: Sequence[float],
    ) -> tuple[Tensor, Sequence[float]]:
        """Q-learning's gradient into its windows: each example's loss [S·B]; the means of it and of each pull [S·L].

        `towers`: the online and the frozen one. `batch`: what was seen and seen next (as the layers read it), done,
        gained, the discount, and what multiplies each example's losses, or None. `weights` [S·L]; `twice` as Double
        DQN. IndexError: an action is none of the network's.
        """
        obs, next_obs, action, reward, discount, importance = batch
        assert not (obs is None or next_obs is None or action is None or reward is None or discount is None)
        (online, frozen), n, kept = towers, len(action), list[Tensor]()
        inputs, actions = online.sizes
        if frozen.sizes != online.sizes or n % online.seeds or len(weights) != online.seeds * (1 + len(pulls)):
            raise ValueError(f"{n} rows and {len(weights)} weights for {online.seeds} networks, or two that differ")
        loss, means = torch.empty(n), (F * len(weights))()
        seen = _at(obs, n * inputs, kept=kept), _at(next_obs, n * inputs, kept=kept)
        done = _at(action, n, torch.int64, kept)
        matters = None if importance is None else _at(importance, n, kept=kept)
        told = Steps(*seen, done, _at(reward, n, kept=kept), _at(discount, n, kept=kept), matters)
        others = _pulls(pulls, (n, actions), kept)
        how = byref(told), n // online.seeds, twice, others, len(pulls), (F * len(weights))(*weights)
        if self._learn_q(byref(online), byref(frozen), *how, loss.data_ptr(), means):
            raise IndexError(_strange(action, actions))
        return loss, list(means)

    def learn_ppo(
        self,
        towers: tuple[Tower, Tower],
        obs: Tensor,
        taken: Sequence[Tensor],
        how: Ppo,
        pulls: Sequence[Pulled],
        weights: Sequence[float],
        log_std: Tensor | None = None,
    ) -> tuple[Sequence[float], Tensor]:
        """PPO's gradient into its windows: the means of the losses (`policy_slopes.NAMES`) and of each pull, and each
        example's weighted sum.

        `towers`: the actor's, of logits or with `log_std` of a Gaussian's means, and the critic's. `taken`: the
        actions, their log-probabilities then, their advantages, the values then, what those should become. `weights`
        are the pulls', of discrete actions alone. IndexError: an action is none of the network's.
        """
        (actor, critic), n, kept, (action, *known) = towers, len(obs), list[Tensor](), taken
        inputs, actions = actor.sizes
        if critic.sizes != (inputs, 1) or len(weights) != len(pulls):
            raise ValueError("actor and critic read different observations, or weights are missing")
        each, means = torch.empty(n), (F * (4 + len(pulls)))()
        drawn = _at(action, n, torch.int64, kept) if log_std is None else _at(action, n * actions, kept=kept)
        told = Rollout(drawn, *[_at(tensor, n, kept=kept) for tensor in known])
        spread = Spread() if log_std is None else Spread(_at(log_std, actions), _at(log_std.grad, actions))  # pyright: ignore
        others = _pulls(pulls, (n, actions), kept)
        more = byref(how), byref(spread), others, len(pulls), (F * len(weights))(*weights)
        where = byref(actor), byref(critic), _at(obs, n * inputs, kept=kept)
        if self._learn_ppo(*where, byref(told), n, *more, means, each.data_ptr()):
            raise IndexError(_strange(action, actions))
        return list(means), each


def _pulls(pulls: Sequence[Pulled], shape: tuple[int, int], kept: list[Tensor]) -> "ctypes.Array[Pull] | None":
    """What others say, for a kernel."""
    if not pulls:
        return None
    told = []
    for tensor, *temperatures in pulls:
        if tensor.shape != shape:
            raise ValueError(f"predictions of shape {shape} are needed, not {tuple(tensor.shape)}")
        told.append(Pull(_at(tensor, tensor.numel(), kept=kept), *temperatures))
    return (Pull * len(told))(*told)


def _at(tensor: Tensor, count: int, dtype: torch.dtype = torch.float32, kept: list[Tensor] | None = None) -> int:
    """Where so many numbers of this type lie, which a kernel reads without looking; a copy, where one is needed, goes
    into `kept`.

    ValueError, TypeError: there is another number of them, or they lie otherwise and no copy will do.
    """
    if tensor.numel() != count:
        raise ValueError(f"a tensor of {count} numbers is needed, not one of shape {tuple(tensor.shape)}")
    if tensor.dtype is not dtype or not tensor.is_contiguous():
        if kept is None:
            told = f"{tensor.dtype} and strides {tensor.stride()}"
            raise TypeError(f"a dense tensor of {dtype} is needed, not one of {told}")
        kept.append(tensor := tensor.to(dtype).contiguous())
    return tensor.data_ptr()


def _strange(action: Tensor, actions: int) -> str:
    return f"actions {int(action.min())} to {int(action.max())} where there are {actions}"


@cache
def kernels() -> Kernels | None:
    """The kernels; None where they cannot be compiled."""
    functions = library()
    return None if functions is None else Kernels(functions)
