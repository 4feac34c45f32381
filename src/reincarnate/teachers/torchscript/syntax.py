"""Small questions about TorchScript's code as Python's grammar sees it: its tree, its names, its loops."""

import ast
import warnings

from reincarnate.errors import UserError
from reincarnate.files.safe import one_line
from reincarnate.teachers.torchscript.ops import MOST_CALLS, MOST_LIST

MOST_DEPTH = 80  # of nested expressions: torch's own parser has a stack to overflow


def parse(text: str, what: str) -> ast.Module:
    """The syntax tree of one file. UserError: not such code, or nested too deep."""
    if not all(letter == "\n" or " " <= letter <= "~" for letter in text):
        raise UserError(f"{what}: code with letters that torch does not print; refused")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Python thinks of the style of a stranger's code
            tree = ast.parse(text)
        _check_depth(tree)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UserError(f"{what}: not the code that torch prints: {one_line(error)}") from None
    return tree


def _check_depth(tree: ast.AST) -> None:
    level = [tree]
    for _ in range(MOST_DEPTH):
        if not (level := [child for node in level for child in ast.iter_child_nodes(node)]):
            return
    raise ValueError(f"nested over {MOST_DEPTH} deep")


def repeats(node: ast.For) -> int:
    """How often a loop over `range(n)` turns at most; 0 where n is neither written there nor a list's length."""
    match node.iter:
        case ast.Call(func=ast.Name(id="range"), args=[ast.Constant(value=int() as turns)], keywords=[]):
            return turns if 0 < turns <= MOST_CALLS else 0
        case ast.Call(func=ast.Name(id="range"), args=[count], keywords=[]):
            return MOST_LIST if _is_length(count) else 0
    return 0


def _is_length(node: ast.expr) -> bool:
    """`torch.len(x)`, or a number less; that x is a list is seen to in the compiled graph."""
    match node:
        case ast.Call(args=[ast.Name()], keywords=[]):
            return dotted(node.func) == "torch.len"
        case ast.Call(args=[length, ast.Constant(value=int())], keywords=[]):
            return dotted(node.func) == "torch.sub" and _is_length(length)
    return False


def dotted(node: ast.expr) -> str:
    """`torch.nn.functional.relu` of such an expression; "" where it is none."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(names)]) if isinstance(node, ast.Name) else ""
