"""One encoded image -> uint8 pixels of the asked size, whatever its colours and orientation."""

import contextlib
import dataclasses
import io
import threading

import numpy as np

from keras_kd._common.backend import require_extra
from keras_kd._common.limits import VARIABLE, most_bytes

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif")
# Of images too, which nobody means to leave out in silence; read if they are one of the others.
OTHER_SUFFIXES = (
    ".tif", ".tiff", ".heic", ".heif", ".avif", ".jp2", ".j2k", ".jxl", ".jfif", ".jpe", ".ico",
    ".tga", ".ppm", ".pgm", ".pbm", ".pnm", ".svg", ".psd", ".dng", ".cr2", ".nef", ".arw", ".exr",
    ".hdr", ".dcm", ".apng", ".dib", ".jpf", ".jpx", ".j2c", ".jpeg2000", ".pcx", ".sgi", ".dds",
    ".icns", ".eps", ".xcf", ".xbm", ".xpm", ".qoi", ".cr3", ".raf", ".orf", ".rw2",
)  # fmt: skip
FITS = ("stretch", "crop", "pad")

_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF")
_EXIF_ORIENTATION = 274
# What decoding, turning, laying on a ground and resizing hold at once, at most.
_BYTES_A_PIXEL = 16


@dataclasses.dataclass(frozen=True)
class Facts:
    """What the header of an image tells.

    Args:
        height: in pixels, as it is seen (after its EXIF rotation).
        width: the same.
        channels: 1 for grey, 3 for colour; alpha does not count.
    """

    height: int
    width: int
    channels: int


@dataclasses.dataclass(frozen=True)
class Form:
    """How every image of a data set is made the same.

    Args:
        height: of the result, in pixels.
        width: of the result, in pixels.
        channels: of the result, 1 or 3.
        fit: what happens to another shape: `"stretch"`, `"crop"` (the centre) or `"pad"`.
        background: the grey (0 to 255) behind transparent pixels and in padding.
    """

    height: int
    width: int
    channels: int
    fit: str = "stretch"
    background: int = 255

    @property
    def image_shape(self):
        return self.height, self.width, self.channels


def facts_of(content):
    """Return the `Facts` of an encoded image without decoding it.

    Args:
        content: the bytes of a PNG, JPEG, BMP, WebP or GIF image.

    Raises:
        ValueError: if it is none; the reason in a few words.
    """
    with _opened(content) as image:
        width, height = image.size
        if _orientation(image) >= 5:  # A quarter turn.
            width, height = height, width
        return Facts(height, width, 1 if _is_grey(image) else 3)


def decode(content, form):
    """Return an encoded image as uint8 `[height, width, channels]`.

    Rotated as its EXIF orientation says, 16 bits reduced to 8, transparent pixels laid on the
    background, then turned to grey or colour and resized (bilinear, antialiased).

    Args:
        content: the bytes of a PNG, JPEG, BMP, WebP or GIF image, the first one of an animation.
        form: a `Form`.

    Raises:
        ValueError: if it cannot be decoded; the reason in a few words.
    """
    with _opened(content) as image, _ROOM.taken_by(image.size), _reasons():
        image.load()
        pixels = _as_grey_or_colour(_upright(image), form)
        if pixels.size != (form.width, form.height):
            pixels = _resized(pixels, form)
        return np.asarray(pixels).reshape(form.image_shape)


@contextlib.contextmanager
def _opened(content):
    from PIL import Image

    if not content:
        raise ValueError("empty")
    with _reasons():
        image = Image.open(io.BytesIO(content), formats=_FORMATS)
    with image:
        width, height = image.size
        if width * height > _most_pixels():
            raise ValueError(f"{width} x {height} pixels, {_above()}")
        yield image


def _most_pixels():
    # Half of the room: one picture more can be on its way.
    return most_bytes() // 2 // _BYTES_A_PIXEL


def _above():
    return f"above {_most_pixels():,}, which {VARIABLE} can allow"


class _Room:
    """Lets as many pixels be decoded at once, by all threads, as memory may be taken for."""

    def __init__(self):
        self._changed = threading.Condition()
        self._pixels = 0

    @contextlib.contextmanager
    def taken_by(self, size):
        """Wait until there is room for a picture of a size, and keep it while the block runs."""
        pixels = size[0] * size[1]
        with self._changed:
            self._changed.wait_for(lambda: pixels + self._pixels <= 2 * _most_pixels())
            self._pixels += pixels
        try:
            yield
        finally:
            with self._changed:
                self._pixels -= pixels
                self._changed.notify_all()


_ROOM = _Room()


@contextlib.contextmanager
def _reasons():
    """Turn whatever the decoder raises into a `ValueError` of a few words."""
    from PIL import Image, UnidentifiedImageError

    try:
        yield
    except UnidentifiedImageError as error:
        raise ValueError("no PNG, JPEG, BMP, WebP or GIF image") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"of more pixels than Pillow takes, and {_above()}") from error
    except MemoryError:
        raise
    except Exception as error:  # A decoder may fail in any way.
        reason = str(error).splitlines() or [type(error).__name__]
        raise ValueError(reason[0]) from error


def _orientation(image):
    """Return the EXIF orientation, 1 to 8; 1 if there is none that can be read."""
    if "exif" not in image.info:
        return 1
    with contextlib.suppress(Exception):  # As viewers do: broken EXIF data turns nothing.
        return int(image.getexif().get(_EXIF_ORIENTATION, 1))
    return 1


def _upright(image):
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    turn = turns.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def _is_grey(image):
    return image.mode in ("1", "L", "LA", "La", "F") or image.mode.startswith("I")


def _as_grey_or_colour(image, form):
    from PIL import Image

    if image.mode.startswith("I") or image.mode == "F":
        # 16 bits a pixel. Pillow's own conversion would cut off what is above 255.
        values = np.asarray(image).astype(np.float64)
        values /= 257
        np.clip(np.round(values, out=values), 0, 255, out=values)
        image = Image.fromarray(values.astype(np.uint8))
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, (*[form.background] * 3, 255))
        image = Image.alpha_composite(ground, image)
    mode = "L" if form.channels == 1 else "RGB"
    return image if image.mode == mode else image.convert(mode)


def _resized(image, form):
    from PIL import ImageOps
    from PIL.Image import Resampling

    size, method = (form.width, form.height), Resampling.BILINEAR
    if form.fit == "crop":
        return ImageOps.fit(image, size, method)
    if form.fit == "pad":
        colour = form.background if form.channels == 1 else (form.background,) * 3
        return ImageOps.pad(image, size, method, color=colour)
    return image.resize(size, method)


def require_decoder():
    """Refuse to start without Pillow, or with a limit of memory that is none.

    Raises:
        ImportError: if it is not installed; the sentence names the extra.
        ValueError: if the environment holds no number of gigabytes.
    """
    require_extra("PIL", "images", "Reading image files")
    most_bytes()
