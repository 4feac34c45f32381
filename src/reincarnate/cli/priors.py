"""The command `priors`: the ready set of priors that studies name by hash."""

from pathlib import Path

from rich.markup import escape
from rich.table import Table
from tyro.conf import Positional

from reincarnate import ui
from reincarnate.cli.parsing import cli
from reincarnate.errors import UserError

USAGE = """usage: reincarnate priors list                          the bundles, what they score, and which are here
       reincarnate priors card NAME                     what one is: task, teacher, scores, protocol, licence, hash
       reincarnate priors fetch NAME --source PATH      bring one (or all) from a file or folder where you have it
       reincarnate priors play NAME                     let its teacher play its data now, and compare their hash

A study or a run names one as its --teacher, and its data as --data, by `prior:NAME@HASH`, which `card` prints.
"""


def priors(args: list[str]) -> None:
    """`priors list`, `priors card NAME`, `priors fetch NAME --source PATH`, `priors play NAME`."""
    verbs = {"list": _list, "card": _card, "fetch": _fetch, "play": _play}
    if not args or args[0] in ("-h", "--help"):
        print(USAGE, end="")
    elif args[0] in verbs:
        verbs[args[0]](args[1:])
    else:
        raise UserError(f"priors needs a verb, {', '.join(verbs)}: `reincarnate priors card {args[0]}`")


def _list(args: list[str]) -> None:
    def command() -> None:
        """The bundles of the manifest."""
        from reincarnate.agents.bundles import bundles

        table = Table(title="priors", title_justify="left")
        for name in ("bundle", "task", "random", "teacher", "licence", "hash", "here"):
            table.add_column(name)
        for name, bundle in bundles().items():
            scores = [_score(bundle.reference.get(who)) for who in ("random", "teacher")]
            here = "yes" if bundle.folder() else "no"
            table.add_row(name, bundle.task, *scores, bundle.licence, bundle.hash[:12], here)
        ui.console.print(table)

    cli(command, args=args, prog="reincarnate priors list")


def _score(told: dict | None) -> str:
    return f"{told['mean']:.4g}" if told else "–"


def _card(args: list[str]) -> None:
    def command(name: Positional[str]) -> None:
        """What a bundle is.

        Args:
            name: A bundle's name, as `priors list` has it.
        """
        from reincarnate.agents.bundles import find

        bundle = find(name)
        folder = bundle.folder()
        rows = [
            ("task", bundle.task),
            ("teacher", bundle.about),
            ("data", _played(bundle.data)),
            *((who, _interval(told)) for who, told in bundle.reference.items()),
            ("protocol", str(bundle.protocol)),
            ("licence", bundle.licence),
            ("from", bundle.source),
            *((f"sha256 of {file}", said) for file, said in bundle.files.items()),
            ("hash", bundle.hash),
            ("name it by", bundle.address),
            ("here", str(folder) if folder else f"no: reincarnate priors fetch {bundle.name} --source PATH"),
        ]
        table = Table(title=f"prior {bundle.name}", show_header=False, title_justify="left")
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for key, value in rows:
            table.add_row(key, escape(value))
        ui.console.print(table)

    cli(command, args=args, prog="reincarnate priors card")


def _played(told: dict | None) -> str:
    if told is None:
        return "none; a method that needs some lets the teacher play it"
    return f"{told['env_steps']:,} env steps, ε {told['epsilon']:g}, {told['plays']}; sha256 {told['id']}"


def _interval(told: dict) -> str:
    return ui.with_interval(told["mean"], (told["low"], told["high"]), told["episodes"])


def _fetch(args: list[str]) -> None:
    def command(name: Positional[str], source: Path, out: Path | None = None) -> None:
        """Bring a bundle's files from where you have them; every hash is checked, nothing is changed.

        Args:
            name: A bundle's name, or all.
            source: A file, or a folder in which its files are looked for by name.
            out: Folder of fetched bundles; others than the default are named in REINCARNATE_PRIORS.
        """
        from reincarnate.agents.bundles import bundles, find
        from reincarnate.priors.bundles import fetch

        for one in bundles() if name == "all" else (name,):
            ui.say(f"{fetch(one, source, out)} is {find(one).address}")

    cli(command, args=args, prog="reincarnate priors fetch")


def _play(args: list[str]) -> None:
    def command(name: Positional[str], store: Path = Path(".reincarnate")) -> None:
        """Let a bundle's teacher play the data that the manifest names, once; a run that names them would do it too.

        Args:
            name: A bundle's name, or NAME@HASH.
            store: The store in which they are kept.
        """
        from reincarnate import envs
        from reincarnate.agents.bundles import find
        from reincarnate.priors.played import bundle_data

        bundle = find(name)
        with ui.Bars() as tick:
            dataset = bundle_data(name, envs.spec(bundle.task), store, tick)
        ui.say(f"{dataset.path} is the data of {bundle.address}: {dataset.transitions:,} transitions")

    cli(command, args=args, prog="reincarnate priors play")
