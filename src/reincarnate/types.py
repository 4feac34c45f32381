"""All the vocabulary on one page: what flows between the rooms, and the protocols that hold them together."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor

# ---- what an environment says ---------------------------------------------------------------------


@dataclass(frozen=True)
class TaskSpec:
    """What a task looks like to an agent, and the protocol under which it is played.

    `obs_shape` and `obs_dtype` describe one observation. With `stack` > 1 its leading axis holds that many frames,
    oldest first, zeros before the episode's start. `protocol` is everything a fair comparison must hold equal
    (sticky actions, frame skip, time limit, reward clipping ...), as JSON values. Where actions are continuous,
    `actions` counts the numbers in one and `bounds` holds their least and greatest values.
    """

    id: str
    obs_shape: tuple[int, ...]
    obs_dtype: str
    actions: int
    stack: int
    reward_clip: float | None
    protocol: dict[str, Any]
    bounds: tuple[tuple[float, ...], tuple[float, ...]] | None = None

    @property
    def continuous(self) -> bool:
        """Whether an action is a vector of numbers."""
        return self.bounds is not None


class Step(NamedTuple):
    """What a vector environment of n copies says after one action in each.

    `next_obs` is the true successor of the action everywhere; `obs` is what to act on next, which differs from it
    only where an episode ended. Rewards are unclipped. `mask` says which actions are legal in `obs`, `next_mask` in
    `next_obs`; None where the task says nothing of that.
    """

    obs: np.ndarray  # [n, *O]
    next_obs: np.ndarray  # [n, *O]
    reward: np.ndarray  # float32 [n]
    terminated: np.ndarray  # bool [n]
    truncated: np.ndarray  # bool [n]
    mask: np.ndarray | None = None  # bool [n, A]
    next_mask: np.ndarray | None = None  # bool [n, A]


@runtime_checkable
class VectorEnv(Protocol):
    """n copies of a task, each starting a new episode by itself the moment one ends."""

    spec: TaskSpec
    n: int

    def reset(self, rng: np.random.Generator) -> np.ndarray: ...
    def step(self, actions: np.ndarray) -> Step: ...
    def view(self, name: str) -> np.ndarray: ...
    def close(self) -> None: ...


# ---- what learning sees ----------------------------------------------------------------------------


class Batch(NamedTuple):
    """Transitions of up to n steps. `reward` is the discounted n-step sum; `discount` multiplies the bootstrap value.

    `discount` is zero after a termination and untouched by a time limit. Without `next_obs`, `reward` is the whole
    target (a λ-return). `teacher` holds the teacher's logits for `obs`, where the phase asks for them; `weight` and
    `rows` are prioritised replay's importance weights and the rows it will hear about (`Source.learnt`).
    """

    obs: Tensor  # [B, *O]
    action: Int64[Tensor, "B"] | Float32[Tensor, "B A"]
    reward: Float32[Tensor, "B"]
    discount: Float32[Tensor, "B"]
    next_obs: Tensor | None  # [B, *O]
    teacher: Float32[Tensor, "B A"] | None = None
    weight: Float32[Tensor, "B"] | None = None
    rows: np.ndarray | None = None


class Outputs(NamedTuple):
    """One forward pass of a value student, shared by every term. `q`: expected action values."""

    q: Float[Tensor, "B A"]


@runtime_checkable
class Source(Protocol):
    """Anything a batch can be drawn from: own replay, prior data, a mixture of both."""

    def __len__(self) -> int: ...
    def sample(
        self,
        n: int,
        rng: np.random.Generator,
        teacher: bool = False,
        annotate: Callable[[Tensor], Tensor] | None = None,
    ) -> Batch: ...
    def learnt(self, batch: Batch, losses: Float32[Tensor, "B"]) -> None: ...


@runtime_checkable
class Memory(Source, Protocol):
    """Where a student's own experience goes. `on_policy`: it is learnt from once, as soon as it is full."""

    on_policy: bool

    def settle(self, values: Callable[[np.ndarray], np.ndarray]) -> None: ...
    def add(
        self,
        obs: np.ndarray,
        action: np.ndarray,
        reward: np.ndarray,
        terminated: np.ndarray,
        truncated: np.ndarray,
        next_obs: np.ndarray,
        teacher: np.ndarray | None = None,
    ) -> None: ...
    def cut(self, obs: np.ndarray) -> None: ...
    def tensors(self) -> dict[str, np.ndarray]: ...
    def restore_tensors(self, tensors: dict[str, np.ndarray]) -> None: ...
    def state(self) -> dict[str, Any]: ...
    def restore(self, state: dict[str, Any]) -> None: ...


class Learnt(NamedTuple):
    """What an update says: the losses' means, unweighted, and each example's own loss."""

    means: dict[str, Tensor]
    each: Float32[Tensor, "B"]


@dataclass(frozen=True)
class Progress:
    """Where a run stands: all that a schedule may look at.

    `scores` are this phase's evaluations so far, oldest first, normalised: the random policy is 0, the teacher 1. Of
    `evaluations` in all, evenly spread.
    """

    fraction: float = 0.0
    phase_env_steps: int = 0
    phase_updates: int = 0
    scores: tuple[float, ...] = ()
    evaluations: int = 10


Schedule = Callable[[Progress], float]


@runtime_checkable
class Term(Protocol):
    """A loss a method adds to the student's own: one number per example. `needs_teacher`: it reads `batch.teacher`."""

    @property
    def name(self) -> str: ...
    @property
    def needs_teacher(self) -> bool: ...
    def __call__(self, out: Outputs, batch: Batch) -> Float[Tensor, "B"]: ...


class WeightedTerm(NamedTuple):
    """A term and the schedule of its weight."""

    term: Term
    weight: Schedule


@dataclass(frozen=True)
class Guide:
    """The teacher acts in the first steps of each episode, the student after it (Uchendu et al., 2023).

    In as many as `horizon` says as the episode begins, or with `drawn` in a number drawn from 1 to that.
    """

    horizon: Schedule
    drawn: bool = True


@dataclass(frozen=True)
class Phase:
    """What holds for a stretch of training: online for `env_steps`, or offline for `updates`; never both.

    `lr_scale` multiplies the student's learning rate (None: leaves it alone), `td_weight` its own loss. `anneal` says
    that exploration starts from a newborn's (ε = 1, warm-up by random actions); otherwise the student explores as
    little as it ever will. As the phase begins `sync_target` copies the online network to the target network and
    `new_optimizer` empties the optimiser's memory. Online, each example is drawn from prior data with probability
    `prior_share`, a `guide` lets the teacher act, and without `learns` experience is only collected. A `warm` phase
    learns from its first env step, for experience is there already; others wait for the student's `warmup`.
    """

    name: str
    env_steps: int = 0
    updates: int = 0
    terms: tuple[WeightedTerm, ...] = ()
    lr_scale: Schedule | None = None
    td_weight: float = 1.0
    anneal: bool = True
    sync_target: bool = False
    new_optimizer: bool = False
    prior_share: float = 0.0
    guide: Guide | None = None
    learns: bool = True
    warm: bool = False
    evaluations: int = 10

    def __post_init__(self):
        if (self.env_steps > 0) == (self.updates > 0):
            raise ValueError(f"phase {self.name!r} must name env steps or updates, and not both")

    @property
    def offline(self) -> bool:
        """Learns from prior data alone, without touching the environment."""
        return self.updates > 0


@runtime_checkable
class Method(Protocol):
    """A way of reincarnating: a frozen dataclass that unrolls into phases. `needs` names the priors it must have."""

    @property
    def needs(self) -> frozenset[str]: ...  # of "teacher", "data", "weights"
    def phases(self, env_steps: int) -> "list[Phase]": ...


# ---- who acts --------------------------------------------------------------------------------------

VALUES, LOGITS, ACTIONS, MEANS = "values", "logits", "actions", "means"


@dataclass(frozen=True)
class TeacherCard:
    """What a teacher is, as far as its files tell.

    `tells` is `values` (action values), `logits` (of a policy), `actions` (only what it would do) or `means` (the
    continuous action it would take, in the task's units, `actions` numbers). `plays` is how its makers let it play:
    `greedy` or `sample`; "" where that is not known: policies sample, all others are greedy. `obs_shape`, `obs_dtype`
    and `actions` are None where the files do not say, `bounds` (low, high) of continuous actions likewise.
    `protocol` holds what it was trained under, where known, in `TaskSpec.protocol`'s words.
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


@runtime_checkable
class Teacher(Protocol):
    """A frozen policy. It sees raw observations and preprocesses for itself.

    `view` names the observation it wants: "student" for the task's own, else a view the task offers (Atari: "rgb").
    A recurrent teacher carries a state `[n, H]`, begun anew with each episode; others carry None.
    """

    card: TeacherCard
    view: str

    def initial_state(self, n: int) -> Tensor | None: ...
    def logits(self, obs: Tensor, state: Tensor | None) -> tuple[Float32[Tensor, "B A"], Tensor | None]: ...


@runtime_checkable
class Student(Protocol):
    """An agent being trained. It never knows what reincarnation is."""

    n_step: int
    gamma: float
    batch_size: int

    def act(self, obs: np.ndarray, epsilon: float, rng: np.random.Generator) -> np.ndarray: ...
    def values(self, obs: np.ndarray) -> np.ndarray: ...
    def update(
        self,
        batch: Batch,
        terms: list[tuple[float, Term]],
        rng: np.random.Generator,
        td_weight: float = 1.0,
        lr_scale: float = 1.0,
    ) -> Learnt: ...
    def publish(self) -> None: ...
    def sync_target(self) -> None: ...
    def new_optimizer(self) -> None: ...
    def state(self) -> dict[str, Tensor]: ...
    def restore(self, state: dict[str, Tensor]) -> None: ...


class Pace(NamedTuple):
    """How often a student learns: `updates` for every `env_steps` of all copies together."""

    env_steps: int
    updates: int


Policy = Callable[[np.ndarray, Bool[np.ndarray, "n"], np.random.Generator], np.ndarray]
"""(obs [n, *O], which rows begin an episode, rng) -> actions [n]"""
