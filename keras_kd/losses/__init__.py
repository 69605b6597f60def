"""Distillation losses: equations as pure functions, and thin Keras classes over them."""

from keras_kd._common.surface import only
from keras_kd.losses.base import DistillationLoss
from keras_kd.losses.contrastive import Contrastive, contrastive
from keras_kd.losses.divergence import (
    JensenShannon,
    ReverseSoftTargets,
    jensen_shannon,
    reverse_soft_targets,
)
from keras_kd.losses.feature import (
    AttentionTransfer,
    FeatureLoss,
    Hints,
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
from keras_kd.losses.values import (
    CosineMatching,
    HuberMatching,
    ValueDistance,
    ValueLoss,
    ValueMatching,
    cosine_matching,
    huber_matching,
    value_distance,
    value_matching,
)

__all__ = [
    "DIST",
    "AttentionTransfer",
    "BinaryCrossEntropy",
    "BinarySoftTargets",
    "Contrastive",
    "CosineMatching",
    "CrossEntropy",
    "DecoupledKD",
    "DistillationLoss",
    "FeatureLoss",
    "Hints",
    "HuberMatching",
    "JensenShannon",
    "LabelSmoothing",
    "LogitDistance",
    "LogitMatching",
    "RelationalAngle",
    "RelationalDistance",
    "ReverseSoftTargets",
    "SimilarityPreserving",
    "SoftTargets",
    "StandardizedLogits",
    "TeacherLabels",
    "ValueDistance",
    "ValueLoss",
    "ValueMatching",
    "attention_map",
    "attention_transfer",
    "binary_cross_entropy",
    "binary_soft_targets",
    "contrastive",
    "cosine_matching",
    "cross_entropy",
    "decoupled_kd",
    "deserialize",
    "dist",
    "get",
    "hints",
    "huber_matching",
    "jensen_shannon",
    "logit_distance",
    "logit_matching",
    "relational_angle",
    "relational_distance",
    "reverse_soft_targets",
    "serialize",
    "similarity_preserving",
    "soft_targets",
    "standardized",
    "value_distance",
    "value_matching",
]

__dir__ = only(__all__)
