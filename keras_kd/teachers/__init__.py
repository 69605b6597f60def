"""Trained models as frozen functions: heads, inner layers, ensembles."""

from keras_kd._common.surface import only
from keras_kd.teachers.ensemble import Ensemble
from keras_kd.teachers.features import feature_model
from keras_kd.teachers.heads import head_of, open_head
from keras_kd.teachers.teacher import Teacher, load_teacher

__all__ = ["Ensemble", "Teacher", "feature_model", "head_of", "load_teacher", "open_head"]

__dir__ = only(__all__)
