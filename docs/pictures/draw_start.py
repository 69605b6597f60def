"""Draws what a teacher says of a digit: `python docs/pictures/draw_start.py`, half a minute."""

from pathlib import Path

import keras
import numpy as np
from matplotlib.figure import Figure

import keras_kd as kd

TEMPERATURES = (1.0, 4.0)


def trained_teacher(data):
    keras.utils.set_random_seed(0)
    teacher = kd.models.mlp([128, 128, 128], image_shape=data.image_shape)
    teacher.compile("adam", loss=kd.losses.CrossEntropy())
    teacher.fit(data.train.batches(32, shuffle_seed=0), epochs=20, shuffle=False, verbose=0)
    return teacher


def draw(path):
    data = kd.data.load("digits", seed=0)
    logits = trained_teacher(data).predict(data.train.images, verbose=0)
    right = logits.argmax(-1) == data.train.labels
    runner_up = np.sort(logits)[:, -1] - np.sort(logits)[:, -2]
    chosen = np.flatnonzero(right)[runner_up[right].argsort()[4]]
    figure = Figure(figsize=(8, 2.4), layout="constrained", facecolor="white")
    image, label, *soft = figure.subplots(1, 2 + len(TEMPERATURES))
    image.imshow(data.train.images[chosen, ..., 0], cmap="gray_r")
    image.set_axis_off()
    image.set_title("the image", fontsize=10)
    shares = [np.eye(10)[data.train.labels[chosen]]]
    shares += [np.asarray(keras.ops.softmax(logits[chosen] / t)) for t in TEMPERATURES]
    titles = ["what the label says", *(f"the teacher, T = {t:g}" for t in TEMPERATURES)]
    colours = ["0.45", "C0", "C0"]
    for axes, share, title, colour in zip([label, *soft], shares, titles, colours, strict=True):
        axes.bar(np.arange(10), share, color=colour)
        axes.set_ylim(0, 1)
        axes.set_xticks(np.arange(10))
        axes.tick_params(labelsize=7)
        axes.set_title(title, fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    draw(Path(__file__).with_name("start_soft_targets.png"))
