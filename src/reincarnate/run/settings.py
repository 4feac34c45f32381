"""Run: the configuration of one training run; what it needs, opened and checked; and its record."""

import itertools
import math
import platform
from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cache
from typing import Annotated, Any, Literal

import torch
import tyro

from reincarnate import __version__, envs
from reincarnate.agents.addresses import Address, Place, address_of
from reincarnate.agents.card import command
from reincarnate.config import from_dict, refuse_other_kinds, to_dict, with_tuples
from reincarnate.envs.code import version_of
from reincarnate.errors import UserError
from reincarnate.files import limits
from reincarnate.files.regular import refuse_empty
from reincarnate.methods import METHODS, AnyMethod
from reincarnate.plugins import Names, asked_imports, blaming, imported
from reincarnate.priors import weights
from reincarnate.run.budget import to_be_said
from reincarnate.run.loggers import check_loggers
from reincarnate.run.stopping import stopping
from reincarnate.seeds import check_many, check_seed
from reincarnate.students import STUDENTS, AnyStudent, check_student
from reincarnate.students.families import DQN
from reincarnate.students.gradient import can_compile
from reincarnate.training.exchange import EXCHANGES, AnyExchange, Nothing
from reincarnate.types import Method, Phase

NAMES = Names(METHODS, STUDENTS, EXCHANGES)
SEEDS = ("seed", "first_seed")  # numbers that count nothing
NOTES = ("format", "command", "versions", "prior", "task", "together", "support")  # in config.json beside the settings
MOST_COUNTED = 10**15  # of env steps, updates and whatever else is counted: a million a second take thirty years
MOST_THREADS = 1024  # torch starts them all, or fails
MOST_COPIES = 100_000  # of the task, each an environment of its own; no process can act with more
LONGEST_SAID = 160  # letters of what somebody's method gave
Note = Callable[[str], None]


@dataclass(frozen=True)
class Run:
    """One method, task, prior and seed."""

    env: str
    """Task id, e.g. CartPole-v1, MinAtar/Breakout-v1, ALE/Pong-v5; several side by side: A,B,C."""
    method: Annotated[AnyMethod, tyro.conf.arg(name="")]  # pyright: ignore[reportInvalidTypeForm]
    student: AnyStudent = field(default_factory=DQN)  # pyright: ignore[reportInvalidTypeForm]
    """Who learns: its networks, what it learns from and how often."""
    teacher: Address = None
    """Where the teacher is: sb3:PATH.zip, store:DIR, py:FILE.py:NAME. Methods without one use it as the scale.

    Of several tasks each has its own: TASK=ADDRESS,TASK=ADDRESS. Several for one task: several:mean:ADDRESS,ADDRESS."""
    data: Address = None
    """A stored dataset, or store:DIR for an agent's replay; without it the teacher plays `data_env_steps` once."""
    weights: Address = None
    """An agent to start from: store:DIR, sb3:FILE.zip, cleanrl:, dopamine:, hf:. --student defaults to its settings."""
    keep: Literal["weights", "all"] = "weights"
    """What the agent keeps; all: the optimiser's state and the replay too, for finetune --reuse all."""
    keep_checkpoints: int = 2
    """The newest ones, kept until the run is done; the best by score is kept as well, and becomes agent-best."""
    seed: int = 0
    env_steps: int = 50_000
    """The student's budget of env steps."""
    envs: int = 0
    """Copies of the task the student plays at once; 0: the student's own number (1, pqn 32)."""
    evaluations: int = 10
    """Per phase, evenly spread; weaning by score looks at them, and each is a checkpoint."""
    eval_episodes: int = 20
    final_episodes: int = 50
    """Episodes of the final score."""
    eval_epsilon: float = 0.001
    """Random actions in evaluation, as in the paper's protocol."""
    metric: str = "return"
    """What a score is: the return, or the task's own by its name (balloons: twr50). Weaning by score goes by it too."""
    reference_episodes: int = 100
    """Episodes for the teacher's and the random policy's score, the two anchors of the scale."""
    reference_greedy: bool = False
    """Score the greedy play of a teacher that samples, too: often better than what it teaches by. Of one task."""
    teacher_plays: Literal["auto", "greedy", "sample"] = "auto"
    """auto: as its makers do; where that is unknown, policies sample and values are played greedily."""
    data_env_steps: int = 50_000
    """Env steps of teacher data, where none is given."""
    data_epsilon: float = 0.1
    """Random actions while the teacher collects data, for coverage."""
    threads: int = 0
    """Torch threads; 0 chooses: one for small networks, half the cores for 84×84 screens."""
    device: str = "auto"
    """Where students and teachers live: auto (a GPU, where there is one), cpu, cuda, cuda:1."""
    replay_device: str = "cpu"
    """Where the replay's frames are (7 kB an 84×84 screen): cpu; the --device, where batches are then cut; disk, in a
    temporary file, for replays larger than memory, or disk:FOLDER."""
    overlap: Literal["auto", "on", "off"] = "auto"
    """Step environments beside the learner; the result is the same. auto: where screens make it pay."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Small networks' updates by compiled kernels, else one compiled program. auto: where updates enough pay for it."""
    store: Place = ".reincarnate"
    """Where priors measured once are kept."""
    label: str = ""
    """What reports call this run, where the method's name does not say enough."""
    actors: int = 0
    """Processes that act for the learner, each at its share of the task's copies; 0: the learner acts itself."""
    actor_steps: int = 1
    """Steps of each copy, at least, that actors take with the same weights; for students that learn from a replay."""
    backend: Literal["processes", "ray"] = "processes"
    """Where actors, and ald's --processes two, are: processes here, or of Ray (RAY_ADDRESS names a cluster)."""
    population: int = 1
    """Learners of this run that tell each other something as they learn, with seeds from --seed on; see --exchange."""
    exchange: AnyExchange = field(default_factory=Nothing)  # pyright: ignore[reportInvalidTypeForm]
    first_seed: Annotated[int | None, tyro.conf.Fixed, tyro.conf.Suppress] = None
    """Of the population that this run is a member of: the seed that its members' common weights are drawn from."""
    log: str = "tensorboard"
    """Where metrics go besides metrics.jsonl, by commas: tensorboard, csv, wandb, trackio, mlflow; "" nowhere."""
    stop_at: str = ""
    """End early, by an evaluation of an online phase: score=200, normalised=1, or plateau=5 (none of 5 was better)."""
    video: Literal["off", "last", "all"] = "off"
    """Keep a film (GIF) of an episode in videos/, by the last evaluation or by each; of tasks that can be drawn."""
    imports: Annotated[tuple[str, ...], tyro.conf.Fixed, tyro.conf.Suppress] = ()
    """Modules that register what it names; imported again wherever the run goes on, is judged or taught from."""

    def __post_init__(self):
        if not isinstance(self.env, str) or set(":?,") & set(self.env):  # settings, a callable from Python, several
            object.__setattr__(self, "env", envs.settings_of(self.env).address)
        for name in ("teacher", "data", "weights"):  # from Python also paths, and what has been opened
            object.__setattr__(self, name, address_of(getattr(self, name), name))
        object.__setattr__(self, "store", str(self.store))
        for name in ("method", "student", "exchange"):
            object.__setattr__(self, name, with_tuples(getattr(self, name)))
        if isinstance(self.imports, list):
            object.__setattr__(self, "imports", tuple(self.imports))

    @property
    def copies(self) -> int:
        """Of the task the student plays at once; of several at least one of each, and equal shares."""
        tasks = max(1, len(envs.parse(self.env).parts))
        return self.envs or -(-self.student.copies // tasks) * tasks

    @property
    def birth_seed(self) -> int:
        """What a newborn's weights are drawn from."""
        return self.seed if self.first_seed is None or not self.exchange.alike else self.first_seed

    @property
    def asks_teacher(self) -> bool:
        """Whether any term reads what the teacher says."""
        return any("teacher" in phase.listens for phase in self.phases())

    def members(self) -> "list[Run]":
        """The runs of its population, one for each learner. Raises UserError where they are too many."""
        check_many(self.population, "--population")
        return [replace(self, seed=self.seed + i, first_seed=self.seed) for i in range(self.population)]

    def phases(self, method: Method | None = None) -> list[Phase]:
        """What the method (or another in its place) unrolls into, with this run's number of evaluations."""
        phases = _unrolled(method or self.method, self.env_steps)
        return [replace(phase, evaluations=self.evaluations if phase.learns else 1) for phase in phases]


def _unrolled(method: Method, env_steps: int) -> list[Phase]:
    """A method's phases. UserError: somebody's own method fails, or gives something else."""
    who = f"the method {METHODS.name_of(type(method)) or type(method).__name__}"
    with blaming(METHODS, type(method), f"{who}: its phases({env_steps}) failed"):
        phases: Any = method.phases(env_steps)
    if not (isinstance(phases, list | tuple) and phases and all(isinstance(phase, Phase) for phase in phases)):
        raise UserError(f"{who}: its phases({env_steps}) gave {str(phases)[:LONGEST_SAID]}, not a list of Phase")
    for phase, name in itertools.product(phases, ("env_steps", "updates")):
        value = getattr(phase, name)
        if not isinstance(value, int) or value < 0:
            raise UserError(f"{who}: its phase {phase.name!r} has {name}={value!r}, not a whole number of 0 or more")
    return list(phases)


def check_settings(run: Run) -> None:
    """Refuse what is of another kind than it should be, and numbers that cannot mean anything."""
    refuse_other_kinds(run)
    at_least_one = (
        "env_steps",
        "evaluations",
        "eval_episodes",
        "final_episodes",
        "reference_episodes",
        "keep_checkpoints",
        "actor_steps",
    )
    for name in (*at_least_one, "data_env_steps"):
        if getattr(run, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} must be at least 1, not {getattr(run, name)}")
    for name in ("data_epsilon", "eval_epsilon"):
        if not 0 <= getattr(run, name) <= 1:
            raise UserError(f"--{name.replace('_', '-')} is a probability, not {getattr(run, name)}")
    refuse_empty(str(run.store), "--store")
    check_seed(run.seed)
    check_many(run.population, "--population")
    for name, most in (("envs", MOST_COPIES), ("threads", MOST_THREADS), ("actors", MOST_COPIES)):
        if getattr(run, name) < 0:
            raise UserError(f"--{name} must not be negative: {getattr(run, name)}")
        if getattr(run, name) > most:
            raise UserError(f"--{name} {getattr(run, name)} is too many; at most {most:,}")
    if run.compile == "on" and not (can_compile() or torch.cuda.is_available()):
        raise UserError("--compile on needs a C++ compiler: g++, or what the environment's CXX names")
    if run.reference_greedy and envs.parse(run.env).parts:
        raise UserError("--reference-greedy is of one task; of several, score each teacher's greedy play alone")
    if run.evaluations > limits.EVALUATIONS:
        raise UserError(
            f"--evaluations {run.evaluations} is too many; at most {limits.EVALUATIONS:,}, each is a checkpoint"
        )
    check_loggers(run.log)
    stopping(run.stop_at, run.teacher is not None)
    _refuse_beyond(run)
    check_student(run.student, run.copies)
    if run.population > 1 and type(run.exchange) is Nothing:
        told = ", ".join(name for name in EXCHANGES if name != "none")
        raise UserError(f"--population {run.population} needs an --exchange ({told}); seeds that share none: --seeds")
    run.exchange.check(run.population)
    run.phases()  # raises where the method's settings cannot mean anything


def _refuse_beyond(settings: Any, prefix: str = "--") -> None:
    """Refuse numbers that are no numbers, and counts that no run can reach; records could not hold them either."""
    for field_ in fields(settings):
        value, flag = getattr(settings, field_.name), f"{prefix}{field_.name.replace('_', '-')}"
        if is_dataclass(value):
            _refuse_beyond(value, prefix if field_.name == "method" else f"{flag}.")
        elif isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{flag} must be a finite number, not {value}")
        elif field_.name not in SEEDS and _largest(value) > MOST_COUNTED:
            raise UserError(f"{flag} {_largest(value)} is too much; at most {MOST_COUNTED:,}")


def _largest(value: Any) -> int:
    """The largest whole number in a setting, by its size; 0 where it holds none."""
    several = value if isinstance(value, tuple) else (value,)
    return max((abs(one) for one in several if isinstance(one, int)), default=0)


def method_name(run: Run) -> str:
    """The registered name of a run's method."""
    name = METHODS.name_of(type(run.method))
    if name is None:
        kind = type(run.method).__name__
        raise UserError(f"the method {kind} has no name: reincarnate.register_method('its-name', {kind})")
    return name


def record(run: Run) -> dict[str, Any]:
    """The run as JSON values, with the command that repeats it and the versions that matter: `config.json`."""
    settings = to_dict(run, NAMES)
    for name, usual in (
        ("imports", []),
        ("log", "tensorboard"),
        ("stop_at", ""),
        ("video", "off"),
        ("replay_device", "cpu"),
        ("actors", 0),
        ("actor_steps", 1),
        ("backend", "processes"),
    ):
        if settings[name] == usual:
            del settings[name]  # as records were before there were any
    if run.population == 1:
        del settings["population"], settings["exchange"], settings["first_seed"]
    usual = Run(env=run.env, method=type(run.method)(), student=default_student(type(run.student), run.weights))
    defaults = to_dict(usual, NAMES)
    for rule in to_be_said(run, usual):
        rule.owner(defaults)[rule.name] = None
    return {**settings, "command": command(settings, defaults), "versions": dict(_versions())}


@cache
def _versions() -> dict[str, str]:
    """Of Python and of the packages that decide about a result."""
    packages = ("torch", "numpy", "gymnasium", "ale-py", "minatar")
    ours = {"python": platform.python_version(), "reincarnate": __version__}
    return {**ours, **{name: version_of(name) for name in packages}}


def default_student(kind: type | None, address: str | None) -> Any:
    """What settings a student of this kind (None: any) has unless told: the agent's it starts from, if that is one."""
    given = weights.open_weights(address).student if address else DQN()
    return given if kind is None or type(given) is kind else kind()


def with_imports(settings: dict[str, Any], where: str) -> list[str]:
    """The modules that somebody's settings and --import name, imported: the names in the settings may be theirs."""
    said = settings.get("imports") or []
    if not isinstance(said, list):
        raise UserError(f"{where}: imports must be a list of modules, not {said!r}")
    imported(said)
    return list(dict.fromkeys((*said, *asked_imports())))


def from_record(value: dict[str, Any]) -> Run:
    """A run from its record, strictly."""
    value = {k: v for k, v in value.items() if k not in NOTES}
    return from_dict(Run, {**value, "method": _as_then(value.get("method"))}, NAMES)


def _as_then(method: Any) -> Any:
    """A method of a record that may be older than a setting, whose default is what nobody could choose then."""
    if not isinstance(method, dict) or not isinstance(method.get("wean"), dict):
        return method
    return {**method, "wean": {"score": "mean", "anchor": 0.0, **method["wean"]}}
