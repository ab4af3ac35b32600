"""Wrong, broken and hostile input, past the page: only sentences come back. STUDIO_FUZZ=20000 asks for as many of each kind."""

import asyncio
import io
import json
import os
import random
import re
import struct
import time
import tracemalloc
import wave
import zipfile
import zlib
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from engines.arguments import Refusal
from engines.ddcm.file import Code, LatentCode, pack, symbols, unpack
from engines.ddcm.plan import Plan
from engines.diffusion import from_drawing as ink_of
from engines.flow.pictures import from_drawing as digit_of
from engines.hippo.files import drawing, upload
from engines.hubness.files import read_points
from engines.pictures import open_picture, read_picture
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
    for answer in (page.arrive, page.fetch_npz, page.fetch_art):
        assert isinstance(answer(asked), str)
    assert isinstance(asyncio.run(page.run_checks(asked)), str)
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
    return pack(some.filled(bytes(some.payload_bytes(32))))


def latent_code():
    plan = Plan(steps=5, codebook_size=256)
    some = LatentCode(plan, "sd-turbo", bytes(8), 64, 64, 1, b"", "ab" * 20, 1.0, (4, 8, 8), "a fox", "blurred")
    return pack(some.filled(bytes(some.payload_bytes(64))))


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


def picture(kind, mode="RGB"):
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (9, 7, 3), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(file, kind)
    return file.getvalue()


def vectors(count=6):
    return b"%d 3\n" % count + b"".join(b"word%d 0.1 0.2 -%d\n" % (i, i) for i in range(count))


TABLE = b"time,value\n" + b"".join(b"%d,%d.5\n" % (i, i * i % 7) for i in range(40))
READERS = {
    "a.ddcm": (code(), lambda path: read_code(Path(path))),
    "latent.ddcm": (latent_code(), lambda path: read_code(Path(path))),
    "a.wav": (sound(), lambda path: upload(path, 64)),
    "signal.csv": (TABLE, lambda path: upload(path, 64)),
    "points.csv": (TABLE, read_points),
    "a.npy": (arrays(), read_points),
    "a.npz": (arrays(a=np.ones((6, 2)), b=np.arange(12.0).reshape(6, 2), c=np.array(list("abcdef"))), read_points),
    "a.txt": (vectors(), read_points),
    "a.vec": (vectors(), read_points),
    "a.tsv": (TABLE.replace(b",", b"\t"), read_points),
    **{f"a.{kind}": (picture(kind), read_picture) for kind in ("png", "jpeg", "webp", "gif", "bmp")},
    "curve.png": (picture("png", "LA"), lambda path: drawing(path, 64)),
    "shape.png": (picture("png", "LA"), ink_of),
    "digit.png": (picture("png", "LA"), digit_of),
    "a.json": (tokenizer(), load_tokenizer),
    "a.vocab": (b"<unk>\t0\n" + b"".join(b"%c\t-%d\n" % (97 + i, i) for i in range(8)), load_tokenizer),
    "a.model": (b"\n\x0e\n\x05<unk>\x15\0\0\0\0\x18\x02" + b"\n\x0a\n\x03abc\x15\0\0\x80\xbf" * 4, load_tokenizer),
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


@pytest.mark.parametrize("name", READERS)
def test_a_broken_file_is_read_or_refused_with_a_sentence(tmp_path, name):
    whole, read = READERS[name]
    path = tmp_path / name
    path.write_bytes(whole)
    if name != "a.model":
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


# What a file may cost before it is refused


@contextmanager
def megabytes(most):
    """Fails where what is done inside holds more memory of Python and numpy at once."""
    tracemalloc.start()
    try:
        yield
        held = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert held < most * 1e6


def refused(path, data, read, match, most=None):
    path.write_bytes(data)
    del data
    with pytest.raises(Refusal, match=match), megabytes(most) if most else nullcontext():
        read(str(path))


def test_a_table_of_nothing_but_lines_or_cells_costs_no_more_than_its_bytes(tmp_path):
    refused(tmp_path / "lines.csv", b"\n" * 2_000_000 + b"1", read_points, "2,000,000 rows", most=10)
    refused(tmp_path / "cells.csv", b"1" + b"," * 2_000_001, read_points, "line 1 has more than 2,000,000", most=10)


def test_a_row_that_quotes_make_of_all_lines_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("engines.hubness.tables.MOST_LINE", 100_000)
    row = b'"1","2"\n' * 3 + b'"3"' + b',"\n"' * 90_000
    refused(tmp_path / "quotes.csv", row, read_points, "no numbers", most=20)


def test_a_table_of_many_empty_columns_is_read_at_once(tmp_path):
    path = tmp_path / "wide.csv"
    path.write_bytes((b"1,," * 40_000 + b"1\n") * 2)
    began = time.process_time()
    found = read_points(str(path))
    assert found.points.shape == (2, 40_001) and found.reading.empty == 40_000
    assert time.process_time() - began < 8  # 30 s where each column is looked for among the empty ones


def test_a_later_row_that_is_against_the_first_is_judged_by_all_unless_they_are_too_many(tmp_path, monkeypatch):
    late = b"1,2,\n" * 1500 + b"1,2,3\n"
    refused(tmp_path / "late.csv", late, read_points, "line 1, column 3, is no number")
    monkeypatch.setattr("engines.hubness.tables.WHOLE", 1000)
    refused(tmp_path / "late.csv", late, read_points, "delete that column")


def npy_header(text, version=1):
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(text)) + text


def test_a_header_of_an_array_is_not_read_beyond_what_numpy_takes(tmp_path):
    refused(tmp_path / "a.npy", npy_header(bytes(8_000_000), 2), read_points, "not a readable", most=2)
    refused(tmp_path / "a.npy", npy_header(b"-" * 9000 + b"1"), read_points, "not a readable")  # a MemoryError


def test_labels_of_an_npz_are_bounded_in_bytes(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, a=np.ones((1000, 2)), b=np.zeros(1000, "<U10000"))
    with megabytes(10):
        assert read_points(str(path)).labels == ()


def test_a_zip_of_many_entries_or_of_another_compression_is_refused(tmp_path):
    entry = b"PK\1\2" + bytes(24) + struct.pack("<HHH", 1, 0, 0) + bytes(12) + b"a"
    count, size = 30_000, 30_000 * len(entry)
    ending = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, count, count, size, 30, 0)
    data = b"PK\3\4" + bytes(26) + entry * count + ending
    refused(tmp_path / "a.npz", data, read_points, "not a readable", most=5)  # 30,000 objects would be 11
    for names, method in ((1001, zipfile.ZIP_STORED), (1, zipfile.ZIP_LZMA)):  # which announces gigabytes of its own
        with zipfile.ZipFile(tmp_path / "b.npz", "w", method) as archive:
            for i in range(names):
                archive.writestr(f"a{i}.npy", arrays())
        refused(tmp_path / "b.npz", (tmp_path / "b.npz").read_bytes(), read_points, "not a readable")


def test_a_sound_of_many_chunks_is_not_gone_through(tmp_path):
    def with_chunks(count):
        body = sound()[8:12] + b"JUNK\0\0\0\0" * count + sound()[12:]
        return b"RIFF" + struct.pack("<I", len(body)) + body

    refused(tmp_path / "a.wav", with_chunks(4000), lambda path: upload(path, 64), "could not be read")
    (tmp_path / "b.wav").write_bytes(with_chunks(400))
    assert upload(str(tmp_path / "b.wav"), 64).facts["samples"] == 200


@pytest.mark.parametrize(
    "table",
    [b"-9.9e999999,1\n9.9e999999,2\n", b'1,2\n3,"' + (b"a" * 900 + b"\n") * 200 + b'",3\n'],
    ids=["time", "quote"],
)
def test_a_signal_of_times_and_cells_without_end_is_refused(tmp_path, table):
    refused(tmp_path / "a.csv", table, lambda path: upload(path, 64), "not numbers|quote left open")


DRAWINGS = {"curve": lambda path: drawing(path, 64), "shape": ink_of, "digit": digit_of}


@pytest.mark.parametrize("read", DRAWINGS.values(), ids=DRAWINGS)
def test_a_drawing_is_shrunk_before_it_becomes_numbers(tmp_path, read):
    lines = Image.new("1", (4000, 3000), 1)
    lines.paste(0, (400, 1500, 3600, 1512))
    lines.save(tmp_path / "a.png")
    with megabytes(60):
        read(str(tmp_path / "a.png"))
    refused(
        tmp_path / "a.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", read, "cannot be read as a picture"
    )


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I;16", "CMYK"])
def test_a_large_photograph_is_shrunk_and_keeps_its_tones(tmp_path, mode):
    ramp = np.tile(np.linspace(0, 255, 300).astype(np.uint8), (200, 1))
    whole = Image.fromarray(ramp)
    if mode == "I;16":
        whole = Image.fromarray(ramp.astype(np.uint16) * 257)
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    (whole if mode == "I;16" else whole.convert(mode)).save(path)
    small, exact = open_picture(path, 100).pixels, open_picture(path).pixels
    assert small.shape == (67, 100, 3) and exact.shape == (200, 300, 3)
    assert np.abs(small.mean(0)[3:-3] - ramp[0, 10:-10:3].astype(float)[: len(small[0]) - 6, None]).mean() < (
        12 if mode == "1" else 6
    )


def test_a_code_of_single_bits_costs_no_lists(tmp_path):
    some = Code(Plan(steps=1000, codebook_size=2), "ddpm-emoji-32", bytes(8), 256, 256, 1, b"")
    with megabytes(2):
        assert symbols(some.filled(bytes(some.payload_bytes(32))), 32).shape == (64, 999, 1)
