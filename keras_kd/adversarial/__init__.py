"""Adversarial distillation in its three forms, and the networks that play in it."""

from keras_kd._common.surface import only
from keras_kd.adversarial.data_free import DataFreeDistiller
from keras_kd.adversarial.discriminating import DiscriminatorDistiller
from keras_kd.adversarial.generator_loss import (
    Activation,
    BatchStatistics,
    ClassBalance,
    Disagreement,
    GeneratorTerm,
    OneHot,
    TotalVariation,
)
from keras_kd.adversarial.kdgan import KDGANDistiller
from keras_kd.adversarial.networks import discriminator, gaussian_noise, generator
from keras_kd.adversarial.online import OnlineAdversarialDistiller
from keras_kd.adversarial.watch import CollapseWatch, ImageGrid, image_grid

__all__ = [
    "Activation",
    "BatchStatistics",
    "ClassBalance",
    "CollapseWatch",
    "DataFreeDistiller",
    "Disagreement",
    "DiscriminatorDistiller",
    "GeneratorTerm",
    "ImageGrid",
    "KDGANDistiller",
    "OneHot",
    "OnlineAdversarialDistiller",
    "TotalVariation",
    "discriminator",
    "gaussian_noise",
    "generator",
    "image_grid",
]

__dir__ = only(__all__)
