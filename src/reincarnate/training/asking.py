"""How policies are asked about stored experience: frozen ones about rows, live ones about a batch."""

import torch
from torch import Tensor

from reincarnate.envs.checks import finite
from reincarnate.training.players import named
from reincarnate.training.training import Training
from reincarnate.types import Batch, Policy, Prediction, Predictor, TimeStep, Weighing


def predictor_of(policy: Policy) -> Predictor:
    """How a policy without memory is asked about observations of no particular moment."""

    def predict(obs: Tensor, task: Tensor | None = None) -> Prediction:
        n = len(obs)
        ones = torch.ones(n, dtype=torch.bool)
        said = policy.predict(TimeStep(obs, ones, task=task), policy.initial(n))[0]
        if policy.frozen:  # is asked once a row
            finite(said.x.cpu().numpy(), named(policy))
        return said

    return predict


def as_it_was(training: Training, weighing: Weighing) -> dict[str, Predictor]:
    """The student as it was, which can be asked about a whole rollout at once; it changes at barriers alone."""
    listened = {term.of for _, term in weighing.terms}
    policies = {name: one.policy for name, one in training.kept.items() if name in listened}
    device = training.student.device
    # one that remembers is shown whole sequences, later
    return {name: _asked(policy, device) for name, policy in policies.items() if not policy.initial(1).shape[-1]}


def _asked(policy: Policy, device: torch.device) -> Predictor:
    @torch.no_grad()
    def predict(obs: Tensor, task: Tensor | None = None) -> Prediction:
        said = predictor_of(policy)(obs.to(device), task)
        return Prediction(said.kind, said.x.cpu())

    return predict


def of_frozen(predict: Predictor, batch: Batch) -> Prediction:
    """A frozen policy's word on a batch. It is asked on the host, as of stored rows: it may know no device."""
    said = predict(batch.obs.cpu(), None if batch.task is None else batch.task.cpu())
    return Prediction(said.kind, said.x.to(batch.reward.device))


def of_live(policy: Policy, batch: Batch, own: bool = False) -> Prediction:
    """A live policy's word on a batch. One that remembers is shown whole sequences: its listeners' layout says so.

    The student's `own` self of another moment begins with the memory that the student had there, where the batch holds
    it; all others, and of prior data that too, begin with an empty one.
    """
    carry, shape = _begun(policy, batch, own), batch.reward.shape
    begins = torch.ones(shape, dtype=torch.bool) if batch.begins is None else batch.begins
    assert not carry.shape[-1] or begins.ndim == 2, "who listens to one that remembers learns from sequences"
    if begins.ndim == 2 and not carry.shape[-1]:
        kind, x = predictor_of(policy)(batch.obs.flatten(0, 1))
        return Prediction(kind, x.unflatten(0, shape))
    return policy.predict(TimeStep(batch.obs, begins, mask=batch.mask, task=batch.task), carry)[0]


def _begun(policy: Policy, batch: Batch, own: bool) -> Tensor:
    """The memory that it reads a batch with."""
    empty = policy.initial(len(batch.obs))
    if not own or batch.carry is None:
        return empty
    return batch.carry[:, : empty.shape[-1]]  # the actor's part comes first, a critic's own after it
