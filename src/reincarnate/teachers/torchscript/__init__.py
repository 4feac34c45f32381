"""Policies as TorchScript archives: `torchscript:FILE.pt[?tells=values|logits|probabilities|actions|means]`.

Such a file carries code. It is read as text first, calls are held against a list, and only then is it compiled, from
an archive made anew of what was read (`torchscript_archive`). `forward` takes observations [B, *O]; `output=0` chooses
among several outputs, `low=` and `high=` are the bounds that means in [-1, 1] are meant for.
"""

import io
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float32
from torch import Tensor

from reincarnate.errors import UserError
from reincarnate.files.regular import open_regular
from reincarnate.files.safe import one_line, read_file, sha256
from reincarnate.teachers.effort import bounded
from reincarnate.teachers.exported import TELLS, Lift, choose, counted, read_address, widened
from reincarnate.teachers.frozen import Memoryless
from reincarnate.teachers.torchscript.archive import name_of_output, recognised, take_apart
from reincarnate.teachers.torchscript.graph import check_graph, nodes
from reincarnate.teachers.torchscript.ops import MOST_CALLS
from reincarnate.types import TeacherCard


class TorchScriptTeacher(Memoryless):
    """A compiled module, frozen; `output` is the number of the output to take, None where there is but one."""

    def __init__(self, card: TeacherCard, module: Any, output: int | None, lift: Lift):
        self.card, self._module, self._output, self._lift = card, module, output, lift
        self._tensors = [*module.parameters(), *module.buffers()]
        self._looked = set[tuple[int, ...]]()
        self._versions = [tensor._version for tensor in self._tensors]

    def told(self, obs: Tensor) -> Float32[Tensor, "B K"]:
        """Raw observations [B, *O] to what the card says it tells. UserError: the module fails."""
        try:
            out = self._answer(obs.cpu().clone())  # its code may work in place
        except UserError:
            raise
        except Exception as error:  # the interpreter raises whatever operators do
            said = " ".join(line for line in str(error).splitlines() if line.strip())
            reason = said.rpartition("RuntimeError: ")[2] or said
            raise UserError(f"{self.card.uri}: failed on observations {list(obs.shape)}: {reason[:200]}") from None
        if [tensor._version for tensor in self._tensors] != self._versions:
            raise UserError(f"{self.card.uri}: changes itself while it acts; a teacher must stay as it is")
        return self._lift(self._taken(out), len(obs))

    def _answer(self, obs: Tensor) -> Any:
        """The first time for observations of a shape every operator is looked at before it runs.

        Every time where sizes or branches depend on numbers, which may be others each time.
        """
        if obs.shape in self._looked:
            return self._module(obs)
        out, by_numbers = bounded(self._module, obs, self.card.uri)
        if not by_numbers:
            self._looked.add(obs.shape)
        return out

    def _taken(self, out: Any) -> Tensor:
        out = out if self._output is None else out[self._output]
        if not isinstance(out, Tensor):
            raise UserError(f"{self.card.uri}: its output is a {type(out).__name__}, not a tensor")
        return out


def recognises(path: Path) -> bool:
    """A zip with code, data and constants, whatever it is called."""
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            return recognised(archive.namelist())
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile, UserError):
        return False


def open_address(rest: str, actions: int | None = None) -> TorchScriptTeacher:
    """The teacher in a TorchScript archive. `actions`: of the task, for modules that only name one.

    UserError: damaged, its code does more than a policy needs, more than one input, or it is not clear which output
    to take.
    """
    asked = read_address(rest, "torchscript")
    uri = f"torchscript:{rest}"
    payload = read_file(Path(asked.path))
    archive, calls = take_apart(payload, asked.path)
    module = _load(archive, asked.path)
    outputs = _signature(module, asked.path)
    names = [name_of_output(payload, asked.path) or "0"] if outputs is None else [str(i) for i in range(outputs)]
    index, word = choose([(name, False) for name in names], asked, uri)
    known = counted(word or "logits", None, actions, uri) or actions
    bounds = widened(asked.bounds, known, uri)
    lift = Lift(uri, word or "logits", known, bounds)
    operators = {node.kind() for node in nodes(module.inlined_graph) if node.kind().startswith("aten::")}
    card = TeacherCard(
        uri=uri,
        format="TorchScript",
        algorithm="unknown",
        tells=TELLS[lift.word],
        network=f"{str(module.original_name)[:40]}, up to {calls} calls of {len(operators)} kinds of operators",
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        sha256=sha256(payload, asked.reading),
        obs_shape=None,
        obs_dtype=None,
        actions=known if word == "actions" or (bounds and len(bounds[0]) > 1) else None,
        preprocessing="whatever its code does",
        safety=f"its code was read first: only listed operators, at most {MOST_CALLS:,} calls, no access to files; "
        "the size of what they make and their work are limited, looked at on the first observations of each shape",
        warnings=() if word else ("its output is taken for logits; if it is not, say so with ?tells=",),
        bounds=bounds,
    )
    return TorchScriptTeacher(card, module, None if outputs is None else index, lift)


def _load(archive: bytes, path: str) -> Any:
    """The module, compiled. UserError: torch does not take it, weights that are no numbers, or an unlisted operator."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`torch.jit.load` is deprecated", DeprecationWarning)
            module = torch.jit.load(io.BytesIO(archive), map_location="cpu").eval()
        check_graph(module.inlined_graph)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except Exception as error:  # the compiler raises whatever it meets
        raise UserError(f"{path}: not code that torch compiles: {one_line(error)}") from None
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if torch.is_floating_point(tensor) and (tensor.isnan().any() or (tensor.ndim > 1 and tensor.isinf().any())):
            raise UserError(f"{path}: {name[:60]} holds NaN or infinity; the training that made it has failed")
        tensor.requires_grad_(False)
    return module


def _signature(module: Any, path: str) -> int | None:
    """How many outputs `forward` has, None where it gives one tensor. UserError: it needs more than observations."""
    schema = module.forward.schema
    needed = [argument.name for argument in schema.arguments[1:] if not argument.has_default_value()]
    if needed != [argument.name for argument in schema.arguments[1:2] if str(argument.type) == "Tensor"]:
        raise UserError(
            f"{path}: not supported: forward needs {', '.join(needed)[:80] or 'nothing'}; one tensor was expected"
        )
    (result,) = schema.returns
    if str(result.type) == "Tensor":
        return None
    if result.type.kind() != "TupleType":
        raise UserError(f"{path}: not supported: forward gives a {str(result.type)[:60]}; tensors were expected")
    return len(result.type.elements())
