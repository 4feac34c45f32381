"""A TorchScript archive taken apart, each part checked, and put together again from those parts alone."""

import ast
import io
import pickletools
import re
import zipfile
from typing import Any

from reincarnate.errors import UserError
from reincarnate.files.safe import MIB, Inert, one_line, read_members
from reincarnate.teachers.exported import words
from reincarnate.teachers.torchscript.calls import count_calls
from reincarnate.teachers.torchscript.code import Code, collect
from reincarnate.teachers.torchscript.syntax import dotted, parse
from reincarnate.teachers.wire.torch_pickle import Declared, read_declared

PARTS = re.compile(r"(data\.pkl|constants\.pkl|version|byteorder|(data|constants)/\d+|code/__torch__(/\w+)*\.py)")
TOLD = "output"
"""The extra file in which our own exports say what their output is, as the outputs of ONNX files have names."""
LONGEST_NAME = 64
SPARE = 64 * MIB  # what code and pickles may unpack to beyond the file's own length
OPCODES = words(
    """
    PROTO GLOBAL EMPTY_TUPLE NEWOBJ REDUCE BUILD EMPTY_DICT MARK SETITEMS SETITEM EMPTY_LIST APPENDS APPEND BINPUT
    LONG_BINPUT BINGET LONG_BINGET BINUNICODE BININT BININT1 BININT2 LONG1 BINFLOAT NONE NEWTRUE NEWFALSE TUPLE TUPLE1
    TUPLE2 TUPLE3 BINPERSID STOP
    """
)
"""Those with which torch writes, so that its reader and Python's cannot understand them in two ways."""
LISTS = ("build_intlist", "build_doublelist", "build_boollist", "build_tensorlist")
PLAIN = {"Tensor": Declared, "int": int, "bool": bool, "float": float, "str": str, "NoneType": type(None)}
MOST_DEPTH = 64
MOST_VISITS = 1_000_000


def recognised(names: list[str]) -> bool:
    """Whether a zip with members of these names is such an archive."""
    tails = {name.partition("/")[2] for name in names}
    return {"data.pkl", "constants.pkl"} <= tails and any(tail.startswith("code/") for tail in tails)


def name_of_output(payload: bytes, what: str) -> str:
    """What an export of ours calls its output; "" of any other archive. Of one that was taken apart without an error.

    UserError: that name is longer than names are.
    """
    with zipfile.ZipFile(io.BytesIO(payload)) as archive:
        found = [name for name in archive.namelist() if name.endswith(f"/extra/{TOLD}")][:1]
    told = read_members(payload, dict.fromkeys(found, LONGEST_NAME), what)
    return next((name for content in told.values() if (name := content.decode("latin-1")).isidentifier()), "")


def take_apart(payload: bytes, what: str) -> tuple[bytes, int]:
    """The archive made anew of parts that were looked at, and how many calls its `forward` can make at most.

    UserError: damaged, or anything in it that a policy does not need; see `torchscript_code` and `torchscript_calls`.
    """
    members = _members(payload, what)
    try:
        code = _code(members)
        root = _pickle(members, "data.pkl", code)
        constants = _pickle(members, "constants.pkl", code)
        _check_constants(constants, code)
        if not isinstance(root, Inert) or not _Types(code).fit(root, ast.parse(root.origin, mode="eval").body):
            raise UserError("its data are not those of a module")
        calls = count_calls(code, f"{root.origin}.forward")
    except UserError as error:
        raise UserError(f"{what}: {error}") from None
    return _put_together(members), calls


def _members(payload: bytes, what: str) -> dict[str, bytes]:
    """The parts by their names without the archive's own. UserError: no such archive, or an oversized one."""
    try:
        with zipfile.ZipFile(io.BytesIO(payload)) as archive:
            sizes = [(info.filename, info.file_size) for info in archive.infolist()]
    except Exception as error:  # a damaged archive fails in many ways: BadZipFile, zlib.error ...
        raise UserError(f"{what}: not a zip archive, or a damaged one: {one_line(error)}") from None
    if not recognised([name for name, _ in sizes]):
        raise UserError(f"{what}: not saved by TorchScript: it has no code, no data.pkl or no constants.pkl")
    start = sizes[0][0].partition("/")[0] + "/"
    wanted = {name: size for name, size in sizes if name.startswith(start) and PARTS.fullmatch(name[len(start) :])}
    if sum(wanted.values()) > len(payload) + SPARE:
        raise UserError(f"{what}: its members unpack to far more than the file holds; refused")
    if len({name.lower() for name in wanted}) < len(wanted):  # torch's reader takes the one for the other
        raise UserError(f"{what}: holds two members of almost the same name; refused")
    members = {name[len(start) :]: content for name, content in read_members(payload, wanted, what).items()}
    if members.get("byteorder", b"little") != b"little" or not re.fullmatch(rb"\d\d?\n?", members.get("version", b"")):
        raise UserError(f"{what}: an archive of another byte order or version than can be read")
    return members


def _code(members: dict[str, bytes]) -> Code:
    """All its code, checked; each file is replaced by what was understood of it."""
    trees: dict[str, ast.Module] = {}
    for name in [name for name in members if name.startswith("code/")]:
        tree = parse(members[name].decode("latin-1"), name)
        trees[name.removeprefix("code/").removesuffix(".py").replace("/", ".")] = tree
        members[name] = (ast.unparse(tree) + "\n").encode()
    return collect(trees)


def _pickle(members: dict[str, bytes], name: str, code: Code) -> Any:
    """What one of its pickles describes. UserError: opcodes or names that torch does not write, or nested too deep."""
    payload, folder = members.get(name, b""), name.partition(".")[0]
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(payload)):
            if opcode.name not in OPCODES:
                raise UserError(f"{name}: {opcode.name} in its pickle, which torch does not write; refused")
            if opcode.name.endswith("BINPUT") and int(argument or 0) > count:
                raise UserError(f"{name}: its pickle wants more room than it needs; refused")
    except ValueError as error:
        raise UserError(f"{name}: a damaged pickle: {one_line(error)}") from None
    known = {f"torch.jit._pickle.{function}": list for function in LISTS} | {
        "torch.jit._pickle.restore_type_tag": _tagged
    }
    classes = [re.escape(full) for full, kind in code.classes.items() if not kind.is_tuple] or ["(?!)"]
    sizes = {key.rpartition("/")[2]: len(content) for key, content in members.items() if key.startswith(f"{folder}/")}
    value = read_declared(io.BytesIO(payload), classes, name, lambda key: sizes.get(key, -1), known)
    try:
        deep = _depth(value, {})
    except RecursionError:
        deep = MOST_DEPTH + 1
    if deep > MOST_DEPTH:
        raise UserError(f"{name}: values nested over {MOST_DEPTH} deep; refused")
    return value


def _tagged(value: Any, written: Any) -> Any:
    """A container whose type is written beside it, for a parser that has a stack to overflow."""
    if not isinstance(written, str) or len(written) > 400 or written.count("[") > 16:
        raise ValueError("a type that is none")
    return value


def _depth(value: Any, known: dict[int, int]) -> int:
    """How deep containers lie in each other; RecursionError where they hold themselves."""
    match value:
        case Declared():
            return 1
        case Inert():
            parts = [value.state, *value.args]
        case dict():
            parts = [*value.keys(), *value.values()]
        case list() | tuple():
            parts = list(value)
        case _:
            return 0
    if id(value) not in known:
        known[id(value)] = 1 + max((_depth(part, known) for part in parts), default=0)
    return known[id(value)]


def _check_constants(constants: Any, code: Code) -> None:
    fine = isinstance(constants, list | tuple) and all(isinstance(value, Declared) for value in constants)
    if not fine or len(constants) < code.constants:
        raise UserError("its constants are not tensors, or fewer than its code refers to")


class _Types:
    """Whether values are what their attributes' types, as they are written, say; torch does not ask while it reads.

    What is held in several places counts in each, for torch goes down every way to it too.
    """

    def __init__(self, code: Code):
        self.code, self.visits = code, iter(range(MOST_VISITS))

    def fit(self, value: Any, kind: ast.expr) -> bool:
        """One value. UserError: an attribute of an object in it is of another type than is written, or too many."""
        if next(self.visits, None) is None:
            raise UserError(f"its data hold over {MOST_VISITS:,} values in each other; refused")
        match kind:
            case ast.Subscript(value=ast.Name(id="Optional"), slice=inner):
                return value is None or self.fit(value, inner)
            case ast.Subscript(value=ast.Name(id="List"), slice=inner):
                return type(value) is list and all(self.fit(item, inner) for item in value)
            case ast.Subscript(value=ast.Name(id="Tuple"), slice=inner):
                kinds = inner.elts if isinstance(inner, ast.Tuple) else [inner]
                same = type(value) is tuple and len(value) == len(kinds)
                return same and all(map(self.fit, value, kinds))
            case ast.Subscript(value=ast.Name(id="Dict"), slice=ast.Tuple(elts=[ast.Name(id="str"), inner])):
                named = type(value) is dict and all(type(key) is str for key in value)
                return named and all(self.fit(item, inner) for item in value.values())
        name = dotted(kind)
        if isinstance(value, Inert):
            return value.origin == name and self._holds(value)
        return name in PLAIN and type(value) is PLAIN[name]

    def _holds(self, value: Inert) -> bool:
        if not isinstance(value.state, dict) or value.args:
            return False
        for name, written in self.code.classes[value.origin].attributes.items():
            if name not in value.state or not self.fit(value.state[name], ast.parse(written, mode="eval").body):
                raise UserError(f"its attribute {name[:40]} is not of type {written[:60]}, or that is not supported")
        return True


def _put_together(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"archive/{name}", content)
    return buffer.getvalue()
