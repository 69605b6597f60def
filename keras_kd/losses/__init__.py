"""Distillation losses: equations as pure functions, and thin Keras classes over them."""

from keras_kd.losses.base import DistillationLoss
from keras_kd.losses.response import CrossEntropy, SoftTargets, cross_entropy, soft_targets

__all__ = ["CrossEntropy", "DistillationLoss", "SoftTargets", "cross_entropy", "soft_targets"]
