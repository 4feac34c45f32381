"""How much a call of a TorchScript policy can run: every call followed to its end, loops counted out."""

import ast

from reincarnate.errors import UserError
from reincarnate.teachers.torchscript.code import Code
from reincarnate.teachers.torchscript.ops import BUILT_IN, MOST_CALLS
from reincarnate.teachers.torchscript.syntax import dotted, repeats

KEYWORDS = BUILT_IN | {"getattr", "range"}
Scope = dict[str, str]
"""Variable -> full name of the class it is an object of, or of the function it stands for."""


def count_calls(code: Code, start: str) -> int:
    """At most so many calls does the function `start` make, calls within calls included.

    UserError: more than MOST_CALLS, without end, or of something that the archive does not define.
    """
    return _Counting(code).of(start, ())


class _Counting:
    def __init__(self, code: Code):
        self.code, self.known = code, dict[str, int]()

    def of(self, name: str, callers: tuple[str, ...]) -> int:
        """Calls of one function; `callers` are those that led here."""
        if name not in self.known:
            if name in callers or len(callers) > 100:
                raise UserError(f"its code calls {name[:80]} from within itself; refused")
            function = self.code.functions.get(name)
            if function is None:
                raise UserError(f"its code calls {name[:80]}, which it does not define; refused")
            self.known[name] = self._block(function.body, self._arguments(function), (*callers, name))
        return self.known[name]

    def _arguments(self, function: ast.FunctionDef) -> Scope:
        typed = ((argument.arg, argument.annotation) for argument in function.args.args)
        named = ((name, dotted(kind)) for name, kind in typed if kind is not None)
        return {name: kind for name, kind in named if kind in self.code.classes}

    def _block(self, body: list[ast.stmt], scope: Scope, callers: tuple[str, ...]) -> int:
        total = 0
        for node in body:
            match node:
                case ast.For():
                    total += repeats(node) * (1 + self._block(node.body, scope, callers))
                case ast.If():
                    total += self._calls(node.test, scope, callers)
                    total += self._block(node.body, scope, callers) + self._block(node.orelse, scope, callers)
                case (
                    ast.Assign(targets=[target], value=value) | ast.AnnAssign(target=target, value=ast.expr() as value)
                ):
                    total += self._calls(value, scope, callers)
                    self._bind(target, value, scope)
                case _:
                    total += self._calls(node, scope, callers)
            if total > MOST_CALLS:
                raise UserError(f"its code makes over {MOST_CALLS:,} calls for one answer; refused")
        return total

    def _bind(self, target: ast.expr, value: ast.expr, scope: Scope) -> None:
        if isinstance(target, ast.Name):
            found = self._stands_for(value, scope)
            if scope.get(target.id, found) != found:
                raise UserError(f"its code uses the name {target.id[:40]} for two modules; refused")
            if found:
                scope[target.id] = found
        elif any(node.id in scope for node in ast.walk(target) if isinstance(node, ast.Name)):
            raise UserError("its code uses a name for a module and for something else; refused")

    def _stands_for(self, node: ast.expr, scope: Scope) -> str:
        """Full name of the class of an expression's value, or of the function it names; "" for anything else."""
        match node:
            case ast.Name(id=name):
                return scope.get(name, "")
            case ast.Attribute(value=value, attr=attribute):
                kind = self.code.classes.get(self._stands_for(value, scope))
                if kind is None:
                    whole = dotted(node)
                    return whole if whole in self.code.functions or whole in self.code.classes else ""
                return self._class_of(kind.attributes.get(attribute, ""))
            case ast.Call(func=ast.Name(id="getattr"), args=[value, ast.Constant(value=str() as attribute)]):
                kind = self.code.classes.get(self._stands_for(value, scope))
                return self._class_of(kind.attributes.get(attribute, "")) if kind else ""
        return ""

    def _class_of(self, written: str) -> str:
        return written if written in self.code.classes else ""

    def _calls(self, node: ast.AST, scope: Scope, callers: tuple[str, ...]) -> int:
        calls = [part for part in ast.walk(node) if isinstance(part, ast.Call)]
        return sum(1 + self._called(call, scope, callers) for call in calls)

    def _called(self, call: ast.Call, scope: Scope, callers: tuple[str, ...]) -> int:
        name = dotted(call.func)
        if name in KEYWORDS or name.startswith(("torch.", "ops.")):
            return 0
        target = self._stands_for(call.func, scope)
        if not target and isinstance(call.func, ast.Attribute):
            owner = self._stands_for(call.func.value, scope)
            target = f"{owner}.{call.func.attr}" if owner in self.code.classes else ""
        if target in self.code.classes and self.code.classes[target].is_tuple:
            return 0
        return self.of(target or name or "something unnamed", callers)
