"""Who teaches and who learns, and the settings that make them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import numpy as np

from reincarnate.types.batches import Batch, Learnt
from reincarnate.types.methods import PLAIN, Weighing
from reincarnate.types.policies import CONTINUOUS, ActorOutput, Policy
from reincarnate.types.tasks import TaskSpec, TimeStep

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


@dataclass(frozen=True)
class TeacherCard:
    """What a teacher is, as far as its files tell.

    `tells` is `values` (action values), `logits` (of a policy), `actions` (only what it would do), `means` (the
    continuous action it would take), or with its spread `gaussian` or `squashed`; `actions` counts the numbers in one.
    `alpha` is what a nat of entropy was worth to it (SAC's), where its files tell.
    `plays` is how its makers let it play: `greedy` or `sample`; "" where that is not known: policies sample, all
    others are greedy. `obs_shape`, `obs_dtype` and `actions` are None where the files do not say, `bounds` (low, high)
    of continuous actions likewise. `protocol` holds what it was trained under, where known, in `TaskSpec.protocol`'s
    words.
    """

    uri: str
    format: str
    algorithm: str
    tells: str
    network: str
    parameters: int
    sha256: str
    obs_shape: tuple[int, ...] | None
    obs_dtype: str | None
    actions: int | None
    preprocessing: str
    safety: str
    plays: str = ""
    env: str | None = None
    trained_env_steps: int | None = None
    protocol: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    bounds: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    alpha: float | None = None

    @property
    def continuous(self) -> bool:
        """Whether it speaks of continuous actions."""
        return self.tells in CONTINUOUS

    def _repr_html_(self) -> str:
        from reincarnate.ui import table_of

        names = ("uri", "algorithm", "tells", "network", "env", "trained_env_steps", "safety")
        return table_of({name: getattr(self, name) for name in names if getattr(self, name) is not None})


@runtime_checkable
class Teacher(Policy, Protocol):
    """A frozen policy that comes with a card."""

    card: TeacherCard


@runtime_checkable
class Student(Protocol):
    """An agent being trained: it acts, learns and publishes. It knows no teacher, no phase, no environment.

    `network` holds what an agent keeps. `policy` is what it published last. `prepare` turns a rollout into examples,
    once, for what will be learnt from them. `refresh` renews what it is asked to: only the student knows what lags
    behind.
    """

    settings: Any
    spec: TaskSpec
    policy: Policy
    network: nn.Module
    device: torch.device

    def initial(self, n: int) -> Tensor: ...
    def act(self, step: TimeStep, carry: Tensor, explore: float, rng: np.random.Generator) -> ActorOutput: ...
    def prepare(self, rollout: Batch, weighing: Weighing = PLAIN) -> Batch: ...
    def update(self, batch: Batch, weighing: Weighing, rng: np.random.Generator) -> Learnt: ...
    def publish(self) -> None: ...
    def refresh(self, what: frozenset[str]) -> None: ...
    def weights(self) -> dict[str, Tensor]: ...
    def load(self, weights: dict[str, Tensor]) -> None: ...
    def state(self) -> dict[str, Tensor]: ...
    def restore(self, state: dict[str, Tensor]) -> None: ...
    def adopt(self, state: dict[str, Tensor]) -> str: ...
    def freeze(self, prefixes: Sequence[str]) -> tuple[int, int]: ...
    def cost(self, copies: int) -> Cost: ...


class Pace(NamedTuple):
    """How often a student learns: `updates` of `batch` examples for every `env_steps` of all copies together.

    Not before `warmup` env steps, where experience has to come first.
    """

    env_steps: int
    updates: int
    batch: int
    warmup: int = 0


class Cost(NamedTuple):
    """Floating-point operations: of acting on one observation, of an update online and offline, of preparing a step."""

    act: float
    online: float
    offline: float
    prepare: float = 0.0


@runtime_checkable
class Settings(Protocol):
    """What a student can be told: a frozen dataclass, which makes flags, YAML and the record. It makes students.

    `predicts` is the kind of its predictions, `explores` what its exploration is called in metrics, `copies` how many
    of the task it plays at once unless the run says otherwise.
    """

    predicts: ClassVar[str]
    explores: ClassVar[str]
    copies: ClassVar[int]

    @property
    def lr(self) -> float: ...
    def check(self, copies: int) -> None: ...
    def newborn(self, spec: TaskSpec, seed: int, device: Any = ...) -> Student: ...
    def network(self, spec: TaskSpec) -> nn.Module: ...
    def policy(self, spec: TaskSpec, network: nn.Module) -> Policy: ...
    def layout(self) -> Any: ...  # data.layouts
    def layout_of_data(self) -> Any: ...
    def storage(self, spec: TaskSpec, copies: int) -> Any: ...  # data.memory.Storage
    def pace(self, copies: int) -> Pace: ...
    def exploration(self, env_steps: int, newborn: bool, wait: int) -> float: ...
    def own_loss(self) -> str: ...
    def behaviour(self, newborn: bool) -> str: ...
    def action_layers(self) -> Mapping[str, int]: ...
    def described(self, spec: TaskSpec) -> str: ...
