"""Knowledge distillation for Keras 3 on TensorFlow.

    import keras_kd as kd

    data = kd.data.load("fashion_mnist", seed=0)
    distiller = kd.Distiller(student=kd.models.mlp([128]), teacher=kd.load_teacher("teacher.keras"))
    distiller.compile(optimizer="adam", metrics=["accuracy"])
    distiller.fit(data.train.batches(32, shuffle_seed=0), epochs=10)
    kd.export.litert(distiller.student, "student.tflite")

Nothing heavy is imported before it is used, so that `keras-kd --help` answers at once. What of
ours may stand in a file is known to Keras all the same: `keras.models.load_model` needs
`import keras_kd` and nothing more.
"""

import importlib

from keras_kd._common import registration

__version__ = "0.1.0"

_MODULES = (
    "adversarial",
    "callbacks",
    "data",
    "experiment",
    "export",
    "losses",
    "metrics",
    "models",
    "quantize",
    "recipes",
    "schedules",
    "serve",
    "teachers",
)
_NAMES = {
    "Distiller": "keras_kd.distillers.distiller",
    "Ensemble": "keras_kd.teachers.ensemble",
    "MutualDistiller": "keras_kd.distillers.mutual",
    "SoftLabels": "keras_kd.soft_labels",
    "Targets": "keras_kd.data.targets",
    "Teacher": "keras_kd.teachers.teacher",
    "check": "keras_kd.own_data",
    "distil_in_turn": "keras_kd.distillers.in_turn",
    "distill": "keras_kd.own_data",
    "distill_in_turn": "keras_kd.distillers.in_turn",
    "load_teacher": "keras_kd.teachers.teacher",
    "train_together": "keras_kd.distillers.together",
    "use_device": "keras_kd.device",
}

__all__ = [*_MODULES, *_NAMES, "__version__"]

registration.register()


def __getattr__(name):
    if name not in _MODULES and name not in _NAMES:
        raise AttributeError(f"module 'keras_kd' has no attribute '{name}'")
    from keras_kd._common.backend import require_tensorflow

    require_tensorflow()
    if name in _MODULES:
        return importlib.import_module(f"keras_kd.{name}")
    return getattr(importlib.import_module(_NAMES[name]), name)


def __dir__():
    return __all__
