"""A half-width ResNet-18 teaches a small plain CNN on CIFAR-10, over a grid of T and alpha."""

import functools

import keras

from keras_kd.data import RandomShift
from keras_kd.experiment import Recipe
from keras_kd.experiment.optimizers import one_cycle, steps
from keras_kd.models import conv_net, resnet18

_pixels = {"mean": 0.473, "std": 0.251}
_teacher = functools.partial(resnet18, 0.5, **_pixels, name="teacher")
_student = functools.partial(conv_net, [32, 64, 128], batch_norm=True, **_pixels, name="student")
_views = RandomShift(4, flip=True)
# NOTE: Keras decays weights beside the momentum, not through it: ten times the published 5e-4 is
# the same decay.
_sgd = {"optimizer": keras.optimizers.SGD, "momentum": 0.9, "weight_decay": 5e-3}
_published = steps(0.1, at=(0.5, 0.75), **_sgd)

_best = Recipe(
    name="cifar10_resnet_best",
    dataset="cifar10",
    teacher=_teacher,
    student=_student,
    temperature=4.0,
    alpha=0.9,
    epochs=200,
    quick_epochs=1,
    teacher_patience=200,
    student_patience=200,
    batch_size=128,
    optimizer=one_cycle(5e-3, weight_decay=0.05),
    augmentation=_views,
    views=8,
    teacher_optimizer=one_cycle(0.2, **_sgd, nesterov=True),
    teacher_augmentation=_views,
    precision="mixed",
    quick_share=0.05,
    temperatures=(1.0, 2.0, 4.0, 8.0, 16.0),
)

cifar10_resnet = Recipe(
    name="cifar10_resnet",
    dataset="cifar10",
    teacher=_teacher,
    student=_student,
    temperature=4.0,
    alpha=0.9,
    epochs=200,
    quick_epochs=1,
    teacher_patience=200,
    student_patience=200,
    batch_size=128,
    optimizer=_published,
    augmentation=_views,
    teacher_optimizer=_published,
    teacher_augmentation=_views,
    quick_share=0.05,
    temperatures=(1.0, 2.0, 4.0, 8.0, 16.0),
    best=_best,
)
