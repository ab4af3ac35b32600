"""Pictures of every kind, files beside them, and the command line; quality against scikit-image."""

import io
import math
import os

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from engines.arguments import Refusal
from engines.ddcm import __main__, decode, encode, psnr, ssim
from engines.ddcm.pictures import fit, held_back, scale
from engines.pictures import open_picture, read_picture
from tests.engines.test_ddcm_experiments import MODEL

# three colours in three bands, which survive every mode and a mild JPEG
BANDS = np.repeat(np.array([[200, 30, 40], [30, 180, 60], [40, 50, 210]], np.uint8), 8, 0)[:, None].repeat(20, 1)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(__main__, "open_model", lambda name: MODEL)


def saved(tmp_path, picture, name="picture.png", **options):
    path = tmp_path / name
    picture.save(path, **options)
    return path


# -- pictures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "CMYK", "P", "YCbCr"])
@pytest.mark.parametrize("name", ["picture.png", "picture.jpg", "picture.webp", "picture.gif", "picture.bmp"])
def test_colours_survive_every_mode(mode, name, tmp_path):
    picture = Image.fromarray(BANDS)
    picture = picture.quantize(8) if mode == "P" else picture.convert(mode)
    file = io.BytesIO()
    try:
        picture.save(file, {"jpg": "jpeg"}.get(name[-3:], name[-4:].strip(".")), quality=95)
    except (OSError, ValueError, KeyError):
        pytest.skip("the format has no such mode")
    path = tmp_path / name
    path.write_bytes(file.getvalue())
    found = read_picture(path)
    assert found.shape == BANDS.shape and found.dtype == np.uint8
    middle = found[4::8, 10].astype(int)
    assert np.abs(middle - BANDS[4::8, 10]).max() <= (14 if name.endswith(("jpg", "webp", "gif")) else 2)


def png(samples, bits, colour, extra=b""):
    """A PNG file of big-endian samples [h, w, channels], written by hand."""
    import struct
    import zlib

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width = samples.shape[:2]
    rows = b"".join(b"\x00" + row.astype(">u2" if bits == 16 else "u1").tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + extra
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("colour", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)], ids=["grey", "rgb", "grey-alpha", "rgba"]
)
def test_sixteen_bits_keep_their_tones(colour, channels, tmp_path):
    ramp = np.linspace(0, 65535, 256).round().astype(np.uint16)
    samples = np.tile(ramp[:, None], (3, 1, channels))
    if channels in (2, 4):
        samples[..., -1] = 65535
    path = tmp_path / "deep.png"
    path.write_bytes(png(samples, 16, colour))
    found = read_picture(path).astype(int)
    assert np.abs(found - np.arange(256)[:, None]).max() <= 1


def test_a_transparent_grey_of_sixteen_bits_is_paper(tmp_path):
    import struct
    import zlib

    data = struct.pack(">H", 1000)
    extra = struct.pack(">I", 2) + b"tRNS" + data + struct.pack(">I", zlib.crc32(b"tRNS" + data))
    path = tmp_path / "deep.png"
    path.write_bytes(png(np.array([[[1000], [1001]]], np.uint16), 16, 0, extra))
    assert read_picture(path)[0, :, 0].tolist() == [255, 4]


def test_transparency_is_paper(tmp_path):
    clear = saved(tmp_path, Image.fromarray(np.zeros((9, 9, 4), np.uint8)), "clear.png")
    half = saved(tmp_path, Image.fromarray(np.full((2, 2, 2), (0, 128), np.uint8)), "half.png")
    palette = Image.fromarray(BANDS).quantize(4)
    palette.info["transparency"] = palette.getpixel((0, 0))
    first = saved(tmp_path, palette, "palette.gif", transparency=palette.getpixel((0, 0)))
    assert (read_picture(clear) == 255).all()
    assert (read_picture(half) == 127).all()
    assert (read_picture(first)[:8] == 255).all() and (read_picture(first)[10, 0] != 255).any()


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_cameras_orientation_is_kept(orientation, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, Image.fromarray(BANDS), "photo.jpg", exif=exif, quality=95)
    turned = np.rot90(BANDS, {1: 0, 3: 2, 6: 3, 8: 1}[orientation])
    found = read_picture(path)
    assert found.shape == turned.shape
    assert np.abs(found.astype(int) - turned)[2:-2:5, 2:-2:5].mean() < 12


def test_a_damaged_orientation_does_not_lose_the_picture(tmp_path):
    path = saved(tmp_path, Image.fromarray(BANDS), "photo.jpg", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff", quality=95)
    assert read_picture(path).shape == BANDS.shape


@pytest.mark.parametrize("name", ["moving.gif", "moving.webp", "moving.png"])
def test_the_first_frame_of_a_moving_picture(name, tmp_path):
    frames = [Image.new("RGB", (12, 10), colour) for colour in ("red", "green", "blue")]
    path = saved(tmp_path, frames[0], name, save_all=True, append_images=frames[1:])
    found = open_picture(path)
    assert found.frames == 3 and found.pixels.shape == (10, 12, 3)
    assert np.abs(found.pixels.astype(int) - (255, 0, 0)).max() < 8
    assert open_picture(saved(tmp_path, frames[0], "still.png")).frames == 1


@pytest.mark.parametrize(
    ("mode", "size"), [("1", (20_000, 20_000)), ("L", (50_000_001, 1)), ("1", (9_000, 10_000))], ids=str
)
def test_too_many_pixels_are_named(mode, size, tmp_path):
    path = tmp_path / "large.png"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Image, "MAX_IMAGE_PIXELS", None)
        Image.new(mode, size).save(path)
    with pytest.raises(Refusal, match="more than 50,000,000 pixels"):
        read_picture(path)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (257, 31), (1000, 3)])
def test_any_size_is_read_and_scaled(size, tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    path = saved(tmp_path, Image.fromarray(picture))
    np.testing.assert_array_equal(read_picture(path), picture)
    scaled = scale(picture, 64)
    assert max(scaled.shape[:2]) == 64 and scaled.shape[0] == max(1, round(size[0] * 64 / max(size)))
    assert fit(picture, 8, 8).shape == (8, 8, 3)


def test_what_is_no_picture(tmp_path):
    path = tmp_path / "photo.png"
    for junk in (b"", b"\x89PNG\r\n\x1a\n" + bytes(40), b"GIF89a", os.urandom(300)):
        path.write_bytes(junk)
        with pytest.raises(Refusal, match="cannot be read as a picture"):
            read_picture(path)
    path.write_bytes(saved(tmp_path, Image.fromarray(BANDS), "b.png").read_bytes()[:-60])
    with pytest.raises(Refusal, match="cannot be read as a picture"):
        read_picture(path)
    with pytest.raises(Refusal, match="no file"):
        read_picture(tmp_path / "none.png")


def test_a_text_chunk_of_any_length(tmp_path):
    info = PngImagePlugin.PngInfo()
    info.add_text("comment", "x" * 200_000)
    assert read_picture(saved(tmp_path, Image.fromarray(BANDS), pnginfo=info)).shape == BANDS.shape


# -- quality ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(7, 7, 3), (9, 40, 3), (64, 33, 3)])
def test_quality_is_that_of_scikit_image(shape):
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    rng = np.random.default_rng(0)
    one = rng.integers(0, 256, shape, dtype=np.uint8)
    for spread in (3, 60):
        other = np.clip(one + rng.normal(0, spread, shape), 0, 255).astype(np.uint8)
        assert ssim(one, other) == pytest.approx(structural_similarity(one, other, channel_axis=2), rel=1e-12)
        assert psnr(one, other) == pytest.approx(peak_signal_noise_ratio(one, other), rel=1e-12)
    smooth = fit(held_back()[5], *shape[:2])
    assert ssim(one, smooth) == pytest.approx(structural_similarity(one, smooth, channel_axis=2), rel=1e-12)


def test_no_window_fits_a_small_picture():
    small = np.zeros((6, 90, 3), np.uint8)
    assert math.isnan(ssim(small, small))


# -- the command line -------------------------------------------------------------------------------------------------


def test_command_line(tmp_path, capsys):
    Image.fromarray(held_back()[5]).save(tmp_path / "clover.png")
    Image.fromarray(held_back()[3][:5]).save(tmp_path / "strip.webp", lossless=True)
    assert __main__.main(["encode", str(tmp_path), "--steps", "10", "--codebook-size", "16"]) == 0
    table = capsys.readouterr().out
    assert "bpp" in table and "clover.png" in table and (tmp_path / "clover.ddcm").exists()
    assert __main__.main(["decode", str(tmp_path)]) == 0
    decoded = np.asarray(Image.open(tmp_path / "clover.decoded.png"))
    np.testing.assert_array_equal(decoded, decode((tmp_path / "clover.ddcm").read_bytes(), MODEL))
    # the decoder's table says what the encoder's said
    line = next(row for row in table.splitlines() if row.startswith("clover"))
    assert (
        line.split()[1:]
        == next(row for row in capsys.readouterr().out.splitlines() if row.startswith("clover")).split()[1:]
    )


def test_command_line_goes_on_past_a_damaged_file(tmp_path, capsys):
    code = encode(held_back()[5], MODEL, steps=4, codebook_size=16)
    (tmp_path / "a.ddcm").write_bytes(code[:-3])
    (tmp_path / "b.ddcm").write_bytes(code)
    assert __main__.main(["decode", str(tmp_path)]) == 1
    told = capsys.readouterr().out
    assert "checksum is wrong" in told and "b.ddcm" in told
    for asked in (["decode", str(tmp_path / "none")], ["encode", str(tmp_path)], ["encode", ".", "--steps", "1"]):
        with pytest.raises(SystemExit):
            __main__.main(asked)


def encoded(folder, *more):
    return __main__.main(["encode", str(folder), "--steps", "3", "--codebook-size", "8", *more])


def test_pictures_of_one_name_keep_their_codes(tmp_path, capsys):
    for name, colour in (("photo.png", "red"), ("photo.jpg", "blue"), ("Photo.BMP", "green"), ("other.PNG", "white")):
        Image.new("RGB", (32, 32), colour).save(tmp_path / name)
    assert encoded(tmp_path) == 0
    codes = sorted(path.name for path in tmp_path.glob("*.ddcm"))
    assert codes == ["Photo.BMP.ddcm", "other.ddcm", "photo.jpg.ddcm", "photo.png.ddcm"]
    assert __main__.main(["decode", str(tmp_path)]) == 0
    table = capsys.readouterr().out.splitlines()
    first, second = table[1:5], table[6:]
    # each decoded picture is compared with its own original
    numbers = [sorted(row.split()[1:] for row in rows) for rows in (first, second)]
    assert numbers[0] == numbers[1] and all(len(row) == 5 for row in numbers[0])


def test_nothing_is_written_over(tmp_path, capsys):
    Image.fromarray(held_back()[5]).save(tmp_path / "clover.png")
    assert encoded(tmp_path) == 0
    code = (tmp_path / "clover.ddcm").read_bytes()
    assert encoded(tmp_path, "--seed", "1") == 1
    assert "clover.ddcm exists" in capsys.readouterr().out and (tmp_path / "clover.ddcm").read_bytes() == code
    assert encoded(tmp_path, "--seed", "1", "--overwrite") == 0
    assert (tmp_path / "clover.ddcm").read_bytes() != code
    (tmp_path / "clover.decoded.png").write_text("mine")
    assert __main__.main(["decode", str(tmp_path)]) == 1
    assert (tmp_path / "clover.decoded.png").read_text() == "mine"


def test_a_folder_goes_on_after_a_kill(tmp_path, capsys, monkeypatch):
    for name in ("a", "b", "c"):
        Image.fromarray(held_back()[5]).save(tmp_path / f"{name}.png")
    assert encoded(tmp_path) == 0
    whole = (tmp_path / "c.ddcm").read_bytes()
    (tmp_path / "b.ddcm").unlink()
    (tmp_path / "c.ddcm").rename(tmp_path / "c.ddcm.part")  # as a kill leaves it
    capsys.readouterr()
    done, encode_picture = [], __main__.encode_picture

    def interrupted(*given):
        done.append(encode_picture(*given))
        if len(done) == 2:
            raise KeyboardInterrupt
        return done[-1]

    monkeypatch.setattr(__main__, "encode_picture", interrupted)
    assert encoded(tmp_path, "--resume") == 130
    said = capsys.readouterr()
    assert "a.png" not in said.out and "b.png" in said.out and "--resume" in said.err
    assert not (tmp_path / "c.ddcm").exists()
    assert encoded(tmp_path, "--resume") == 0
    assert (tmp_path / "c.ddcm").read_bytes() == whole and not list(tmp_path.glob("*.part"))
    assert __main__.main(["decode", str(tmp_path)]) == 0
    (tmp_path / "b.decoded.png").unlink()
    capsys.readouterr()
    assert __main__.main(["decode", str(tmp_path), "--resume"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2 and (tmp_path / "b.decoded.png").exists()


def test_endings_in_any_case(tmp_path, capsys):
    Image.fromarray(held_back()[5]).save(tmp_path / "CLOVER.JPEG", quality=95)
    assert encoded(tmp_path) == 0
    (tmp_path / "CLOVER.ddcm").rename(tmp_path / "CLOVER.DDCM")
    assert __main__.main(["decode", str(tmp_path)]) == 0
    assert (tmp_path / "CLOVER.decoded.png").exists()
    assert len(capsys.readouterr().out.splitlines()[-1].split()) == 6  # with PSNR against the original


def test_a_picture_beyond_256_pixels_and_its_time(tmp_path, capsys, monkeypatch):
    Image.fromarray(np.tile(held_back()[5], (9, 10, 1))[:270]).save(tmp_path / "large.png")
    monkeypatch.setattr(__main__, "LONG", 0)
    assert encoded(tmp_path) == 0
    assert "large.png: 90 tiles, about" in capsys.readouterr().err
    data = (tmp_path / "large.ddcm").read_bytes()
    assert decode(data, MODEL).shape == (270, 320, 3)


def test_a_moving_picture_is_said_to_be_one(tmp_path, capsys):
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "green")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert encoded(tmp_path) == 0
    assert "moving.gif: the first of 2 frames" in capsys.readouterr().err
