"""The .ddcm file: everything the decoder needs but the model, and the means to notice that something is wrong.

magic "DDCM", version                      5 bytes
variant, log2 K, M, C                      4
T, seed                                    4 + 4
height, width of the picture               2 + 2
lanes (see `engines.ddcm.codec`)           1
mark of the model's weights                8
length of the model's name, the name       1 + n
payload: the words of all steps, tile by tile, most significant bit first, filled up with zeros
CRC-32 of all of it                        4       (numbers are little-endian)
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import numpy as np

from engines.ddcm.plan import VARIANTS, CodeError, Plan, whole

MAGIC, VERSION = b"DDCM", 1
HEADER = struct.Struct("<4sBBBBBIIHHB8sB")
MOST_BYTES = 4 << 20
MOST_PIXELS = 4096  # along one side
MOST_TILES = 64
MOST_LANES = 64
_ORDER = ("reference", "shuffled", "turbo")  # the numbers of the variants in a file; never reorder
assert set(_ORDER) == set(VARIANTS)


@dataclass(frozen=True)
class Code:
    """What a file says.

    plan: its settings
    model: name of the model; mark: 8 bytes that pin its weights
    height, width: of the picture, in pixels
    lanes: how many tiles the encoder's model saw at once
    payload: bytes
    """

    plan: Plan
    model: str
    mark: bytes
    height: int
    width: int
    lanes: int
    payload: bytes

    def tiles(self, side: int) -> int:
        """Tiles of side x side that cover the picture."""
        return tiles(self.height, self.width, side)


def tiles(height: int, width: int, side: int) -> int:
    """Tiles of side x side that cover a picture; a CodeError where there are too many."""
    height, width = whole("height", height, 1, MOST_PIXELS), whole("width", width, 1, MOST_PIXELS)
    count = -(-height // side) * -(-width // side)
    if count > MOST_TILES:
        raise CodeError(
            f"A picture of {width} x {height} pixels has {count} tiles of {side}; at most {MOST_TILES} are coded."
        )
    return count


def pack(code: Code) -> bytes:
    """The file."""
    plan, name = code.plan, code.model.encode()
    if len(name) > 255:
        raise CodeError("The name of the model is longer than 255 bytes.")
    head = HEADER.pack(
        MAGIC,
        VERSION,
        _ORDER.index(plan.variant),
        plan.index_bits,
        plan.atoms,
        plan.coefficient_bits,
        plan.steps,
        plan.seed,
        code.height,
        code.width,
        code.lanes,
        code.mark,
        len(name),
    )
    body = head + name + code.payload
    return body + struct.pack("<I", zlib.crc32(body))


def unpack(data: bytes) -> Code:
    """What a file says, all of it checked before anything is made of it. Raises CodeError."""
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise CodeError("A code is a sequence of bytes.")
    if len(data) > MOST_BYTES:
        raise CodeError(f"The file is larger than {MOST_BYTES >> 20} MB; no code is.")
    data = bytes(data)
    if data[:4] != MAGIC:
        raise CodeError("This is no .ddcm file: it does not begin with DDCM.")
    if len(data) < HEADER.size + 4:
        raise CodeError("The file is cut short: its header is incomplete.")
    _, version, variant, log_size, atoms, bits, steps, seed, height, width, lanes, mark, length = HEADER.unpack_from(
        data
    )
    if version != VERSION:
        raise CodeError(f"The file is of version {version}; this decoder reads version {VERSION}.")
    if zlib.crc32(data[:-4]) != struct.unpack("<I", data[-4:])[0]:
        raise CodeError("The file is damaged or cut short: its checksum is wrong.")
    if HEADER.size + length + 4 > len(data):
        raise CodeError("The file is cut short: the name of its model is incomplete.")
    if variant >= len(_ORDER) or log_size > 30:
        raise CodeError("The header is damaged: there is no such variant or codebook.")
    try:
        plan = Plan(steps, 1 << log_size, atoms, bits, _ORDER[variant], seed)
        whole("height", height, 1, MOST_PIXELS), whole("width", width, 1, MOST_PIXELS)
        whole("lanes", lanes, 1, MOST_LANES)
        name = data[HEADER.size : HEADER.size + length].decode()
    except UnicodeDecodeError:
        raise CodeError("The header is damaged: the name of the model is no text.") from None
    except CodeError as fault:
        raise CodeError(f"The header claims what is not possible: {fault}") from None
    return Code(plan, name, mark, height, width, lanes, data[HEADER.size + length : -4])


def payload(plan: Plan, symbols: np.ndarray) -> bytes:
    """The words of symbols [tiles, T − 1, width] as bytes."""
    words = (plan.word(step) for tile in symbols.tolist() for step in tile)
    bits = "".join(format(word, f"0{plan.step_bits}b") for word in words)
    count = -(-len(bits) // 8)
    return int(bits.ljust(count * 8, "0"), 2).to_bytes(count, "big")


def symbols(code: Code, side: int) -> np.ndarray:
    """The symbols [tiles, T − 1, width] int64 of a code for a model of side x side pixels."""
    plan, count = code.plan, code.tiles(side)
    steps, size = plan.steps - 1, plan.step_bits
    total = count * steps * size
    if len(code.payload) != -(-total // 8):
        raise CodeError(
            f"The payload has {len(code.payload):,} bytes where its header asks for {-(-total // 8):,}: "
            "the file is cut short, or was made for a model of another picture size."
        )
    bits = format(int.from_bytes(code.payload, "big"), f"0{len(code.payload) * 8}b")
    if "1" in bits[total:]:
        raise CodeError("The payload is damaged: there are bits after its end.")
    words = (int(bits[i : i + size], 2) for i in range(0, total, size))
    return np.array([plan.symbols(word) for word in words], np.int64).reshape(count, steps, plan.width)
