"""A lineage as a person sees it: a tree of what stands on what, and a table of what it all cost."""

import io
from collections.abc import Iterator
from pathlib import Path

from rich import box
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from reincarnate.files import limits
from reincarnate.files.text import clean
from reincarnate.store.lineage import Lineage
from reincarnate.store.nodes import AGENT, COSTS, Amount, Cost, Node
from reincarnate.store.reading import Number

SHORT = 12  # digits of a hash
HEADINGS = {"env_steps": "env steps", "eval_env_steps": "… for evaluation", "updates": "updates", "seconds": "time"}
UNKNOWN = {"env_steps": "env steps", "eval_env_steps": "those for evaluation", "seconds": "time", "flops": "FLOPs"}
COLOURS = {"agent": "green", "teacher": "magenta", "data": "cyan"}


def show(lineage: Lineage) -> RenderableType:
    """The tree, with the costs under it."""
    return Group(tree(lineage), Text(), cost_table(lineage))


def as_text(lineage: Lineage, width: int = 110) -> str:
    """The tree without colours and without what lies where here, for those who are elsewhere."""
    buffer = io.StringIO()
    Console(file=buffer, width=width, color_system=None, emoji=False).print(tree(lineage, here=False), highlight=False)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"


# ---- the tree ------------------------------------------------------------------------------------------


def tree(lineage: Lineage, here: bool = True) -> Tree:
    """Each node under what stands on it; one that is met again is but named. `here`: with where each one lies."""
    root = Tree(_label(lineage, lineage.root, "", here), guide_style="dim")
    _grow(root, lineage, lineage.root, {lineage.root.sha256}, here)
    return root


def _grow(branch: Tree, lineage: Lineage, node: Node, drawn: set[str], here: bool, depth: int = 1) -> None:
    if depth > limits.DRAWN and node.parents:
        branch.add(f"[dim]… {len(lineage.ancestors(node.sha256)):,} more, not drawn[/]")
        return
    for parent in node.parents:
        other = lineage.node(parent)
        role = {"player": "played by", "replay": "replay of"}.get(parent.role, parent.role)
        if other.sha256 in drawn:
            words = f"[{COLOURS[other.kind]}]{escape(role)}[/] {escape(other.name)}, as above"
            branch.add(f"{words}  [dim]{other.sha256[:SHORT]}[/]")
            continue
        drawn.add(other.sha256)
        _grow(branch.add(_label(lineage, other, role, here)), lineage, other, drawn, here, depth + 1)


def _label(lineage: Lineage, node: Node, role: str, here: bool) -> str:
    kind = "" if role == node.kind else node.kind
    words = " ".join(filter(None, (escape(role) and f"{escape(role)}:", kind)))
    facts = [f"[bold]{escape(node.name)}[/]", *map(escape, filter(None, (node.detail, node.task)))]
    lines = [f"[{COLOURS[node.kind]}]{words}[/] {', '.join(facts)}  [dim]{node.sha256[:SHORT]}[/]"]
    if node.score is not None:
        lines.append(f"score {score(node)}")
    if node.kind == AGENT or any(amount.value for amount in node.cost.values()):
        lines.append(f"[dim]{', '.join(_costs(node.cost))}[/]")
    if here:
        lines.append(_where(lineage, node))
    elif (node.address or "").startswith("hf:"):
        lines.append(escape(clean(str(node.address), limits.NAME)))
    return "\n".join(lines)


def _where(lineage: Lineage, node: Node) -> str:
    if node.sha256 in lineage.places:
        return f"[dim]{escape(short_path(lineage.places[node.sha256]))}[/]"
    return f"[yellow]not found{f' ({escape(node.address)})' if node.address else ''}[/]"


def short_path(path: Path) -> str:
    """Relative where it lies below the working directory."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_absolute() and path.is_relative_to(here) else str(path)


def score(node: Node) -> str:
    """`14.1 [13.2, 15.0]`, or a dash."""
    if node.score is None:
        return "–"
    return f"{node.score:.4g}" + (f" [{node.interval[0]:.4g}, {node.interval[1]:.4g}]" if node.interval else "")


def _costs(cost: Cost) -> Iterator[str]:
    for name, unit in (("env_steps", " env steps"), ("updates", " updates"), ("seconds", ""), ("flops", "")):
        if cost[name].value or cost[name].whole:
            yield amount(name, cost[name]) + unit
    unknown = [UNKNOWN.get(name, name) for name in COSTS if not cost[name].value and not cost[name].whole]
    if unknown:
        yield f"{' and '.join(unknown)} unknown"


# ---- the table -----------------------------------------------------------------------------------------


def cost_table(lineage: Lineage) -> Table:
    """Every node's own cost once, then the run alone against everything it stands on."""
    table = Table(box=box.HORIZONTALS, pad_edge=False, show_edge=False)
    table.add_column("cost, each counted once", no_wrap=True, max_width=48)
    for name in COSTS:
        table.add_column(HEADINGS.get(name, "FLOPs"), justify="right", no_wrap=True)
    for node in (lineage.root, *lineage.ancestors()):
        label = f"{escape(_named(node))} [dim]{node.sha256[:SHORT]}[/]"
        table.add_row(label, *(amount(name, node.cost[name]) for name in COSTS))
    whole = lineage.total()
    table.add_section()
    table.add_row("this run alone", *(amount(name, lineage.root.cost[name]) for name in COSTS), style="bold")
    table.add_row("with all it stands on", *(amount(name, whole[name]) for name in COSTS), style="bold")
    return table


def _named(node: Node) -> str:
    return " ".join(filter(None, (node.name, node.detail if node.kind == AGENT else "")))


def amount(name: str, value: Amount) -> str:
    """A quantity in its unit; ≥ where a part is not known, a question mark where nothing is."""
    if not value.whole and not value.value:
        return "?"
    return ("" if value.whole else "≥ ") + WRITTEN.get(name, "{:,.0f}".format)(value.value)


def duration(seconds: Number) -> str:
    """`4.1 s`, `41 s`, `3 min 20 s`, `2 h 05 min`."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{seconds:.1f} s" if 0 < seconds < 10 else f"{rest} s"
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def operations(flops: Number) -> str:
    """`820 MFLOP`, `1.2 TFLOP`."""
    for size, unit in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M")):
        if flops >= size:
            return f"{flops / size:.3g} {unit}FLOP"
    return f"{flops:.0f} FLOP"


WRITTEN = {"seconds": duration, "flops": operations}
