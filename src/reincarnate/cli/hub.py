"""The commands `push` and `pull`: agents to the Hugging Face Hub and back."""

from pathlib import Path

from tyro.conf import Positional

from reincarnate import ui
from reincarnate.agents.agent import Agent
from reincarnate.agents.places import folder_of
from reincarnate.cli.parsing import cli
from reincarnate.errors import UserError
from reincarnate.sharing import hub
from reincarnate.store.lineage import known_places

STORE = Path(".reincarnate")


def push(args: list[str]) -> None:
    """`push AGENT hf:ORG/NAME [--local DIR]`."""

    def command(
        agent: Positional[str],
        repo: Positional[str],
        local: Path | None = None,
        private: bool = False,
        store: Path = STORE,
    ) -> None:
        """Put an agent on the Hugging Face Hub, with a card: score, cost, what it stands on, how to make it again.

        Teachers and first weights that were pulled from the Hub become its base models there. Uploading needs the
        extra "hub" and a token (`hf auth login`).

        Args:
            agent: An agent's folder, a finished run's, or store:DIR.
            repo: hf:ORG/NAME; it is made where it does not exist.
            local: Only write the folder that would be uploaded; no network.
            private: Make the repository private, if it is made.
            store: The store whose index says where the agent's ancestors lie.
        """
        name, revision = hub.parse(repo)
        if revision:
            raise UserError(f"{repo} names a revision; what is pushed becomes a new one: hf:{name}")
        source, places = folder_of(agent), known_places(store, (), ui.note)
        if local is not None:
            pushed, where = hub.write_folder(source, name, local, places), str(local)
        else:
            pushed, where = hub.upload(source, name, private, places)
        if named := hub.addresses_in(pushed.path if local is None else local):
            ui.note(
                f"warning: its manifest or card names places on this machine, for all to read: {', '.join(named[:5])}"
            )
        _say(pushed, f"{where} holds")

    cli(command, args, "reincarnate push")


def pull(args: list[str]) -> None:
    """`pull hf:ORG/NAME[@REVISION] --out DIR`, `pull --local DIR --out DIR`."""

    def command(repo: Positional[str] = "", *, out: Path, local: Path | None = None) -> None:
        """Get an agent from the Hugging Face Hub (or a folder that `push --local` wrote), every hash checked.

        Only the agent's own files are fetched: JSON, safetensors and npy; nothing in them can run.

        Args:
            repo: hf:ORG/NAME or hf:ORG/NAME@REVISION; not needed with --local.
            out: Where the agent goes; it must not exist.
            local: A folder to take it from; no network.
        """
        if not repo and local is None:
            raise UserError("pull what? name hf:ORG/NAME, or a folder with --local DIR")
        name, revision = hub.parse(repo) if repo else ("", None)
        here = local is not None
        _say(hub.take(local, out, repo or str(local)) if here else hub.download(name, revision, out), f"{out} holds")

    cli(command, args, "reincarnate pull")


def _say(agent: Agent, where: str) -> None:
    score = agent.about.get("score")
    words = f", score {score:.4g}" if isinstance(score, int | float) else ""
    text = (
        f"{where} the agent {agent.sha256}\n{agent.spec.id} by {agent.about.get('method', 'an unknown method')}{words}"
    )
    ui.say(text)
