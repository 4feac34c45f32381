"""Shapes and dtypes that annotations name are checked while tests run: an import hook for jaxtyping and beartype.

jaxtyping's own hook wraps every function of a package, also those nested in others, each time anew, and checks each call.
Of a short training's time nine tenths went into it. This one wraps the functions and dataclasses that name a shape, and
checks their first calls in every test.
"""

import ast
import functools
import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from typing import Any

from beartype import beartype
from jaxtyping import jaxtyped

KINDS = ("Float", "Float32", "Int", "Int64", "Bool", "Shaped")
CHECK, IMPORTS = "_shapes.checked", "import shapes as _shapes\n"
CALLS = 4  # that are checked, of each function in each test
test = [0]  # how many have begun


def check(package: str) -> None:
    """From now on, check the shapes in the modules of a package; call it before any of them is imported."""
    early = [name for name in sys.modules if name.split(".")[0] == package]
    assert not early, f"imported before its shapes could be checked: {early[0]}"
    sys.meta_path.insert(0, Finder(package))


def checked(one: Any) -> Any:
    """A function whose first calls in each test are checked, or a class whose fields are."""
    whole = jaxtyped(typechecker=beartype)(one)
    return whole if isinstance(one, type) else at_first(one, whole)


def at_first(plain: Callable, whole: Callable) -> Callable:
    begun = left = 0

    @functools.wraps(plain)
    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal begun, left
        if begun != test[0]:
            begun, left = test[0], CALLS
        if left:
            left -= 1
            return whole(*args, **kwargs)
        return plain(*args, **kwargs)

    return call


class Finder(MetaPathFinder):
    """Finds the modules of a package that name shapes; all others are found as ever."""

    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if fullname.split(".")[0] != self.package:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if (
            spec
            and isinstance(spec.loader, SourceFileLoader)
            and b"jaxtyping" in spec.loader.get_data(spec.origin or "")
        ):
            spec.loader = Loader(fullname, spec.origin or "")
        return spec


class Loader(SourceFileLoader):
    """Compiles a module with the checks in; what it compiles is not cached beside the code that runs without."""

    def get_code(self, fullname: str) -> Any:
        tree = ast.parse(self.get_data(self.path), self.path)
        decorate(tree)
        return compile(tree, self.path, "exec", dont_inherit=True)


def decorate(tree: ast.Module) -> None:
    """Put the check around the functions, methods and dataclasses of a module whose annotations name a shape."""
    names = set(KINDS)
    for node in tree.body:
        if isinstance(node, ast.Assign) and mentions(node.value, names):  # Rows = Float[Tensor, "B T"]
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    for holder in (tree, *(node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))):
        for node in holder.body:
            if isinstance(node, ast.FunctionDef) and mentions(annotations(node), names):
                node.decorator_list.append(expression(node))
        fields = [node.annotation for node in holder.body if isinstance(node, ast.AnnAssign)]
        if isinstance(holder, ast.ClassDef) and mentions(fields, names):
            holder.decorator_list.insert(0, expression(holder))
    after = 1 + max(
        i for i, n in enumerate(tree.body) if i == 0 or (isinstance(n, ast.ImportFrom) and n.module == "__future__")
    )
    tree.body[after:after] = ast.parse(IMPORTS).body
    ast.fix_missing_locations(tree)


def annotations(node: ast.FunctionDef) -> list[ast.expr | None]:
    every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return [*(arg.annotation for arg in every), node.returns]


def mentions(nodes: Any, names: set[str]) -> bool:
    """Whether an annotation, or one of several, holds one of the names."""
    some = nodes if isinstance(nodes, list) else [nodes]
    return any(isinstance(n, ast.Name) and n.id in names for node in some if node for n in ast.walk(node))


def expression(node: ast.stmt) -> ast.expr:
    made = ast.parse(CHECK, mode="eval").body
    return ast.copy_location(made, node)
