"""Films of agents at play: one, or several side by side, as a GIF, an MP4, or in a window."""

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from reincarnate import envs
from reincarnate.errors import UserError
from reincarnate.files.atomic import write_bytes
from reincarnate.seeds import check_seed, stream
from reincarnate.surroundings import own_torch
from reincarnate.teachers.fit import check_fit, open_for
from reincarnate.training.film import Frame, as_gif, frames_of, headed
from reincarnate.training.players import Player

BETWEEN = 8  # pixels between two pictures


class Film(NamedTuple):
    """Frames, uint8 [T, H, W, 3], and what each player scored in the episode they show."""

    frames: np.ndarray
    returns: tuple[float, ...]


@own_torch()
def film(uris: Sequence[str], env_id: str, plays: str = "auto", seed: int = 0, longest: int = 2_000) -> Film:
    """One episode of each agent on a task, from the same seed, side by side; at most `longest` env steps.

    Raises UserError where an agent does not fit, and where the task draws no pictures.
    """
    if longest < 1:
        raise UserError(f"--longest must be at least 1, not {longest}")
    check_seed(seed)
    shows = [_episode(uri, env_id, plays, seed, longest) for uri in uris]
    lasts: list[tuple[Frame, float]] = [(np.zeros((0, 0, 3), np.uint8), 0.0)] * len(shows)
    frames, running = [], [True] * len(shows)
    while any(running):
        for i, show in enumerate(shows):
            found = next(show, None) if running[i] else None
            running[i] = found is not None
            lasts[i] = found or lasts[i]
        if any(running):
            told = zip(uris, lasts, strict=True)
            frames.append(_beside([headed(shown, uri, total) for uri, (shown, total) in told]))
    return Film(np.stack(frames), tuple(total for _, total in lasts))


def _beside(shown: Sequence[Frame]) -> Frame:
    """Pictures side by side, white between them."""
    between = np.full((len(shown[0]), BETWEEN, 3), 255, np.uint8)
    return np.concatenate([part for one in shown for part in (between, one)][1:], 1)


def _episode(uri: str, env_id: str, plays: str, seed: int, longest: int) -> Iterator[tuple[Frame, float]]:
    spec = envs.spec(env_id)
    teacher = open_for(uri, spec)
    check_fit(teacher.card, spec)
    return frames_of(env_id, teacher.view, Player.of_teacher(teacher, spec, plays), stream(seed, "film"), longest)


def write_gif(found: Film, path: Path, fps: int) -> None:
    """A GIF that begins again at its end."""
    write_bytes(path, as_gif(list(found.frames), fps))


def write_mp4(found: Film, path: Path, fps: int) -> None:
    """An MP4 by ffmpeg, from the extra "video" or the system. Raises UserError where there is none or it fails."""
    height, width = found.frames.shape[1:3]
    command = [_ffmpeg(), "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"]
    command += ["-r", str(fps), "-i", "-", "-pix_fmt", "yuv420p", str(path)]
    done = subprocess.run(command, input=found.frames.tobytes(), capture_output=True)
    if done.returncode:
        raise UserError(f"ffmpeg could not write {path}: {' '.join(done.stderr.decode(errors='replace').split())}")


def _ffmpeg() -> str:
    with suppress(ImportError):
        from imageio_ffmpeg import get_ffmpeg_exe  # pyright: ignore[reportMissingImports]

        return get_ffmpeg_exe()
    if found := shutil.which("ffmpeg"):
        return found
    raise UserError("an MP4 needs ffmpeg: pip install 'reincarnate[video]', or write a --gif")


def show(found: Film, fps: int) -> None:
    """In a window, until it is over or closed. Raises UserError where there is no screen, or no pygame."""
    try:
        import pygame
    except ImportError:
        raise UserError("a window needs pygame (pip install 'gymnasium[classic-control]'); or write a --gif") from None
    try:
        pygame.init()
        screen = pygame.display.set_mode(found.frames.shape[2:0:-1])
    except pygame.error as error:
        raise UserError(f"no window can be opened here ({error}): write a --gif or an --mp4") from None
    try:
        clock = pygame.time.Clock()
        for frame in found.frames:
            if any(event.type == pygame.QUIT for event in pygame.event.get()):
                return
            screen.blit(pygame.surfarray.make_surface(frame.swapaxes(0, 1)), (0, 0))
            pygame.display.flip()
            clock.tick(fps)
    finally:
        pygame.quit()
