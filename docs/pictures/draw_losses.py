"""Draws how each loss pulls: `python docs/pictures/draw_losses.py [NAME ...] [--to FOLDER]`.

Each arrow, bar and curve is the gradient of the real function, found by TensorFlow; what teacher
and student said is in `facts.npz`. One picture a loss, `loss_soft_targets.svg` and so on.
"""

import numpy as np
import tensorflow as tf
from draw_adversarial import DRAWN as ADVERSARIAL
from draw_adversarial import descended
from style import (
    FAINT,
    INK,
    PALE,
    PULL,
    STUDENT,
    TEACHER,
    draw_by_command,
    facts,
    image,
    panels,
    save,
    series,
    styled,
    without_axes,
)

import keras_kd as kd
from keras_kd._common.reprs import in_small_letters

losses = kd.losses

# Losses on logits: the settings that are drawn, the middle one also on the image of a boot.
ON_LOGITS = {
    "SoftTargets": {f"T = {t:g}": losses.SoftTargets(t) for t in (1.0, 2.0, 4.0)},
    "BinarySoftTargets": {f"T = {t:g}": losses.BinarySoftTargets(t) for t in (1.0, 2.0, 4.0)},
    "ReverseSoftTargets": {f"T = {t:g}": losses.ReverseSoftTargets(t) for t in (1.0, 2.0, 4.0)},
    "JensenShannon": {
        f"mixing {mixing:g}": losses.JensenShannon(2.0, mixing=mixing) for mixing in (0.1, 0.5, 0.9)
    },
    "TeacherLabels": {"teacher's label": losses.TeacherLabels()},
    "LogitMatching": {"logit matching": losses.LogitMatching()},
    "LogitDistance": {"logit distance": losses.LogitDistance()},
    "DecoupledKD": {
        f"weights 1 and {weight:g}": losses.DecoupledKD(4.0, non_target_weight=weight)
        for weight in (1.0, 8.0)
    },
    "StandardizedLogits": {"standardized": losses.StandardizedLogits(losses.SoftTargets(2.0))},
    "DIST": {f"T = {t:g}": losses.DIST(t) for t in (1.0, 4.0)},
    "LabelSmoothing": {
        f"smoothing {share:g}": losses.LabelSmoothing(share) for share in (0.03, 0.1, 0.3)
    },
    "CrossEntropy": {"the label": losses.CrossEntropy()},
    "BinaryCrossEntropy": {"the label": losses.BinaryCrossEntropy()},
}
ON_VALUES = {
    "ValueMatching": {"squared": losses.ValueMatching()},
    "ValueDistance": {"absolute": losses.ValueDistance()},
    "HuberMatching": {f"delta = {d:g}": losses.HuberMatching(d) for d in (0.5, 1.0, 2.0)},
}
ON_POINTS = {
    "Hints": losses.Hints(project=False),
    "SimilarityPreserving": losses.SimilarityPreserving(),
    "RelationalDistance": losses.RelationalDistance(),
    "RelationalAngle": losses.RelationalAngle(),
}
_BOOT = 9
# Drawn without soft targets beside them: far smaller, as means over the labels are, or the same.
_ALONE = (
    "SoftTargets",
    "BinarySoftTargets",
    "BinaryCrossEntropy",
    "JensenShannon",
    "StandardizedLogits",
)
# Of CRD's scores: with two numbers an image, 0.07 would see nothing but the nearest.
_TEMPERATURE = 0.5


def draw_all(folder, names=(), quick=False):
    """Draw the pictures of these losses, of all if none is named.

    Args:
        folder: where they go.
        names: of classes.
        quick: whether to compute a few points of each curve alone.
    """
    unknown = set(names) - set(DRAWN)
    if unknown:
        raise ValueError(f"A loss must be one of {', '.join(DRAWN)}. Received: {unknown}.")
    for name in names or DRAWN:
        with styled():
            figure = DRAWN[name](name, facts(), 5 if quick else 65)
            save(figure, folder / f"loss_{in_small_letters(name)}.svg")


def pull(loss, targets, outputs):
    """Return where a step down the loss moves the student's outputs: minus the gradient.

    Args:
        loss: of `keras_kd.losses`.
        targets: what it compares with, the teacher's outputs or labels.
        outputs: the student's.
    """

    def total(outputs):
        values = loss.call(targets, outputs)
        # A value a label stands for their mean.
        return tf.reduce_mean(values, axis=-1) if len(values.shape) == 2 else values

    return descent(total, outputs)


def descent(values_of, variables):
    """Return minus the gradient of the sum of `values_of(variables)`."""
    variables = tf.convert_to_tensor(variables, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(variables)
        total = tf.reduce_sum(values_of(variables))
    return -tape.gradient(total, variables).numpy()


def targets_of(loss, teacher_logits, labels):
    """Return what a loss on logits compares with."""
    if isinstance(loss, losses.CrossEntropy):
        return labels
    if isinstance(loss, losses.BinaryCrossEntropy):
        return np.eye(teacher_logits.shape[-1], dtype="float32")[labels]
    if loss.uses_labels:
        return {"logits": teacher_logits, "labels": labels}
    return teacher_logits


def of_logits(name, found, number):
    """What teacher and student say of a boot, where that pulls, and how far one logit is pulled."""
    settings = ON_LOGITS[name]
    label, loss = list(settings.items())[len(settings) // 2]
    teacher, student, labels = (
        found[key] for key in ("teacher_logits", "student_logits", "labels")
    )
    figure, (words, bars, curve) = panels([1.15, 1, 1.5], height=2.9)
    places = np.arange(10)
    words.hlines(places, teacher[0], student[0], color=FAINT, linewidth=1.5)
    words.plot(teacher[0], places, "s", color=TEACHER, markersize=5, label="teacher")
    words.plot(student[0], places, "o", color=STUDENT, markersize=5, label="student")
    words.set_yticks(places, found["class_names"])
    words.set_title("logits of one boot")
    words.legend(loc="lower left", handletextpad=0.1, borderpad=0.1)
    bars.barh(places, pull(loss, targets_of(loss, teacher, labels), student)[0], color=PULL)
    bars.axvline(0, color=INK, linewidth=0.8)
    bars.set_yticks(places, [])
    bars.set_title("pull on each" + (f" ({label})" if len(settings) > 1 else ""))
    for axes in (words, bars):
        axes.invert_yaxis()
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0)
    gaps = np.linspace(-8, 8, number)
    if name not in _ALONE:
        _curve(curve, losses.SoftTargets(2.0), found, gaps, color=PALE, linewidth=1.1,
               linestyle=(0, (1, 1.5)), label="soft targets")  # fmt: skip
    for (label, loss), colour in zip(settings.items(), series(len(settings)), strict=True):
        _curve(curve, loss, found, gaps, color=colour, label=label)
    _cross(curve)
    curve.set_xlabel("student's logit less the teacher's")
    curve.set_title("pull on the boot's logit")
    # Room for what the lines are called.
    low, high = curve.get_ylim()
    curve.set_ylim(low, high + 0.12 * (high - low))
    curve.legend(loc="upper right", handlelength=1.4, borderpad=0)
    return figure


def _curve(axes, loss, found, gaps, **look):
    """Draw the pull on the logit of the boot, where the student has all others from the teacher."""
    teacher, labels = found["teacher_logits"], found["labels"]
    boots = np.repeat(teacher[:1], len(gaps), axis=0)
    boots[:, _BOOT] += gaps
    if not isinstance(loss, losses.DIST):
        same = np.zeros(len(gaps), "int32")
        axes.plot(gaps, pull(loss, targets_of(loss, teacher[same], labels[same]), boots)[:, _BOOT],
                  **look)  # fmt: skip
        return
    # It looks across the batch: the rest of it is as the student has it.
    batches = [np.concatenate([boot[None], found["student_logits"][1:]]) for boot in boots]
    axes.plot(gaps, [pull(loss, teacher, batch)[0, _BOOT] for batch in batches], **look)


def _cross(axes):
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.grid()


def of_values(name, found, number):
    """What a difference of values costs, and how it pulls."""
    figure, (cost, pulls) = panels([1, 1], height=2.5)
    gaps = np.linspace(-4, 4, number).astype("float32")[:, None]
    settings = ON_VALUES[name]
    for (label, loss), colour in zip(settings.items(), series(len(settings)), strict=True):
        cost.plot(gaps, loss.call(tf.zeros_like(gaps), gaps), color=colour, label=label)
        pulls.plot(gaps, pull(loss, tf.zeros_like(gaps), gaps), color=colour, label=label)
    cost.set_title("loss")
    pulls.set_title("pull on the student's value")
    for axes in (cost, pulls):
        _cross(axes)
        axes.set_xlabel("student's value less the teacher's")
    if len(ON_VALUES[name]) > 1:
        pulls.legend(loc="upper right", borderpad=0)
    return figure


def of_directions(name, found, number):
    """How a vector is pulled, wherever it is."""
    figure, (axes,) = panels([1], height=3.4, width=4.6)
    side = np.linspace(-2, 2, 9 if number > 5 else 3)
    points = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2).astype("float32")
    points = points[np.linalg.norm(points, axis=-1) > 0.8]
    teacher = np.array([1.2, 0.7], "float32")
    moves = pull(losses.CosineMatching(), np.tile(teacher, (len(points), 1)), points)
    axes.quiver(*points.T, *moves.T, color=PULL, angles="xy", width=0.006)
    axes.annotate("", teacher, (0, 0), arrowprops={"arrowstyle": "-|>", "color": INK, "lw": 2})
    axes.annotate("teacher", teacher, (4, 4), textcoords="offset points", color=INK)
    axes.plot(*points.T, "o", color=STUDENT, markersize=2.5)
    without_axes(axes, "pull on the student's vector, wherever it is")
    axes.set_aspect("equal")
    return figure


def of_points(name, found, number):
    """Six images as two numbers each: the teacher's, the pull on the student's, where it leads."""
    teacher = found["teacher_points"]

    def values_of(points):
        return ON_POINTS[name].call(teacher, points)

    return _three_panels(found, teacher, found["student_points"], values_of, number)


def of_contrast(name, found, number):
    """The same on a circle, where CRD compares."""
    sides = (found[f"{side}_points"] for side in ("teacher", "student"))
    teacher, student = (_on_circle(points - points.mean(axis=0)) for points in sides)
    # Its own image first, then the others.
    order = np.array([[row, *(c for c in range(6) if c != row)] for row in range(6)])

    def values_of(points):
        scores = tf.linalg.normalize(points, axis=-1)[0] @ teacher.T / _TEMPERATURE
        scores = tf.gather(scores, order, batch_dims=1)
        # As the memory does it with its first batch.
        scores -= tf.stop_gradient(tf.reduce_logsumexp(scores) - np.log(6))
        fixed = tf.stop_gradient(scores)
        return losses.contrastive(teacher_scores=fixed, student_scores=scores, num_examples=6)

    return _three_panels(found, teacher, student, values_of, number, on_circle=True)


def _on_circle(points):
    return points / np.linalg.norm(points, axis=-1, keepdims=True)


def _three_panels(found, teacher, student, values_of, number, on_circle=False):
    figure, axes = panels([1, 1, 1], height=2.75)
    step = descent(values_of, student)
    reach = 0.25 * np.ptp(student, axis=0).max() / np.linalg.norm(step, axis=-1).max()
    size = 0.01 * max(np.ptp(teacher, axis=0).max(), np.ptp(student, axis=0).max())
    ends = descended(values_of, student, 2000 if number > 5 else 2, size)
    ends = _on_circle(ends) if on_circle else ends
    titles = ("teacher", "student, and the pull", "student, after many steps")
    for each, points, title in zip(axes, (teacher, student, ends), titles, strict=True):
        _six(each, points, found["batch_images"], on_circle)
        without_axes(each, title)
    for point, move in zip(student, reach * step, strict=True):
        axes[1].annotate("", point + move, point, zorder=5,
                         arrowprops={"arrowstyle": "-|>", "color": PULL, "lw": 1.6,
                                     "shrinkA": 0, "shrinkB": 0})  # fmt: skip
    return figure


def _six(axes, points, images, on_circle):
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    middle, half = (points.max(0) + points.min(0)) / 2, 0.72 * np.ptp(points, axis=0).max()
    if on_circle:
        middle, half = np.zeros(2), 1.3
        turn = np.linspace(0, 2 * np.pi, 91)
        axes.plot(np.cos(turn), np.sin(turn), color=FAINT, linewidth=1.2)
    axes.set_xlim(middle[0] - half, middle[0] + half)
    axes.set_ylim(middle[1] - half, middle[1] + half)
    axes.set_aspect("equal")
    for point, pixels in zip(points, images, strict=True):
        box = OffsetImage(np.squeeze(pixels), cmap="gray_r", zoom=0.55)
        frame = {"edgecolor": FAINT}
        axes.add_artist(AnnotationBbox(box, point, pad=0.05, bboxprops=frame))


def of_maps(name, found, number):
    """Where teacher and student look, and where a step moves the student's look."""
    teacher, student = (
        found["teacher_map"].astype("float32"),
        found["student_map"].astype("float32"),
    )
    step = pull(losses.AttentionTransfer(), teacher, student)
    before, after = (
        losses.attention_map(each).numpy().reshape(7, 7)
        for each in (student, student + 0.05 * step / np.abs(step).max())
    )
    figure, axes = panels([1, 1, 1, 1], height=2.1)
    image(axes[0], found["image"], "the image")
    seen = losses.attention_map(teacher).numpy().reshape(7, 7)
    for each, values, title in zip(axes[1:], (seen, before), ("teacher looks", "student looks"),
                                   strict=False):  # fmt: skip
        each.imshow(values, cmap="Greys", vmin=0, vmax=max(seen.max(), before.max()))
        without_axes(each, title)
    reach = np.abs(after - before).max()
    axes[3].imshow(after - before, cmap="PuOr_r", vmin=-reach, vmax=reach)
    without_axes(axes[3], "a step: more, less")
    return figure


DRAWN = {
    **dict.fromkeys(ON_LOGITS, of_logits),
    **dict.fromkeys(ON_VALUES, of_values),
    "CosineMatching": of_directions,
    **dict.fromkeys(ON_POINTS, of_points),
    "AttentionTransfer": of_maps,
    "Contrastive": of_contrast,
    **ADVERSARIAL,
}


if __name__ == "__main__":
    draw_by_command(draw_all, __doc__, names="classes of losses; all by default")
