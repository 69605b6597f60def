"""The pictures of the adversarial losses; `draw_losses.py` draws them with the others."""

import keras
import numpy as np
import tensorflow as tf
from style import (
    INK,
    PALE,
    PULL,
    STUDENT,
    TEACHER,
    image,
    panels,
    series,
    without_axes,
)

import keras_kd as kd
from keras_kd.adversarial.alternating import Game

adversarial = kd.adversarial
_BOOT = 9


def of_one_hot(name, found, number):
    """Where the term moves what the teacher says of a generated image."""
    teacher = found["teacher_logits"][:1]
    gaps = np.linspace(-8, 8, number)
    boots = np.repeat(teacher, number, axis=0)
    boots[:, _BOOT] += gaps
    figure, (bars, curve) = panels([1, 1.4], height=2.9)
    _by_class(bars, _pull(adversarial.OneHot(), teacher)[0], found, PULL)
    bars.set_title("pull on the teacher's logits of a boot")
    pulls = [_pull(adversarial.OneHot(), boot[None])[0, _BOOT] for boot in boots]
    curve.plot(teacher[0, _BOOT] + gaps, pulls, color=PULL)
    curve.axvline(np.sort(teacher[0])[-2], color=PALE, linewidth=1.1, linestyle=(0, (1, 1.5)))
    curve.axhline(0, color=INK, linewidth=0.8)
    curve.set_xlabel("the boot's logit (dotted: that of the next class)")
    curve.set_title("pull on the boot's logit")
    curve.grid()
    return figure


def of_class_balance(name, found, number):
    """What the teacher says of 32 images on average, and where the term moves that."""
    teacher = found["teacher_logits"]
    figure, (mean, bars) = panels([1, 1], height=2.9)
    _by_class(mean, kd.metrics.softmax(teacher).mean(axis=0), found, TEACHER)
    mean.axvline(0.1, color=PALE, linewidth=1.1, linestyle=(0, (1, 1.5)))
    mean.set_title("mean prediction of 32 images")
    pulls = _pull(adversarial.ClassBalance(), teacher).sum(axis=0)
    _by_class(bars, pulls, found, PULL)
    bars.set_yticks(np.arange(10), [])
    bars.set_title("pull on the classes, over all images")
    return figure


def _pull(term, teacher_logits):
    return _descent(lambda logits: term.call({"logits": logits}, None), teacher_logits)


def _descent(value_of, variables):
    """Return minus the gradient of `value_of(variables)`."""
    variables = tf.convert_to_tensor(variables, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(variables)
        value = value_of(variables)
    return -tape.gradient(value, variables).numpy()


def _by_class(axes, values, found, colour):
    places = np.arange(len(values))
    axes.barh(places, values, color=colour)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks(places, found["class_names"])
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.invert_yaxis()


def of_activation(name, found, number):
    term = adversarial.Activation(teacher_layer_name="layer")
    places = np.linspace(-3, 3, number).astype("float32")
    curves = {"activation": lambda place: term.call({"layer": place}, None)}
    return _curves(curves, places, "the teacher's activation", "pull on it")


def of_disagreement(name, found, number):
    """What the generator loses by how far the student's logit of a boot is from the teacher's."""
    teacher = found["teacher_logits"][:1]
    boot = tf.one_hot([_BOOT], 10)

    def of(bounded):
        term = adversarial.Disagreement(bounded=bounded)

        def value(gap):
            return term.call({"logits": teacher}, {"logits": teacher + gap * boot})

        return value

    curves = {"bounded": of(True), "as published": of(False)}
    gaps = np.linspace(-12, 12, number).astype("float32")
    return _curves(curves, gaps, "student's logit less the teacher's", "pull on their difference")


def of_game(name, found, number):
    """What a student loses by the discriminator's score of it."""
    curves = {
        words: Game(words.replace(" ", "_").replace("-", "")).student_loss
        for words in ("binary cross-entropy", "least squares", "hinge")
    }
    places = np.linspace(-4, 4, number).astype("float32")
    return _curves(curves, places, "the student's score", "pull on the score")


def _curves(curves, places, what, title):
    figure, (loss, pulls) = panels([1, 1], height=2.5)
    for (label, value_of), colour in zip(curves.items(), series(len(curves)), strict=True):
        values = [float(value_of(tf.constant(place))) for place in places]
        loss.plot(places, values, color=colour, label=label)
        slopes = [float(_descent(value_of, place)) for place in places]
        pulls.plot(places, slopes, color=colour, label=label)
    loss.set_title("loss")
    pulls.set_title(title)
    for axes in (loss, pulls):
        axes.axhline(0, color=INK, linewidth=0.8)
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.grid()
        axes.set_xlabel(what)
    if len(curves) > 1:
        loss.legend(loc="best", borderpad=0)
    return figure


def of_batch_statistics(name, found, number):
    """Points are moved until their mean and spread are those that BatchNorm has kept."""
    points = found["student_points"] / np.abs(found["student_points"]).max()
    layer = keras.layers.BatchNormalization()
    layer.build((None, 2))
    mean, variance = np.float32([0.9, -0.4]), np.float32([0.5, 0.15])
    layer.moving_mean.assign(mean)
    layer.moving_variance.assign(variance)
    term = adversarial.BatchStatistics()

    def value(features):
        return term.call({"batch_norm": [(layer, features)]}, None)

    ends = descended(value, points, 500 if number > 5 else 2, 0.01)
    figure, axes = panels([1, 1], height=2.9)
    turn = np.linspace(0, 2 * np.pi, 91)
    for each, at, title in zip(axes, (points, ends), ("features, and the pull", "after many steps"),
                               strict=True):  # fmt: skip
        ring = mean + np.sqrt(variance) * np.stack([np.cos(turn), np.sin(turn)], axis=-1)
        each.plot(*ring.T, color=TEACHER, label="kept by the teacher")
        each.plot(*mean, "s", color=TEACHER, markersize=5)
        own = at.mean(0) + at.std(0) * np.stack([np.cos(turn), np.sin(turn)], axis=-1)
        each.plot(*own.T, color=STUDENT, linestyle=(0, (4, 2)), linewidth=1.2, label="of the batch")
        each.plot(*at.T, "o", color=STUDENT, markersize=5)
        each.set_xlim(-2.2, 2.4)
        each.set_ylim(-1.6, 1.6)
        each.set_aspect("equal")
        without_axes(each, title)
    step = _descent(value, points)
    step *= 0.5 / np.linalg.norm(step, axis=-1).max()
    axes[0].quiver(*points.T, *step.T, color=PULL, angles="xy", scale_units="xy", scale=1,
                   width=0.008, zorder=3)  # fmt: skip
    axes[0].legend(loc="lower left", borderpad=0)
    return figure


def of_total_variation(name, found, number):
    """A boot with dots, where each pixel is pulled, and where that leads."""
    rng = np.random.default_rng(0)
    clean = found["image"].astype("float32")
    dots = np.clip(clean + rng.normal(0, 60, clean.shape), 0, 255)[None]
    term = adversarial.TotalVariation()

    def value(images):
        return term.call({"images": images}, None)

    ends = descended(value, dots, 60 if number > 5 else 2, 3.0)
    figure, axes = panels([1, 1, 1], height=2.3)
    image(axes[0], dots[0], "an image of dots")
    step = np.squeeze(_descent(value, dots))
    reach = np.abs(step).max()
    axes[1].imshow(step, cmap="PuOr", vmin=-reach, vmax=reach)
    without_axes(axes[1], "pull: darker, lighter")
    image(axes[2], ends[0], "after many steps")
    return figure


def descended(value_of, points, steps, size):
    """Return where Adam brings the points, with a rate that falls to 0."""
    rates = keras.optimizers.schedules.CosineDecay(size, steps)
    optimizer = keras.optimizers.Adam(rates)
    variable = keras.Variable(points)
    optimizer.build([variable])

    @tf.function
    def run():
        for _ in tf.range(steps):
            with tf.GradientTape() as tape:
                total = tf.reduce_sum(value_of(tf.convert_to_tensor(variable)))
            optimizer.apply([tape.gradient(total, variable.value)])

    run()
    return variable.numpy()


DRAWN = {
    "OneHot": of_one_hot,
    "ClassBalance": of_class_balance,
    "Activation": of_activation,
    "Disagreement": of_disagreement,
    "BatchStatistics": of_batch_statistics,
    "TotalVariation": of_total_variation,
    "adversarial_loss": of_game,
}
