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
from typing import TYPE_CHECKING, Any

from keras_kd._common import backend, registration
from keras_kd._common.surface import only

if TYPE_CHECKING:  # What `__getattr__` finds, for editors and type checkers.
    from keras_kd import adversarial as adversarial
    from keras_kd import callbacks as callbacks
    from keras_kd import data as data
    from keras_kd import experiment as experiment
    from keras_kd import export as export
    from keras_kd import launchers as launchers
    from keras_kd import losses as losses
    from keras_kd import metrics as metrics
    from keras_kd import models as models
    from keras_kd import pruning as pruning
    from keras_kd import quantize as quantize
    from keras_kd import recipes as recipes
    from keras_kd import schedules as schedules
    from keras_kd import serve as serve
    from keras_kd import teachers as teachers
    from keras_kd import zoo as zoo
    from keras_kd.checking import check as check
    from keras_kd.data.targets import Targets as Targets
    from keras_kd.device import use_device as use_device
    from keras_kd.distillers.distiller import Distiller as Distiller
    from keras_kd.distillers.in_turn import distil_in_turn as distil_in_turn
    from keras_kd.distillers.in_turn import distill_in_turn as distill_in_turn
    from keras_kd.distillers.mutual import MutualDistiller as MutualDistiller
    from keras_kd.distillers.together import train_together as train_together
    from keras_kd.distributed.connecting import connect_workers as connect_workers
    from keras_kd.distributed.fitting import fit_distributed as fit_distributed
    from keras_kd.experiment.one_call import distill as distill
    from keras_kd.soft_labels import SoftLabels as SoftLabels
    from keras_kd.teachers.ensemble import Ensemble as Ensemble
    from keras_kd.teachers.teacher import Teacher as Teacher
    from keras_kd.teachers.teacher import load_teacher as load_teacher

__version__ = "0.2.0"

_MODULES = (
    "adversarial",
    "callbacks",
    "data",
    "experiment",
    "export",
    "launchers",
    "losses",
    "metrics",
    "models",
    "pruning",
    "quantize",
    "recipes",
    "schedules",
    "serve",
    "teachers",
    "zoo",
)
_NAMES = {
    "Distiller": "keras_kd.distillers.distiller",
    "Ensemble": "keras_kd.teachers.ensemble",
    "MutualDistiller": "keras_kd.distillers.mutual",
    "SoftLabels": "keras_kd.soft_labels",
    "Targets": "keras_kd.data.targets",
    "Teacher": "keras_kd.teachers.teacher",
    "check": "keras_kd.checking",
    "connect_workers": "keras_kd.distributed.connecting",
    "distil_in_turn": "keras_kd.distillers.in_turn",
    "distill": "keras_kd.experiment.one_call",
    "distill_in_turn": "keras_kd.distillers.in_turn",
    "fit_distributed": "keras_kd.distributed.fitting",
    "load_teacher": "keras_kd.teachers.teacher",
    "train_together": "keras_kd.distillers.together",
    "use_device": "keras_kd.device",
}

__all__ = [*_MODULES, *_NAMES, "__version__"]

__dir__ = only(__all__)

registration.register()
backend.choose_onednn()


def __getattr__(name: str) -> Any:
    if name not in _MODULES and name not in _NAMES:
        raise AttributeError(f"module 'keras_kd' has no attribute '{name}'")
    backend.require_tensorflow()
    if name in _MODULES:
        return importlib.import_module(f"keras_kd.{name}")
    return getattr(importlib.import_module(_NAMES[name]), name)
