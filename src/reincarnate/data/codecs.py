"""How observations are stored: as they are, or by the codec that their task names (`TaskSpec.codec`)."""

from typing import Any

import numpy as np

from reincarnate.plugins import Registry, having
from reincarnate.types import Codec, TaskSpec

CODECS = Registry(
    "codec of observations",
    {"balloon": "reincarnate.envs.balloon.storage"},
    "reincarnate.codecs",  # entry points of other packages
    having("form", "encode", "decode"),
)


def register_codec(name: str, codec: Any) -> None:
    """Let tasks name a codec of your own (`types.Codec`). Raises UserError where that cannot be."""
    CODECS.register(name, codec)


def codec_of(spec: TaskSpec) -> Codec | None:
    """The codec that a task names, or None. Raises UserError for one that nobody has registered."""
    return CODECS.find(spec.codec) if spec.codec else None


def stored_form(spec: TaskSpec) -> tuple[tuple[int, ...], str]:
    """Shape and dtype of what is stored of one observation: a frame where observations are stacks. Raises UserError."""
    codec = codec_of(spec)
    if codec:
        return codec.form(spec)
    return (spec.obs_shape[1:] if spec.stack > 1 else spec.obs_shape), spec.obs_dtype


def encoded(codec: Codec | None, frames: np.ndarray) -> np.ndarray:
    """Frames [n, *O] as they are stored [n, *S]."""
    return codec.encode(frames) if codec else frames


def decoded(codec: Codec | None, stored: np.ndarray, inner: int) -> np.ndarray:
    """What is stored [*L, *S] as observations [*L, *O]; `inner` axes are those of S."""
    if codec is None:
        return stored
    lead = stored.shape[: stored.ndim - inner]
    frames = codec.decode(stored.reshape(-1, *stored.shape[stored.ndim - inner :]))
    return frames.reshape(*lead, *frames.shape[1:])
