"""Wrong, broken and hostile input, past the page: only sentences come back. STUDIO_FUZZ=20000 asks for as many of each kind."""

import io
import json
import os
import random
import re
import struct
import wave
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from engines.arguments import Refusal
from engines.ddcm.file import Code, pack, symbols, unpack
from engines.ddcm.pictures import read_picture
from engines.ddcm.plan import Plan
from engines.hippo.files import upload
from engines.hubness.files import read_points
from engines.segmentation.files import load_tokenizer
from studio import link, page
from studio.exhibits import EXHIBITS
from studio.present import labels, shown_values

COUNT = int(os.environ.get("STUDIO_FUZZ", "300"))
FUZZ = settings(
    max_examples=COUNT,
    deadline=None,
    database=None,
    derandomize="STUDIO_FUZZ" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
NASTY = [
    "",
    "NaN",
    "-1e999",
    "9" * 400,
    "../../etc/passwd",
    "/proc/self/environ",
    "\0",
    "\ud800",
    "<script>alert(1)</script>",
    "{parameter.__class__}",
    "$x$ [a](javascript:b) |",
    "🔭" * 50,
    "１２",
]
JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=40)
    | st.sampled_from([*NASTY, 1e308, -1e308, 2**63, float("nan")]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
VIEWS = [(exhibit, view) for exhibit in EXHIBITS for view in exhibit.views]


def is_sentence(text):
    return bool(text) and text[-1] in ".:)!?" and len(text) < 1200 and not re.search("Traceback|Internal error", text)


@FUZZ
@given(st.sampled_from(VIEWS), st.data())
def test_a_setting_that_is_none_is_refused_with_a_sentence_or_means_one(place, data):
    exhibit, view = place
    name = data.draw(st.sampled_from(list(view.settings)))
    control, default = view.settings[name], view.defaults[name]
    raw = data.draw(JUNK)
    for clamp in (False, True):
        try:
            value = link.parse(control, raw, default, clamp=clamp)
        except ValueError as fault:
            assert isinstance(fault, Refusal) and is_sentence(str(fault)), (exhibit.slug, view.slug, name, raw, fault)
        else:
            hash(value if not isinstance(value, list | dict) else 0)
    values = shown_values(exhibit, view, view.defaults) | {exhibit.controls[control]: raw}
    try:
        page._settings(exhibit, view, values)
    except ValueError as fault:
        assert isinstance(fault, Refusal) and is_sentence(str(fault))
        said = json.loads(page.draw([exhibit.slug, view.slug, values, None, "zh"]))
        assert said["error"] and said["panels"] is None and labels(view)


@FUZZ
@given(JUNK)
@example([["rope"], "similarity", {}, None, "en"])
@example(["rope", "similarity", {"head_dim": {"a": [1]}}, {"head_dim": "\ud800"}, ["zh"]])
def test_what_no_page_asks_is_answered(asked):
    for answer in (page.arrive, page.fetch_npz, page.fetch_art, page.run_checks):
        assert isinstance(answer(asked), str)
    json.loads(page.draw(asked))
    for said in page._run({"ask": asked}):
        json.loads(said)


@FUZZ
@given(
    st.sampled_from(VIEWS),
    st.dictionaries(
        st.sampled_from(["tab", "view", "pin", "story", "lang", "sweep", "pin.seed", "seed", "steps", "__theme"])
        | st.text(max_size=6),
        st.sampled_from(NASTY) | st.text(max_size=20),
        max_size=5,
    ),
)
def test_any_link_is_read(place, query):
    exhibit, view = place
    pairs = {"view": view.slug} | query
    text = "&".join(f"{name}={value}" for name, value in pairs.items())
    found, values, _ = link.read(exhibit, "?" + text)
    assert link.read(exhibit, link.write(exhibit, found, values))[1] == values


def mended(data):
    return data[:-4] + struct.pack("<I", zlib.crc32(data[:-4]))


def code():
    plan = Plan(steps=20, codebook_size=256, atoms=2, coefficient_bits=2)
    some = Code(plan, "ddpm-emoji-32", bytes(8), 32, 32, 1, b"")
    return pack(replace(some, payload=bytes(some.payload_bytes(32))))


def read_code(path):
    symbols(unpack(mended(path.read_bytes())), 32)  # the checksum alone would find every change


def tokenizer():
    vocabulary = [["<unk>", 0.0], *([letter, -2.0 - i / 9] for i, letter in enumerate("▁abcdefgh")), ["▁ab", -2.5]]
    return json.dumps({"model": {"type": "Unigram", "unk_id": 0, "vocab": vocabulary}}).encode()


def sound():
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((2, 2, 8000, 0, "NONE", "none"))
        out.writeframes(np.arange(400, dtype="<i2").tobytes())
    return file.getvalue()


def arrays(**named):
    file = io.BytesIO()
    np.savez(file, **named) if named else np.save(file, np.random.default_rng(0).normal(size=(12, 3)))
    return file.getvalue()


def picture(kind):
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (9, 7, 3), dtype=np.uint8)).save(file, kind)
    return file.getvalue()


TABLE = b"time,value\n" + b"".join(b"%d,%d.5\n" % (i, i * i % 7) for i in range(40))
READERS = {
    ".ddcm": (code(), lambda path: read_code(Path(path))),
    ".wav": (sound(), lambda path: upload(path, 64)),
    ".csv": (TABLE, lambda path: upload(path, 64)),
    ".npy": (arrays(), read_points),
    ".npz": (arrays(a=np.ones((6, 2)), b=np.arange(12.0).reshape(6, 2)), read_points),
    ".txt": (b"6 3\n" + b"".join(b"word%d 0.1 0.2 -%d\n" % (i, i) for i in range(6)), read_points),
    ".tsv": (TABLE.replace(b",", b"\t"), read_points),
    ".png": (picture("png"), read_picture),
    ".gif": (picture("gif"), read_picture),
    ".webp": (picture("webp"), read_picture),
    ".json": (tokenizer(), load_tokenizer),
    ".vocab": (b"<unk>\t0\n" + b"".join(b"%c\t-%d\n" % (97 + i, i) for i in range(8)), load_tokenizer),
    ".model": (b"\n\x0e\n\x05<unk>\x15\0\0\0\0\x18\x02" + b"\n\x0a\n\x03abc\x15\0\0\x80\xbf" * 4, load_tokenizer),
}


def mutated(data, draw):
    """The bytes with some flipped, cut out, doubled, put in anew, or cut off."""
    data = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 5, 20))):
        at = draw.randrange(len(data) + 1)
        match draw.randrange(6):
            case 0 if at < len(data):
                data[at] ^= 1 << draw.randrange(8)
            case 1:
                del data[at : at + draw.randrange(1, 9)]
            case 2:
                data[at:at] = data[at : at + draw.randrange(1, 64)]
            case 3:
                data[at:at] = draw.choice((b"\0", b"\xff" * 4, b"nan", b"1e999", b",", b"\n", b'"', b"\xed\xa0\x80"))
            case 4 if draw.random() < 0.3:
                del data[at:]
            case _ if at + 4 <= len(data):
                data[at : at + 4] = draw.choice((b"\0\0\0\0", b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff"))
    return bytes(data)


@pytest.mark.parametrize("ending", READERS)
def test_a_broken_file_is_read_or_refused_with_a_sentence(tmp_path, ending):
    whole, read = READERS[ending]
    path = tmp_path / f"file{ending}"
    path.write_bytes(whole)
    if ending != ".model":
        read(str(path))
    draw, refused = random.Random(0), 0
    for _ in range(COUNT // 3 if COUNT < 1000 else COUNT // 2):
        data = mutated(whole, draw)
        path.write_bytes(data)
        try:
            read(str(path))
        except ValueError as fault:
            refused += 1
            assert isinstance(fault, Refusal) and is_sentence(str(fault)), (data, fault)
    assert refused > 0


@FUZZ
@given(st.binary(max_size=200))
@example(b"")
def test_bytes_are_no_code_unless_they_are(data):
    with pytest.raises(Refusal):
        unpack(data)


@pytest.mark.parametrize("header", ["{'descr': '<f8'\n  1\n 2,}", "{'descr': '<f8\0',}", "{" * 90])
def test_a_header_that_is_no_python_is_refused(tmp_path, header):
    path = tmp_path / "points.npy"
    path.write_bytes(b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header.encode() + bytes(64))
    with pytest.raises(Refusal, match="not a readable"):
        read_points(str(path))
