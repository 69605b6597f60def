"""The teacher's logits for every view of every image: computed once, in memory or on disk."""

from keras_kd.soft_labels.predict import check_finite, images_at_once, logits_of_all
from keras_kd.soft_labels.store import SoftLabels

__all__ = ["SoftLabels", "check_finite", "images_at_once", "logits_of_all"]
