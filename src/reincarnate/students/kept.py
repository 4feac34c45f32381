"""What all students here keep alike: their state as flat tensors, their weights by name, their optimisers' memory."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from reincarnate.nets.optimizers import Frozen, Optimizer
from reincarnate.nets.plasticity import frozen_mask
from reincarnate.nets.probe import blank
from reincarnate.types import TaskSpec

NEW = "optimiser: new (the network is not as it was)"


class Kept:
    """A student whose `state()` are tensors, put back in place; `counts` are its attributes that are integers."""

    counts: ClassVar[tuple[str, ...]] = ("updates",)
    spec: TaskSpec
    device: torch.device

    def state(self) -> dict[str, Tensor]:
        """Everything an update changes, as flat tensors."""
        raise NotImplementedError

    def publish(self) -> None:
        """From now on act by the present weights."""
        raise NotImplementedError

    def counted_so_far(self) -> dict[str, Tensor]:
        """The counts, as `state()` holds them."""
        return {name: torch.tensor(getattr(self, name)) for name in self.counts}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Put `state()` back, in place."""
        own = self.state()
        for name in own.keys() - {*self.counts}:
            own[name].copy_(state[name])  # from whatever device
        for name in self.counts:
            setattr(self, name, int(state[name]))
        self.publish()

    def weights(self) -> dict[str, Tensor]:
        """The network's parameters and statistics by name, as an agent keeps them; lagging copies are not."""
        return {name: p.detach().contiguous() for name, p in self._network().state_dict().items()}

    def _network(self) -> nn.Module:
        return self.network  # pyright: ignore[reportAttributeAccessIssue]  # an attribute of some, a property of others

    def blank(self) -> Tensor:
        """One observation of zeros [1, *O], on its device."""
        return blank(self.spec, 1, self.device)


class OptimizedByPart(Kept):
    """A student with an optimiser for each part of its network."""

    _optimizers: dict[str, Optimizer]

    def forget_moments(self) -> None:
        """Empty the optimisers' memory."""
        for own in self._optimizers.values():
            for tensor in own.state.values():
                tensor.zero_()

    def moments(self) -> dict[str, Tensor]:
        """The optimisers' memory, by part."""
        return {f"adam.{part}.{key}": v for part, own in self._optimizers.items() for key, v in own.state.items()}

    def adopt_by_part(self, state: Mapping[str, Tensor], parts: Mapping[str, Tensor]) -> str:
        """Take over the optimisers' memory in another's `state()`, where `parts` are as they were. Says what it did."""
        if any(name not in state or not torch.equal(state[name], own.cpu()) for name, own in parts.items()):
            return NEW
        moments = self.moments()
        if moments.keys() - state.keys():
            return "optimiser: new (it was another one)"
        for name, tensor in moments.items():
            tensor.copy_(state[name])
        return "optimiser: its state is reused"

    def freeze_by_part(self, prefixes: Sequence[str], parts: Mapping[str, Any]) -> tuple[int, int]:
        """Leave parameters with these prefixes alone from now on; `parts` are slices of the network's parameters.

        Returns how many of how many are frozen.
        """
        mask = frozen_mask(self._network(), tuple(prefixes))
        for name, part in parts.items():
            own = mask[part].bool().to(self.device)
            self._optimizers[name] = Frozen(self._optimizers[name], own)  # pyright: ignore[reportArgumentType]
        return int(mask.sum()), mask.numel()
