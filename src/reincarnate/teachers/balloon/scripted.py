"""What the scripted teachers of balloons have in common: a card."""

from reincarnate.envs.balloon.features import OBSERVATION
from reincarnate.types import ACTIONS, TeacherCard

BALLOON_ACTIONS = 3


def scripted(name: str, algorithm: str) -> TeacherCard:
    """The card of the teacher `balloon:name`, which is part of this library."""
    return TeacherCard(
        uri=f"balloon:{name}",
        format="scripted",
        algorithm=algorithm,
        tells=ACTIONS,
        network="none",
        parameters=0,
        sha256="",
        obs_shape=(OBSERVATION,),
        obs_dtype="float32",
        actions=BALLOON_ACTIONS,
        preprocessing="none",
        safety="part of this library",
        plays="greedy",
        env="BalloonLearningEnvironment-v0",
    )
