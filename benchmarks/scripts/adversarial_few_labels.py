"""With few labels: a perceptron of 800 and 800 units and a LeNet-5 on 100 or 1000 MNIST images.

The table of KDGAN's authors shows their student without augmentation beside methods with it. Here
every row, the teacher's training included, sees views by the same augmentation and takes the same
number of steps, and what counts is the last one.
"""

import functools

import keras
import numpy as np
from adversarial_labelled import PATH, discriminator
from adversarial_runs import Method, falling, figures, kept_teacher

import keras_kd as kd
from keras_kd import adversarial

EPOCHS, STEPS_PER_EPOCH, BATCH = 10, 500, 100
PIXELS = {"mean": 0.1307, "std": 0.3081}
# As KDGAN's authors turn, zoom and shift theirs.
VIEWS = kd.data.RandomAffine(degrees=15, zoom=0.1, pixels=2.8)
# Those of the library's main job.
SETTINGS = {"temperature": 2.0, "alpha": 0.9}


def teacher_of(job):
    """Return the data and a LeNet-5 trained on the few images."""
    data = kd.data.load("mnist", seed=job.seed)

    def train():
        keras.utils.set_random_seed(job.seed)
        teacher = kd.models.lenet5(**PIXELS, name="teacher")
        alone = kd.Distiller(student=teacher, alpha=0.0)
        fit(job, alone, data, 1 if job.quick else EPOCHS)
        return teacher

    return data, kept_teacher(job, train)


def few(job, data):
    """Return the images of this table and seed, as many of each class, repeated to an epoch."""
    count = int(job.table.rpartition("_")[2])
    labels = data.train.labels
    draw = np.random.default_rng(job.seed)
    chosen = [
        draw.permutation(np.flatnonzero(labels == label))[: count // data.num_classes]
        for label in range(data.num_classes)
    ]
    # Each repetition of an image is shown as a view of its own.
    repeated = np.tile(np.concatenate(chosen), steps_per_epoch(job) * BATCH // count)
    return kd.data.Split(data.train.images[repeated], labels[repeated])


def steps_per_epoch(job):
    return STEPS_PER_EPOCH // 25 if job.quick else STEPS_PER_EPOCH


def fit(job, distiller, data, epochs, **optimizers):
    rate = falling(1e-3, epochs * steps_per_epoch(job))
    distiller.compile(keras.optimizers.Adam(rate), **optimizers, **PATH)
    batches = few(job, data).batches(BATCH, shuffle_seed=job.seed, augmentation=VIEWS)
    distiller.fit(batches, epochs=epochs, shuffle=False, verbose=0)


def method(build, **rates):
    """Return a row; see `adversarial_labelled.method`."""

    def run(job):
        data, teacher = teacher_of(job)
        keras.utils.set_random_seed(job.seed)
        student = kd.models.mlp([800, 800], dropout=0.12, **PIXELS)
        distiller = build(student, teacher, job.seed, job.epochs * steps_per_epoch(job))
        others = {name: keras.optimizers.Adam(rate) for name, rate in rates.items()}
        fit(job, distiller, data, job.epochs, **others)
        return figures(job, data, student, teacher)

    return Method(run, EPOCHS)


def distilled(student, teacher, seed, num_steps, alpha=SETTINGS["alpha"]):
    loss = kd.losses.SoftTargets(SETTINGS["temperature"])
    return kd.Distiller(student=student, teacher=teacher, distillation_loss=loss, alpha=alpha)


def judged(student, teacher, seed, num_steps):
    loss = kd.losses.SoftTargets(SETTINGS["temperature"])
    return discriminator(
        student, teacher, seed, num_steps, distillation_loss=loss, alpha=SETTINGS["alpha"]
    )


def together(student, teacher, seed, num_steps, weight=1.0):
    """Return the game of three: the teacher, trained before, learns on beside the student."""
    keras.utils.set_random_seed(seed)
    return adversarial.KDGANDistiller(
        [student, teacher],
        adversarial_weight=weight,
        distillation_loss=kd.losses.SoftTargets(SETTINGS["temperature"]),
        alpha=SETTINGS["alpha"],
    )


METHODS = {
    "alone": method(functools.partial(distilled, alpha=0.0)),
    "soft_targets": method(distilled),
    "discriminator": method(judged, discriminator_optimizer=1e-3),
    "mutual": method(functools.partial(together, weight=0.0)),
    "kdgan": method(together, discriminator_optimizer=1e-3),
}
