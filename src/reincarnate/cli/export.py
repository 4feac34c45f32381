"""The command `export`: an agent as a file that others run."""

from pathlib import Path

from tyro.conf import Positional

from reincarnate import ui
from reincarnate.agents.agent import open_agent
from reincarnate.agents.places import folder_of
from reincarnate.cli.parsing import cli


def export(args: list[str]) -> None:
    """`export AGENT --to FORMAT --out FILE`."""

    def command(agent: Positional[str], to: str, out: Path) -> None:
        """An agent as one file: `obs` in the task's own dtype, any number of them, to what it says of them [B, A].

        Which is `q_values`, of policies `logits`, and of continuous agents greedy `actions` in the task's units.
        Preprocessing is in the graph. What is written is first run beside the agent on random observations, and gets
        its name only if the values agree. safetensors holds weights and settings, no graph. sb3 is a zip for `PPO.load`
        and its like (also A2C, SAC, TQC, TD3, DQN, QR-DQN), with the observations' statistics beside it, if there are
        any, for `VecNormalize.load`.

        Args:
            agent: An agent's folder, a finished run's, or store:DIR.
            to: onnx (needs the extra "onnx"), torchscript, safetensors, or sb3.
            out: The file; it must not exist.
        """
        from reincarnate.sharing import export as exporting
        from reincarnate.sharing.sb3_pickles import statistics_of

        opened = open_agent(folder_of(agent))
        done = exporting.export(opened, to, out)
        said = done.words
        if to != "sb3":
            said += f"; obs {opened.spec.obs_dtype}[B, {', '.join(map(str, opened.spec.obs_shape))}] to "
            said += "{} [B, {}]".format(*done.gives)
        if done.difference is None:
            ui.note(
                'warning: not compared with the agent: onnxruntime is not installed (pip install "reincarnate[onnx]")'
            )
        else:
            said += f"; differs from the agent by at most {done.difference:.1e} on {exporting.PROBES} observations"
        for line in done.remarks:
            ui.note(f"warning: {line}", whole=True)
        said += "".join(f"\n{path}: {statistics_of(opened)}" for path in done.beside)
        ui.say(f"{said}\n{out}, {out.stat().st_size:,} bytes, agent {opened.sha256}")

    cli(command, args, "reincarnate export")
