"""Distillation losses: equations as pure functions, and thin Keras classes over them."""

from keras_kd._common.surface import only
from keras_kd.losses.base import DistillationLoss
from keras_kd.losses.contrastive import Contrastive, ContrastiveMemory, contrastive
from keras_kd.losses.feature import (
    AttentionTransfer,
    FeatureLoss,
    Hints,
    Projector,
    RelationalAngle,
    RelationalDistance,
    SimilarityPreserving,
    attention_map,
    attention_transfer,
    hints,
)
from keras_kd.losses.hard import (
    BinaryCrossEntropy,
    CrossEntropy,
    as_loss_on_logits,
    binary_cross_entropy,
    cross_entropy,
)
from keras_kd.losses.lookup import deserialize, get, serialize
from keras_kd.losses.relation import (
    DIST,
    dist,
    relational_angle,
    relational_distance,
    similarity_preserving,
)
from keras_kd.losses.response import (
    BinarySoftTargets,
    DecoupledKD,
    LabelSmoothing,
    LogitDistance,
    LogitMatching,
    SoftTargets,
    StandardizedLogits,
    TeacherLabels,
    binary_soft_targets,
    decoupled_kd,
    logit_distance,
    logit_matching,
    soft_targets,
    standardized,
)

__all__ = [
    "DIST",
    "AttentionTransfer",
    "BinaryCrossEntropy",
    "BinarySoftTargets",
    "Contrastive",
    "ContrastiveMemory",
    "CrossEntropy",
    "DecoupledKD",
    "DistillationLoss",
    "FeatureLoss",
    "Hints",
    "LabelSmoothing",
    "LogitDistance",
    "LogitMatching",
    "Projector",
    "RelationalAngle",
    "RelationalDistance",
    "SimilarityPreserving",
    "SoftTargets",
    "StandardizedLogits",
    "TeacherLabels",
    "as_loss_on_logits",
    "attention_map",
    "attention_transfer",
    "binary_cross_entropy",
    "binary_soft_targets",
    "contrastive",
    "cross_entropy",
    "decoupled_kd",
    "deserialize",
    "dist",
    "get",
    "hints",
    "logit_distance",
    "logit_matching",
    "relational_angle",
    "relational_distance",
    "serialize",
    "similarity_preserving",
    "soft_targets",
    "standardized",
]

__dir__ = only(__all__)
