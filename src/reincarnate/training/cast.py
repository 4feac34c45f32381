"""What members of a cast who saw the same rollout tell each other of it, once each has prepared it."""

from collections.abc import Mapping
from functools import partial

from reincarnate.data.memory import Memory
from reincarnate.types import Batch, Objective, Prediction

TOLD, VALUE, LOG_PROB = "told", "value", "log_prob"  # notes of a prepared rollout


def tell_each_other(
    memories: Mapping[str, Memory], kinds: Mapping[str, str], objectives: Mapping[str, Objective], acts: str
) -> None:
    """Complete what each has prepared: predictions of those it listens to, values it learns towards.

    Whoever did not act gets the actor's log-probabilities, so that ratios are to the policy that acted.
    """
    prepared = {name: memories[name].prepared for name in objectives}
    for name, objective in objectives.items():
        others = {other: batch for other, batch in prepared.items() if other != name}
        memories[name].tell(partial(_completed, others=others, kinds=kinds, objective=objective, acts=acts))


def _completed(
    batch: Batch, others: Mapping[str, Batch], kinds: Mapping[str, str], objective: Objective, acts: str
) -> Batch:
    listens = objective.listens & others.keys()
    said = {name: Prediction(kinds[name], others[name].notes[TOLD]) for name in sorted(listens)}
    notes = dict(batch.notes)
    if acts in others:
        notes[LOG_PROB] = others[acts].notes[LOG_PROB]
    told = others.get(objective.values_of or "")
    reward = batch.reward if told is None else told.notes[VALUE]
    return batch._replace(predictions={**batch.predictions, **said}, notes=notes, reward=reward)
