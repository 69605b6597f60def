"""A discriminator tells teacher from student: two conv nets on Fashion-MNIST.

Command: `keras-kd run adversarial_discriminator`, over seeds `keras-kd compare
adversarial_discriminator --seeds 5`.
Cost: about a minute a seed on one core, `--best` a minute and a half.
Result, five seeds, test accuracy: teacher 0.8882 ± 0.0006, student distilled 0.8746 ± 0.0042, the
same student alone 0.8775 ± 0.0041: it DOES NOT BEAT it, -0.29 points (95 % interval over seeds
-0.51 to -0.08). Other first weights of so few filters move all of these by a point: only pairs say
something.

Teacher a convolution of 16 filters, 3x3, stride 2, ReLU, dense; student the same with 8; batches of
64, Adam at 1e-3. As published: the discriminator is one dense layer 10 -> 1 on raw logits, trained
in alternation by Adam at 1e-3 on binary cross-entropy; no soft targets, beta = 1. Against the
original: the student also has its hard labels, and the epoch is chosen on a validation split.
Without its discriminator it is the student alone, which is trained beside it.

`--best` is the library's own form: soft targets (T = 2, alpha = 0.5), and a class-conditional
discriminator on standardised logits whose weight rises to 0.05 in the first two epochs; the
learning rate falls to 0. `compare` trains its control beside it, the same soft targets without the
discriminator. Result, five seeds: student distilled 0.8747 ± 0.0052, alone under the same schedule
0.8727 ± 0.0054, BEATS by +0.19 points (+0.01 to +0.37); but plain soft targets 0.8749 ± 0.0052: the
discriminator adds -0.03 (-0.07 to +0.02). And ten epochs are short for a rate that falls to 0:
neither is above the student alone at a constant rate.
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
    "data": "fashion_mnist",
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
