"""Signals: formulas, presets, sounds, tables and drawn curves."""

import io
import math
import os
import struct
import wave

import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile

from engines.hippo import files, signals
from engines.hippo.signals import evaluate

T = (np.arange(64) + 0.5) / 8


@pytest.mark.parametrize(
    "text, value",
    [
        ("3", lambda t: 3 + 0 * t),
        ("-t**2 + 2*t/4 - 1", lambda t: -(t**2) + t / 2 - 1),
        ("sin(2.3*t) + 0.5*cos(5.6*t)", lambda t: np.sin(2.3 * t) + 0.5 * np.cos(5.6 * t)),
        ("exp(-t)*abs(log(t)) + pi - e", lambda t: np.exp(-t) * np.abs(np.log(t)) + math.pi - math.e),
        ("piecewise(t < 2, t, t >= 5, 1/(t - 1), 0)", lambda t: np.where(t < 2, t, np.where(t >= 5, 1 / (t - 1), 0))),
        ("piecewise(t < 4, 1, 1/(t - 0.0625))", lambda t: np.where(t < 4, 1, 1 / (t - 0.0625 + 1e-300))),
    ],
)
def test_formula(text, value):
    np.testing.assert_allclose(evaluate(text, T), value(T), rtol=1e-15, atol=0)


@pytest.mark.parametrize(
    "text, word",
    [
        ("", "cannot be read"),
        ("t+" * 101, "at most 200"),
        ("x + 1", "'x' cannot be read"),
        ("foo(t)", "'foo' cannot be read"),
        ("1/(t - 0.0625)", "divides by zero at t = 0.0625"),
        ("1/0", "divides by zero"),
        ("log(-t)", "no finite value"),
        ("exp(t*1e5)", "no finite value"),
        ("9**9**9**9", "no finite value"),
        ("t^2", r"powers as \*\*"),
        ("sin(t", "cannot be read"),
        ("t = 3", "cannot be read"),
        ("sin()", "functions take one"),
        ("piecewise(t, 1)", "piecewise"),
        ("__import__('os').system('true')", "cannot be read"),
        ("().__class__", "cannot be read"),
        ("t.real", "cannot be read"),
        ("[t]", "cannot be read"),
        ("t if t else 1", "cannot be read"),
        ("(lambda: 1)()", "cannot be read"),
        ("'t'", "cannot be read"),
        ("True", "cannot be read"),
        ("1j", "cannot be read"),
        ("sin(t, out=t)", "functions take"),
        ("sin(*t)", "cannot be read"),
    ],
)
def test_formula_says_what_is_wrong(text, word):
    with pytest.raises(ValueError, match=word) as caught:
        evaluate(text, T)
    assert str(caught.value).startswith("formula") and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", signals.SIGNALS)
def test_presets_are_finite_repeat_and_converge(name):
    first, again, finer = (signals.load(name, k).values for k in (512, 512, 2048))
    np.testing.assert_array_equal(first, again)
    assert np.isfinite(first).all() and 0.2 < np.abs(first).max() < 4
    if name != "white":
        assert np.sqrt(np.mean((first - finer.reshape(512, 4).mean(1)) ** 2)) < 0.12


def write_wav(path, samples, rate=8000, width=2, channels=1):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    return str(path)


def test_wav(tmp_path):
    t = np.arange(16000) / 8000
    tone = np.round(20000 * np.sin(2 * np.pi * 3 * t)).astype("<i2")
    stereo = np.stack([tone, np.zeros_like(tone)], 1)
    for data, channels in ((tone, 1), (stereo, 2)):
        got = files.upload(write_wav(tmp_path / "a.wav", data, channels=channels), 400)
        assert got.duration == 2 and got.unit == "s" and got.kind == "sound"
        assert got.facts == {"samples": 16000, "rate": 8000, "channels": channels, "bits": 16, "unclosed": 0}
        want = np.sin(2 * np.pi * 3 * (np.arange(400) + 0.5) / 200)
        np.testing.assert_allclose(got.values, want, atol=0.01)
    soft = np.round(128 + 100 * np.sin(2 * np.pi * 3 * t)).astype("u1")
    got = files.upload(write_wav(tmp_path / "b.wav", soft, width=1), 400)
    np.testing.assert_allclose(got.values, want, atol=0.02)


def test_an_hour_of_sound_is_averaged(tmp_path):
    high = np.tile(np.array([255, 1], "u1"), 3600 * 500)
    got = files.upload(write_wav(tmp_path / "hour.wav", high, rate=1000, width=1), 1024)
    assert got.duration == 3600 and got.facts["samples"] == 3_600_000
    assert np.abs(got.values).max() <= 1


def test_float_wav(tmp_path):
    path = tmp_path / "f.wav"
    wavfile.write(path, 100, np.linspace(-1, 1, 300, dtype=np.float32))
    assert files.upload(str(path), 64).values.shape == (64,)
    wavfile.write(path, 100, np.full(300, np.nan, dtype=np.float32))
    with pytest.raises(ValueError, match="finite"):
        files.upload(str(path), 64)


def test_csv(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("value\n" + "\n".join(str(v) for v in range(100)))
    got = files.upload(str(path), 100)
    np.testing.assert_allclose(got.values, np.arange(100))
    path.write_text("time;value\n0;0\n1;10\n4;40\n")
    got = files.upload(str(path), 64)
    assert got.duration == 4 and got.facts == {"rows": 3, "columns": 2, "headings": 1, "dated": 0}
    np.testing.assert_allclose(got.values, 10 * 4 * (np.arange(64) + 0.5) / 64, atol=1e-12)


@pytest.mark.parametrize(
    "name, content, word",
    [
        ("a.csv", b"it was\nthe best of times\nit was the worst", "columns"),
        ("a.csv", b"1\n2\nthree\n", "line 3"),
        ("a.csv", b"1,2,3\n4,5,6\n", "columns"),
        ("a.csv", b"1\n", "fewer than 2"),
        ("a.csv", b"", "fewer than 2"),
        ("a.csv", b"1\nnan\n", "missing"),
        ("a.csv", b"1,2\n1,3\n", "ascend"),
        ("a.csv", b"1\n" * 250_002, "more than 250,000 rows"),
        ("a.csv", b"1 " * 600, "1,000 characters"),
        ("a.csv", b"\xff\xd8\x00\x01" * 9, "not text"),
        ("a.wav", b"not a sound", "could not be read"),
        ("a.wav", b"RIFF" + struct.pack("<I", 36) + b"WAVEfmt ", "could not be read"),
        ("a.txt", b"1\n2\n", ".wav or .csv"),
    ],
)
def test_bad_files_get_sentences(tmp_path, name, content, word):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=word) as caught:
        signals.load("own", upload=str(path))
    assert str(caught.value).startswith("upload: ")


def test_missing_and_large_files(tmp_path):
    with pytest.raises(ValueError, match="no longer there"):
        signals.load("own", upload=str(tmp_path / "gone.csv"))
    path = tmp_path / "big.csv"
    with path.open("wb") as file:
        file.truncate((files.MEGABYTES << 20) + 1)
    with pytest.raises(ValueError, match="larger than"):
        signals.load("own", upload=str(path))


def test_drawing(tmp_path):
    ink = np.full((101, 201), 255, np.uint8)
    x = np.arange(201)
    ink[(50 - 40 * np.sin(2 * np.pi * x / 200)).round().astype(int), x] = 0
    path = str(tmp_path / "curve.png")
    Image.fromarray(ink).save(path)
    got = files.drawing(path, 200).values
    np.testing.assert_allclose(got, 0.8 * np.sin(2 * np.pi * (np.arange(200) + 0.5) / 200), atol=0.03)
    assert signals.load("own", drawing=path).kind == "drawing"
    alpha = np.zeros((101, 201, 4), np.uint8)
    alpha[..., 3] = ink < 128  # black ink on nothing; nothing is paper
    alpha[..., 3] *= 255
    Image.fromarray(alpha).save(path)
    np.testing.assert_allclose(files.drawing(path, 200).values, got)
    Image.new("L", (50, 50), "white").save(path)
    assert files.drawing(path, 200) is None and signals.load("own", drawing=path).kind == "none"
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="cannot be read as a picture"):
        signals.load("own", drawing=str(tmp_path / "bad.png"))


# sounds as recorders and editors leave them


def bytes_of(samples, rate=8000):
    file = io.BytesIO()
    wavfile.write(file, rate, samples)
    return file.getvalue()


def chunk(name, content):
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def riff(*chunks):
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def with_size(content, size):
    at = content.index(b"data") + 4
    return (
        content[:4]
        + struct.pack("<I", min(size, 2**32 - 37) + 36)
        + content[8:at]
        + struct.pack("<I", size)
        + content[at + 4 :]
    )


TONE = np.round(20000 * np.sin(np.arange(8000) / 50)).astype("<i2")


def read(tmp_path, content, name="a.wav"):
    path = tmp_path / name
    path.write_bytes(content)
    return files.upload(str(path), 500)


@pytest.mark.parametrize("size", [0, 2**32 - 1, 2**31 - 1, 10**6])
@pytest.mark.parametrize("loose", [0, 1])
def test_wav_whose_writer_was_killed_is_read_to_its_end(tmp_path, size, loose):
    whole = read(tmp_path, bytes_of(TONE))
    assert whole.facts["unclosed"] == 0
    got = read(tmp_path, with_size(bytes_of(TONE), size) + b"\1" * loose)
    np.testing.assert_array_equal(got.values, whole.values)
    assert got.facts["unclosed"] == 1 and got.facts["samples"] == 8000 and got.duration == 1


def test_wav_cut_in_the_middle_of_a_stereo_frame(tmp_path):
    stereo = bytes_of(np.stack([TONE, TONE], 1))
    got = read(tmp_path, stereo[: 44 + 4 * 3000 + 3])
    assert got.facts["samples"] == 3000 and got.facts["unclosed"] == 1


def test_wav_with_no_sound_but_other_chunks_is_empty(tmp_path):
    head = struct.pack("<HHIIHH", 1, 1, 8000, 16000, 2, 16)
    for tail in ((), (chunk(b"LIST", b"INFOISFT\4\0\0\0abc\0"),)):
        with pytest.raises(ValueError, match="no samples"):
            read(tmp_path, riff(chunk(b"fmt ", head), chunk(b"data", b""), *tail))
    noted = riff(
        chunk(b"JUNK", b"\0" * 27), chunk(b"fmt ", head), chunk(b"LIST", b"odd"), chunk(b"data", TONE.tobytes())
    )
    assert read(tmp_path, noted, "a.WAV").facts == {
        "samples": 8000,
        "rate": 8000,
        "channels": 1,
        "bits": 16,
        "unclosed": 0,
    }


@pytest.mark.parametrize("extensible", [False, True])
@pytest.mark.parametrize(
    "kind, bits", [("int", 8), ("int", 16), ("int", 24), ("int", 32), ("float", 32), ("float", 64)]
)
def test_wav_of_every_depth(tmp_path, kind, bits, extensible):
    tone = np.sin(np.arange(8000) / 50)
    if kind == "float":
        data = tone.astype(f"<f{bits // 8}").tobytes()
    elif bits == 8:
        data = np.round(128 + 127 * tone).astype("u1").tobytes()
    else:
        whole = np.round(tone * (2 ** (bits - 1) - 1)).astype("<i8").view("u1").reshape(-1, 8)
        data = whole[:, : bits // 8].tobytes()
    code, frame = {"int": 1, "float": 3}[kind], bits // 8
    head = struct.pack("<HHIIHH", 0xFFFE if extensible else code, 1, 8000, 8000 * frame, frame, bits)
    if extensible:
        head += (
            struct.pack("<HHI", 22, bits, 4) + struct.pack("<H", code) + bytes.fromhex("000000001000800000AA00389B71")
        )
    for content, unclosed in ((riff(chunk(b"fmt ", head), chunk(b"data", data)), 0), (None, 1)):
        content = content or with_size(riff(chunk(b"fmt ", head), chunk(b"data", data)), 2**32 - 1)
        got = read(tmp_path, content)
        want = tone.reshape(500, 16).mean(1)
        np.testing.assert_allclose(got.values, want / np.abs(want).max(), atol=0.01 if bits == 8 else 1e-4)
        assert got.facts["bits"] == bits and got.facts["unclosed"] == unclosed


def test_compressed_wav_is_refused(tmp_path):
    head = struct.pack("<HHIIHH", 7, 1, 8000, 8000, 1, 8)  # mu-law
    with pytest.raises(ValueError, match="uncompressed"):
        read(tmp_path, riff(chunk(b"fmt ", head), chunk(b"data", b"\1" * 800)))


# tables as people save them


@pytest.mark.parametrize(
    "unit, start",
    [
        (1, 1_700_000_000),
        (10**3, 1_700_000_000_123),
        (10**6, 1_700_000_000_123_456),
        (10**9, 1_700_000_000_123_456_789),
        (1, 0),
        (1000, -(10**12)),
    ],
)
def test_times_in_any_unit_since_1970(tmp_path, unit, start):
    """Ten samples 1/10 of a second apart; in nanoseconds, 100 apart too, which float64 cannot tell from one another."""
    for apart in {max(1, unit // 10), 100}:
        rows = [f"{start + i * apart},{i}" for i in range(101)]
        got = read(tmp_path, "\n".join(rows).encode(), "a.csv")
        assert got.duration == 100 * apart and got.facts["rows"] == 101
        np.testing.assert_allclose(got.values, 100 * (np.arange(500) + 0.5) / 500, atol=1e-9)


@pytest.mark.parametrize(
    "first, second, seconds",
    [
        ("2024-05-01", "2024-05-02", 86400),
        ("2024-05-01 12:00:00", "2024-05-01 12:00:01.5", 1.5),
        ("2024/05/01 12:00", "2024/05/01 12:01", 60),
        ("2024-05-01T12:00:00Z", "2024-05-01T13:00:00Z", 3600),
    ],
)
def test_times_may_be_dates(tmp_path, first, second, seconds):
    for head in ("", "time,value\n"):
        got = read(tmp_path, f"{head}{first},1\n{second},3\n".encode(), "a.csv")
        assert got.duration == seconds and got.unit == "s" and got.facts["dated"] == 1
        assert got.facts["headings"] == bool(head)


@pytest.mark.parametrize(
    "text",
    [
        "time,value\n0,1.5\n1,2.5\n3,-4\n",
        "time;value\r\n0;1,5\r\n1;2,5\r\n3;-4\r\n",
        '"time","value"\n"0","1.5"\n"1","2.5"\n"3","-4"\n',
        "0\t1.5\n1\t2.5\n\n3\t-4\n",
        "0 1,5\n1 2,5\n3 −4\n",
        "\ufefft,v\n0,1.5\n1,2.5\n3,−4\n",
        "Größe,v\n 0 , 1.5\n1, 2.5\n3, -4e0\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1252"])
def test_tables_however_separated(tmp_path, text, encoding):
    if encoding == "cp1252" and ("−" in text or "\ufeff" in text):
        pytest.skip("cannot be written so")
    got = read(tmp_path, text.encode(encoding), "a.CSV")
    middle = (np.arange(500) + 0.5) / 500 * 3
    np.testing.assert_allclose(got.values, np.interp(middle, [0, 1, 3], [1.5, 2.5, -4]), atol=1e-9)
    assert got.duration == 3 and got.facts["rows"] == 3 and got.facts["columns"] == 2


def test_a_first_row_of_numbers_with_a_fault_is_no_heading(tmp_path):
    for first in ("1.5,", "n/a,2.5", "1.5,n/a", "0x10,2"):
        with pytest.raises(ValueError, match="line 1"):
            read(tmp_path, f"{first}\n2,2\n3,5\n".encode(), "a.csv")


def test_a_table_is_read_again_only_where_it_changed(tmp_path, monkeypatch):
    path, came, rows = tmp_path / "a.csv", [], files._rows
    path.write_text("1\n2\n3\n")
    monkeypatch.setattr(files, "_rows", lambda text: came.append(text) or rows(text))
    files.upload(str(path), 3).values[:] = 0
    assert files.upload(str(path), 3).values.tolist() == [1, 2, 3] and len(files.upload(str(path), 9).values) == 9
    assert len(came) == 1
    path.write_text("1\n2\n4\n")
    os.utime(path, ns=(1, 1))
    assert files.upload(str(path), 3).values.tolist() == [1, 2, 4]
