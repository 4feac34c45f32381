"""The checksum of TensorFlow's checkpoints (CRC-32C, masked), fast enough in numpy to be checked always."""

import numpy as np

LANES = 1024


def _table() -> np.ndarray:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(0x82F63B78), table >> 1).astype(np.uint32)
    return table


TABLE = _table()
LIST = TABLE.tolist()


def masked_crc32c(data: bytes | memoryview) -> int:
    """CRC-32C of `data`, rotated and shifted as LevelDB and TensorFlow store it."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def crc32c(data: bytes | memoryview) -> int:
    """CRC-32C.

    Long data is cut into lanes that advance together, one byte of each at a time. A checksum is linear: 32 more lanes
    of zeros, one for each bit, say what a lane's length does to the state that comes before it.
    """
    length = len(data) // LANES
    if length < 16:
        return _bytewise(0xFFFFFFFF, data) ^ 0xFFFFFFFF
    lanes = np.frombuffer(data, np.uint8, LANES * length).reshape(LANES, length).T
    state = np.zeros(LANES + 32, np.uint32)
    state[LANES:] = np.uint32(1) << np.arange(32, dtype=np.uint32)
    for column in lanes:
        state[:LANES] ^= column
        state = TABLE[state & 0xFF] ^ (state >> np.uint32(8))
    bits = [int(image) for image in state[LANES:]]
    crc = 0xFFFFFFFF
    for lane in state[:LANES].tolist():
        crc = _carried(crc, bits) ^ lane
    return _bytewise(crc, data[LANES * length :]) ^ 0xFFFFFFFF


def _carried(crc: int, bits: list[int]) -> int:
    """The state after a lane of zeros."""
    carried = 0
    for bit, image in enumerate(bits):
        if crc >> bit & 1:
            carried ^= image
    return carried


def _bytewise(crc: int, data: bytes | memoryview) -> int:
    for byte in data:
        crc = LIST[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc
