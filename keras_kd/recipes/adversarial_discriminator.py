"""A discriminator tells teacher from student: two conv nets on Fashion-MNIST.

Command: `keras-kd run adversarial_discriminator`, over seeds `keras-kd compare
adversarial_discriminator --seeds 5`.
Cost: three to eight minutes a seed on two busy cores.
Result, one seed so far, test accuracy: teacher 0.8836, student distilled 0.8702, the same student
alone 0.8725 (95 % interval of the difference over test images -0.61 to +0.15 points). Other first
weights of so few filters move all of these by a point: only pairs say something.

Teacher a convolution of 16 filters, 3x3, stride 2, ReLU, dense; student the same with 8; batches of
64, Adam at 1e-3. As published: the discriminator is one dense layer 10 -> 1 on raw logits, trained
in alternation by Adam at 1e-3 on binary cross-entropy; no soft targets, beta = 1. Against the
original: the student also has its hard labels, and the epoch is chosen on a validation split.
Without its discriminator it is the student alone, which is trained beside it.

`--best` is the library's own form: soft targets (T = 2, alpha = 0.5), and a class-conditional
discriminator on standardised logits whose weight rises to 0.05 in the first two epochs; the
learning rate falls to 0. `compare` trains its control beside it, the same soft targets without the
discriminator. Result of one `keras-kd run`, seed 0: student distilled 0.8703, alone under the same
schedule 0.8671 (-0.02 to +0.66); over seeds, and against plain soft targets, not run yet.
"""

import functools

import keras

from keras_kd.adversarial import DiscriminatorDistiller, discriminator
from keras_kd.experiment import Recipe
from keras_kd.experiment.optimizers import cosine
from keras_kd.models import conv_net
from keras_kd.schedules import Linear


def _published(*, student, **parts):
    judge = discriminator((student.output_shape[-1],), hidden=(), spectral_normalization=False)
    return DiscriminatorDistiller(
        student=student,
        discriminator=judge,
        standardize=False,
        adversarial_loss="binary_crossentropy",
        beta=1.0,
        **parts,
    )


_pair = {
    "dataset": "fashion_mnist",
    "teacher": functools.partial(conv_net, [16], name="teacher"),
    "student": functools.partial(conv_net, [8], name="student"),
    "temperature": 2.0,
    "epochs": 10,
    "quick_epochs": 1,
    "teacher_patience": 10,
    "student_patience": 10,
    "batch_size": 64,
}

_best = Recipe(
    name="adversarial_discriminator_best",
    alpha=0.5,
    # Two epochs have 1688 steps.
    distiller=functools.partial(DiscriminatorDistiller, beta=Linear(0.0, 0.05, steps=1688)),
    optimizer=cosine(1e-3, optimizer=keras.optimizers.Adam),
    **_pair,
)

adversarial_discriminator = Recipe(
    name="adversarial_discriminator",
    alpha=0.0,
    distiller=_published,
    best=_best,
    **_pair,
)
