"""The tensors of a batch: changed one by one, or as a list for programs and graphs that know nothing else."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor

from reincarnate.types.batches import Batch
from reincarnate.types.policies import Prediction


def each_tensor(batch: Batch, change: Callable[[Tensor], Any]) -> Batch:
    """The batch with every tensor changed, in the order of `leaves`; a carry has a row for each lesson as others do."""

    def changed(value: Any) -> Any:
        if isinstance(value, Tensor):
            return change(value)
        if isinstance(value, Prediction):
            return Prediction(value.kind, change(value.x))
        if isinstance(value, dict):
            return {name: changed(item) for name, item in value.items()}
        return value

    return Batch(*map(changed, batch))


def leaves(batch: Batch) -> list[Tensor]:
    """All tensors that an update reads, in a fixed order."""
    found: list[Tensor] = []
    for field in batch:
        if isinstance(field, Tensor):
            found.append(field)
        elif isinstance(field, Mapping):
            found += [item.x if isinstance(item, Prediction) else item for item in field.values()]
    return found


def shape_of(batch: Batch) -> Any:
    """What has to agree for two batches to be read alike."""
    fields = tuple([name for name, field in zip(batch._fields, batch, strict=True) if isinstance(field, Tensor)])
    said = tuple([(name, prediction.kind) for name, prediction in batch.predictions.items()])
    return fields, said, tuple(batch.notes), tuple([(leaf.shape, leaf.dtype) for leaf in leaves(batch)])


def rebuilt(batch: Batch, tensors: Iterable[Tensor]) -> Batch:
    """The same batch of other tensors, in the order of `leaves`."""
    rest = iter(tensors)
    return each_tensor(batch, lambda _: next(rest))
