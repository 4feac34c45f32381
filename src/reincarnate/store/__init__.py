"""What is known of agents, data and runs by content hash: where they lie, what they stand on, what they cost."""

from reincarnate.store.index import Index, register
from reincarnate.store.lineage import Lineage, lineage_of
from reincarnate.store.nodes import Amount, Cost, Node, Parent

__all__ = ["Amount", "Cost", "Index", "Lineage", "Node", "Parent", "lineage_of", "register"]
