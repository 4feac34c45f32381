"""All the vocabulary on one page: what flows between the rooms, and the protocols that hold them together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

NOTHING: Mapping[str, Any] = {}  # never written to

# ---- what an environment says ---------------------------------------------------------------------


@dataclass(frozen=True)
class TaskSpec:
    """What a task looks like to an agent, and the protocol under which it is played.

    `obs_shape` and `obs_dtype` describe one observation. With `stack` > 1 its leading axis holds that many frames,
    oldest first, zeros before the episode's start. `protocol` is everything a fair comparison must hold equal
    (sticky actions, frame skip, time limit, reward clipping ...), as JSON values. Where actions are continuous,
    `actions` counts the numbers in one and `bounds` holds their least and greatest values. `codec` names how
    observations are stored, where not as they are (`data.codecs`).
    """

    id: str
    obs_shape: tuple[int, ...]
    obs_dtype: str
    actions: int
    stack: int
    reward_clip: float | None
    protocol: dict[str, Any]
    bounds: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    codec: str | None = None

    @property
    def continuous(self) -> bool:
        """Whether an action is a vector of numbers."""
        return self.bounds is not None

    @property
    def score(self) -> str | None:
        """What it is measured by beside the return, by name: `protocol["score"]`, of a task that has such a score."""
        name = self.protocol.get("score")
        return name if isinstance(name, str) else None


@runtime_checkable
class Codec(Protocol):
    """How a task's observations are stored where they as they are would be too large; not of stacks of frames.

    `form` is shape and dtype of one stored row; what `decode` brings back need only be nearly what `encode` was given.
    """

    def form(self, spec: TaskSpec) -> tuple[tuple[int, ...], str]: ...
    def encode(self, obs: np.ndarray) -> np.ndarray: ...  # [n, *O] -> [n, *S]
    def decode(self, stored: np.ndarray) -> np.ndarray: ...  # [n, *S] -> [n, *O]


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
    """n copies of a task, each starting a new episode by itself the moment one ends.

    One whose task names a score of its own (`TaskSpec.score`) also has `score` [n]: the last step's share of it, which
    is summed over the episode; 0 of a copy that was left alone.
    """

    spec: TaskSpec
    n: int

    def reset(self, rng: np.random.Generator) -> np.ndarray: ...
    def step(self, actions: np.ndarray) -> Step: ...
    def view(self, name: str) -> np.ndarray: ...
    def close(self) -> None: ...


class TimeStep(NamedTuple):
    """What n copies show now, to whoever is asked what to do.

    `begins` marks copies where an episode starts: whoever remembers, forgets. `view` gives another look at the same
    moment by its name, `mask` the actions that are allowed, `task` which of several tasks each copy plays.
    """

    obs: Tensor  # [n, *O]
    begins: Tensor  # bool [n]
    view: Callable[[str], Tensor] | None = None
    mask: Tensor | None = None  # bool [n, A]
    task: Tensor | None = None  # int64 [n]

    def seen(self, view: str) -> Tensor:
        """The observation by a view's name; "student" is the task's own."""
        if view == "student":
            return self.obs
        assert self.view is not None, f"nobody shows the view {view!r} here"
        return self.view(view)


# ---- what a policy says ------------------------------------------------------------------------------

VALUES, LOGITS, ACTIONS, MEANS, GAUSSIAN, SQUASHED = "values", "logits", "actions", "means", "gaussian", "squashed"
CONTINUOUS = frozenset({MEANS, GAUSSIAN, SQUASHED})
"""Kinds of predictions that speak of continuous actions; the others speak of discrete ones."""


class Prediction(NamedTuple):
    """What a policy says of observations, teacher and student alike: one vocabulary.

    `values` and `logits`: x [*L, A]. Of continuous actions, which lie in [-1, 1] here: `means` x [*L, A]; `gaussian`
    x [*L, 2A], mean and log of the standard deviation; `squashed` the same of the Gaussian before tanh.
    """

    kind: str
    x: Tensor


@runtime_checkable
class Policy(Protocol):
    """Whoever can be asked what to do: a teacher, a student's published weights, a peer, the random policy.

    It sees raw observations and preprocesses for itself; `view` names the look it wants (`TimeStep.seen`). What it
    remembers is its carry, a tensor of n rows, [n, 0] where it remembers nothing. `frozen`: what it says of an
    observation never changes, so that it can be kept.
    """

    view: str
    frozen: bool

    def initial(self, n: int) -> Tensor: ...
    def predict(self, step: TimeStep, carry: Tensor) -> tuple[Prediction, Tensor]: ...


class ActorOutput(NamedTuple):
    """What somebody did: actions in the task's own form, the memory after it, columns to be kept with the step."""

    action: np.ndarray  # int64 [n], or float32 [n, A]
    carry: Tensor
    notes: Mapping[str, np.ndarray] = NOTHING  # log_prob, value: [n, …]


@runtime_checkable
class Actor(Protocol):
    """Whoever plays. `explore` is in the actor's own unit (ε of a value student); `rng` a generator, or one a seed."""

    def initial(self, n: int) -> Tensor: ...
    def act(self, step: TimeStep, carry: Tensor, explore: float, rng: Any) -> ActorOutput: ...


# ---- what learning sees ----------------------------------------------------------------------------


class Batch(NamedTuple):
    """What a student learns from, as its layout cut it. Leading shape L: [B], or [B, T] of sequences and rollouts.

    `discount` multiplies the bootstrap value: zero after a termination, untouched by a time limit. `next_obs` are the
    true successors [*L, *O] (of sequences: [B, *O], of the last row alone); without, `reward` is the whole target (a
    λ-return). `predictions` holds what others say of `obs`, by name. `weight` multiplies every loss (importance
    weights, or 0 where a row is no step); `rows` are those that prioritised replay will hear about (`Source.learnt`).
    """

    obs: Tensor  # [*L, *O]
    action: Tensor  # int64 [*L], or float32 [*L, A] in [-1, 1]
    reward: Tensor  # float32 [*L]
    discount: Tensor  # float32 [*L]
    next_obs: Tensor | None
    predictions: Mapping[str, Prediction] = NOTHING
    weight: Tensor | None = None  # float32 [*L]
    rows: np.ndarray | None = None
    begins: Tensor | None = None  # bool [*L]: an episode starts here
    ended: Tensor | None = None  # bool [*L]: one ends with this step, by a termination or a limit
    carry: Tensor | None = None  # [B, H]: the reader's memory before the first row
    notes: Mapping[str, Tensor] = NOTHING  # what the actor noted: log_prob, value; advantages after `prepare`
    mask: Tensor | None = None  # bool [*L, A]: actions that were allowed
    next_mask: Tensor | None = None
    task: Tensor | None = None  # int64 [*L]


@runtime_checkable
class Layout(Protocol):
    """How stored steps are cut for a learner."""

    @property
    def gamma(self) -> float: ...


Predictor = Callable[..., Prediction]
"""Observations [N, *O] -> what a policy without memory says of them; of several tasks, the task [N] comes second."""
FEATURES = "features"
"""Whose prediction a term reads that follows the teacher's features: its last hidden layer, x [*L, F]."""


@runtime_checkable
class Source(Protocol):
    """Anything a batch can be drawn from: own replay, prior data, a mixture of both.

    `ask` names whose predictions the batch shall hold, and how rows that lack them get them.
    """

    def __len__(self) -> int: ...
    def sample(self, n: int, rng: np.random.Generator, ask: Mapping[str, Predictor] = NOTHING) -> Batch: ...
    def learnt(self, batch: Batch, losses: Float32[Tensor, "B"]) -> None: ...


class Learnt(NamedTuple):
    """What an update says: the losses' means, unweighted, and each example's own loss."""

    means: dict[str, Tensor]
    each: Float32[Tensor, "B"]


@dataclass(frozen=True)
class Progress:
    """Where a run stands: all that a schedule may look at.

    `scores` are this phase's evaluations so far, oldest first, normalised: the random policy is 0, the teacher 1;
    `lows` the lower ends of their 95 % intervals on the same scale. Of `evaluations` in all, evenly spread.
    """

    fraction: float = 0.0
    phase_env_steps: int = 0
    phase_updates: int = 0
    scores: tuple[float, ...] = ()
    evaluations: int = 10
    lows: tuple[float, ...] = ()


Schedule = Callable[[Progress], float]


@runtime_checkable
class Term(Protocol):
    """A loss a method adds to the student's own: one number per example. `of`: whose prediction it reads, or None.

    It may have `suits`, the kinds of the student's predictions that it can read, and `instead`, what others can be
    taught by; `wants`, what the student's critics shall note of the batch for it (`students.judging`); and `columns`,
    what must be known of stored rows ("return").
    """

    @property
    def name(self) -> str: ...
    @property
    def of(self) -> str | None: ...
    def __call__(self, out: Prediction, batch: Batch) -> Tensor: ...


class WeightedTerm(NamedTuple):
    """A term and the schedule of its weight."""

    term: Term
    weight: Schedule


class Weighing(NamedTuple):
    """An objective at one moment: the weight of the student's own loss, of each term, what multiplies its rate.

    `policy` is a further weight of the part of its own loss that moves the policy and not the values: an actor's, and
    `actor_lr` a further factor of the rate of an actor that has an optimiser of its own.
    """

    own: float = 1.0
    terms: Sequence[tuple[float, Term]] = ()
    lr_scale: float = 1.0
    policy: float = 1.0
    actor_lr: float = 1.0


@dataclass(frozen=True)
class Objective:
    """What a student learns in a phase: the weight of its own loss, terms, and what multiplies its learning rate.

    `policy` 0 leaves an actor alone while its critic learns; where values are the policy it changes nothing.
    `values_of` names another of the cast whose state values its own learn towards, in place of returns (on-policy).
    `actor_lr` is for students whose actor has an optimiser of its own.
    """

    own: float = 1.0
    terms: tuple[WeightedTerm, ...] = ()
    lr_scale: Schedule | None = None  # None: leaves it alone
    policy: float = 1.0
    values_of: str | None = None
    actor_lr: float = 1.0

    def at(self, progress: Progress) -> Weighing:
        """What holds now; terms without weight are left out."""
        terms = [(w, t.term) for t in self.terms if (w := t.weight(progress)) > 0]
        lr_scale = self.lr_scale(progress) if self.lr_scale else 1.0
        return Weighing(self.own, terms, lr_scale, self.policy, self.actor_lr)

    @property
    def listens(self) -> frozenset[str]:
        """Whose predictions its terms read."""
        return frozenset(t.term.of for t in self.terms if t.term.of)


@dataclass(frozen=True)
class Guide:
    """The teacher acts in the first steps of each episode, the student after it (Uchendu et al., 2023).

    In as many as `horizon` says as the episode begins, or with `drawn` in a number drawn from 1 to that. With `share`
    it acts in each of these steps with that probability alone (the β of Ross et al., 2011).
    """

    horizon: Schedule
    drawn: bool = True
    share: Schedule | None = None


BEST = "best"
"""Whose prediction a term reads that is `of` the student itself as its phase's best evaluation found it."""
START = "start"
"""Whose prediction a term reads that is `of` the student itself as its phase began."""
LAGGING, OPTIMIZER = "lagging", "optimizer"  # what a student can be asked to refresh


@dataclass(frozen=True)
class Phase:
    """What holds for a stretch of training: online for `env_steps`, or offline for `updates`; never both.

    `objective` is the student's, `others` those of the rest of the method's cast; `acts` says who plays. `newborn`:
    exploration starts as of a student that knows nothing; else it explores as little as it ever will. As the phase
    begins the student is asked to `refresh` its lagging copies or its optimiser. Online, each example is drawn from
    prior data with probability `prior_share`, a `guide` lets the teacher act, and without `learns` experience is only
    collected. A `warm` phase learns from its first env step, for experience is there already; others wait for the
    student's warm-up.
    """

    name: str
    env_steps: int = 0
    updates: int = 0
    objective: Objective = field(default_factory=Objective)
    others: Mapping[str, Objective] = field(default_factory=dict)
    acts: str = "student"
    newborn: bool = True
    refresh: frozenset[str] = frozenset()
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

    @property
    def listens(self) -> frozenset[str]:
        """Whose predictions are read in it."""
        return self.objective.listens.union(*(other.listens for other in self.others.values()))


@runtime_checkable
class Method(Protocol):
    """A way of reincarnating: a frozen dataclass that unrolls into phases. It never knows what a target network is.

    `needs` names the priors it must have, of "teacher", "data", "weights". `cast` names who learns in it; the student
    acts unless a phase says otherwise. A subclass need only say what differs from the defaults here.
    """

    cast: ClassVar[tuple[str, ...]] = ("student",)

    @property
    def needs(self) -> frozenset[str]: ...
    def phases(self, env_steps: int) -> list[Phase]: ...

    @property
    def measures(self) -> bool:
        """Whether a setting was left to what is measured of the priors: then `fitted` comes before training."""
        return False

    def fitted(self, temperature: float) -> Method:
        """The same with what was measured: the temperature that suits the teacher's action gaps."""
        return self

    def suited(self, tells: str) -> Method:
        """The same with settings that were left to the kind of teacher (what its card says it `tells`)."""
        return self

    def equipped(self, student: Any, card: TeacherCard | None) -> Any:
        """A student's settings as the method needs them. Raises UserError where the student cannot follow it."""
        return student

    @property
    def keeps_all(self) -> bool:
        """Whether a student from weights also takes over the agent's optimiser and replay."""
        return False

    @property
    def operations(self) -> tuple[str, ...]:
        """Words of surgery on the weights it starts from, in order."""
        return ()


# ---- who teaches, who learns --------------------------------------------------------------------------


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
    once. `refresh` renews what it is asked to: only the student knows what lags behind.
    """

    settings: Any
    spec: TaskSpec
    policy: Policy
    network: nn.Module
    device: torch.device

    def initial(self, n: int) -> Tensor: ...
    def act(self, step: TimeStep, carry: Tensor, explore: float, rng: np.random.Generator) -> ActorOutput: ...
    def prepare(self, rollout: Batch) -> Batch: ...
    def update(self, batch: Batch, weighing: Weighing, rng: np.random.Generator) -> Learnt: ...
    def publish(self) -> None: ...
    def refresh(self, what: frozenset[str]) -> None: ...
    def weights(self) -> dict[str, Tensor]: ...
    def load(self, weights: dict[str, Tensor]) -> None: ...
    def state(self) -> dict[str, Tensor]: ...
    def restore(self, state: dict[str, Tensor]) -> None: ...
    def adopt(self, state: dict[str, Tensor]) -> str: ...
    def freeze(self, prefixes: Sequence[str]) -> tuple[int, int]: ...
    def cost(self) -> Cost: ...


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
