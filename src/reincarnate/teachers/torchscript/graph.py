"""A compiled TorchScript graph, held against the same list as its code was: what the compiler made of it counts."""

from collections.abc import Iterator
from typing import Any

from reincarnate.errors import UserError
from reincarnate.teachers.torchscript.ops import MOST_CALLS, MOST_LIST, allowed_in_graph


def nodes(block: Any) -> Iterator[Any]:
    """Every node of a graph, those within branches and loops too."""
    for node in block.nodes():
        yield node
        for inside in node.blocks():
            yield from nodes(inside)


def check_graph(graph: Any) -> None:
    """UserError: an operator that is not on the list, or a loop whose turns are not bounded."""
    for node in nodes(graph):
        if not allowed_in_graph(node.kind(), node.schema()):
            raise UserError(f"holds the operator {node.kind()[:60]}, which is not on the list; refused")
        if node.kind() == "prim::Loop" and not _bounded(node.inputsAt(0).node()):
            raise UserError("holds a loop whose number of turns is not bounded; refused")


def _bounded(count: Any) -> bool:
    """Whether a loop's number of turns is a constant, the length of a short list, or that and a constant less."""
    match count.kind():
        case "prim::Constant":
            return 0 <= count.i("value") <= MOST_CALLS
        case "aten::len":
            return count.schema().startswith("aten::len.t(") and _short(count.inputsAt(0).node())
        case "aten::sub":
            less = count.inputsAt(1).node()
            return _bounded(count.inputsAt(0).node()) and less.kind() == "prim::Constant" and less.i("value") >= 0
    return False


def _short(made: Any) -> bool:
    """Whether a list is one that is written down, or the sizes of a tensor's axes."""
    if made.kind() == "prim::ListConstruct":
        return made.inputsSize() <= MOST_LIST
    return made.schema().startswith("aten::size(")
