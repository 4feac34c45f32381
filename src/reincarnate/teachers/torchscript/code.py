"""The code in a TorchScript archive, read as Python and held against what a policy needs, before it is compiled.

Torch prints such code in a small part of Python: classes of modules, functions, assignments, calls. Whatever else
stands there is refused. What passes is printed anew, so that nothing is compiled but what was looked at.
"""

import ast
from dataclasses import dataclass, field

from reincarnate.errors import UserError
from reincarnate.teachers.torchscript.ops import BUILT_IN, allowed
from reincarnate.teachers.torchscript.syntax import dotted, repeats

SPECIAL = frozenset(("__len__", "__contains__"))  # methods with such names that torch itself prints
LISTS = ("__parameters__", "__buffers__")  # of names, in a class
TRAINING = {"dropout": 2, "dropout_": 2, "feature_dropout": 2, "batch_norm": 5}  # where they are told to train
TYPES = {"annotate": 0, "unchecked_cast": 0, "uninitialized": 0, "isinstance": 1}  # which argument is a type
RESERVED = frozenset(("torch", "ops", "CONSTANTS", "__torch__", "getattr", "range")) | BUILT_IN


@dataclass
class Class:
    """A module's class: the types of its attributes as they are written, and what it may be made of."""

    attributes: dict[str, str] = field(default_factory=dict)
    is_tuple: bool = False


@dataclass
class Code:
    """All classes by their full names, all functions and methods, and the constants that are referred to."""

    classes: dict[str, Class] = field(default_factory=dict)
    functions: dict[str, ast.FunctionDef] = field(default_factory=dict)
    constants: int = 0


def collect(modules: dict[str, ast.Module]) -> Code:
    """Every definition in the files, which are named by their dotted places. UserError: anything but definitions."""
    code = Code()
    for place, tree in modules.items():
        for node in tree.body:
            if isinstance(node, ast.FunctionDef):
                _define(code, f"{place}.{node.name}", node)
            elif isinstance(node, ast.ClassDef):
                _define_class(code, f"{place}.{node.name}", node)
            else:
                raise _refused(node, "outside of classes and functions")
    for function in code.functions.values():
        _check_function(function, code)
    return code


def _define(code: Code, name: str, node: ast.FunctionDef) -> None:
    if node.name.startswith("__") and node.name not in SPECIAL:
        raise UserError(f"its code has a method {node.name[:40]}, which torch would run by itself; refused")
    if name in code.functions or node.decorator_list:
        raise UserError(f"its code defines {name[:80]} in an unusual way; refused")
    code.functions[name] = node


def _define_class(code: Code, name: str, node: ast.ClassDef) -> None:
    bases = [base.id if isinstance(base, ast.Name) else "" for base in node.bases]
    if bases not in (["Module"], ["NamedTuple"]) or name in code.classes or node.keywords or node.decorator_list:
        raise UserError(f"its code has a class {node.name[:40]} that is neither a module nor a named tuple; refused")
    found = code.classes[name] = Class(is_tuple=bases == ["NamedTuple"])
    for part in node.body:
        match part:
            case ast.FunctionDef() if not found.is_tuple:
                _define(code, f"{name}.{part.name}", part)
            case ast.AnnAssign(target=ast.Name(id=attribute), annotation=kind, value=value) if _literal(value):
                if value is None:  # a value makes it a constant of the class, which no object holds
                    found.attributes[attribute] = ast.unparse(kind)
            case ast.Assign(targets=[ast.Name(id=attribute)], value=value) if attribute in LISTS and _literal(value):
                pass
            case ast.Assign(
                targets=[ast.Subscript(value=ast.Name(id="__annotations__"), slice=ast.Constant(value=str() as key))],
                value=kind,
            ):
                found.attributes[key] = ast.unparse(kind)
            case ast.Pass():
                pass
            case _:
                raise _refused(part, f"in class {node.name[:40]}")


def _literal(node: ast.expr | None) -> bool:
    match node:
        case None | ast.Constant():
            return True
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant()):
            return True
        case ast.Tuple(elts=items) | ast.List(elts=items):
            return all(map(_literal, items))
    return False


def _check_function(function: ast.FunctionDef, code: Code) -> None:
    given = function.args
    if given.vararg or given.kwarg or given.posonlyargs:
        raise _refused(function, "with arguments of any number")
    if any(argument.arg in RESERVED for argument in (*given.args, *given.kwonlyargs)):
        raise _refused(function, "with an argument that hides a name of torch's own")
    if not all(map(_literal, (*given.defaults, *given.kw_defaults))):  # torch computes them while it reads
        raise _refused(function, "with an argument whose default is computed")
    for statement in function.body:
        _check_statement(statement, code)


def _check_statement(node: ast.stmt, code: Code) -> None:
    match node:
        case ast.Assign(targets=[target], value=value) | ast.AnnAssign(target=target, value=value) if _names(target):
            if value is not None:
                _check_expression(value, code)
        case ast.Return(value=value) | ast.Expr(value=value):
            if value is not None:
                _check_expression(value, code)
        case ast.If(test=test, body=body, orelse=orelse):
            _check_expression(test, code)
            for statement in (*body, *orelse):
                _check_statement(statement, code)
        case ast.For(target=ast.Name() as name, body=body, orelse=[]) if repeats(node) and _names(name):
            for statement in body:
                _check_statement(statement, code)
        case ast.For() | ast.While():
            raise UserError("its code has a loop whose number of turns is not written there; refused")
        case ast.Pass():
            pass
        case _:
            raise _refused(node, "in a function")


def _names(target: ast.expr) -> bool:
    """Assignments are to variables; to an attribute they would change the policy."""
    if isinstance(target, ast.Tuple):
        return all(map(_names, target.elts))
    return isinstance(target, ast.Name) and target.id not in RESERVED


def _check_expression(node: ast.expr, code: Code) -> None:
    match node:
        case ast.Constant() | ast.Name():
            return
        case ast.Attribute(value=ast.Name(id="CONSTANTS"), attr=name) if name[1:].isdigit() and len(name) < 8:
            code.constants = max(code.constants, int(name[1:]) + 1)
        case ast.Attribute() if dotted(node).startswith(("ops.", "torch.")):
            raise UserError(f"its code keeps {dotted(node)[:60]} for later; refused")
        case ast.Attribute(value=value) | ast.UnaryOp(op=ast.USub() | ast.Not(), operand=value):
            _check_expression(value, code)
        case ast.Subscript(value=value, slice=place):
            _check_expression(value, code)
            _check_expression(place, code)
        case ast.Tuple(elts=items) | ast.List(elts=items):
            for item in items:
                _check_expression(item, code)
        case ast.Dict(keys=keys, values=values):
            for item in (*keys, *values):
                if item is None:
                    raise _refused(node, "with an unpacked dictionary")
                _check_expression(item, code)
        case ast.Call():
            _check_call(node, code)
        case _:
            raise _refused(node, "in an expression")


def _check_call(node: ast.Call, code: Code) -> None:
    name = dotted(node.func)
    match name.split("."):
        case ["torch", "device"]:
            fine = all(map(_literal, node.args))
        case ["torch", operator]:
            fine = allowed("aten", operator)
            _check_training(operator, node.args)
        case ["ops", namespace, operator]:
            fine = allowed(namespace, operator)
        case [""] if not isinstance(node.func, ast.Attribute):
            raise _refused(node.func, "as what is called")
        case ["getattr"]:
            fine = len(node.args) == 2 and isinstance(node.args[1], ast.Constant)
        case [built_in] if built_in in BUILT_IN:
            fine = True
        case _:  # of a method, or a function of the archive: found again while calls are counted
            fine = name not in ("ops", "torch") and not name.startswith(("ops.", "torch."))
    if not fine:
        raise UserError(f"its code calls {name[:60]}, which is not on the list of what a policy may need; refused")
    if isinstance(node.func, ast.Attribute) and not name:
        _check_expression(node.func.value, code)
    values = [argument for i, argument in enumerate(node.args) if i != TYPES.get(name)]
    for argument in (*values, *(word.value for word in node.keywords)):
        _check_expression(argument, code)


def _check_training(operator: str, arguments: list[ast.expr]) -> None:
    place = TRAINING.get(operator, len(arguments))
    match arguments[place : place + 1]:
        case [ast.Constant(value=True)]:
            raise UserError(f"it was traced while training ({operator} is on); call .eval() before exporting it")


def _refused(node: ast.AST, where: str) -> UserError:
    line = f" (line {node.lineno})" if isinstance(node, ast.stmt | ast.expr) else ""
    return UserError(f"its code has a {type(node).__name__} {where}{line}, which torch does not print; refused")
