"""Policies as ONNX graphs: `onnx:FILE.onnx[?tells=values|logits|probabilities|actions|means]`, run by onnxruntime.

The graph takes observations [B, *O] and gives what it tells for each. `output=NAME` chooses among several outputs,
`low=` and `high=` are the bounds that means in [-1, 1] are meant for. The file is looked at before it is run.
"""

import functools
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from reincarnate.errors import UserError
from reincarnate.files import limits
from reincarnate.files.safe import read_file, sha256
from reincarnate.teachers.effort import within_seconds
from reincarnate.teachers.exported import TELLS, Asked, Lift, choose, counted, read_address, widened
from reincarnate.teachers.frozen import Memoryless
from reincarnate.teachers.onnx.external import read_external
from reincarnate.teachers.onnx.file import Found, look_at
from reincarnate.types import TeacherCard

DTYPES = {"float": "float32", "double": "float64", "float16": "float16", "bool": "bool"} | {
    f"{sign}int{bits}": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}
"""Element types of onnxruntime -> numpy's."""
MEMORY = limits.MEMORY  # bytes that all such teachers together may work in


class OnnxTeacher(Memoryless):
    """A graph, frozen, on one thread; `batch` is the number of observations it insists on, if it does."""

    def __init__(self, card: TeacherCard, session: Any, output: str, lift: Lift, batch: int | None, kept: Any):
        self.card, self._session, self._output, self._lift = card, session, output, lift
        self._input, self._dtype, self._batch = session.get_inputs()[0].name, np.dtype(card.obs_dtype), batch
        self._looked = set[tuple[int, ...]]()  # shapes of observations whose answer came in time
        self._kept = kept  # arrays that the session may point to

    def told(self, obs: Tensor) -> Float32[Tensor, "B K"]:
        """Raw observations [B, *O] to what the card says it tells. UserError: the graph fails."""
        rows = self._cast(obs.cpu().numpy())
        out = self._run(rows) if self._batch is None else self._run_padded(rows, self._batch)
        return self._lift(torch.from_numpy(out), len(rows))

    def _cast(self, obs: np.ndarray) -> np.ndarray:
        """In the dtype the graph takes. UserError: it takes whole numbers, and these are not."""
        rows = obs.astype(self._dtype, copy=False)
        if self._dtype.kind in "iub" and obs.dtype.kind == "f" and (rows != obs).any():
            raise UserError(f"{self.card.uri}: takes {self._dtype} observations, and these are not whole numbers of it")
        return rows

    def _run(self, rows: np.ndarray) -> np.ndarray:
        def answer() -> Any:
            return self._session.run([self._output], {self._input: rows})

        try:
            (out,) = answer() if rows.shape in self._looked else within_seconds(answer, self.card.uri)
        except UserError:
            raise
        except Exception as error:  # onnxruntime's own kinds share no base
            raise UserError(f"{self.card.uri}: failed on observations {list(rows.shape)}: {_reason(error)}") from None
        self._looked.add(rows.shape)
        return np.array(out)  # a copy: the session may use its memory again

    def _run_padded(self, rows: np.ndarray, batch: int) -> np.ndarray:
        """In batches of the size the graph was exported with, the last one filled up with zeros."""
        room = np.zeros((-len(rows) % batch, *rows.shape[1:]), rows.dtype)
        padded = np.concatenate([rows, room])
        parts = [self._run(padded[start : start + batch]) for start in range(0, len(padded), batch)]
        if any(part.shape[:1] != (batch,) for part in parts):
            raise UserError(f"{self.card.uri}: gives {list(parts[0].shape)} for a batch of {batch} observations")
        return np.concatenate(parts)[: len(rows)]


def recognises(path: Path) -> bool:
    """By its name, or by how such a file begins: a small version number, then who wrote it."""
    try:
        if path.suffix == ".onnx" or not path.is_file():
            return path.is_file()
        with path.open("rb") as file:
            head = file.read(4)
    except OSError:
        return False
    return len(head) == 4 and head[0] == 0x08 and 3 <= head[1] <= 32 and head[2] == 0x12 and 0 < head[3] < 64


def open_address(rest: str, actions: int | None = None) -> OnnxTeacher:
    """The teacher in an ONNX file. `actions`: of the task, for graphs that only name one.

    UserError: damaged, hostile, not supported, more than one input, or it is not clear which output to take.
    """
    asked = read_address(rest, "onnx")
    try:
        return _open(rest, asked, actions)
    except UnicodeDecodeError:  # of the names of inputs, outputs and axes, which onnxruntime decodes as it is asked
        raise UserError(f"{asked.path}: damaged: a name in it is not UTF-8") from None


def _open(rest: str, asked: Asked, actions: int | None) -> OnnxTeacher:
    uri = f"onnx:{rest}"
    payload = read_file(Path(asked.path))
    found = look_at(payload, asked.path)
    arrays, more = read_external(found.external, Path(asked.path))
    session = _session(payload, arrays, asked.path)
    dtype, batch, shape = _input(session, asked.path)
    outputs = session.get_outputs()
    index, word = choose([(out.name, "int" in out.type) for out in outputs], asked, uri)
    width = outputs[index].shape[-1] if len(outputs[index].shape) == 2 else 1 if word == "means" else None
    known = counted(word or "logits", width if isinstance(width, int) else None, actions, uri)
    lift = Lift(uri, word or "logits", known, widened(asked.bounds, known, uri))
    unclear = f"its output {outputs[index].name[:40]!r} is taken for logits; if it is not, say so with ?tells="
    card = TeacherCard(
        uri=uri,
        format=f"ONNX opset {found.opset}{f' by {found.producer}' if found.producer else ''}",
        algorithm="unknown",
        tells=TELLS[lift.word],
        network=", ".join(f"{count} {name}" for name, count in found.operators.most_common(6)),
        parameters=found.parameters,
        sha256=sha256(payload, more, asked.reading),
        obs_shape=shape,
        obs_dtype=dtype,
        actions=known,
        preprocessing="whatever its graph does",
        safety=_safety(found),
        warnings=() if word else (unclear,),
        bounds=lift.bounds,
    )
    return OnnxTeacher(card, session, outputs[index].name, lift, batch, arrays)


def _safety(found: Found) -> str:
    memory = f", memory limited to {MEMORY // 2**30} GiB" if _arena() else ""
    kinds = len(found.operators)
    return f"{kinds} kinds of operators, all on a list without loops or access to files{memory}"


def _runtime() -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise UserError('ONNX teachers need onnxruntime: pip install "reincarnate[onnx]"') from None
    return onnxruntime


@functools.cache
def _arena() -> bool:
    """Give sessions that ask for it a common memory of limited size; False where someone else has set one up."""
    runtime = _runtime()
    place = runtime.OrtMemoryInfo("Cpu", runtime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, runtime.OrtMemType.DEFAULT)
    growth = {"max_mem": MEMORY, "arena_extend_strategy": 1}  # 1: by what is asked for, not by powers of two
    try:
        runtime.create_and_register_allocator(place, runtime.OrtArenaCfg(growth))
    except Exception:  # onnxruntime's own kinds share no base
        return False
    return True


def _session(payload: bytes, arrays: dict[str, np.ndarray], path: str) -> Any:
    runtime = _runtime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.load_model_format", "ONNX")  # and no other that was not looked at
    options.add_session_config_entry("session.use_env_allocators", "1" if _arena() else "0")
    values = [runtime.OrtValue.ortvalue_from_numpy(array) for array in arrays.values()]
    options.add_external_initializers(list(arrays), values)
    try:  # constants are not folded beforehand, for that is done outside the limited memory
        return runtime.InferenceSession(
            payload,
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=["ConstantFolding"],
            enable_fallback=0,
        )
    except Exception as error:  # onnxruntime's own kinds share no base
        raise UserError(f"{path}: not a model that onnxruntime takes: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    """What onnxruntime says, without the places in its own source."""
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : |/\S+\.(cc|h):\d+ [^)]*\) ", "", " ".join(str(error).split()))
    return text[:240]


def _input(session: Any, path: str) -> tuple[str, int | None, tuple[int, ...] | None]:
    """Of the only input: numpy's name of its dtype, the batch it insists on, and one observation's shape."""
    inputs = session.get_inputs()
    if len(inputs) != 1:
        names = ", ".join(entry.name[:40] for entry in inputs[:8])
        raise UserError(f"{path}: not supported: a graph with {len(inputs)} inputs ({names}); one is needed, no memory")
    kind = inputs[0].type.removeprefix("tensor(").removesuffix(")")
    if kind not in DTYPES:
        raise UserError(f"{path}: not supported: observations of {inputs[0].type[:40]}")
    batch, *shape = inputs[0].shape or [None]
    if not inputs[0].shape or not shape:
        raise UserError(f"{path}: its input has shape {inputs[0].shape}; observations need a first axis, the batch's")
    sizes = tuple(size for size in shape if isinstance(size, int) and size > 0)
    fixed = batch if isinstance(batch, int) and batch > 0 else None
    return DTYPES[kind], fixed, sizes if len(sizes) == len(shape) else None
