"""Adversarial distillation in its three forms, and the networks that play in it."""

from keras_kd.adversarial.discriminator import DiscriminatorDistiller
from keras_kd.adversarial.networks import discriminator, gaussian_noise, generator

__all__ = [
    "DiscriminatorDistiller",
    "discriminator",
    "gaussian_noise",
    "generator",
]
