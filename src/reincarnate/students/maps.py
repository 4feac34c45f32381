"""Linear maps from a student's last hidden layer to each teacher's, learnt beside it and kept by no agent."""

from collections.abc import Callable, Sequence
from threading import get_ident
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reincarnate.losses.mimic import MAPPED
from reincarnate.nets import Flat
from reincarnate.types import Batch


class FeatureMaps:
    """f_i of Actor-Mimic: for each task's teacher a linear layer from `width` features.

    `layer` is the student's head: what enters it are the features. `sizes` are the teachers', 0 where one tells none.
    `make` gives an optimiser of so many parameters.
    """

    def __init__(
        self,
        layer: str,
        width: int,
        sizes: Sequence[int],
        make: Callable[[int], Any],
        device: torch.device,
        rng: np.random.Generator,
    ):
        self._layer, self.sizes = layer, tuple(sizes)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**31)))
            maps = nn.ModuleList(nn.Linear(width, size) if size else nn.Identity() for size in sizes)
        self._flat = Flat(maps.to(device))
        self._optimizer = make(self._flat.data.numel())

    def forward(self, network: nn.Module, batch: Batch, arguments: Sequence[Tensor]) -> tuple[Tensor, Batch, Tensor]:
        """The network's outputs for a batch, the batch with its features as the maps have them, [B, max sizes], and
        the features themselves.
        """
        assert self._flat.grad is not None
        self._flat.grad.zero_()
        seen: list[Tensor] = []
        here = get_ident()  # a thread beside this one may pass the same network, for targets

        def see(_: nn.Module, given: tuple[Tensor, ...]) -> None:
            if get_ident() == here:
                seen.append(given[0])

        hook = network.get_submodule(self._layer).register_forward_pre_hook(see)
        try:
            out = network(batch.obs, *arguments)
        finally:
            hook.remove()
        return out, batch._replace(notes={**batch.notes, MAPPED: self._mapped(seen[-1], batch.task)}), seen[-1]

    def _mapped(self, features: Tensor, task: Tensor | None) -> Tensor:
        maps: Sequence[nn.Module] = list(self._flat.module.children())
        widest = max(self.sizes)
        whole = features.new_zeros(len(features), widest)
        for number, (linear, size) in enumerate(zip(maps, self.sizes, strict=True)):
            if not size:
                continue
            told = nn.functional.pad(linear(features), (0, widest - size))
            if task is None:
                return told
            whole = torch.where((task == number)[:, None], told, whole)
        return whole

    def step(self, rate: float) -> None:
        """Move the maps along their gradient."""
        assert self._flat.grad is not None
        self._optimizer.step(self._flat.data, self._flat.grad, rate)

    def state(self) -> dict[str, Tensor]:
        """What an update changes, as flat tensors."""
        moments = {f"maps.optimizer.{name}": value for name, value in self._optimizer.state.items()}
        return {"maps": self._flat.data, **moments}
