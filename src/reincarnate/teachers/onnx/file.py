"""What an ONNX file holds, looked at byte by byte before anything runs it; what a policy does not need is refused."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from reincarnate.errors import UserError
from reincarnate.files.protobuf import Value, fields, inner, number, text, varint
from reincarnate.files.safe import one_line
from reincarnate.teachers.exported import words
from reincarnate.teachers.onnx.external import External, entry

OPERATORS = words(
    """
    Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh Attention AveragePool BatchNormalization BitShift
    BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast CastLike Ceil Celu Clip Compress Concat Constant ConstantOfShape
    Conv ConvInteger ConvTranspose Cos Cosh CumSum DepthToSpace DequantizeLinear Det Div Dropout DynamicQuantizeLinear
    Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor GRU Gather GatherElements GatherND Gelu Gemm
    GlobalAveragePool GlobalLpPool GlobalMaxPool Greater GreaterOrEqual GridSample GroupNormalization HardSigmoid
    HardSwish Hardmax Identity If InstanceNormalization IsInf IsNaN LRN LSTM LayerNormalization LeakyRelu Less
    LessOrEqual Log LogSoftmax LpNormalization LpPool MatMul MatMulInteger Max MaxPool Mean
    MeanVarianceNormalization Min Mish Mod Mul Neg NonZero Not OneHot Or PRelu Pad Pow QLinearConv QLinearMatMul
    QuantizeLinear RMSNormalization RNN Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax
    ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize Round ScatterElements ScatterND Selu
    Shape Shrink Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum
    Swish Tan Tanh ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze Upsample Where Xor
    """
)
"""Of the standard's own: arithmetic on tensors without loops, sequences, text, random numbers or optional values."""
RANDOM = ("Random", "Multinomial", "Bernoulli")
DOMAINS = ("", "ai.onnx")
FLOATS = {1: "<f4", 10: "<f2", 11: "<f8"}  # TensorProto's FLOAT, FLOAT16, DOUBLE
DATA = (4, 5, 7, 9, 10, 11)  # TensorProto's fields that hold its numbers
RAW = 9
SINGLE = {"model": (1, 7), "attribute": (5, 6), "tensor": (2, 9, 14)}  # fields that must not come twice
MOST_FIELDS = 5_000_000
MOST_NESTED = 8


@dataclass
class Found:
    """What was seen: operators by name, learnt numbers, the standard's version, who wrote the file.

    `external` are the tensors that it wants from elsewhere.
    """

    operators: Counter[str] = field(default_factory=Counter)
    parameters: int = 0
    opset: int = 0
    producer: str = ""
    external: list[External] = field(default_factory=list)
    fields: int = 0


def look_at(payload: bytes, what: str) -> Found:
    """Walk through a model. UserError: damaged, or it has what a policy does not need.

    That is: operators outside `OPERATORS` (loops, randomness, custom ones), functions, sparse
    tensors, tensors beyond the file's own bytes, NaN among its numbers, or weights that are infinite.
    """
    found = Found()
    try:
        _model(memoryview(payload), found)
    except UserError as error:
        raise UserError(f"{what}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{what}: not an ONNX model, or a damaged one: {one_line(error)}") from None
    return found


def _read(message: Value, kind: str, found: Found) -> Iterator[tuple[int, Value]]:
    """The fields of a message, of which those that are single come but once, for readers differ on what they mean."""
    seen = set[int]()
    for key, value in fields(inner(message)):
        found.fields += 1
        if found.fields > MOST_FIELDS:
            raise UserError(f"has over {MOST_FIELDS:,} fields, more than a policy can need")
        if key >= 2**29 or (isinstance(value, int) and value >= 2**64):
            raise ValueError("a number beyond its width")
        if key in SINGLE.get(kind, ()) and key in seen:
            raise ValueError(f"a {kind} that says one thing twice")
        seen.add(key)
        yield key, value


def _model(message: memoryview, found: Found) -> None:
    graphs = 0
    for key, value in _read(message, "model", found):
        if key in (2, 3):
            found.producer = f"{found.producer} {text(value)[:40]}".strip()
        elif key == 7:
            graphs += 1
            _graph(value, found, 0)
        elif key == 8:
            _opset(value, found)
        elif key in (20, 25):
            raise UserError("not supported: functions or training steps of its own; export it with them inlined")
    if not graphs:
        raise ValueError("it has no graph")


def _opset(message: Value, found: Found) -> None:
    domain, version = "", 0
    for key, value in _read(message, "opset", found):
        if key == 1:
            domain = text(value)
        elif key == 2:
            version = number(value)
    if domain in DOMAINS:
        found.opset = max(found.opset, version)


def _graph(message: Value, found: Found, depth: int) -> None:
    if depth > MOST_NESTED:
        raise UserError(f"not supported: graphs nested over {MOST_NESTED} deep")
    for key, value in _read(message, "graph", found):
        if key == 1:
            _node(value, found, depth)
        elif key == 5:
            found.parameters += _tensor(value, found, may_be_external=depth == 0)
        elif key == 15:
            raise UserError("not supported: sparse tensors")


def _node(message: Value, found: Found, depth: int) -> None:
    name, domain = "", ""
    for key, value in _read(message, "node", found):
        if key == 4:
            name = text(value)
        elif key == 7:
            domain = text(value)
        elif key == 5:
            _attribute(value, found, depth)
    if domain not in DOMAINS or name not in OPERATORS:
        full = f"{domain}.{name}".lstrip(".")[:80]
        hint = "; export the policy with deterministic=True" if name.startswith(RANDOM) else ""
        raise UserError(f"uses the operator {full}, which is not on the list of those a policy may need{hint}")
    found.operators[name] += 1


def _attribute(message: Value, found: Found, depth: int) -> None:
    for key, value in _read(message, "attribute", found):
        if key in (5, 10):
            _tensor(value, found)
        elif key in (6, 11):
            _graph(value, found, depth + 1)
        elif key in (22, 23):
            raise UserError("not supported: sparse tensors")


def _tensor(message: Value, found: Found, may_be_external: bool = False) -> int:
    """Check one tensor. Returns how many floating-point numbers it holds."""
    name, dims, kind, held, entries = "", list[int](), 0, list[tuple[int, Value]](), list[tuple[str, str]]()
    for key, value in _read(message, "tensor", found):
        if key == 1:
            dims += [value] if isinstance(value, int) else _packed(value)
        elif key == 2:
            kind = number(value)
        elif key == 8:
            name = text(value)
        elif key == 13 and may_be_external:
            entries.append(entry(value))
        elif key == 13 or (key == 14 and value not in (0, int(may_be_external))):
            raise UserError("keeps numbers of an operator in a file outside itself; export it as one file")
        elif key in DATA:
            held.append((key, value))
        elif key in (3, 6):
            raise UserError("not supported: tensors of text, or in segments")
    numel, size = math.prod(dims), sum(1 if isinstance(value, int) else len(value) for _, value in held)
    if entries and max(dims, default=0) < 2**40 and not held:
        found.external.append(External(name, kind, tuple(dims), dict(entries)))
        return numel if kind in FLOATS else 0
    if entries or max(dims, default=0) >= 2**40 or numel > 2 * size:  # two numbers of four bits lie in a byte
        raise UserError(f"declares a tensor of shape {dims[:8]}, more than the file holds")
    if kind not in FLOATS:
        return 0
    _check_finite([np.frombuffer(inner(v), FLOATS[kind]) for key, v in held if key in (4, 10, RAW)], len(dims))
    return numel


def _check_finite(parts: list[np.ndarray], ndim: int) -> None:
    """Infinite numbers are fine as limits (a clip's, a mask's), which have no two axes."""
    for part in parts:
        if np.isnan(part).any() or (ndim > 1 and not np.isfinite(part).all()):
            raise UserError("its weights hold NaN or infinity; the training that made it has failed")


def _packed(values: memoryview) -> list[int]:
    numbers, position = list[int](), 0
    while position < len(values):
        value, position = varint(values, position)
        numbers.append(value)
    return numbers
