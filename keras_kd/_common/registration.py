"""What of ours may stand in a Keras file, known to Keras before any of it is imported.

Keras looks for a class under its registered name, `keras_kd>SoftTargets`, where the decorator
puts it when the module is imported. Ours are imported when they are used, so until then a
stand-in takes the place: asked for anything, it imports the module and answers for the class.
"""

import importlib
import sys

_PACKAGE = "keras_kd"
# The modules whose classes are decorated with `register_keras_serializable`, and the classes.
REGISTERED = {
    "adversarial.data_free": ("DataFreeDistiller",),
    "adversarial.discriminating": ("DiscriminatorDistiller",),
    "adversarial.generator_loss": (
        "Activation",
        "BatchStatistics",
        "ClassBalance",
        "Disagreement",
        "OneHot",
        "TotalVariation",
    ),
    "adversarial.kdgan": ("KDGANDistiller",),
    "adversarial.networks": ("SpectralNormalization",),
    "adversarial.online": ("OnlineAdversarialDistiller",),
    "distillers.distiller": ("Distiller",),
    "experiment.muon": ("ConvMuon",),
    "losses.contrastive": ("Contrastive", "ContrastiveMemory"),
    "losses.divergence": ("JensenShannon", "ReverseSoftTargets"),
    "losses.feature": (
        "AttentionTransfer",
        "Hints",
        "Projector",
        "RelationalAngle",
        "RelationalDistance",
        "SimilarityPreserving",
    ),
    "losses.hard": ("BinaryCrossEntropy", "CrossEntropy", "FunctionLoss"),
    "losses.relation": ("DIST",),
    "losses.response": (
        "BinarySoftTargets",
        "DecoupledKD",
        "LabelSmoothing",
        "LogitDistance",
        "LogitMatching",
        "SoftTargets",
        "StandardizedLogits",
        "TeacherLabels",
    ),
    "losses.values": (
        "CosineMatching",
        "HuberMatching",
        "TeacherUnits",
        "ValueDistance",
        "ValueMatching",
    ),
    "models.speed_net": ("Mirrored",),
    "distillers.mutual": ("MutualDistiller",),
    "teachers.fitting": ("TeacherInput",),
    "quantize.layers": (
        "ActivationRange",
        "Float32",
        "IntegerConv1D",
        "IntegerConv2D",
        "IntegerConv2DTranspose",
        "IntegerDense",
        "IntegerDepthwiseConv1D",
        "IntegerDepthwiseConv2D",
        "IntegerEmbedding",
        "InverseRoot",
    ),
    "schedules": ("Cosine", "Linear"),
}


def register():
    """Tell Keras of our classes now, or, if it is not imported yet, as soon as it is."""
    if "keras" in sys.modules:
        _put_stand_ins(sys.modules["keras"])
    else:
        sys.meta_path.insert(0, _AfterKeras())


def _put_stand_ins(keras):
    known = keras.saving.get_custom_objects()
    for module, names in REGISTERED.items():
        for name in names:
            home = {"__module__": f"{_PACKAGE}.{module}"}
            known.setdefault(f"{_PACKAGE}>{name}", _StandIn(name, (), home))


class _StandIn(type):
    """A class that is imported when it is asked for something, and answers as that class."""

    def imported(cls):
        from keras_kd._common.backend import require_tensorflow

        require_tensorflow()
        return getattr(importlib.import_module(cls.__module__), cls.__name__)

    def __getattr__(cls, name):
        return getattr(cls.imported(), name)

    def __call__(cls, *args, **kwargs):
        return cls.imported()(*args, **kwargs)

    def __instancecheck__(cls, instance):
        return isinstance(instance, cls.imported())


class _AfterKeras:
    """A finder of modules that lets the others find Keras, and acts when it has been imported."""

    def find_spec(self, name, path=None, target=None):
        if name != "keras":
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = _Loader(spec.loader, self)
                return spec
        return None


class _Loader:
    """The loader that was found, and then our stand-ins."""

    def __init__(self, found, finder):
        self.found, self.finder = found, finder

    def __getattr__(self, name):
        return getattr(self.found, name)

    def create_module(self, spec):
        return self.found.create_module(spec)

    def exec_module(self, module):
        module.__spec__.loader = module.__loader__ = self.found
        self.found.exec_module(module)
        if self.finder in sys.meta_path:
            sys.meta_path.remove(self.finder)
        _put_stand_ins(module)
