"""Encoded images of every kind become the pixels that a viewer shows."""

import io

import numpy as np
import pytest
from PIL import Image

from keras_kd.data.image_file import Facts, Form, decode, facts_of

COLOUR = Form(4, 6, 3)
GREY = Form(4, 6, 1)


def encoded(image, form="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)


@pytest.mark.parametrize("form", ["PNG", "BMP", "WEBP"])
def test_lossless_formats_give_their_pixels(pixels, form):
    options = {"lossless": True} if form == "WEBP" else {}
    content = encoded(Image.fromarray(pixels), form, **options)
    np.testing.assert_array_equal(decode(content, COLOUR), pixels)
    assert facts_of(content) == Facts(4, 6, 3)


def test_jpeg_is_decoded_as_tensorflow_does_at_its_most_accurate():
    import tensorflow as tf

    smooth = np.linspace(0, 255, 4 * 6 * 3).reshape(4, 6, 3).astype(np.uint8)
    content = encoded(Image.fromarray(smooth), "JPEG")
    expected = tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE")
    np.testing.assert_array_equal(decode(content, COLOUR), expected)


def test_grey_images_stay_grey_and_can_be_coloured(pixels):
    grey = pixels[..., 0]
    content = encoded(Image.fromarray(grey))
    assert facts_of(content).channels == 1
    np.testing.assert_array_equal(decode(content, GREY)[..., 0], grey)
    np.testing.assert_array_equal(decode(content, COLOUR), np.repeat(grey[..., None], 3, -1))


def test_colours_become_grey_by_their_luminance(pixels):
    weights = np.array([0.299, 0.587, 0.114])  # ITU-R 601.
    grey = decode(encoded(Image.fromarray(pixels)), GREY)[..., 0]
    np.testing.assert_allclose(grey, pixels @ weights, atol=1)


def test_palettes_give_their_colours():
    image = Image.new("P", (6, 4), 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    content = encoded(image)
    assert facts_of(content).channels == 3
    assert (decode(content, COLOUR) == [10, 200, 30]).all()


def test_transparent_pixels_show_the_background():
    image = Image.new("RGBA", (6, 4), (255, 0, 0, 0))
    image.putpixel((0, 0), (255, 0, 0, 255))
    shown = decode(encoded(image), COLOUR)
    assert shown[0, 0].tolist() == [255, 0, 0] and (shown[1:] == 255).all()
    shown = decode(encoded(image), Form(4, 6, 3, background=7))
    assert (shown[1:] == 7).all()


def test_half_transparent_grey_lies_on_the_background():
    image = Image.new("LA", (6, 4), (0, 128))
    assert abs(int(decode(encoded(image), GREY)[0, 0, 0]) - 127) <= 1


def test_16_bits_are_reduced_not_cut_off():
    values = np.linspace(0, 65535, 24).reshape(4, 6).astype(np.uint16)
    shown = decode(encoded(Image.fromarray(values)), GREY)[..., 0]
    np.testing.assert_array_equal(shown, np.round(values / 257))


@pytest.mark.parametrize("mode", ["1", "CMYK"])
def test_other_modes_are_read(mode):
    form = "JPEG" if mode == "CMYK" else "PNG"
    content = encoded(Image.new("RGB", (6, 4), (255, 255, 255)).convert(mode), form)
    assert (decode(content, COLOUR) >= 253).all()


def test_exif_rotation_is_undone():
    upright = np.zeros((8, 16, 3), np.uint8)
    upright[:4, :8] = 255  # A white corner at the top left.
    turns = {1: 0, 3: 2, 6: 1, 8: 3}  # Quarter turns, counted against the clock.
    for orientation, quarters in turns.items():
        exif = Image.Exif()
        exif[274] = orientation
        stored = Image.fromarray(np.ascontiguousarray(np.rot90(upright, quarters)))
        content = encoded(stored, "JPEG", exif=exif, quality=100)
        assert facts_of(content) == Facts(8, 16, 3)
        shown = decode(content, Form(8, 16, 3)).astype(int)
        assert np.abs(shown - upright).max() < 10, orientation


def test_mirrored_exif_orientations_are_undone_as_pillow_does(pixels):
    from PIL import ImageOps

    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[274] = orientation
        content = encoded(Image.fromarray(pixels), "PNG", exif=exif)
        expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))))
        form = Form(*expected.shape)
        np.testing.assert_array_equal(decode(content, form), expected)


def test_resizing_averages_instead_of_skipping_pixels():
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255
    shown = decode(encoded(Image.fromarray(stripes)), Form(8, 8, 1))
    assert np.abs(shown.astype(int) - 127).max() <= 16


def test_fits_stretch_crop_and_pad():
    wide = np.zeros((10, 30), np.uint8)
    wide[:, 10:20] = 200
    content = encoded(Image.fromarray(wide))
    stretched = decode(content, Form(10, 10, 1, "stretch"))[..., 0]
    cropped = decode(content, Form(10, 10, 1, "crop"))[..., 0]
    padded = decode(content, Form(30, 30, 1, "pad", background=9))[..., 0]
    assert stretched[5, 0] == 0 and stretched[5, 5] == 200
    assert (cropped == 200).all()
    assert (padded[:9] == 9).all() and padded[15, 15] == 200


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"not an image", "no PNG, JPEG, BMP, WebP or GIF image"),
        (b"GIF89a" + bytes(50), "no PNG, JPEG, BMP, WebP or GIF image"),
    ],
)
def test_what_is_no_image_says_so(content, reason):
    for look in (facts_of, lambda content: decode(content, COLOUR)):
        with pytest.raises(ValueError, match=reason):
            look(content)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "WEBP"])
def test_a_truncated_image_is_refused(form):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    content = encoded(image, form)
    with pytest.raises(ValueError):
        decode(content[: len(content) // 2], COLOUR)


def test_a_header_of_30_000_x_30_000_pixels_is_refused_before_it_takes_memory():
    content = bytearray(encoded(Image.new("L", (1, 1)), "BMP"))
    content[18:26] = (30_000).to_bytes(4, "little") * 2
    with pytest.raises(ValueError, match="pixels"):
        facts_of(bytes(content))


def test_broken_exif_data_turns_nothing(pixels):
    content = encoded(Image.fromarray(pixels), "PNG", exif=b"Exif\0\0nonsense")
    np.testing.assert_array_equal(decode(content, COLOUR), pixels)
