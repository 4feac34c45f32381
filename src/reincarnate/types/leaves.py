"""A batch as a list of tensors, for programs and graphs that know nothing else."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from reincarnate.types.batches import Batch


def leaves(batch: Batch) -> list[Tensor]:
    """All tensors that an update reads, in a fixed order."""
    plain = [field for field in batch if isinstance(field, Tensor)]
    return [*plain, *[prediction.x for prediction in batch.predictions.values()], *batch.notes.values()]


def shape_of(batch: Batch) -> Any:
    """What has to agree for two batches to be read alike."""
    fields = tuple([name for name, field in zip(batch._fields, batch, strict=True) if isinstance(field, Tensor)])
    said = tuple([(name, prediction.kind) for name, prediction in batch.predictions.items()])
    return fields, said, tuple(batch.notes), tuple([(leaf.shape, leaf.dtype) for leaf in leaves(batch)])


def rebuilt(batch: Batch, tensors: Iterable[Tensor]) -> Batch:
    """The same batch of other tensors, in the order of `leaves`; what is not a tensor stays behind."""
    rest = iter(tensors)
    plain = {name: next(rest) for name, field in batch._asdict().items() if isinstance(field, Tensor)}
    said = {name: prediction._replace(x=next(rest)) for name, prediction in batch.predictions.items()}
    return batch._replace(**plain, predictions=said, notes={name: next(rest) for name in batch.notes}, rows=None)
