"""What the scripted teachers of balloons have in common: a card."""

from pathlib import Path

from reincarnate.envs.balloon.features import OBSERVATION
from reincarnate.files.safe import sha256
from reincarnate.types import ACTIONS, TeacherCard

BALLOON_ACTIONS = 3


def scripted(name: str, algorithm: str, file: str) -> TeacherCard:
    """The card of the teacher `balloon:name`, which is part of this library. Its identity is the hash of its `file`."""
    return TeacherCard(
        uri=f"balloon:{name}",
        format="scripted",
        algorithm=algorithm,
        tells=ACTIONS,
        network="none",
        parameters=0,
        sha256=sha256(Path(file).read_bytes()),
        obs_shape=(OBSERVATION,),
        obs_dtype="float32",
        actions=BALLOON_ACTIONS,
        preprocessing="none",
        safety="part of this library",
        plays="greedy",
        env="BalloonLearningEnvironment-v0",
    )
