"""What all memories check of a carry."""

from torch import Tensor

from reincarnate.errors import UserError


def check_width(carry: Tensor, wanted: int, whose: str) -> None:
    """Raise UserError where a carry does not belong to this memory."""
    if carry.shape[-1] != wanted:
        raise UserError(
            f"a carry of width {carry.shape[-1]} met {whose}, whose carry has {wanted} numbers; "
            f"a carry belongs to the network that made it, any other begins with initial()"
        )
