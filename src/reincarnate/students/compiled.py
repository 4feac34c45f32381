"""A student's gradient as one compiled program (torch.compile), for long runs of small networks on a CPU."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, grad

from reincarnate.nets import Flat
from reincarnate.types import Batch, Term

Loss = Callable[..., tuple[Tensor, dict[str, Tensor]]]
Bootstrap = Callable[[Tensor, Tensor | None], Tensor]
OPTIONS: dict[str, str | int | bool | Any] = {"cpp_wrapper": True}  # a C++ caller: some 25 µs less than Python's
PAYS_AFTER = 200_000  # updates: compilation takes 5 to 25 s a program, and saves some 0.1 to 0.3 ms an update


class CompiledGradient:
    """Fills the online network's flat gradient. One program per set of active terms, compiled at its first use."""

    def __init__(self, online: Flat, target: Flat, bootstrap: Bootstrap, loss: Loss, double: bool):
        self._online, self._target, self._bootstrap, self._loss, self._double = online, target, bootstrap, loss, double
        self._programs: dict[tuple[Term, ...], Any] = {}

    def __call__(self, batch: Batch, terms: list[tuple[float, Term]], td_weight: float) -> dict[str, Tensor]:
        """Returns the losses' means."""
        key = tuple(term for _, term in terms)
        if key not in self._programs:
            self._programs[key] = torch.compile(self._program(key), fullgraph=True, dynamic=False, options=OPTIONS)
        weights = torch.tensor([td_weight, *(weight for weight, _ in terms)])
        with torch.no_grad():
            gradient, report = self._programs[key](self._online.data, self._target.data, weights, *batch)
            assert self._online.grad is not None
            self._online.grad.copy_(gradient)
        return report

    def _program(self, terms: tuple[Term, ...]) -> Callable[..., tuple[Tensor, dict[str, Tensor]]]:
        online, target, bootstrap, loss, double = self._online, self._target, self._bootstrap, self._loss, self._double

        def program(data: Tensor, target_data: Tensor, weights: Tensor, *columns: Tensor | None):
            batch = Batch(*columns)  # pyright: ignore
            parameters = online.windows(data)
            next_q = functional_call(target.module, target.windows(target_data), (batch.next_obs,))
            selector = functional_call(online.module, parameters, (batch.next_obs,)) if double else None
            next_value = bootstrap(next_q, selector)

            def objective(parameters: dict[str, Tensor]):
                q = functional_call(online.module, parameters, (batch.obs,))
                return loss(q, next_value, batch, terms, weights)

            gradients, report = grad(objective, has_aux=True)(parameters)
            return online.join(gradients), report

        return program
