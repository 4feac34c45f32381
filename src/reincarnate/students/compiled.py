"""A student's gradient as one compiled program (TorchInductor), for long runs of small networks on a CPU.

The loss is traced once and compiled as it stands, without `torch.compile`'s guards: a student's batches have one size
and its networks one shape, so there is nothing to guard, and looking would cost a fifth of a small update.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, grad
from torch.fx.experimental.proxy_tensor import make_fx

from reincarnate.nets import Flat
from reincarnate.types import Batch, Term

Loss = Callable[..., tuple[Tensor, dict[str, Tensor]]]
Bootstrap = Callable[[Tensor, Tensor | None], Tensor]
Program = Callable[..., tuple[Tensor, ...]]
OPTIONS = {"cpp_wrapper": True}  # a C++ caller: some 25 µs less than Python's
PAYS_AFTER = 200_000  # updates: compilation takes 5 to 25 s a program, and saves some 0.1 to 0.3 ms an update


class CompiledGradient:
    """Computes the online network's flat gradient. One program per set of active terms, compiled at its first use."""

    def __init__(self, online: Flat, target: Flat, bootstrap: Bootstrap, loss: Loss, double: bool):
        self._online, self._target, self._bootstrap, self._loss, self._double = online, target, bootstrap, loss, double
        self._programs: dict[tuple[Term, ...], Program] = {}
        self._weights: tuple[tuple[float, ...], Tensor] = ((), torch.zeros(0))

    def __call__(self, batch: Batch, terms: list[tuple[float, Term]], td_weight: float) -> dict[str, Tensor]:
        """Returns the losses' means. Every batch must have the size of the first."""
        weights = (td_weight, *(weight for weight, _ in terms))
        if weights != self._weights[0]:
            self._weights = (weights, torch.tensor(weights))
        key = tuple(term for _, term in terms)
        inputs = [self._online.data, self._target.data, self._weights[1], *(c for c in batch if c is not None)]
        with torch.no_grad():
            if key not in self._programs:
                graph = make_fx(self._program(key), tracing_mode="fake")(*inputs)
                self._programs[key] = torch._inductor.compile(graph, inputs, options=OPTIONS)  # pyright: ignore
            self._online.grad, *means = self._programs[key](*inputs)
        return dict(zip(("td", *(term.name for term in key)), means, strict=True))

    def _program(self, terms: tuple[Term, ...]) -> Callable[..., tuple[Tensor, ...]]:
        online, target, bootstrap, loss, double = self._online, self._target, self._bootstrap, self._loss, self._double

        def program(data: Tensor, target_data: Tensor, weights: Tensor, *columns: Any) -> tuple[Tensor, ...]:
            batch = Batch(*columns)
            parameters = online.windows(data)
            next_q = functional_call(target.module, target.windows(target_data), (batch.next_obs,))
            selector = functional_call(online.module, parameters, (batch.next_obs,)) if double else None
            next_value = bootstrap(next_q, selector)

            def objective(parameters: dict[str, Tensor]):
                q = functional_call(online.module, parameters, (batch.obs,))
                return loss(q, next_value, batch, terms, weights)

            gradients, report = grad(objective, has_aux=True)(parameters)
            return online.join(gradients), *report.values()

        return program
