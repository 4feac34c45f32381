"""Writes priors/manifest.json: the literal list below, its files' hashes, reference scores and data measured here.

    python studies/standard_priors.py --source ../shared/teachers [NAME …]

Needs the files themselves, those of others in --source. Scores are of 100 episodes (Atari: 10) on the priors' own seed.
Without names all bundles are written; what the manifest has already stays, unless what is asked of it has changed.
"""

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from reincarnate import envs
from reincarnate.agents.bundles import Bundle
from reincarnate.files.atomic import sha256_file
from reincarnate.priors.played import play
from reincarnate.priors.reference import reference
from reincarnate.teachers.fit import open_for
from reincarnate.training.players import way_of_playing

ROOT = Path(__file__).resolve().parents[1]
PGX = "github.com/sotetsuk/pgx, commit a18201c4, workspace/ppo_training_flax/checkpoints; parameters as plain npz"
ZOO = "github.com/DLR-RM/rl-trained-agents (huggingface.co/sb3)"
GAMES = {"asterix": "Asterix", "breakout": "Breakout", "freeway": "Freeway", "seaquest": "Seaquest"}
SB3 = (
    ("dqn", "CartPole-v1", "CartPole-v1"),
    ("ppo", "CartPole-v1", "CartPole-v1"),
    ("qrdqn", "Acrobot-v1", "Acrobot-v1"),
    ("dqn", "Acrobot-v1", "Acrobot-v1"),
    ("sac", "Pendulum-v1", "Pendulum-v1"),
    ("ddpg", "Pendulum-v1", "Pendulum-v1"),
    ("ppo", "LunarLander-v2", "LunarLander-v3"),
    ("dqn", "LunarLander-v2", "LunarLander-v3"),
)


class Told(NamedTuple):
    """What is said of a bundle here; `steps` of data, 0 for none."""

    name: str
    task: str
    teacher: str
    folder: Path
    files: tuple[str, ...]
    about: str
    licence: str
    source: str
    steps: int = 20_000
    episodes: int = 100


def listed(source: Path) -> list[Told]:
    """The bundles."""
    own, here, minatar = "Apache-2.0", "made here", "MinAtar/Breakout-v1"
    dqn, ppo = ROOT / "priors" / "minatar-breakout-dqn", ROOT / "priors" / "minatar-breakout-ppo"
    about = "DQN of 500,000 env steps; its card tells the command"
    files = ("agent.json", "weights.safetensors")
    shipped = "PPO policy (JAX), by the authors of pgx, without its value layers; shipped"
    told = [
        Told(dqn.name, minatar, "store:{here}", dqn, files, about, own, here),
        Told(ppo.name, minatar, "pgx:{here}/policy.npz", ppo, ("policy.npz",), shipped, own, PGX),
    ]
    for file, game in GAMES.items():
        npz, about = f"pgx_ppo_{file}.npz", "PPO policy (JAX), by the authors of pgx"
        where, task = source / "minatar", f"MinAtar/{game}-v1"
        told.append(Told(f"minatar-{file}-pgx", task, f"pgx:{{here}}/{npz}", where, (npz,), about, own, PGX))
    for algorithm, made_for, task in SB3:
        folder = source / "sb3" / f"{algorithm}-{made_for}"
        file = next(path.name for path in sorted(folder.glob("*.zip")))
        name, about = f"{task.partition('-')[0].lower()}-{algorithm}-sb3", f"{algorithm.upper()} of Stable-Baselines3"
        about += ", from the RL Zoo's collection" + (f", made for {made_for}" if made_for != task else "")
        told.append(Told(name, task, f"sb3:{{here}}/{file}", folder, (file,), about, "MIT", ZOO, 5_000))
    return told


def bundle_of(told: Told, known: dict[str, Any]) -> Bundle:
    """The bundle, with its scores and data: those that are known, or measured now from the files where they lie."""
    files = {name: sha256_file(told.folder / name) for name in told.files}
    spec = envs.spec(told.task)
    bundle = Bundle(told.name, told.task, told.teacher, files, spec.protocol, {}, told.about, told.licence, told.source)
    address = bundle.teacher.replace("{here}", str(told.folder)).replace("{root}", str(ROOT))
    same = all(known.get(key) == getattr(bundle, key) for key in ("task", "teacher", "files", "protocol"))
    scores, data = (known["reference"], known["data"]) if same else ({}, None)
    with tempfile.TemporaryDirectory() as store:
        teacher = open_for(address, spec) if not scores or (told.steps and not data) else None
        if teacher and not scores:
            scores = reference(spec, teacher, "auto", told.episodes, Path(store), lambda *_: None).summary()
        if teacher and told.steps and not data:
            data = {"env_steps": told.steps, "epsilon": 0.1, "plays": way_of_playing(teacher.card, "auto")}
            asked = Bundle(**{**asdict(bundle), "data": data})
            data["id"] = play(asked, teacher, spec, Path(store), lambda *_: None).id
    return Bundle(**{**asdict(bundle), "reference": scores, "data": data})


def main() -> None:
    """Write the manifest, one bundle after another."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    path = ROOT / "priors" / "manifest.json"
    known = json.loads(path.read_text())["bundles"] if path.exists() else {}
    for told in listed(arguments.source):
        if arguments.names and told.name not in arguments.names:
            continue
        bundle = bundle_of(told, known.get(told.name, {}))
        known[told.name] = {key: value for key, value in asdict(bundle).items() if key != "name"}
        print(told.name, bundle.hash[:12], bundle.reference["teacher"]["mean"], bundle.data, flush=True)
        path.write_text(json.dumps({"format": 1, "kind": "priors", "bundles": known}, indent=1) + "\n")


if __name__ == "__main__":
    main()
