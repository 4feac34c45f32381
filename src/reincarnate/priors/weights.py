"""A trained agent's weights as a student's start: opened, fitted to the task, operated on, loaded, reported."""

import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reincarnate.agents.agent import Agent, open_agent
from reincarnate.agents.bundles import find
from reincarnate.agents.imported import Imported, check_shapes
from reincarnate.data import Memory, Replay
from reincarnate.data.dataset import Dataset, verify
from reincarnate.data.replay import STANDING, TAIL
from reincarnate.errors import UserError
from reincarnate.nets import surgery
from reincarnate.nets.names import Weights, under
from reincarnate.nets.plasticity import following, reset_head, shrink_and_perturb
from reincarnate.priors.growth import grown
from reincarnate.teachers import SCHEMES, recognise
from reincarnate.types import Student, TaskSpec, TimeStep

WIDEN_NOISE = 0.01  # of a layer's standard deviation: exact copies of a unit would learn the same for ever
WORDS = {
    "widen": "widen:LAYER:WIDTH[:NOISE]",
    "deepen": "deepen:LAYER",
    "reset-head": "reset-head",
    "shrink": "shrink:KEEP[:PREFIX]",
    "rename": "rename:PATTERN:REPLACEMENT",
    "freeze": "freeze:PREFIX",
}
"""What `--surgery` understands, each as it is written. Words are applied in order; `rename` and `freeze` come last."""


@dataclass(frozen=True)
class Fitted:
    """Weights ready for a student, what was done to them, and what is to be renamed and frozen."""

    weights: dict[str, Tensor]
    done: tuple[str, ...]
    renames: tuple[tuple[str, str], ...]
    frozen: tuple[str, ...]


def open_weights(address: str, spec: TaskSpec | None = None) -> Agent:
    """The agent at `store:DIR` or DIR, a folder or a finished run's, or `prior:NAME`; of other schemes somebody else's.

    `spec`: the task, for files that do not hold their actions' bounds. Raises UserError where there is none, or none
    that a student can go on from.
    """
    scheme, colon, rest = address.partition(":")
    path = Path(address)
    if not colon or path.exists():
        foreign = path.is_file() and path.name != "agent.json"
        scheme, rest = (recognise(path) if foreign else "store"), address
    if scheme == "store":
        return open_agent(Path(rest))
    if scheme == "prior":
        return open_weights(find(rest).here(), spec)
    opener = getattr(SCHEMES[scheme], "open_weights", None) if scheme in SCHEMES else None
    if opener is None:
        known = [name for name in SCHEMES.ours if name == "store" or hasattr(SCHEMES[name], "open_weights")]
        raise UserError(f"--weights {address}: weights are read from a path, or from {', '.join(known)} and a path")
    return opener(rest, spec)


def fit(agent: Agent, words: tuple[str, ...], spec: TaskSpec, fresh: Weights, rng: np.random.Generator) -> Fitted:
    """The agent's weights for a task that may have more actions or channels, after surgery.

    `fresh` are the student's initial weights. Raises UserError for words it does not know or cannot do, and for tasks
    that the agent's network cannot be fitted to.
    """
    parsed = [_parse(word) for word in words]
    network = agent.network()
    weights, done = grown(agent, spec, dict(network.state_dict()))
    if any(name in ("widen", "deepen") for name, _ in parsed):
        following(network)  # raises where layers do not make a chain
    for name, arguments in parsed:
        if name in OPERATIONS:
            weights = OPERATIONS[name](weights, arguments, fresh, rng)
            done.append(f"surgery: {':'.join((name, *arguments))}")
    renames = tuple((a[0], a[1]) for name, a in parsed if name == "rename")
    return Fitted(weights, tuple(done), renames, tuple(a[0] for name, a in parsed if name == "freeze"))


def _parse(word: str) -> tuple[str, list[str]]:
    name, *arguments = word.split(":")
    known = ", ".join(WORDS.values())
    if name not in WORDS:
        raise UserError(f"unknown surgery {word!r}; known: {known}")
    form = WORDS[name].replace("[", "").replace("]", "").count(":")
    optional = WORDS[name].count("[")
    if not form - optional <= len(arguments) <= form or "" in arguments[:1]:
        raise UserError(f"surgery {word!r} is written {WORDS[name]}")
    return name, arguments


def differences(agent: Agent, spec: TaskSpec) -> list[str]:
    """What differs between the agent's own task and this one, as warnings."""
    old, new = agent.spec.protocol, spec.protocol
    said = [
        f"the agent of --weights was trained with {key} = {old[key]}, {spec.id} has {new[key]}"
        for key in sorted(old.keys() & new.keys())
        if old[key] != new[key]
    ]
    if agent.spec.bounds != spec.bounds and agent.spec.actions == spec.actions:
        had = f"the agent's actions lay within {agent.spec.bounds}, those of {spec.id} lie within {spec.bounds}"
        said.append(f"{had}: it takes the same share of the way to them")
    return said


# ---- the words ------------------------------------------------------------------------------------------


def _widen(weights: Weights, arguments: list[str], fresh: Weights, rng: np.random.Generator) -> dict[str, Tensor]:
    layer, width, noise = arguments[0], _number(arguments[1], int), WIDEN_NOISE
    if len(arguments) == 3:
        noise = _number(arguments[2], float)
    if not 0 <= noise < math.inf:
        raise UserError(f"surgery widen: the noise is a share of the layer's standard deviation, not {noise:g}")
    layers = _chain(weights)
    if layer not in layers:
        raise UserError(f"there is no hidden layer {layer!r} to widen; there are: {', '.join(layers)}")
    after = layers[layers.index(layer) + 1 :][:1] or [name for name in ("advantage", "value") if _has(weights, name)]
    per_unit = weights[f"{after[0]}.weight"].shape[1] // weights[f"{layer}.weight"].shape[0]
    both_convolutions = weights[f"{after[0]}.weight"].ndim == 4
    return surgery.widen(weights, layer, after, width, rng, noise, 1 if both_convolutions else per_unit)


def _deepen(weights: Weights, arguments: list[str], fresh: Weights, rng: np.random.Generator) -> dict[str, Tensor]:
    (layer,) = arguments
    if layer not in _chain(weights):
        raise UserError(f"there is no hidden layer {layer!r} to deepen after; there are: {', '.join(_chain(weights))}")
    stem, _, number = layer.rpartition(".")
    new = f"{stem}.{int(number) + 1}" if number.isdigit() else f"{stem}.fc.layers.0"
    return surgery.deepen(weights, layer, new)


def _reset_head(weights: Weights, arguments: list[str], fresh: Weights, rng: np.random.Generator) -> dict[str, Tensor]:
    return reset_head(weights, fresh)


def _shrink(weights: Weights, arguments: list[str], fresh: Weights, rng: np.random.Generator) -> dict[str, Tensor]:
    prefix = "".join(arguments[1:])
    if not any(under(name, prefix) for name in weights):
        raise UserError(f"surgery shrink: no weight starts with {prefix!r}; there are: {', '.join(weights)}")
    return shrink_and_perturb(weights, fresh, _number(arguments[0], float), prefix)


OPERATIONS = {"widen": _widen, "deepen": _deepen, "reset-head": _reset_head, "shrink": _shrink}


def _chain(weights: Weights) -> list[str]:
    """The hidden layers from first to last, by name: the torso's, in the order of their numbers, then IQN's `fc`."""
    layers = [n.removesuffix(".weight") for n, w in weights.items() if n.endswith(".weight") and w.ndim in (2, 4)]
    hidden = [name for name in layers if name.startswith("torso.") or name == "fc"]
    # "torso.conv2" comes before "torso.fc.layers.0", and layer 9 before layer 10
    return sorted(hidden, key=lambda name: (name == "fc", ".fc." in name, [int(n) for n in re.findall(r"\d+", name)]))


def _has(weights: Weights, layer: str) -> bool:
    return f"{layer}.weight" in weights


def _number(text: str, kind: type) -> Any:
    try:
        return kind(text)
    except ValueError:
        raise UserError(f"surgery: {text!r} is not a number") from None


# ---- into a student -------------------------------------------------------------------------------------


def begin(student: Student, fitted: Fitted) -> list[str]:
    """Load fitted weights into a student, and freeze what is to be frozen. Returns what was done, to be noted."""
    report = surgery.load(student.network, fitted.weights, fitted.renames)
    student.load(student.weights())
    _refuse_unfit(fitted, report)
    whole = not (report.missing or report.unused or report.mismatched)
    lines = [*fitted.done, f"{'' if whole else 'warning: not all fits: '}weights {report}"]
    if fitted.frozen:
        count, of = student.freeze(fitted.frozen)
        lines.append(f"frozen: {count:,} of {of:,} parameters")
    return lines


def refuse_other(student: Student, agent: Agent, fitted: Fitted, address: str) -> None:
    """Raise UserError where somebody else's agent, without surgery, is not the student's kind, shape or function.

    The function is compared on observations drawn at random, for an activation has no shape.
    """
    mine, theirs = type(student.settings).__name__, type(agent.student).__name__
    spec, there = student.spec, agent.spec
    described = f"{theirs} ({agent.student.described(there)})", f"{mine} ({student.settings.described(spec)})"
    leave = "leave out --student and what shapes its network, or say --surgery"
    try:
        check_shapes(fitted.weights, student.weights(), f"--weights {address}")
    except UserError as error:
        what = str(error)
        if agent.student.predicts != student.settings.predicts or spec.continuous != there.continuous:
            what = f"--weights {address}: the agent is another kind than the student"
            if spec.continuous == there.continuous:
                leave += f"; or let it teach: reincarnate train qdagger --teacher {address}"
        raise UserError(f"{what}: the agent is {described[0]}, the student {described[1]}; {leave}") from None
    if spec.actions != there.actions or spec.obs_shape != there.obs_shape:
        return
    exact = _in_float32(student.settings)  # half precision is another rounding, not another function
    network = exact.network(spec)
    network.load_state_dict(fitted.weights)
    ours, whole = exact.policy(spec, network.eval()), agent.policy()
    step = _probe(spec)
    with torch.no_grad():
        said = [policy.predict(step, policy.initial(len(step.begins)))[0] for policy in (ours, whole)]
    same = said[0].kind == said[1].kind and torch.allclose(said[0].x, said[1].x, rtol=1e-4, atol=1e-4)
    if not same:
        settings = vars(agent.student), vars(student.settings)  # all: records leave some out at their defaults
        other = [f"{k} {v} there, {settings[1].get(k)} here" for k, v in settings[0].items() if settings[1].get(k) != v]
        raise UserError(
            f"--weights {address}: the student would not act as the agent: {'; '.join(other)[:300]}; {leave}"
        )


def _in_float32(settings: Any) -> Any:
    return replace(settings, bfloat16=False) if getattr(settings, "bfloat16", False) else settings


def _probe(spec: TaskSpec) -> TimeStep:
    """Random observations."""
    rng, shape = np.random.default_rng(0), (16, *spec.obs_shape)
    obs = rng.integers(0, 2 if spec.obs_dtype == "bool" else 256, shape)
    if "float" in spec.obs_dtype:
        obs = rng.standard_normal(shape)
    return TimeStep(torch.from_numpy(obs.astype(spec.obs_dtype)), torch.zeros(16, dtype=torch.bool))


def _refuse_unfit(fitted: Fitted, report: surgery.Loaded) -> None:
    """Raise UserError where surgery changed the network's shape and the student has another."""
    if not any(line.startswith(("surgery: widen", "surgery: deepen")) for line in fitted.done):
        return
    wanted = "say with --student.hidden or --student.width what network is to come out"
    for name, there, here in report.mismatched:
        raise UserError(f"after surgery {name} is {list(there)}, the student has {list(here)}; {wanted}")
    for name in report.unused:
        if under(name, "torso"):
            raise UserError(f"after surgery there is {name}, which the student has not; {wanted}")


def reuse(student: Student, memory: Memory, agent: Agent) -> list[str]:
    """Take over an agent's optimiser state, where the network is as it was, and its replay. Returns what was done.

    Raises UserError where the agent kept neither, or what it kept has changed.
    """
    _must_have_kept(agent)
    data = agent.data()
    if data is None or memory.fresh:
        replay = "replay: new (the agent has none, or the student learns without one)"
    else:
        replay = f"replay: {refill(memory.rows, data):,} of {data.transitions:,} transitions reused"
    state, lagging = agent.optimizer_state(), []
    if "lagging" in agent.kept:
        student.trail(state)  # pyright: ignore[reportAttributeAccessIssue]
        lagging = ["target networks: the agent's own"]
    if isinstance(agent, Imported) and "optimizer" not in agent.kept:
        return ["optimiser: new (the file holds none that fits)", *lagging, replay]
    return [student.adopt(state), *lagging, replay]


def _must_have_kept(agent: Agent) -> None:
    if not agent.kept:
        raise UserError(f"{agent.path} kept neither replay nor optimiser (--keep all does); use --reuse weights")


def refill(memory: Replay, data: Dataset) -> int:
    """Put the newest whole episodes of a dataset into an empty replay, shared out to its streams.

    Returns the number of transitions. Raises UserError where the data has changed or is of another task.
    """
    verify(data)
    if data.spec != memory.spec:
        raise UserError(f"the replay in {data.path} is of another task or protocol: {data.spec}, not {memory.spec}")
    kept = [name for name in STANDING if name in data.manifest["columns"]]
    columns = {name: np.load(data.path / f"{name}.npy", mmap_mode="r") for name in (*memory.columns, *kept)}
    for name in kept:
        memory.column(name, columns[name].shape[1:], columns[name].dtype)
    starts = np.flatnonzero(np.asarray(columns["age"]) == 0)
    ends = np.append(starts[1:], len(columns["age"]))
    fits = _newest_that_fit(ends - starts, memory)
    for stream, episodes in enumerate(fits):
        for k in reversed(episodes):  # the oldest first: it will be the first to be overwritten
            at = int(memory.base[stream] + memory.added[stream])
            for name, column in columns.items():
                memory.columns[name][at : at + ends[k] - starts[k]] = column[starts[k] : ends[k]]
            memory.added[stream] += ends[k] - starts[k]
            memory.played[stream] += int((columns["flags"][starts[k] : ends[k]] & TAIL == 0).sum())
    return memory.transitions


def _newest_that_fit(sizes: np.ndarray, memory: Replay) -> list[list[int]]:
    """For each stream the episodes (by number, newest first) it takes: always into the stream with most room."""
    room = np.full(memory.streams, memory.rows)
    taken: list[list[int]] = [[] for _ in range(memory.streams)]
    for k in reversed(range(len(sizes))):
        stream = int(room.argmax())
        if sizes[k] > room[stream]:
            break
        taken[stream].append(k)
        room[stream] -= sizes[k]
    return taken
