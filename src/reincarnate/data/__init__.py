"""Prior data and experience: columns on disk and in memory, how they are cut, and what is drawn from them."""

from reincarnate.data.dataset import Dataset, open_dataset, save_dataset
from reincarnate.data.memory import Memory
from reincarnate.data.replay import Replay

__all__ = ["Dataset", "Memory", "Replay", "open_dataset", "save_dataset"]
