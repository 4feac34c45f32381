"""StationSeeker, the controller that flew the balloons before reinforcement learning did: scores for altitudes."""

import torch
from jaxtyping import Float32
from torch import Tensor

from reincarnate.envs.balloon.features import AMBIENT, LEVELS, TRIPLES, UNREACHABLE
from reincarnate.teachers.balloon.scripted import BALLOON_ACTIONS, scripted
from reincarnate.teachers.frozen import Memoryless
from reincarnate.teachers.lifts import from_actions

HALF_RADIUS = 35.0  # km
BY_SPEED = 0.07  # s/m
NEAR_BEARING, FAR_BEARING = 0.6, 0.45  # 1/rad
NEAR, FAR = 250.0, 500.0  # km between which the one becomes the other
UNKNOWN = 0.5  # score of a wind of which nothing is known
CONFIDENCE = 0.01
STAYING, PER_LEVEL = 0.05, 0.001  # bonus of the own level, and how it fades
DISTANCE, SPEED = 250.0, 30.0  # km and m/s that the observation shows as a half


class StationSeeker(Memoryless):
    """Goes to the level with the best score: its wind blows to the station, or near it hardly blows.

    Source: Bellemare et al. (2020), methods; the numbers are those of the Balloon Learning Environment 1.0.1.
    """

    card = scripted("station_seeker", "StationSeeker", __file__)

    def told(self, obs: Float32[Tensor, "B O"]) -> Float32[Tensor, "B A"]:
        """Observations [B, 1099] to the action it takes, as logits that are sure of it."""
        best = _scores(obs.double()).argmax(-1)
        return from_actions(1 - (best - (LEVELS - 1)).sign(), BALLOON_ACTIONS)


def _scores(obs: Tensor) -> Tensor:
    """The score of each triple's level [B, 361]; of levels out of reach below all others."""
    triples = obs[:, AMBIENT:].reshape(len(obs), TRIPLES, 3)
    uncertainty, bearing, speed = triples[..., 0], torch.pi * triples[..., 1], _unsquash(triples[..., 2], SPEED)
    distance = _unsquash(obs[:, 7:8], DISTANCE)
    far = ((distance - NEAR) / (FAR - NEAR)).clamp(0, 1)
    by_bearing = NEAR_BEARING + far * (FAR_BEARING - NEAR_BEARING)
    closeness = torch.exp(-distance / HALF_RADIUS)
    wind = (1 - closeness) * torch.exp(-by_bearing * bearing) + closeness * torch.exp(-BY_SPEED * speed)
    away = (torch.arange(TRIPLES, device=obs.device) - (LEVELS - 1)).abs()
    bonus = STAYING * torch.exp(-PER_LEVEL * away)
    score = (1 - uncertainty + CONFIDENCE) * wind + uncertainty * UNKNOWN + bonus
    reachable = (triples != torch.tensor(UNREACHABLE, dtype=obs.dtype, device=obs.device)).any(-1)
    return score.masked_fill(~reachable, -1.0)


def _unsquash(share: Tensor, half: float) -> Tensor:
    """x of x / (x + half)."""
    return half * share / (1 - share).clamp_min(1e-12)
