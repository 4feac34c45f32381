"""Agents as files that others run: ONNX, TorchScript, safetensors, SB3's zips; each is compared with the agent first.

The graph takes raw observations of the task, `obs` [B, *O] of any B, and gives action values, `q_values` [B, A],
logits, `logits` [B, A], or of continuous agents greedy actions in the task's units, `actions` [B, A]. What
the network does to observations first (pixels divided by 255, booleans to 0 and 1) is in the graph, noise is not. With
a memory it also takes `begins` [B], true where an episode starts, and `carry` [B, H], zeros at first, and also gives
`carry_after`, which is the next step's `carry`.
"""

import importlib
import io
import json
import warnings
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from reincarnate import __version__
from reincarnate.agents.agent import Agent
from reincarnate.config import from_dict, to_dict
from reincarnate.data.dataset import spec_from, spec_value
from reincarnate.data.layouts import bounds_of
from reincarnate.errors import UserError
from reincarnate.files.atomic import FORMAT, write_bytes
from reincarnate.files.safe import one_line
from reincarnate.losses.divergences import greedy_action
from reincarnate.nets.plain import plain
from reincarnate.priors.weights import open_weights
from reincarnate.sharing import sb3
from reincarnate.sharing.sb3_pickles import normalises
from reincarnate.students import STUDENTS, AnyStudent
from reincarnate.teachers.torchscript.archive import TOLD
from reincarnate.types import LOGITS, VALUES, Settings, TaskSpec

OPSET = 17  # the first with layer norms
TOLERANCE = 1e-5  # of the largest value, or of 1 where that is smaller
PROBES = 64  # observations to compare on; an odd batch and single ones
PARTS = (slice(0, 1), slice(1, 3), slice(3, None))  # of them, asked together
REMEMBERED = 5  # steps before them, for those who remember
Arrays = tuple[np.ndarray, ...]
Answer = Callable[..., Arrays]
"""Observations [B, *O] (and begins, carry) to action values [B, A] (and the carry after them)."""
INPUTS = "obs", "begins", "carry"
GIVES = {VALUES: "q_values", LOGITS: "logits"}  # what the output is called; of continuous agents `ACTIONS`
ACTIONS, CARRY = "actions", "carry_after"


class Export(NamedTuple):
    """What was written: the format in words, what its graph gives of so many numbers, the largest difference from the
    agent (None: not compared), more files, what whoever loads it must know."""

    words: str
    gives: tuple[str, int]
    difference: float | None
    beside: tuple[Path, ...] = ()
    remarks: tuple[str, ...] = ()


class Made(NamedTuple):
    """A file's content, what it is, and it answering, read back (None: nothing here can read it); what lies beside it
    and what whoever loads it must know.
    """

    content: bytes
    words: str
    run: Answer | None
    beside: bytes | None = None
    remarks: tuple[str, ...] = ()


class Graph(nn.Module):
    """An agent's network from raw observations to action values, logits or, of continuous agents, to the greedy actions
    in the task's units; in float32 and without noise."""

    def __init__(self, network: nn.Module, student: Settings, spec: TaskSpec):
        nn.Module.__init__(self)
        self.policy = student.policy(spec, plain(network))
        self.kind: str = getattr(self.policy, "kind", student.predicts)
        names, remembers = (GIVES.get(self.kind, ACTIONS), CARRY), self.policy.initial(1).shape[-1] > 0
        self.inputs, self.outputs = (INPUTS, names) if remembers else (INPUTS[:1], names[:1])
        if spec.continuous:
            low, high = (torch.tensor(bound, dtype=torch.float32) for bound in bounds_of(spec))
            self.register_buffer("low", low)
            self.register_buffer("high", high)

    def forward(self, obs: Tensor, *memory: Tensor) -> Any:
        """Raw observations [B, *O] to what the graph gives, [B, A]; with a memory, as the module says."""
        told = self.policy(obs, *memory)  # pyright: ignore[reportCallIssue]
        if self.kind in GIVES:
            return told
        x, *rest = _tuple(told)
        low, high = self.get_buffer("low"), self.get_buffer("high")
        action = low + (greedy_action(self.kind, x) + 1) / 2 * (high - low)
        return (action, *rest) if rest else action

    def answers(self, *arrays: np.ndarray) -> Arrays:
        """The same of arrays."""
        return _arrays(self(*map(torch.from_numpy, arrays)))

    def predictions(self, *arrays: np.ndarray) -> Arrays:
        """What the agent predicts, as it is: of continuous agents spreads too. Stable-Baselines3's zips hold that."""
        return _arrays(self.policy(*map(torch.from_numpy, arrays)))  # pyright: ignore[reportCallIssue]


def export(agent: Agent, kind: str, out: Path) -> Export:
    """Write an agent as `kind` (one of FORMATS) to a file that is not there yet.

    Raises UserError where a library is missing, the file exists, or what was written differs from the agent.
    """
    if kind not in FORMATS:
        raise UserError(f"--to {kind} is unknown; known: {', '.join(FORMATS)}")
    beside = _beside(agent, kind, out)
    for path in (out, *beside):
        if path.exists():
            raise UserError(f"{path} exists already; choose another --out")
    graph = Graph(agent.network(), agent.student, agent.spec).eval().requires_grad_(False)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing and its exporters are called old by those who made them
        asked = _questions(graph, agent.spec)
        made = FORMATS[kind](graph, agent, tuple(torch.from_numpy(array[:2]) for array in asked))
        expected = (graph.predictions if kind == "sb3" else graph.answers)(*asked)
        difference = _compare(graph.outputs, expected, made.run, asked) if made.run else None
    for path in beside:
        assert made.beside is not None
        write_bytes(path, made.beside)
    write_bytes(out, made.content)
    return Export(made.words, (graph.outputs[0], agent.spec.actions), difference, beside, made.remarks)


def _beside(agent: Agent, kind: str, out: Path) -> tuple[Path, ...]:
    """Where else is written: of SB3's zips the statistics, under a name that ours and their readers know them by."""
    if kind != "sb3":
        return ()
    if out.suffix != ".zip":
        raise UserError(f"--out {out}: Stable-Baselines3 looks for a file whose name ends in .zip")
    return (_statistics_at(out),) if normalises(agent) else ()


def _statistics_at(path: Path) -> Path:
    return path.with_name(f"{path.stem}_vecnormalize.pkl")


def probes(spec: TaskSpec) -> np.ndarray:
    """Random observations of a task's shape and dtype."""
    rng = np.random.default_rng(0)
    shape = (PROBES, *spec.obs_shape)
    if spec.obs_dtype == "uint8":
        return rng.integers(0, 256, shape, np.uint8)
    return rng.random(shape) < 0.3 if spec.obs_dtype == "bool" else rng.standard_normal(shape, np.float32)


def _questions(graph: Graph, spec: TaskSpec) -> Arrays:
    """Observations, and for an agent with a memory where episodes begin and what it remembers of a few steps."""
    obs = probes(spec)
    if len(graph.inputs) == 1:
        return (obs,)
    carry, never = graph.policy.initial(PROBES).numpy(), np.zeros(PROBES, bool)
    for step in range(REMEMBERED):
        carry = graph.answers(np.roll(obs, step, 0), never, carry)[1]
    return obs, np.random.default_rng(1).random(PROBES) < 0.3, carry


def _tuple(told: Any) -> tuple[Any, ...]:
    return told if isinstance(told, tuple) else (told,)


def _arrays(told: Any) -> Arrays:
    return tuple(x.numpy() for x in _tuple(told))


def _compare(outputs: Sequence[str], answers: Arrays, run: Answer, asked: Arrays) -> float:
    """The largest difference on batches of several sizes. Raises UserError where it is too large."""
    batches = [_tuple(run(*(np.ascontiguousarray(array[part]) for array in asked))) for part in PARTS]
    largest = 0.0
    for name, expected, parts in zip(outputs, answers, zip(*batches, strict=True), strict=True):
        found = np.concatenate(parts)
        if found.shape != expected.shape or not np.isfinite(found).all():
            raise UserError(f"the file gives {name} {found.shape}, the agent's {expected.shape}; it was not written")
        difference, scale = float(np.abs(found - expected).max()), max(1.0, float(np.abs(expected).max()))
        if difference > TOLERANCE * scale:
            raise UserError(f"the file's {name} differ from the agent's by up to {difference:.2g}; it was not written")
        largest = max(largest, difference)
    return largest


# ---- formats: content, what it is, and how to run it ----------------------------------------------------


def _onnx(graph: Graph, agent: Agent, example: tuple[Tensor, ...]) -> Made:
    onnx, runtime = _library("onnx"), None
    buffer = io.BytesIO()
    try:
        torch.onnx.export(
            graph,
            example,
            buffer,  # pyright: ignore[reportArgumentType]
            dynamo=False,  # the newer exporter needs a package more, and writes the same
            opset_version=OPSET,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_axes={name: {0: "batch"} for name in (*graph.inputs, *graph.outputs)},
        )
    except Exception as error:  # torch raises many kinds, of operators it cannot write
        raise UserError(f"this agent cannot be written as ONNX: {one_line(error)}") from error
    model = onnx.load_from_string(buffer.getvalue())
    onnx.helper.set_model_props(model, {"agent": agent.sha256, "task": agent.spec.id, "reincarnate": __version__})
    onnx.checker.check_model(model)
    content, words = model.SerializeToString(), f"ONNX, opset {OPSET}"
    try:
        runtime = _library("onnxruntime")
    except UserError:
        return Made(content, words, None)
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    run = lambda *arrays: tuple(session.run(None, dict(zip(graph.inputs, arrays, strict=True))))
    return Made(content, words, run)


def _torchscript(graph: Graph, agent: Agent, example: tuple[Tensor, ...]) -> Made:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.trace(graph, example, check_trace=False), buffer, {TOLD: graph.outputs[0]})
    content = without_places(buffer.getvalue())
    loaded = torch.jit.load(io.BytesIO(content))

    def run(*arrays: np.ndarray) -> Arrays:
        return _arrays(loaded(*map(torch.from_numpy, arrays)))

    return Made(content, f"TorchScript, by torch {torch.__version__}", run)


def without_places(archive: bytes) -> bytes:
    """A TorchScript archive without what torch keeps for its tracebacks: paths of source files on this machine."""
    kept = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(kept, "w", zipfile.ZIP_STORED) as new:
        for info in old.infolist():
            if not info.filename.endswith(".debug_pkl"):
                new.writestr(zipfile.ZipInfo(info.filename), old.read(info))
    return kept.getvalue()


def _safetensors(graph: Graph, agent: Agent, example: tuple[Tensor, ...]) -> Made:
    """All that makes the agent up: its weights as they are, settings and task as JSON in the header."""
    weights = {name: tensor.contiguous() for name, tensor in agent.network().state_dict().items()}
    content = save(weights, metadata_of(agent))
    loaded = _from_safetensors(content)
    return Made(content, "safetensors, settings in the header", loaded.answers)


def metadata_of(agent: Agent) -> dict[str, str]:
    """The header of an agent in one file: `format`, `kind`, `sha256`, and `student`, `spec`, `about` as JSON."""
    values = {"student": to_dict(agent.student, STUDENTS), "spec": spec_value(agent.spec), "about": agent.about}
    told = {key: json.dumps(value, allow_nan=False) for key, value in values.items()}
    return {"format": str(FORMAT), "kind": "agent", "sha256": agent.sha256, **told}


def _from_safetensors(content: bytes) -> Graph:
    """The graph as somebody makes it who has the file alone."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])["__metadata__"]
    student = from_dict(AnyStudent, json.loads(header["student"]), STUDENTS, "student")
    spec = spec_from(json.loads(header["spec"]))
    network = student.network(spec)
    network.load_state_dict(load(content))
    return Graph(network.eval().requires_grad_(False), student, spec)


def _sb3(graph: Graph, agent: Agent, example: tuple[Tensor, ...]) -> Made:
    """Read back as somebody else's agent, with nothing unpickled."""
    zipped = sb3.zipped(agent)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "agent.zip"
        path.write_bytes(zipped.content)
        if zipped.beside is not None:
            _statistics_at(path).write_bytes(zipped.beside)
        policy = open_weights(f"sb3:{path}", agent.spec).policy()
    run = lambda obs: (policy(torch.from_numpy(obs)).numpy(),)  # pyright: ignore[reportCallIssue]
    return Made(zipped.content, zipped.words, run, zipped.beside, zipped.remarks)


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError(f'{name} is not installed: pip install "reincarnate[onnx]"') from None


FORMATS = {"onnx": _onnx, "torchscript": _torchscript, "safetensors": _safetensors, "sb3": _sb3}
"""Format -> what makes it."""
