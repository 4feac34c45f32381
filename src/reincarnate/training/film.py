"""Pictures of an episode at play, and a GIF of them."""

import io
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image, ImageDraw

from reincarnate.envs.watching import picture, watchable
from reincarnate.training.players import Stage
from reincarnate.types import Actor

LEAST = 240  # pixels of a picture's shorter side: smaller ones are enlarged by whole numbers
HEAD = 18  # pixels of the line above a picture
SAMPLED, COLOURS = 16, 128  # frames that a GIF's one palette is chosen from, and its colours
MOST_FPS = 50  # of a GIF: a picture that stands for a hundredth of a second is slowed down by those who show it
Frame = np.ndarray


def check_watchable(env_id: str, view: str) -> None:
    """Raises UserError where a task draws no pictures of itself for a player of this view."""
    env = watchable(env_id, view)
    try:
        env.reset(np.random.default_rng(0))
        picture(env)
    finally:
        env.close()


def frames_of(
    env_id: str, view: str, actor: Actor, rng: np.random.Generator, longest: int
) -> Iterator[tuple[Frame, float]]:
    """Pictures of one episode, each with the return so far; an episode that ended has no picture of its end.

    `view` is what the actor looks at beside the task's own. Raises UserError where the task draws no pictures.
    """
    env = watchable(env_id, view)
    try:
        stage = Stage(env, actor, env.reset(rng))
        shown, total = enlarged(picture(env)), 0.0
        yield shown, total
        for _ in range(longest):
            stage.play(0.0, rng)
            total = float(stage.totals[0])
            if stage.begins[0]:
                yield shown, total
                return
            shown = enlarged(picture(env))
            yield shown, total
    finally:
        env.close()


def enlarged(shown: Frame) -> Frame:
    """A picture large enough to be looked at, its sides even as video encoders want them."""
    times = max(1, -(-LEAST // min(shown.shape[:2])))
    even = shown.repeat(times, 0).repeat(times, 1)
    return even[: even.shape[0] // 2 * 2, : even.shape[1] // 2 * 2]


def headed(shown: Frame, name: str, total: float) -> Frame:
    """The picture under a line that says who plays, and its return so far."""
    whole = np.concatenate([np.zeros((HEAD, *shown.shape[1:]), np.uint8), shown])
    image = Image.fromarray(whole)
    name = name if len(name) <= 28 else f"…{name[-27:]}"
    ImageDraw.Draw(image).text((4, 3), f"{total:.4g}  {name}", fill=(235, 235, 235))
    return np.asarray(image)


def as_gif(frames: Sequence[Frame], fps: int) -> bytes:
    """A GIF that begins again at its end; faster than `MOST_FPS` there is none.

    One palette, without dithering, so that only what moves takes room.
    """
    chosen = [frames[i] for i in sorted({*np.linspace(0, len(frames) - 1, SAMPLED).astype(int).tolist()})]
    palette = Image.fromarray(np.concatenate(chosen)[::2, ::2]).quantize(COLOURS)  # every other point is enough
    images = [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    content, duration = io.BytesIO(), 10 * max(100 // MOST_FPS, round(100 / fps))  # a GIF holds hundredths of a second
    images[0].save(content, "GIF", save_all=True, append_images=images[1:], duration=duration, loop=0)
    return content.getvalue()
