"""The .ddcm file: everything the decoder needs but the model, and the means to notice that something is wrong.

magic "DDCM", version                      5 bytes
variant, log2 K, M, C                      4
T, seed                                    4 + 4
height, width of the picture               2 + 2
batch (see `engines.ddcm.codec`)           1
fingerprint of the model's weights         8
length of the model's name, the name       1 + n
payload: the words of all steps, tile by tile, most significant bit first, filled up with zeros
CRC-32 of all of it                        4       (numbers are little-endian)

Version 2 is of a picture's latents (see `engines.ddcm.photographs`); between the model's name and the payload stand
commit of the model's repository           20
guidance, as float32                       4
channels, height, width of the latents     2 + 2 + 2
lengths of prompt and negative prompt      2 + 2
both, in UTF-8                             n
"""

from __future__ import annotations

import dataclasses
import struct
import zlib
from dataclasses import dataclass

import numpy as np

from engines.arguments import Refusal, whole
from engines.ddcm.plan import VARIANTS, CodeError, Plan

MAGIC, VERSION, LATENT_VERSION = b"DDCM", 1, 2
HEADER = struct.Struct("<4sBBBBBIIHHB8sB")
_LATENT = struct.Struct("<20sfHHHHH")
MOST_BYTES = 4 << 20
MOST_SIDE = 4096  # of a picture, in pixels
MOST_TILES = 1 << 14  # 4,096 x 4,096 pixels in tiles of 32
MOST_BATCH = 64
_NUMBERED = ("reference", "shuffled", "turbo")  # the numbers of the variants in a file; never reorder
assert set(_NUMBERED) == set(VARIANTS)


@dataclass(frozen=True)
class Code:
    """What a file says.

    plan: its settings
    model: name of the model
    fingerprint: 8 bytes that pin the model's weights
    height: of the picture, in pixels
    width: of the picture, in pixels
    batch: how many tiles the encoder's model saw at once
    payload: bytes; the choices
    """

    plan: Plan
    model: str
    fingerprint: bytes
    height: int
    width: int
    batch: int
    payload: bytes

    def tiles(self, side: int) -> int:
        """Tiles of side x side that cover the picture."""
        return count_tiles(self.height, self.width, side)

    def payload_bytes(self, side: int) -> int:
        """Bytes of the choices for a model of side x side pixels."""
        return -(-self.tiles(side) * self.plan.tile_bits // 8)

    def check_size(self, side: int) -> None:
        """A Refusal where the file would be larger than a decoder reads: raised before anything is computed."""
        if self.payload_bytes(side) > MOST_BYTES - 1024:
            raise Refusal(
                "{tiles} tiles of {bits} bits are more than the {most} MB of a file: take fewer steps or atoms, or a smaller picture.",
                tiles=self.tiles(side),
                bits=self.plan.tile_bits,
                most=MOST_BYTES >> 20,
            )

    def filled(self, payload: bytes) -> Code:
        """The same with another payload."""
        return dataclasses.replace(self, payload=payload)


@dataclass(frozen=True)
class LatentCode(Code):
    """What a file of version 2 says: a picture's latents, as one tile.

    revision: 40 hexadecimal digits; commit of the model's repository
    guidance: float, to single precision
    shape: of the latents, (channels, height, width)
    prompt: str
    negative: str; the negative prompt
    """

    revision: str
    guidance: float
    shape: tuple[int, int, int]
    prompt: str
    negative: str

    def tiles(self, side: int = 0) -> int:
        """1."""
        return 1


def count_tiles(height: int, width: int, side: int) -> int:
    """Tiles of side x side that cover a picture; a Refusal where there are too many."""
    height, width = whole("height", height, 1, MOST_SIDE), whole("width", width, 1, MOST_SIDE)
    count = -(-height // side) * -(-width // side)
    if count > MOST_TILES:
        raise Refusal(
            "A picture of {width} x {height} pixels has {count} tiles of {side}; at most {most} are coded.",
            width=width,
            height=height,
            count=count,
            side=side,
            most=MOST_TILES,
        )
    return count


def pack(code: Code) -> bytes:
    """The file."""
    plan, name = code.plan, code.model.encode()
    if len(name) > 255:
        raise Refusal("The name of the {parameter} is longer than {most} bytes.", parameter="model", most=255)
    further = _further(code) if isinstance(code, LatentCode) else b""
    head = HEADER.pack(
        MAGIC,
        LATENT_VERSION if further else VERSION,
        _NUMBERED.index(plan.variant),
        plan.index_bits,
        plan.atoms,
        plan.coefficient_bits,
        plan.steps,
        plan.seed,
        code.height,
        code.width,
        code.batch,
        code.fingerprint,
        len(name),
    )
    body = head + name + further + code.payload
    return body + struct.pack("<I", zlib.crc32(body))


def _further(code: LatentCode) -> bytes:
    texts = code.prompt.encode(), code.negative.encode()
    revision = bytes.fromhex(code.revision)
    return _LATENT.pack(revision, code.guidance, *code.shape, *map(len, texts)) + b"".join(texts)


def unpack(data: bytes) -> Code:
    """What a file says, all of it checked before anything is made of it. Raises CodeError."""
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise CodeError("A code is a sequence of bytes.")
    if len(data) > MOST_BYTES:
        raise CodeError("The file is larger than {most} MB; no code is.", most=MOST_BYTES >> 20)
    data = bytes(data)
    if data[:4] != MAGIC:
        raise CodeError("This is no .ddcm file: it does not begin with DDCM.")
    if len(data) < HEADER.size + 4:
        raise CodeError("The file is cut short: its header is incomplete.")
    fields = HEADER.unpack_from(data)
    _, version, variant, log_size, atoms, bits, steps, seed, height, width, batch, fingerprint, length = fields
    if version not in (VERSION, LATENT_VERSION):
        raise CodeError(
            "The file is of version {version}; this decoder reads version {known}.",
            version=version,
            known=LATENT_VERSION,
        )
    if zlib.crc32(data[:-4]) != checksum(data):
        raise CodeError("The file is damaged or cut short: its checksum is wrong.")
    if HEADER.size + length + 4 > len(data):
        raise CodeError("The file is cut short: the name of its model is incomplete.")
    if variant >= len(_NUMBERED) or log_size > 30:
        raise CodeError("The header is damaged: there is no such variant or codebook.")
    try:
        plan = Plan(steps, 1 << log_size, atoms, bits, _NUMBERED[variant], seed)
        whole("height", height, 1, MOST_SIDE)
        whole("width", width, 1, MOST_SIDE)
        whole("batch", batch, 1, MOST_BATCH)
        name = data[HEADER.size : HEADER.size + length].decode()
    except UnicodeDecodeError:
        raise CodeError("The header is damaged: the name of the model is no text.") from None
    except Refusal as fault:
        raise CodeError(
            "The header is damaged: {field} cannot be {given}.",
            field=fault.fields["parameter"],
            given=fault.fields["given"],
        ) from None
    given = (plan, name, fingerprint, height, width, batch)
    at = HEADER.size + length
    if version == VERSION:
        return Code(*given, data[at:-4])
    try:
        revision, guidance, *shape, first, second = _LATENT.unpack_from(data, at)
        at += _LATENT.size
        if at + first + second + 4 > len(data):
            raise CodeError("The file is cut short: its prompts are incomplete.")
        prompts = data[at : at + first].decode(), data[at + first : at + first + second].decode()
    except (struct.error, UnicodeDecodeError):
        raise CodeError("The header is damaged: the prompts are no texts.") from None
    if not (1 <= guidance <= 20 and all(1 <= n <= MOST_SIDE for n in shape)):
        raise CodeError("The header is damaged: no latents have this shape or guidance.")
    return LatentCode(*given, data[at + first + second : -4], revision.hex(), guidance, tuple(shape), *prompts)


def checksum(data: bytes) -> int:
    """The CRC-32 that a file ends with."""
    return struct.unpack("<I", data[-4:])[0]


def payload(plan: Plan, symbols: np.ndarray) -> bytes:
    """The words of symbols [tiles, T − 1, width] as bytes."""
    words = (plan.word(step) for tile in symbols.tolist() for step in tile)
    bits = "".join(format(word, f"0{plan.step_bits}b") for word in words)
    count = -(-len(bits) // 8)
    return int(bits.ljust(count * 8, "0"), 2).to_bytes(count, "big")


def symbols(code: Code, side: int) -> np.ndarray:
    """The symbols [tiles, T − 1, width] int64 of a code for a model of side x side pixels. Raises CodeError."""
    plan = code.plan
    try:
        count, expected = code.tiles(side), code.payload_bytes(side)
    except Refusal as fault:
        raise CodeError(fault.template, **fault.fields) from None
    if len(code.payload) != expected:
        raise CodeError(
            "The payload has {found} bytes where its header asks for {expected}: "
            "the file is cut short, or was made for a model of another picture size.",
            found=len(code.payload),
            expected=expected,
        )
    size, total = plan.step_bits, count * plan.tile_bits
    bits = format(int.from_bytes(code.payload, "big"), f"0{len(code.payload) * 8}b")
    if "1" in bits[total:]:
        raise CodeError("The payload is damaged: there are bits after its end.")
    words = (int(bits[i : i + size], 2) for i in range(0, total, size))
    # one by one: of a megabyte of single bits the lists would take eight hundred
    found = np.fromiter((symbol for word in words for symbol in plan.symbols(word)), np.int64)
    return found.reshape(count, plan.steps - 1, plan.width)
