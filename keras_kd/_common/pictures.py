"""Pictures in which every name means itself, whatever classes, models and recipes are called."""

import contextlib
import warnings

from keras_kd._common.terminal import printable

# Longer names leave no room for what they name.
_MOST_CHARACTERS = 28


@contextlib.contextmanager
def plain_text():
    r"""Draw text as it is written; to matplotlib `$\foo$` is a formula, and a wrong one.

    For what makes a figure and for what saves it, as a decorator too.
    """
    import matplotlib

    settings = {"text.parse_math": False, "text.usetex": False}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        # No font has every script: a box is drawn.
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        warnings.filterwarnings("ignore", "Matplotlib currently does not support .*", UserWarning)
        yield


def label(name):
    """Return a name as a picture has room for it."""
    text = printable(name)
    return text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 1]}…"


def labels(names):
    """Return names as a picture has room for them."""
    return [label(name) for name in names]


def label_points(figure, axes, points, *, size=8):
    """Write each point's name beside it, a line lower wherever another name stands already.

    Args:
        figure: the `matplotlib.figure.Figure`, whose limits are final.
        axes: of the points.
        points: of each, `(x, y, name, colour)`.
        size: of the letters, in points.
    """
    from matplotlib.transforms import Bbox

    figure.draw_without_rendering()
    places = axes.transData.transform([(x, y) for x, y, *_ in points])
    taken = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in places]
    middle = (axes.bbox.x0 + axes.bbox.x1) / 2
    for (x, y, name, colour), (pixel, _) in sorted(
        zip(points, places, strict=True), key=lambda each: -each[0][1]
    ):
        # Inwards, so that none leaves the picture.
        side = {"ha": "left", "x": 7} if pixel < middle else {"ha": "right", "x": -7}
        offset = size - 2
        while True:
            text = axes.annotate(
                label(name), (x, y), xytext=(side["x"], offset), textcoords="offset points",
                ha=side["ha"], fontsize=size, color=colour,
            )  # fmt: skip
            box = text.get_window_extent()
            if not any(box.overlaps(other) for other in taken):
                break
            text.remove()
            offset -= size + 1
        taken.append(box)
