"""A half-width ResNet-18 teaches a small plain CNN on CIFAR-10, over a grid of T and alpha."""

import dataclasses
import functools

import keras

from keras_kd.data import RandomShift
from keras_kd.experiment import Recipe
from keras_kd.experiment.optimizers import one_cycle, steps
from keras_kd.models import conv_net, resnet18

_EPOCHS = 200


def _of_batches(build, **options):
    """Return a model whose BatchNormalization follows the last ten batches, as published."""
    model = build(**options, mean=0.473, std=0.251)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.9  # Keras's 0.99 has not forgotten the start after a short training.
    return model


_views = RandomShift(4, flip=True)
# NOTE: Keras decays weights beside the momentum, not through it: ten times the published 5e-4 is
# the same decay.
_sgd = {"optimizer": keras.optimizers.SGD, "momentum": 0.9, "weight_decay": 5e-3}
_published = Recipe(
    name="cifar10_resnet",
    dataset="cifar10",
    teacher=functools.partial(_of_batches, functools.partial(resnet18, 0.5, name="teacher")),
    student=functools.partial(
        _of_batches, functools.partial(conv_net, [32, 64, 128], batch_norm=True, name="student")
    ),
    temperature=4.0,
    alpha=0.9,
    epochs=_EPOCHS,
    quick_epochs=1,
    quick_share=0.05,
    teacher_patience=_EPOCHS,
    student_patience=_EPOCHS,
    batch_size=128,
    optimizer=steps(0.1, at=(0.5, 0.75), **_sgd),
    augmentation=_views,
    teacher_augmentation=_views,
    teacher_optimizer=steps(0.1, at=(0.5, 0.75), **_sgd),
    temperatures=(1.0, 2.0, 4.0, 8.0, 16.0),
)
_best = dataclasses.replace(
    _published,
    name="cifar10_resnet_best",
    optimizer=one_cycle(5e-3, weight_decay=0.05),
    views=8,
    teacher_optimizer=one_cycle(0.2, nesterov=True, **_sgd),
    precision="mixed",
)
cifar10_resnet = dataclasses.replace(_published, best=_best)
