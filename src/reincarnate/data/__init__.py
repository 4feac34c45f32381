"""Prior data and replay: columns on disk and in memory, and what is sampled from them."""

from reincarnate.data.dataset import Dataset, open_dataset, save_dataset
from reincarnate.data.replay import Replay

__all__ = ["Dataset", "Replay", "open_dataset", "save_dataset"]
