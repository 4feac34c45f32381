"""`reincarnate demo`: a policy that others trained in another framework, and a student that ends above it."""

import time
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from reincarnate import ui
from reincarnate.cli.parsing import cli
from reincarnate.methods import Kickstart, Scratch
from reincarnate.methods.weaning import Weaning
from reincarnate.run.settings import Run
from reincarnate.seeds import check_many
from reincarnate.students import PQN
from reincarnate.studies import Cell, Study, run_study

PRIOR = "minatar-breakout-ppo"
ENV = "MinAtar/Breakout-v1"
ENV_STEPS = 600_000
WORKERS = 2
TEACHING = Kickstart(weight=0.5, wean=Weaning(by="fixed"))  # studies/better.yaml's arm "stays"


def demo_study(seeds: int, store: Path) -> Study:
    """Two ways × seeds: a student of another network learns with the policy at its side, or alone."""
    methods = {"scratch": Scratch(), "kickstart": TEACHING}
    cells = tuple(
        Cell(
            Path(f"{name}-s{seed}"),
            Run(
                env=ENV,
                method=method,
                student=PQN(),
                teacher=f"prior:{PRIOR}",
                seed=seed,
                env_steps=ENV_STEPS,
                evaluations=5,
                eval_episodes=16,
                final_episodes=64,
                reference_episodes=64,
                reference_greedy=True,
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
        f"[bold]A teacher is given:[/] a PPO policy for {ENV} that the authors of pgx trained in JAX "
        f"(priors/minatar-breakout-ppo/card.md).\n[bold]Its student[/] has another network and learns action values "
        f"(PQN) for {ENV_STEPS:,} env steps: with the teacher at its side (kickstart), or alone (scratch).",
        highlight=False,
    )
    run_study(demo_study(seeds, out / "store"), out, WORKERS)
    ui.say(f"{time.perf_counter() - start:.0f} s; open {out / 'index.html'} in a browser")


def demo(args: list[str]) -> None:
    """`demo [--out DIR]`."""

    def command(
        out: Annotated[Path, arg(help="Where the runs and the page go.")] = Path("out/demo"), seeds: int = 2
    ) -> None:
        """Somebody's policy teaches a student that ends above it, beside the same student alone: a few minutes.

        Args:
            seeds: Seeds per method.
        """
        check_many(seeds)
        run_demo(out, seeds)

    cli(command, args, "reincarnate demo")
