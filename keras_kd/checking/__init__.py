"""What would go wrong, said before training."""

from keras_kd.checking.inspection import Check, check

__all__ = ["Check", "check"]
