"""Layers that see the whole minibatch while its parts lie on several machines."""

import contextlib

import keras

from keras_kd.teachers.features import layers_of


@contextlib.contextmanager
def synchronized(models):
    """Let batch normalisation take its statistics over all replicas while the block runs.

    Args:
        models: `keras.Model`s that are trained.
    """
    found = {
        id(layer): layer
        for model in models
        for layer in layers_of(model)
        if isinstance(layer, keras.layers.BatchNormalization)
    }
    before = [(layer, layer.synchronized) for layer in found.values()]
    try:
        for layer in found.values():
            layer.synchronized = True
        yield
    finally:
        for layer, own in before:
            layer.synchronized = own
