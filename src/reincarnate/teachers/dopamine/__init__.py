"""Dopamine's agents, `dopamine:PATH[@N]`: DQN, C51, Rainbow, QR-DQN, IQN and PPO of every year, without Dopamine.

PATH is a run's folder, its `checkpoints`, or one file: `ckpt.N` (JAX), `tf_ckpt-N.index` (TensorFlow), a frozen graph
(.pb). Since 4.1 Dopamine keeps its replay in another form, and weights as before.
"""

from pathlib import Path

from reincarnate.agents.imported import Imported
from reincarnate.errors import UserError
from reincarnate.teachers.dopamine.files import Checkpoint, is_checkpoint, read_checkpoint
from reincarnate.teachers.dopamine.network import Built, build
from reincarnate.teachers.frozen import FrozenTeacher, parameters_of
from reincarnate.types import TaskSpec, TeacherCard

PROTOCOL = {
    "sticky_actions": 0.25,
    "frame_skip": 4,
    "max_pool": True,
    "screen": [84, 84],
    "grayscale": True,
    "stack": 4,
    "noop_max": 0,
    "fire_reset": False,
    "life_loss_terminal": False,
    "minimal_actions": True,
    "max_episode_frames": 108_000,
    "reward_clip": 1.0,
}
"""Of its Atari agents (Castro et al., 2018), as its own configurations have it."""


def recognises(path: Path) -> bool:
    """A folder with its checkpoints, or one of their files."""
    return is_checkpoint(path)


def open_address(address: str, actions: int | None = None) -> FrozenTeacher:
    """The teacher in a checkpoint. `actions`: of the task, where the file's outputs do not say how many there are.

    UserError: no checkpoint there, a damaged or hostile one, or a network that is not known; it says which.
    """
    checkpoint = read_checkpoint(address)
    try:
        built = build(checkpoint.tree, actions)
    except UserError as error:
        raise UserError(f"{address}: {error}") from None
    return FrozenTeacher(card_of(f"dopamine:{address}", checkpoint, built), built.network)


def open_weights(address: str, spec: TaskSpec | None = None) -> Imported:
    """The value agent in a checkpoint as one of ours, to go on from. UserError: as `open_address`, or a network that no
    student has: IQN, whose cosines count otherwise, and MinAtar's.
    """
    from reincarnate.teachers.chains import value_agent

    teacher = open_address(address, spec.actions if spec else None)
    return value_agent(Path(address), teacher.card, teacher.network)


def card_of(uri: str, checkpoint: Checkpoint, built: Built) -> TeacherCard:
    """What the files tell."""
    return TeacherCard(
        uri=uri,
        format=checkpoint.format,
        algorithm=built.algorithm,
        tells=built.tells,
        network=built.words,
        parameters=parameters_of(built.network),
        sha256=checkpoint.sha256,
        obs_shape=built.obs_shape,
        obs_dtype="uint8" if built.atari else "bool" if len(built.obs_shape) == 3 else "float32",
        actions=built.actions,
        preprocessing=built.preprocessing,
        safety=checkpoint.safety,
        trained_env_steps=checkpoint.env_steps,
        protocol=dict(PROTOCOL) if built.atari else {},
        warnings=built.warnings,
    )
