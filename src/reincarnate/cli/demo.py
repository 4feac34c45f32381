"""`reincarnate demo`: a small shipped agent teaches students of another architecture, by three methods."""

import time
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from reincarnate import ui
from reincarnate.cli.parsing import cli
from reincarnate.methods import Kickstart, QDagger, Scratch
from reincarnate.run.settings import Run
from reincarnate.students import DQN
from reincarnate.studies import Cell, Study, run_study

PRIOR = "minatar-breakout-dqn"
ENV = "MinAtar/Breakout-v1"
WORKERS = 2
STUDENT = DQN(torso="mlp", hidden=(128, 128), dueling=True, lr=5e-4, target_every=500, epsilon_steps=5_000)


def demo_study(seeds: int, store: Path) -> Study:
    """Three methods × seeds: an MLP with a dueling head learns from a convolutional network's agent."""
    methods = {"scratch": Scratch(), "kickstart": Kickstart(), "qdagger": QDagger(offline_updates=8_000)}
    cells = tuple(
        Cell(
            Path(f"{name}-s{seed}"),
            Run(
                env=ENV,
                method=method,
                student=STUDENT,
                teacher=f"prior:{PRIOR}",
                seed=seed,
                env_steps=20_000,
                data_env_steps=20_000,
                reference_episodes=50,
                final_episodes=30,
                eval_episodes=10,
                store=str(store),
            ),
        )
        for seed in range(seeds)
        for name, method in methods.items()
    )
    return Study("demo", cells)


def run_demo(out: Path, seeds: int) -> None:
    """Run it, or finish what is unfinished in `out`, and say what it shows."""
    start = time.perf_counter()
    ui.console.print(
        f"[bold]A teacher is given:[/] a DQN with a convolutional network that learnt {ENV} from scratch in 500,000 "
        f"env steps (priors/{PRIOR}/card.md).\n[bold]Its pupils[/] have another network (a dueling MLP) and 20,000 env "
        f"steps: alone (scratch), with the teacher at their side (kickstart), or reborn from it (qdagger).",
        highlight=False,
    )
    run_study(demo_study(seeds, out / "store"), out, WORKERS)
    ui.say(f"{time.perf_counter() - start:.0f} s; open {out / 'index.html'} in a browser")


def demo(args: list[str]) -> None:
    """`demo [--out DIR]`."""

    def command(
        out: Annotated[Path, arg(help="Where the runs and the page go.")] = Path("out/demo"), seeds: int = 3
    ) -> None:
        """A small shipped agent teaches students of another architecture, with three methods, in a minute or two.

        Args:
            seeds: Seeds per method.
        """
        run_demo(out, seeds)

    cli(command, args, "reincarnate demo")
