"""With labels: the published examples' pair of conv nets, 16 and 8 filters, on Fashion-MNIST."""

import functools
import math

import keras
from adversarial_runs import Method, falling, figures, kept_teacher

import keras_kd as kd
from keras_kd import adversarial

EPOCHS, BATCH = 10, 64
# The same path for every row, so that nothing but the loss tells them apart.
PATH = {"steps_per_execution": 64, "jit_compile": False}
# Added to the seed for the other order of the images.
OTHER_ORDER = 1000


def teacher_of(job):
    """Return the data and a trained conv net of 16 filters."""
    data = kd.data.load("fashion_mnist", seed=job.seed)

    def train():
        # On the labels alone, like the student that learns alone.
        epochs = 1 if job.quick else EPOCHS
        alone = kd.Distiller(student=conv(16, job.seed), alpha=0.0)
        rate = falling(1e-3, epochs * steps_per_epoch(data))
        alone.compile(keras.optimizers.Adam(rate), **PATH)
        fit(alone, data, job.seed, epochs)
        return alone.student

    return data, kept_teacher(job, train)


def conv(filters, seed):
    keras.utils.set_random_seed(seed + filters)
    return kd.models.conv_net([filters])


def steps_per_epoch(data):
    return math.ceil(len(data.train) / BATCH)


def fit(model, data, seed, epochs):
    batches = data.train.batches(BATCH, shuffle_seed=seed)
    model.fit(batches, epochs=epochs, shuffle=False, verbose=0)


def method(build, *, order=0, **rates):
    """Return a row.

    Args:
        build: makes the distiller, `(student, teacher, seed, num_steps) -> Distiller`.
        order: added to the seed of the order of the images.
        **rates: learning rates of Adam for the optimizers beside the student's.
    """

    def run(job):
        data, teacher = teacher_of(job)
        num_steps = job.epochs * steps_per_epoch(data)
        distiller = build(conv(8, job.seed), teacher, job.seed, num_steps)
        # They fall with the student's: with its rate gone, theirs alone would move the networks.
        others = {
            name: keras.optimizers.Adam(falling(rate, num_steps)) for name, rate in rates.items()
        }
        distiller.compile(keras.optimizers.Adam(falling(1e-3, num_steps)), **others, **PATH)
        fit(distiller, data, job.seed + order, job.epochs)
        if isinstance(distiller, kd.MutualDistiller):
            teacher = distiller.students[1]
        return figures(job, data, distiller.student, teacher)

    return Method(run, EPOCHS)


def soft_targets(student, teacher, seed, num_steps, alpha=0.5):
    return kd.Distiller(student=student, teacher=teacher, alpha=alpha)


def discriminator(student, teacher, seed, num_steps, **settings):
    """Return the default form, its weight rising over the first fifth of the steps."""
    ramp = kd.schedules.Linear(0.0, 0.05, steps=num_steps // 5)
    keras.utils.set_random_seed(seed)
    return adversarial.DiscriminatorDistiller(
        student=student, teacher=teacher, beta=ramp, **settings
    )


def plain_discriminator(student, teacher, seed, num_steps):
    keras.utils.set_random_seed(seed)
    judge = adversarial.discriminator((10,), hidden=(), spectral_normalization=False)
    return adversarial.DiscriminatorDistiller(
        student=student,
        teacher=teacher,
        discriminator=judge,
        standardize=False,
        adversarial_loss="binary_crossentropy",
        beta=1.0,
        alpha=0.0,
    )


def online(student, teacher, seed, num_steps, weight=1.0):
    pair = [student, conv(16, seed + 1000)]  # Its teacher learns beside it, from the beginning.
    keras.utils.set_random_seed(seed)
    return adversarial.OnlineAdversarialDistiller(
        pair, layer_names="conv_1", adversarial_weight=weight
    )


METHODS = {
    "alone": method(functools.partial(soft_targets, alpha=0.0)),
    "plain_discriminator": method(plain_discriminator, discriminator_optimizer=1e-3),
    "soft_targets": method(soft_targets),
    "soft_targets_again": method(soft_targets, order=OTHER_ORDER),
    "discriminator": method(discriminator, discriminator_optimizer=1e-3),
    "mutual": method(functools.partial(online, weight=0.0)),
    "online": method(online, adversarial_optimizer=2e-5, discriminator_optimizer=2e-5),
}
