"""Agents that CleanRL saved, `cleanrl:FILE`: torch state dicts and flax's msgpack, read without CleanRL, JAX or flax.

Of torch also its form before 1.6, safetensors, and state dicts under a key such as `state_dict`.

The file holds weights and, for some algorithms, the arguments of the training; the architecture is recognised by
the layers' names and shapes.
"""

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reincarnate.agents.imported import Imported
from reincarnate.errors import UserError
from reincarnate.files.flaxpack import looks_packed, unpack
from reincarnate.files.safe import read_file, sha256
from reincarnate.teachers.cleanrl.files import form_of, head_names, read_container
from reincarnate.teachers.cleanrl.flax import recognise_flax
from reincarnate.teachers.cleanrl.torch import Recognised, recognise_torch
from reincarnate.teachers.exported import read_address
from reincarnate.teachers.frozen import FrozenTeacher, parameters_of
from reincarnate.types import TaskSpec, TeacherCard

SUFFIX = ".cleanrl_model"
WRAPPERS = {
    "frame_skip": 4,
    "max_pool": True,
    "screen": [84, 84],
    "grayscale": True,
    "stack": 4,
    "noop_max": 30,
    "fire_reset": True,
    "life_loss_terminal": True,
    "minimal_actions": True,
    "reward_clip": 1.0,
}
"""What every Atari script of CleanRL does; sticky actions depend on the environment's id."""
TORCH_NAMES = (b"network.0.", b"actor_mean.0.weight", b"fc_mu.weight", b"model_weights")
"""In files of another name; `actor.0` alone is also what others call their layers."""


def recognises(path: Path) -> bool:
    """A file by its name, or one that begins like CleanRL's."""
    if not path.is_file() or path.suffix == SUFFIX:
        return path.is_file()
    try:
        with path.open("rb") as file:
            head = file.read(4096)
        if head.startswith(b"PK"):
            return _names_layers(path)
        return looks_packed(head) or head_names(path, TORCH_NAMES)
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return False


def _names_layers(path: Path) -> bool:
    """Whether the pickle in a file of `torch.save` names layers as CleanRL does; it is looked at as text."""
    with zipfile.ZipFile(path) as archive:
        pickles = [info for info in archive.infolist() if info.filename.endswith("/data.pkl")]
        if len(pickles) != 1 or pickles[0].compress_type != zipfile.ZIP_STORED:
            return False
        with archive.open(pickles[0]) as member:
            text = member.read(2**16)
    return any(name in text for name in TORCH_NAMES)


def open_address(rest: str, actions: int | None = None) -> FrozenTeacher:
    """The teacher in a `.cleanrl_model`: DQN, C51, PPO, QDagger; DDPG, TD3 and SAC, which tell means.

    The JAX files of DDPG and TD3 do not hold their actions' bounds: `FILE?tells=means&low=-2&high=2`.
    UserError: not such a file, damaged, hostile, or a network that is not known; it says which.
    """
    return _opened(rest)[0]


def open_weights(rest: str, spec: TaskSpec | None = None) -> Imported:
    """The agent in a file, to go on from: of values, and of torch's PPO, DDPG and TD3 with their critics.

    UserError: as `open_address`, or a network that no student has.
    """
    from reincarnate.teachers.cleanrl.weights import agent

    teacher, saved = _opened(rest)
    return agent(Path(read_address(rest, "cleanrl").path), teacher, saved, spec)


def _opened(rest: str) -> tuple[FrozenTeacher, Any]:
    """The teacher, and what torch saved of it (None: flax did)."""
    asked = read_address(rest, "cleanrl")
    path, saved = asked.path, None
    payload = read_file(Path(path))
    try:
        form = form_of(payload) or "flax"
        if form == "flax":
            found = recognise_flax(unpack(payload, "the file"), asked.bounds)
        else:
            saved = read_container(payload, form, "its state dict")
            found = recognise_torch(saved, len(payload))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    if asked.output or asked.tells not in ("", found.tells) or (asked.bounds and form != "flax"):
        raise UserError(f"cleanrl:{rest}: its file says what it tells: {found.tells}; leave out what follows the ?")
    return FrozenTeacher(_card(rest, payload, form, found), found.network), saved


def _card(rest: str, payload: bytes, form: str, found: Recognised) -> TeacherCard:
    env = _env_of(Path(rest.partition("?")[0]), found.args)
    steps = found.args.get("total_timesteps")
    return TeacherCard(
        uri=f"cleanrl:{rest}",
        format=f"CleanRL {form} model",
        algorithm=found.algorithm,
        tells=found.tells,
        network=found.words,
        parameters=parameters_of(found.network),
        sha256=sha256(payload),
        obs_shape=found.obs_shape,
        obs_dtype="uint8" if found.pixels else "float32",
        actions=found.actions,
        preprocessing="uint8 images divided by 255" if found.pixels else "none",
        safety=f"weights only ({form}); nothing was unpickled or run",
        env=env,
        trained_env_steps=steps if isinstance(steps, int) and steps > 0 else None,
        protocol=_protocol(env) if found.pixels else {},
        warnings=found.warnings,
        bounds=found.bounds,
    )


def _protocol(env: str | None) -> dict[str, Any]:
    """Of Atari: NoFrameskip-v4 has no sticky actions, nor has EnvPool's v5 as CleanRL makes it."""
    plain = env is not None and (env.endswith("NoFrameskip-v4") or re.fullmatch(r"\w+-v5", env) is not None)
    return {**WRAPPERS, "sticky_actions": 0.0} if plain else dict(WRAPPERS)


def _env_of(path: Path, args: Mapping[str, Any]) -> str | None:
    """From the arguments, or the name of the run's folder or of the repository on the Hugging Face Hub."""
    if isinstance(env := args.get("env_id"), str) and re.fullmatch(r"[\w/-]{1,60}", env):
        return env
    for part in reversed(path.absolute().parts[:-1]):
        found = re.match(r"(?:models--[\w.-]+?--)?([A-Za-z]\w*?-v\d+)(?:__|-)", part)
        if found:
            return found[1]
    return None
