"""An on-policy student's gradient as one compiled program, for long runs of networks that are mostly overhead."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad
from torch.fx.experimental.proxy_tensor import make_fx

from reincarnate.students.gradient import OPTIONS, Program
from reincarnate.types import Batch, Learnt, Weighing
from reincarnate.types.leaves import leaves, rebuilt, shape_of

if TYPE_CHECKING:
    from reincarnate.students.policy import PolicyStudent


MOST = 8  # programs of one student: a term that changes all the time is not compiled all the time


class PolicyProgram:
    """Fills the gradient of a rollout's batch, of own losses and terms. One program per set of terms, compiled at its
    first use for a batch of its size; batches of another size are left to others.
    """

    def __init__(self, student: "PolicyStudent"):
        self._student, self._objective = student, _Objective(student)
        self._programs: dict[Any, tuple[Any, Program, Sequence[str]]] = {}

    def __call__(self, batch: Batch, weighing: Weighing) -> Learnt | None:
        """The losses' means and each example's sum; None: this batch is not for it."""
        student = self._student
        if "advantage" not in batch.notes:
            return None
        key, shape = tuple(term for _, term in weighing.terms), shape_of(batch)
        known, program, names = self._programs.get(key, (shape, None, ()))
        if known != shape or (program is None and len(self._programs) == MOST):
            return None
        batch = batch._replace(obs=student.network.seen(batch.obs))  # what is known of observations changes: not of it
        weights = student.weights_of(weighing)
        inputs = [weights, student.online.data, *leaves(batch)]
        if program is None:
            program, names = self._compiled(batch, weighing, inputs)
            self._programs[key] = shape, program, names
        with torch.no_grad():
            gradient, means, each = program(*inputs)
            assert student.online.grad is not None
            student.online.grad.copy_(gradient)
        return Learnt(dict(zip(names, means.unbind(), strict=True)), each)

    def _compiled(self, batch: Batch, weighing: Weighing, inputs: list[Tensor]) -> tuple[Program, Sequence[str]]:
        online, objective, names = self._student.online, self._objective, list[str]()

        def program(weights: Tensor, data: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
            given = rebuilt(batch, tensors)

            def total(parameters: dict[str, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
                each = functional_call(objective, parameters, (given, weighing))
                names[:] = each
                rows = torch.stack(list(each.values()))
                means = rows.mean(1)
                return means.dot(weights), (means, weights @ rows)

            windows = {f"network.{name}": window for name, window in online.windows(data).items()}
            gradients, (means, each) = grad(total, has_aux=True)(windows)
            slopes = {name.removeprefix("network."): slope for name, slope in gradients.items()}
            return online.join(slopes), means, each

        with torch.no_grad():
            graph = make_fx(program, tracing_mode="fake", _allow_non_fake_inputs=True)(*inputs)
            return torch._inductor.compile(graph, inputs, options=OPTIONS), names  # pyright: ignore


class _Objective(nn.Module):
    """The student's losses as a module of its network, whose parameters can be others for a while."""

    def __init__(self, student: "PolicyStudent"):
        nn.Module.__init__(self)
        self.network, self._losses = student.network, student.losses_of

    def forward(self, batch: Batch, weighing: Weighing) -> dict[str, Tensor]:
        return self._losses(batch.obs, batch, weighing, quick=False)
