"""Writes priors/manifest.json: the literal list below, its files' hashes, and reference scores measured here.

    python studies/standard_priors.py --source ../shared/teachers [--only NAME]

Needs the files themselves, those of others in --source. Scores are of 100 episodes on the priors' own seed; those that
the manifest has already stay, unless a bundle's hash has changed.
"""

import argparse
import json
import tempfile
from pathlib import Path

from reincarnate import envs
from reincarnate.files.atomic import sha256_file
from reincarnate.priors.bundles import Bundle
from reincarnate.priors.reference import reference
from reincarnate.teachers.fit import open_for

ROOT = Path(__file__).resolve().parents[1]
EPISODES = 100
PGX = "github.com/sotetsuk/pgx, commit a18201c4, workspace/ppo_training_flax/checkpoints; parameters as plain npz"
ZOO = "github.com/DLR-RM/rl-trained-agents (huggingface.co/sb3)"
GAMES = {"asterix": "Asterix", "breakout": "Breakout", "freeway": "Freeway", "seaquest": "Seaquest"}
OWN = "minatar-breakout-dqn"


def listed(source: Path) -> dict[str, tuple[Bundle, Path]]:
    """The bundles without scores, and the folder of their files."""
    own = ROOT / "priors" / OWN
    files = {name: sha256_file(own / name) for name in ("agent.json", "weights.safetensors")}
    task = "MinAtar/Breakout-v1"
    about = "DQN of 500,000 env steps; its card tells the command"
    entries = {OWN: (_bundle(OWN, task, "store:{here}", files, about, "Apache-2.0", "made here"), own)}
    for file, game in GAMES.items():
        name, npz = f"minatar-{file}-pgx", f"pgx_ppo_{file}.npz"
        teacher = f"py:{{root}}/examples/minatar_ppo.py:PPO?path={{here}}/{npz}"
        files = {npz: sha256_file(source / "minatar" / npz)}
        about = "PPO policy (JAX), by the authors of pgx; runs examples/minatar_ppo.py"
        task = f"MinAtar/{game}-v1"
        entries[name] = (_bundle(name, task, teacher, files, about, "Apache-2.0", PGX), source / "minatar")
    for algorithm, task in (("dqn", "CartPole-v1"), ("ppo", "CartPole-v1"), ("qrdqn", "Acrobot-v1")):
        name, folder = f"{task.partition('-')[0].lower()}-{algorithm}-sb3", source / "sb3" / f"{algorithm}-{task}"
        file = next(path for path in sorted(folder.glob("*.zip")))
        files = {file.name: sha256_file(file)}
        about = f"{algorithm.upper()} of Stable-Baselines3, from the RL Zoo's collection"
        entries[name] = (_bundle(name, task, f"sb3:{{here}}/{file.name}", files, about, "MIT", ZOO), folder)
    return entries


def _bundle(name: str, task: str, teacher: str, files: dict, about: str, licence: str, source: str) -> Bundle:
    return Bundle(name, task, teacher, files, envs.spec(task).protocol, {}, about, licence, source)


def measured(bundle: Bundle, folder: Path) -> dict:
    """The reference scores, from the files where they lie."""
    spec = envs.spec(bundle.task)
    address = bundle.teacher.replace("{here}", str(folder)).replace("{root}", str(ROOT))
    with tempfile.TemporaryDirectory() as store:
        return reference(spec, open_for(address, spec), "auto", EPISODES, Path(store), lambda *_: None).summary()


def main() -> None:
    """Write the manifest, one bundle after another."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True)
    arguments = parser.parse_args()
    path = ROOT / "priors" / "manifest.json"
    known = json.loads(path.read_text())["bundles"] if path.exists() else {}
    found = {}
    for name, (bundle, folder) in listed(arguments.source).items():
        told = {k: getattr(bundle, k) for k in ("task", "teacher", "data", "files", "protocol", "about", "licence")}
        before = known.get(name, {})
        same = all(before.get(key) == told[key] for key in ("task", "teacher", "files", "protocol"))
        scores = before["reference"] if same else measured(bundle, folder)
        found[name] = {**told, "source": bundle.source, "reference": scores}
        print(name, bundle.hash[:12], scores["teacher"]["mean"], flush=True)
        value = {"format": 1, "kind": "priors", "bundles": {**known, **found}}
        path.write_text(json.dumps(value, indent=1) + "\n")


if __name__ == "__main__":
    main()
