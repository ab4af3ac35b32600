"""Signals of all kinds, and what the views answer to good and bad settings."""

import dataclasses
import math
import struct
import wave

import numpy as np
import pytest
from PIL import Image

from engines.hippo import MEASURES, signals, views
from engines.hippo.signals import formula

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
    np.testing.assert_allclose(formula(text, T), value(T), rtol=1e-15, atol=0)


@pytest.mark.parametrize(
    "text, word",
    [
        ("", "1 to 200"),
        ("t+" * 101, "1 to 200"),
        ("x + 1", "no name 'x'"),
        ("foo(t)", "no function 'foo'"),
        ("1/(t - 0.0625)", "divides by zero at t = 0.0625"),
        ("1/0", "divides by zero"),
        ("log(-t)", "no finite value"),
        ("exp(t*1e5)", "no finite value"),
        ("9**9**9**9", "no finite value"),
        ("t^2", r"powers as \*\*"),
        ("sin(t", "not a complete expression"),
        ("t = 3", "not a complete expression"),
        ("sin()", "functions take one"),
        ("piecewise(t, 1)", "piecewise"),
        ("__import__('os').system('true')", "not allowed"),
        ("().__class__", "not allowed"),
        ("t.real", "not allowed"),
        ("[t]", "not allowed"),
        ("t if t else 1", "not allowed"),
        ("(lambda: 1)()", "not allowed"),
        ("'t'", "not allowed"),
        ("True", "not allowed"),
        ("1j", "not allowed"),
        ("sin(t, out=t)", "functions take"),
        ("sin(*t)", "not allowed"),
    ],
)
def test_formula_says_what_is_wrong(text, word):
    with pytest.raises(ValueError, match=word) as caught:
        formula(text, T)
    assert str(caught.value).startswith("formula") and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", signals.PRESETS)
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
        got = signals.upload(write_wav(tmp_path / "a.wav", data, channels=channels), 400)
        assert got.duration == 2 and got.unit == "s" and "averaged down to 400" in got.note
        want = np.sin(2 * np.pi * 3 * (np.arange(400) + 0.5) / 200)
        np.testing.assert_allclose(got.values, want, atol=0.01)
    soft = np.round(128 + 100 * np.sin(2 * np.pi * 3 * t)).astype("u1")
    got = signals.upload(write_wav(tmp_path / "b.wav", soft, width=1), 400)
    np.testing.assert_allclose(got.values, want, atol=0.02)


def test_an_hour_of_sound_is_averaged_and_said_so(tmp_path):
    high = np.tile(np.array([255, 1], "u1"), 3600 * 500)
    got = signals.upload(write_wav(tmp_path / "hour.wav", high, rate=1000, width=1), 1024)
    assert got.duration == 3600 and "3600 s" in got.note and "averaged down" in got.note
    assert np.abs(got.values).max() <= 1


def test_float_wav(tmp_path):
    from scipy.io import wavfile

    path = tmp_path / "f.wav"
    wavfile.write(path, 100, np.linspace(-1, 1, 300, dtype=np.float32))
    assert signals.upload(str(path), 64).values.shape == (64,)
    wavfile.write(path, 100, np.full(300, np.nan, dtype=np.float32))
    with pytest.raises(ValueError, match="finite"):
        signals.upload(str(path), 64)


def test_csv(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("value\n" + "\n".join(str(v) for v in range(100)))
    got = signals.upload(str(path), 100)
    np.testing.assert_allclose(got.values, np.arange(100))
    path.write_text("time;value\n0;0\n1;10\n4;40\n")
    got = signals.upload(str(path), 64)
    assert got.duration == 4
    np.testing.assert_allclose(got.values, 10 * 4 * (np.arange(64) + 0.5) / 64, atol=1e-12)


@pytest.mark.parametrize(
    "name, content, word",
    [
        ("a.csv", b"it was\nthe best of times\nit was the worst", "line 2"),
        ("a.csv", b"1\n2\nthree\n", "line 3"),
        ("a.csv", b"1,2,3\n4,5,6\n", "columns"),
        ("a.csv", b"1\n", "fewer than 2"),
        ("a.csv", b"", "fewer than 2"),
        ("a.csv", b"1\nnan\n", "missing"),
        ("a.csv", b"1,2\n1,3\n", "ascend"),
        ("a.csv", b"1\n" * 500_002, "more than 500,000 rows"),
        ("a.csv", b"1 " * 600, "1,000 characters"),
        ("a.csv", b"\xff\xfe\x00\x01" * 9, "not text"),
        ("a.wav", b"not a sound", "could not be read"),
        ("a.wav", b"RIFF" + struct.pack("<I", 36) + b"WAVEfmt ", "could not be read"),
        ("a.txt", b"1\n2\n", ".wav or .csv"),
    ],
)
def test_bad_files_get_sentences(tmp_path, name, content, word):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=word) as caught:
        views.own(upload=str(path))
    assert str(caught.value).startswith("upload: ")


def test_missing_and_large_files(tmp_path):
    with pytest.raises(ValueError, match="no longer there"):
        views.own(upload=str(tmp_path / "gone.csv"))
    path = tmp_path / "big.csv"
    with path.open("wb") as file:
        file.truncate((signals.MEGABYTES << 20) + 1)
    with pytest.raises(ValueError, match="larger than"):
        views.own(upload=str(path))


def test_drawing(tmp_path):
    ink = np.full((101, 201), 255, np.uint8)
    x = np.arange(201)
    ink[(50 - 40 * np.sin(2 * np.pi * x / 200)).round().astype(int), x] = 0
    path = str(tmp_path / "curve.png")
    Image.fromarray(ink).save(path)
    got = signals.drawing(path, 200).values
    np.testing.assert_allclose(got, 0.8 * np.sin(2 * np.pi * (np.arange(200) + 0.5) / 200), atol=0.03)
    assert views.own(drawing=path).note == ""
    alpha = np.zeros((101, 201, 4), np.uint8)
    alpha[..., 3] = ink < 128  # black ink on nothing; nothing is paper
    alpha[..., 3] *= 255
    Image.fromarray(alpha).save(path)
    np.testing.assert_allclose(signals.drawing(path, 200).values, got)
    Image.new("L", (50, 50), "white").save(path)
    assert signals.drawing(path, 200) is None and "stand-in" in views.own(drawing=path).note
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="not a picture"):
        views.own(drawing=str(tmp_path / "bad.png"))


VIEWS = [
    views.memory,
    views.own,
    views.orders,
    views.steps,
    views.matrices,
    views.forgetting,
    views.kernels,
    views.rational,
]


def arrays(result):
    return {f.name: v for f in dataclasses.fields(result) if isinstance(v := getattr(result, f.name), np.ndarray)}


@pytest.mark.parametrize("view", VIEWS, ids=lambda v: v.__name__)
def test_same_settings_same_finite_arrays(view):
    one, two = arrays(view()), arrays(view())
    for name, array in one.items():
        assert np.isfinite(array).all(), name
        np.testing.assert_array_equal(array, two[name], err_msg=name)


@pytest.mark.parametrize("method", ["zoh", "bilinear", "backward", "forward", "gbt"])
@pytest.mark.parametrize("measure", MEASURES)
def test_memory_stays_finite_under_every_method(measure, method):
    for order, samples in ((2, 64), (64, 128)):
        result = views.memory(measure=measure, method=method, order=order, samples=samples)
        assert all(np.isfinite(array).all() for array in arrays(result).values())


def test_warnings_carry_the_condition_number():
    said = views.memory(measure="legs", method="forward", order=64).warning
    assert "e+43" in said and "condition of the eigenvectors of A: 3.2e+47" in said
    said = views.memory(measure="legt", method="forward", order=64, samples=128).warning
    assert "unstable" in said and "condition" in said
    for measure in MEASURES:
        assert not views.memory(measure=measure).warning


def test_legs_lies_on_its_floor_and_windows_above_theirs():
    result = views.orders(measures=tuple(MEASURES))
    names = list(MEASURES)
    exact = [names.index("legs"), names.index("lagt")]
    np.testing.assert_allclose(result.error[exact], result.floor[exact], rtol=1e-5)
    assert (result.error >= result.floor * (1 - 1e-6)).all()
    assert (np.diff(result.floor, axis=1) <= 1e-6).all()


def test_steps_converge_as_they_should():
    result = views.steps(measure="legt", order=8)
    slope = np.log2(result.error[:, -2] / result.error[:, -1])
    np.testing.assert_allclose(slope, [2, 2, 1, 1], atol=0.3)
    assert len(views.steps(order=4, alpha=0.3).methods) == 5


def test_a_whole_number_may_come_as_a_float():
    for view in (views.steps, views.orders):
        one, two = (view(signal="steps", seed=seed) for seed in (3, 3.0))
        np.testing.assert_array_equal(one.error, two.error)


def test_forgetting_knows_nothing_beyond_a_window():
    result = views.forgetting(measures=("legt", "legs"), window=0.25, order=64)
    inside, beyond = result.age < 0.2, result.age > 0.3
    assert result.error[0, inside].max() < 1e-2
    assert (result.error[0, beyond] == 1).all()  # recalling nothing is its own measure
    assert result.error[1].max() < 0.02  # 64 numbers suffice for 12 periods


def test_kernels_agree():
    for result in (views.kernels(), views.kernels(order=128, length=64), views.kernels(order=1)):
        assert result.kernel_gap < 1e-12 and result.output_gap < 1e-12 and result.skew_gap < 1e-12
    peak = views.kernels(order=64, delay=0.7)
    assert peak.time[peak.cauchy.argmax()] == pytest.approx(0.7, abs=0.02)


def test_rational_agrees_and_says_where_it_cannot():
    for model in ("resonators", "memory"):
        for order in (1, 2, 33, 128):
            result = views.rational(model=model, order=order)
            assert result.kernel_gap < 1e-12 and result.output_gap < 1e-11
            assert result.radius == pytest.approx(0.97 if model == "resonators" else 0, abs=1e-9)
    with pytest.raises(ValueError, match="not stable"):
        views.rational(model="legs", order=16)


def test_timing_streams_every_length():
    reports = list(views.timing(order=4, longest=1024))
    assert [r.step for r in reports] == [1, 2] and reports[-1].total == 2
    assert reports[-1].result.lengths.tolist() == [256, 1024]
    assert all(t > 0 for row in reports[-1].result.seconds for t in row)


@pytest.mark.parametrize(
    "call, word",
    [
        (lambda: views.memory(signal="song"), "signal"),
        (lambda: signals.load(["waves"]), "signal"),
        (lambda: views.memory(signal="formula", formula=None), "formula"),
        (lambda: views.memory(signal="formula", formula="1/(t-t)"), "divides by zero"),
        (lambda: views.memory(measure="legx"), "measure"),
        (lambda: views.memory(order=math.nan), "order"),
        (lambda: views.memory(order=10**9), "order"),
        (lambda: views.memory(order=2.5), "order"),
        (lambda: views.memory(order=True), "order"),
        (lambda: views.memory(order="8"), "order"),
        (lambda: views.memory(samples=10**9), "samples"),
        (lambda: views.memory(window=math.nan), "window"),
        (lambda: views.memory(window=0), "window"),
        (lambda: views.memory(method="euler"), "method"),
        (lambda: views.memory(alpha=math.inf), "alpha"),
        (lambda: views.memory(form="new"), "form"),
        (lambda: views.memory(seed=-1), "seed"),
        (lambda: views.orders(measures=()), "measures"),
        (lambda: views.orders(measures=("legs", "no")), "measures"),
        (lambda: views.forgetting(detail=1e9), "detail"),
        (lambda: views.kernels(reach=-1), "reach"),
        (lambda: views.rational(model="x"), "model"),
        (lambda: views.rational(order=64, length=64), "length"),
        (lambda: list(views.timing(longest=10**12)), "longest"),
    ],
)
def test_bad_settings_are_named(call, word):
    with pytest.raises(ValueError, match=word):
        call()
