"""What a Python without any of our packages can say of the sources: that they compile, and that what they import of the
standard library is there. Run by each Python that is found: PYTHON .ci/compiles.py FOLDER …
"""

import ast
import importlib
import sys
import warnings
from pathlib import Path


def check(path: Path) -> list[str]:
    """What is wrong with one file, a line each; the compiler's warnings count."""
    text = path.read_text(encoding="utf-8")
    try:
        tree = ast.parse(text, str(path))
        compile(tree, str(path), "exec", dont_inherit=True)
    except (SyntaxError, SyntaxWarning, DeprecationWarning) as error:
        return [f"{path}: {error}"]
    return [f"{path}: {name}" for name in missing(tree)]


def missing(tree: ast.Module) -> list[str]:
    """Names of the standard library that a file imports and that this Python does not have."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            asked = [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            asked = [(node.module, alias.name) for alias in node.names]
        else:
            continue
        for module, name in asked:
            if module.partition(".")[0] in sys.stdlib_module_names and not there(module, name):
                found.append(f"{module}.{name}".rstrip("."))
    return found


def there(module: str, name: str) -> bool:
    """Whether a name can be imported."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that one of them is old
            found = importlib.import_module(module)
    except ImportError:
        return module in ("winreg", "msvcrt", "termios", "fcntl", "readline")  # of one system alone
    return not name or name == "*" or hasattr(found, name) or there(f"{module}.{name}", "")


if __name__ == "__main__":
    files = sorted(path for folder in sys.argv[1:] for path in Path(folder).rglob("*.py"))
    with warnings.catch_warnings():
        warnings.simplefilter("error", SyntaxWarning)
        warnings.simplefilter("error", DeprecationWarning)
        wrong = [line for path in files for line in check(path)]
    version = ".".join(map(str, sys.version_info[:3]))
    print(*(wrong or [f"Python {version}: {len(files)} files compile"]), sep="\n")
    sys.exit(bool(wrong) or not files)
