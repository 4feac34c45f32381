"""The commands `lineage` (what stands on what, and what it cost) and `gc` (what a store need not keep)."""

import json
import sys
from collections import Counter
from pathlib import Path

from rich.markup import escape
from rich.table import Table
from tyro.conf import Positional

from reincarnate import ui
from reincarnate.cli.parsing import cli
from reincarnate.errors import UserError
from reincarnate.store import gc as collecting
from reincarnate.store.differences import differences
from reincarnate.store.index import Index
from reincarnate.store.lineage import Lineage, find_agent, known_places, lineage_of, read_agent
from reincarnate.store.nodes import record
from reincarnate.store.render import SHORT, show
from reincarnate.store.scan import Found
from reincarnate.store.verify import MISSING, SOUND, UNCHECKED, WRONG, verify

STORE = Path(".reincarnate")
USAGE = """usage: reincarnate lineage show AGENT [--roots DIR …]      what an agent stands on, and what it all cost
       reincarnate lineage verify AGENT [--roots DIR …]    every ancestor is there and unchanged, or which is not
       reincarnate lineage diff A B                        what changed from one agent to another
       reincarnate lineage index [DIR …]                   look through folders again: what lies where, by hash

AGENT is an agent's folder or a finished run's, or six digits or more of an indexed agent's hash.
"""
MARKS = {SOUND: "[green]sound[/]", MISSING: "[yellow]missing[/]", WRONG: "[red]wrong[/]", UNCHECKED: "not checked"}


def lineage(args: list[str]) -> None:
    """`lineage show AGENT`, `lineage verify AGENT`, `lineage diff A B`, `lineage index [DIR …]`."""
    verbs = {"show": _show, "verify": _verify, "diff": _diff, "index": _index}
    if not args or args[0] in ("-h", "--help"):
        print(USAGE, end="")
    elif args[0] in verbs:
        verbs[args[0]](args[1:])
    else:
        raise UserError(f"lineage needs a verb, {', '.join(verbs)}: `reincarnate lineage show {args[0]}`")


def _lineage(agent: str, roots: tuple[Path, ...], store: Path) -> Lineage:
    for root in roots:
        if not root.is_dir():
            raise UserError(f"--roots {root} is not a folder")
    return lineage_of(agent, known_places(store, roots, ui.note))


def _show(args: list[str]) -> None:
    def command(agent: Positional[str], roots: tuple[Path, ...] = (), store: Path = STORE, json: bool = False) -> None:
        """The tree of what an agent stands on, each node with its score and cost, and the cost of it all.

        Every ancestor is counted once. ≥ marks a sum of which a part is not known: an imported teacher does not say
        how it was trained.

        Args:
            agent: An agent's folder or a finished run's, or six digits or more of an indexed agent's hash.
            roots: Folders to look through for ancestors that the store does not know of.
            store: The store whose index says what lies where.
            json: Print the nodes as JSON instead.
        """
        found = _lineage(agent, roots, store)
        if json:
            _print_json(found)
        else:
            ui.console.print(show(found), highlight=False)

    cli(command, args, "reincarnate lineage show")


def _print_json(found: Lineage) -> None:
    nodes = {node.sha256: record(node) for node in (found.root, *found.ancestors())}
    total = {name: {"value": x.value, "whole": x.whole} for name, x in found.total().items()}
    print(json.dumps({"root": found.root.sha256, "nodes": nodes, "total": total}, indent=1))


def _verify(args: list[str]) -> None:
    def command(agent: Positional[str], roots: tuple[Path, ...] = (), store: Path = STORE) -> None:
        """Hash every file of an agent and of all its ancestors. Exits with code 1 where one is wrong or missing.

        Teachers in Python are code and are not run, so not checked.

        Args:
            agent: An agent's folder or a finished run's, or six digits or more of an indexed agent's hash.
            roots: Folders to look through for ancestors that the store does not know of.
            store: The store whose index says what lies where.
        """
        found = _lineage(agent, roots, store)
        checked = list(verify(found, read_agent(found.places[found.root.sha256])["spec"].get("actions")))
        table = Table(title=f"lineage of {escape(agent)}", title_justify="left", box=None, pad_edge=False)
        for heading in ("", "what", "hash"):
            table.add_column(heading, no_wrap=True)
        table.add_column("where, or why", overflow="fold")
        for x in checked:
            what = f"{x.node.kind} {escape(x.node.name)}"
            table.add_row(MARKS[x.state], what, x.node.sha256[:SHORT], escape(x.words))
        ui.console.print(table, highlight=False)
        bad = [x for x in checked if x.state in (MISSING, WRONG)]
        if bad:
            ui.console.print(f"{len(bad)} of {len(checked)} wrong or missing", highlight=False)
            sys.exit(1)

    cli(command, args, "reincarnate lineage verify")


def _diff(args: list[str]) -> None:
    def command(before: Positional[str], after: Positional[str], store: Path = STORE) -> None:
        """What changed from one agent to another: settings, task, priors, versions, score and cost; only that.

        Args:
            before: An agent's folder or a finished run's, or six digits or more of an indexed agent's hash.
            after: The same.
            store: The store whose index says what lies where.
        """
        places = known_places(store, (), ui.note)
        found = differences(*(read_agent(find_agent(agent, places)) for agent in (before, after)))
        if not found:
            ui.console.print("nothing differs", highlight=False)
            return
        table = Table(box=None, pad_edge=False)
        for heading in ("", "", before, after):
            table.add_column(escape(heading), overflow="fold")
        last = ""
        for x in found:
            table.add_row(
                f"[bold]{x.section}" if x.section != last else "",
                escape(x.name),
                *(None if part is None else escape(part) for part in (x.before, x.after)),
            )
            last = x.section
        ui.console.print(table, highlight=False)

    cli(command, args, "reincarnate lineage diff")


def _index(args: list[str]) -> None:
    def command(directories: Positional[tuple[Path, ...]] = (), store: Path = STORE) -> None:
        """Look through the store, the folders it knows of and those given, and note what lies where, by hash.

        Runs tell the index of themselves; this is for folders that were moved or came from elsewhere, and makes an
        index anew that was deleted.

        Args:
            directories: Folders to look through.
            store: The store that keeps the index.
        """
        for directory in directories:
            if not directory.is_dir():
                raise UserError(f"{directory} is not a folder")
        with Index(store, ui.note) as index:
            gone = index.refresh([store, *directories], ui.note)
            found = index.all()
        ui.console.print(_contents(found))
        _say_gone(gone, found)

    cli(command, args, "reincarnate lineage index")


def _contents(found: list[Found]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    table.add_column("known", justify="right")
    table.add_column("tasks", overflow="fold")
    kinds = Counter(x.kind if x.finished else "unfinished run" for x in found)
    for kind, count in sorted(kinds.items()):
        tasks = {x.task for x in found if x.kind == kind.removeprefix("unfinished ") and x.task}
        table.add_row(kind, f"{count:,}", escape(", ".join(sorted(tasks))))
    return table


def _say_gone(gone: list[Found], found: list[Found]) -> None:
    """A folder that is not where it was has been moved, if what it held is known elsewhere now."""
    here = {(x.kind, x.sha256): x.path for x in found if x.sha256}
    for x in gone:
        moved = here.get((x.kind, x.sha256))
        ui.note(f"{x.path} is gone" + (f"; it is {moved} now" if moved else ", and is forgotten"))


def gc(args: list[str]) -> None:
    """`gc [--dry-run]`."""

    def command(
        dry_run: bool = False,
        days: float = 7.0,
        all: bool = False,
        roots: tuple[Path, ...] = (),
        store: Path = STORE,
    ) -> None:
        """Delete from a store the datasets, scores and logits that no run, study or agent refers to.

        Looked through for those that do: the index, the folder that the store lies in, and --roots. What an unfinished
        run began with is needed. Nothing outside the store is touched, and all of it can be made again.

        Args:
            dry_run: Only say what would be deleted.
            days: Leave what is younger: a run that is just beginning may need it.
            all: Leave nothing for being young. Not while runs begin.
            roots: More folders with runs or agents.
            store: The store.
        """
        if not days >= 0:  # nan is neither
            raise UserError(f"--days must not be negative: {days:g}")
        found, asked = collecting.collectable(store, roots, 0.0 if all else days, ui.note)
        if found:
            ui.console.print(_orphans(found, store), highlight=False)
        size = sum(orphan.bytes for orphan in found)
        if not dry_run:
            collecting.delete(found)
        verb = "would be deleted" if dry_run else "deleted"
        ui.console.print(
            f"{len(found):,} {verb}, {_size(size)}; {asked:,} runs, agents and studies refer to the rest",
            highlight=False,
        )

    cli(command, args, "reincarnate gc")


def _orphans(found: list[collecting.Orphan], store: Path) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("unused", no_wrap=True)
    table.add_column("what it is", overflow="fold")
    table.add_column("age", justify="right")
    table.add_column("size", justify="right")
    for x in found:
        table.add_row(escape(str(x.path.relative_to(store))), escape(x.words), f"{x.days:.1f} days", _size(x.bytes))
    return table


def _size(count: int) -> str:
    for size, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
