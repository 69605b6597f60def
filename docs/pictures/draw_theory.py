"""Draws the pictures of the theory: `python docs/pictures/draw_theory.py [NAME ...] [--to FOLDER]`.

What teacher and student say is in `facts.npz`; gradients are those of the real functions.
"""

import itertools

import numpy as np
from draw_losses import pull
from matplotlib.patches import FancyBboxPatch
from style import (
    FAINT,
    INK,
    OTHER,
    PALE,
    PULL,
    STUDENT,
    TEACHER,
    draw_by_command,
    facts,
    image,
    panels,
    save,
    softmax,
    styled,
    without_axes,
)

import keras_kd as kd

_BOOT = 9


def draw_all(folder, names=()):
    """Draw these pictures, all if none is named, as `theory_....svg` in a folder."""
    unknown = set(names) - set(DRAWN)
    if unknown:
        raise ValueError(f"A picture must be one of {', '.join(DRAWN)}. Received: {unknown}.")
    for name in names or DRAWN:
        with styled():
            save(DRAWN[name](facts()), folder / f"theory_{name}.svg")


def teacher_and_student(found):
    """A picture goes to both; the student learns from the label and from what the teacher says."""
    figure, axes = _sheet(7.6, 2.9)
    axes.set_ylim(-0.25, 2.65)
    axes.imshow(np.squeeze(found["image"]), cmap="gray_r", extent=(0.1, 1.1, 0.85, 1.85))
    _box(axes, (1.9, 1.6), (1.7, 0.85), "teacher", "large, trained, frozen", TEACHER)
    _box(axes, (1.9, 0.35), (1.1, 0.55), "student", "small, learns", STUDENT)
    _arrow(axes, (1.15, 1.5), (1.85, 2.0), PALE)
    _arrow(axes, (1.15, 1.2), (1.85, 0.65), PALE)
    soft = softmax(found["teacher_logits"][0] / 4)
    _small_bars(axes, (4.3, 1.62), soft, TEACHER, "what it finds possible")
    own = softmax(found["student_logits"][0] / 4)
    _small_bars(axes, (4.3, 0.3), own, STUDENT, "what it says")
    _arrow(axes, (3.65, 2.0), (4.25, 2.0), TEACHER)
    _arrow(axes, (3.05, 0.62), (4.25, 0.62), STUDENT)
    _arrow(axes, (5.85, 1.95), (6.5, 1.45), PULL)
    _arrow(axes, (5.85, 0.65), (6.5, 1.15), PULL)
    _box(axes, (6.5, 0.98), (1.0, 0.65), "loss", "and the label", PULL)
    axes.plot([7.0, 7.0, 2.45], [0.98, -0.15, -0.15], color=PULL, linewidth=1.6)
    _arrow(axes, (2.45, -0.15), (2.45, 0.33), PULL)
    return figure


def label_and_soft_target(found):
    """The same boot as a label, and as the teacher sees it."""
    figure, axes = panels([0.8, 1, 1], height=2.5)
    image(axes[0], found["image"], "an image")
    label = np.eye(10)[_BOOT]
    soft = softmax(found["teacher_logits"][0] / 4)
    for each, values, title, colour in (
        (axes[1], label, "its label", PULL),
        (axes[2], soft, "a soft target (T = 4)", TEACHER),
    ):
        _bars(each, values, title, colour, found["class_names"] if each is axes[1] else None)
    return figure


def temperature(found):
    """The teacher's view of the boot at four temperatures."""
    figure, axes = panels([0.75, 1, 1, 1, 1], height=2.5)
    image(axes[0], found["image"], "a boot")
    for each, degree in zip(axes[1:], (1, 2, 4, 8), strict=True):
        values = softmax(found["teacher_logits"][0] / degree)
        _bars(each, values, f"T = {degree}", TEACHER, found["class_names"] if degree == 1 else None)
    return figure


def temperature_squared(found):
    """How long the gradient is with and without T squared, and what it comes to."""
    degrees = np.geomspace(0.5, 64, 22)
    teacher, student = (found[f"{side}_logits"][:1] for side in ("teacher", "student"))
    with_square = [pull(kd.losses.SoftTargets(float(t)), teacher, student)[0] for t in degrees]
    sizes = np.linalg.norm(with_square, axis=-1)
    centred = [logits - logits.mean() for logits in (teacher, student)]
    limit = np.linalg.norm(centred[0] - centred[1]) / 10
    figure, (axes,) = panels([1], height=2.6, width=5.6)
    axes.plot(degrees, sizes, color=PULL, label="with T²")
    axes.plot(degrees, sizes / degrees**2, color=STUDENT, label="without")
    axes.axhline(limit, color=PALE, linewidth=1.1, linestyle=(0, (1, 1.5)), label="logit matching")
    axes.set_xscale("log", base=2)
    axes.set_xticks([0.5, 1, 2, 4, 8, 16, 32, 64], [".5", "1", "2", "4", "8", "16", "32", "64"])
    axes.set_xlabel("temperature")
    axes.set_title("length of the gradient, on one boot")
    axes.grid()
    axes.legend(loc="center right")
    return figure


def alpha(found):
    """The two pulls, and their sum at several weights."""
    teacher, student = (found[f"{side}_logits"][:1] for side in ("teacher", "student"))
    label = pull(kd.losses.CrossEntropy(), found["labels"][:1], student)[0]
    soft = pull(kd.losses.SoftTargets(2.0), teacher, student)[0]
    figure, axes = panels([1, 1, 1, 1], height=2.6, sharex=True)
    for each, weight in zip(axes, (0.0, 0.5, 0.9, 1.5), strict=True):
        parts = (1 - weight) * label, weight * soft
        places = np.arange(10)
        each.barh(places - 0.2, parts[0], 0.4, color=OTHER, label="label")
        each.barh(places + 0.2, parts[1], 0.4, color=TEACHER, label="teacher")
        each.plot(sum(parts), places, "D", color=PULL, markersize=4, label="both")
        each.axvline(0, color=INK, linewidth=0.8)
        each.grid(axis="x")
        each.set_title(f"alpha = {weight:g}")
        each.set_yticks(places, found["class_names"] if weight == 0 else [])
        each.tick_params(axis="y", length=0)
        each.invert_yaxis()
    axes[0].legend(loc="upper right", handlelength=1, borderpad=0)
    return figure


def three_kinds(found):
    """Where the teacher and the student are held against each other."""
    figure, axes = _sheet(7.6, 3.0)
    for left, title, words in (
        (0.1, "response", "what the last layer says"),
        (2.7, "feature", "what a layer inside says"),
        (5.3, "relation", "how images lie to each other"),
    ):
        axes.text(left + 1.1, 2.85, title, ha="center", weight="bold", color=INK, size=10)
        axes.text(left + 1.1, 2.62, words, ha="center", color=PALE, size=8.5)
        if title != "relation":
            for side, colour, layers in ((0.15, TEACHER, 4), (1.55, STUDENT, 2)):
                tops = np.linspace(2.2, 0.35, layers)
                width = 0.6 if layers == 4 else 0.45
                for top in tops:
                    axes.add_patch(_patch((left + side, top), width, 0.22, colour))
                for above, below in itertools.pairwise(tops):
                    _arrow(axes, (left + side + width / 2, below + 0.25),
                           (left + side + width / 2, above - 0.04), colour)  # fmt: skip
            axes.text(left + 0.45, 0.08, "teacher", ha="center", color=INK, size=8.5)
            axes.text(left + 1.78, 0.08, "student", ha="center", color=INK, size=8.5)
            ends = (2.31, 2.31) if title == "response" else (1.08, 0.46)
            if title == "feature":
                ends = (0.97 + 0.11, 0.46)
            _arrow(axes, (left + 0.8, ends[0]), (left + 1.5, ends[1]), PULL)
        else:
            for shift, colour, points, word in (
                (0.5, TEACHER, found["teacher_points"], "teacher"),
                (1.75, STUDENT, found["student_points"], "student"),
            ):
                small = points[[0, 2, 4]]
                small = (small - small.mean(0)) / np.ptp(small, axis=0).max()
                place = small * [0.85, 1.1] + [left + shift, 1.35]
                axes.plot(*place[[0, 1, 2, 0]].T, color=colour, linewidth=1.4, zorder=1)
                for point, pixels in zip(place, found["batch_images"][[0, 2, 4]], strict=True):
                    _thumbnail(axes, point, pixels)
                axes.text(left + shift, 0.08, word, ha="center", color=INK, size=8.5)
            _arrow(axes, (left + 0.95, 2.2), (left + 1.4, 2.2), PULL)
    return figure


def arrangements(found):
    """Who teaches whom, and when."""
    figure, axes = _sheet(7.6, 2.1)
    for left, title, words in (
        (0.1, "offline", "trained before, frozen"),
        (2.75, "online", "at the same time"),
        (5.3, "self", "one architecture, by turns"),
    ):
        axes.text(left + 1.05, 1.92, title, ha="center", weight="bold", color=INK, size=10)
        axes.text(left + 1.05, 1.69, words, ha="center", color=PALE, size=8.5)
    _box(axes, (0.15, 0.45), (0.85, 0.9), "teacher", "", TEACHER)
    _box(axes, (1.6, 0.65), (0.65, 0.5), "student", "", STUDENT)
    _arrow(axes, (1.05, 0.9), (1.55, 0.9), PULL)
    _box(axes, (2.85, 0.65), (0.7, 0.5), "student", "", STUDENT)
    _box(axes, (4.1, 0.65), (0.7, 0.5), "student", "", STUDENT)
    _arrow(axes, (3.6, 1.02), (4.05, 1.02), PULL)
    _arrow(axes, (4.05, 0.78), (3.6, 0.78), PULL)
    for number in range(3):
        left = 5.25 + 0.8 * number
        _box(
            axes, (left, 0.65), (0.52, 0.5), f"{number + 1}", "", TEACHER if not number else STUDENT
        )
        if number:
            _arrow(axes, (left - 0.25, 0.9), (left - 0.03, 0.9), PULL)
    return figure


def _sheet(width, height):
    figure, (axes,) = panels([1], height=height, width=width)
    axes.set_xlim(0, width)
    axes.set_ylim(0, height)
    axes.set_aspect("equal")
    without_axes(axes, "")
    return figure, axes


def _patch(corner, width, height, colour):
    return FancyBboxPatch(corner, width, height, boxstyle="round,pad=0,rounding_size=0.05",
                          facecolor=colour + "22", edgecolor=colour, linewidth=1.4)  # fmt: skip


def _box(axes, corner, size, title, words, colour):
    axes.add_patch(_patch(corner, *size, colour))
    middle = corner[0] + size[0] / 2, corner[1] + size[1] / 2
    lift = 0.11 if words else 0
    axes.text(middle[0], middle[1] + lift, title, ha="center", va="center", color=INK, size=10)
    axes.text(middle[0], middle[1] - 0.13, words, ha="center", va="center", color=PALE, size=8)


def _arrow(axes, start, end, colour):
    axes.annotate("", end, start, arrowprops={
        "arrowstyle": "-|>", "color": colour, "lw": 1.6, "shrinkA": 0, "shrinkB": 0})  # fmt: skip


def _small_bars(axes, corner, values, colour, words):
    for number, value in enumerate(values):
        axes.add_patch(_filled((corner[0] + 0.15 * number, corner[1]), 0.11, 1.2 * value, colour))
    axes.plot([corner[0], corner[0] + 1.46], [corner[1]] * 2, color=PALE, linewidth=0.8)
    axes.text(corner[0] + 0.73, corner[1] - 0.19, words, ha="center", color=PALE, size=8)


def _filled(corner, width, height, colour):
    from matplotlib.patches import Rectangle

    return Rectangle(corner, width, height, facecolor=colour)


def _thumbnail(axes, point, pixels):
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    box = OffsetImage(np.squeeze(pixels), cmap="gray_r", zoom=0.6)
    axes.add_artist(AnnotationBbox(box, point, pad=0.05, bboxprops={"edgecolor": FAINT}))


def _bars(axes, values, title, colour, names):
    places = np.arange(len(values))
    axes.barh(places, values, color=colour)
    for place, value in zip(places, values, strict=True):
        words = "" if value < 0.005 else f"{value:.2f}"
        axes.text(value + 0.02, place, words, va="center", color=PALE, size=7.5)
    axes.set_xlim(0, 1.25)
    axes.set_xticks([])
    axes.set_yticks(places, names if names is not None else [])
    axes.tick_params(axis="y", length=0)
    axes.spines["bottom"].set_visible(False)
    axes.invert_yaxis()
    axes.set_title(title)


DRAWN = {
    each.__name__: each
    for each in (
        teacher_and_student,
        label_and_soft_target,
        three_kinds,
        arrangements,
        temperature,
        temperature_squared,
        alpha,
    )
}


if __name__ == "__main__":
    draw_by_command(draw_all, __doc__, names="pictures; all by default")
