"""What of ours stands in a file is found again by a process that has imported nothing but us."""

import ast
import importlib
import inspect
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_kd as kd
from keras_kd._common.registration import REGISTERED
from keras_kd.losses.contrastive import ContrastiveMemory
from keras_kd.losses.feature import Projector
from keras_kd.losses.hard import as_loss_on_logits
from keras_kd.losses.values import TeacherUnits
from keras_kd.quantize.layers import Float32, IntegerEmbedding

PACKAGE = Path(kd.__file__).parent
IMAGES = np.random.default_rng(0).uniform(0, 255, (16, 8, 8, 1)).astype("float32")
LABELS = np.arange(16) % 3
SHAPE = {"image_shape": (8, 8, 1), "num_classes": 3}
# Kinds of things that Keras writes into files, and those of ours that it never does.
KINDS = (
    keras.Layer,
    keras.Loss,
    keras.Metric,
    keras.optimizers.schedules.LearningRateSchedule,
)
NEVER_IN_A_FILE = {
    "Asked": "of a teacher, around a file or a function that is not ours",
    "DistillationLoss": "a base",
    "FeatureLoss": "a base",
    "ForeignLoss": "made by its distiller, around what is saved",
    "RarestClass": "made by its distiller",
    "ReplayPool": "made by its distiller",
    "ValueLoss": "a base",
    "Trainer": "a base",
    "TeacherModel": "to predict with; it holds somebody else's model",
}


def module_name(path):
    return ".".join(("keras_kd", *path.relative_to(PACKAGE).with_suffix("").parts))


def decorated():
    """Return `(module, name)` of every class in the sources that is registered with Keras."""
    return {
        (module_name(path).removeprefix("keras_kd."), node.name)
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
        and any("register_keras_serializable" in ast.unparse(each) for each in node.decorator_list)
    }


def test_the_table_holds_every_registered_class_and_no_other():
    assert {(module, name) for module in REGISTERED for name in REGISTERED[module]} == decorated()


def test_what_keras_writes_into_files_is_registered():
    known = {name for names in REGISTERED.values() for name in names}
    for path in PACKAGE.rglob("*.py"):
        if path.name == "__main__.py":
            continue
        members = vars(importlib.import_module(module_name(path).removesuffix(".__init__")))
        for name, member in members.items():
            ours = inspect.isclass(member) and member.__module__ == module_name(path)
            if ours and issubclass(member, KINDS) and not name.startswith("_"):
                assert (name in known) != (name in NEVER_IN_A_FILE), f"{path}: {name}"


def net(units=8, name="student"):
    return kd.models.mlp([units], **SHAPE, name=name)


def conv(filters, name="student"):
    image = keras.Input((8, 8, 1), name="image")
    x = keras.layers.Conv2D(filters, 3, name="conv_1")(keras.layers.Rescaling(1 / 255)(image))
    x = keras.layers.Flatten()(keras.layers.BatchNormalization()(x))
    return keras.Model(image, keras.layers.Dense(3, name="logits")(x), name=name)


def distiller(*losses, **options):
    options = {"student": conv(4), "teacher": conv(6, "teacher"), **options}
    return kd.Distiller(distillation_loss=list(losses), **options).compile(metrics=["accuracy"])


def compiled(model, **options):
    model.compile(**{"optimizer": "adam", "loss": kd.losses.CrossEntropy(), **options})
    return model


def twin(**options):
    image = keras.Input((8, 8, 1), name="image")
    x = keras.layers.Conv2D(4, 3, activation="relu")(keras.layers.Rescaling(1 / 255)(image))
    x = keras.layers.Conv2DTranspose(2, 3)(keras.layers.DepthwiseConv2D(3)(x))
    x = keras.layers.LayerNormalization()(keras.layers.Reshape((36, 2))(x))
    x = keras.layers.DepthwiseConv1D(3)(keras.layers.Conv1D(2, 3)(x))
    logits = keras.layers.Dense(3, name="logits")(keras.layers.Flatten()(x))
    return kd.quantize.prepare(keras.Model(image, logits), calibration=IMAGES, **options)


def saved_models():
    """Return models, compiled, that together hold one of everything registered."""
    losses, adversarial = kd.losses, kd.adversarial
    layers = ("conv_1", "conv_1")
    preprocess = importlib.import_module("keras_kd.teachers.fitting").TeacherInput
    optimizer = keras.optimizers.Adam(kd.schedules.Linear(1e-3, 1e-4, steps=5))
    muon = kd.experiment.optimizers.ConvMuon()
    mirrored = kd.models.speed_net([4], mirrored=True, image_shape=IMAGES.shape[1:], name="fast")
    return {
        "fast": kd.Distiller(student=mirrored, alpha=0.0).compile(optimizer=muon),
        "logits": distiller(
            losses.SoftTargets(kd.schedules.Cosine(4.0, 2.0, steps=5)),
            losses.TeacherLabels(),
            losses.LogitMatching(),
            losses.LogitDistance(),
            losses.ReverseSoftTargets(),
            losses.JensenShannon(mixing=kd.schedules.Linear(0.1, 0.9, steps=5)),
            losses.ValueMatching(normalize=True),
            losses.ValueDistance(),
            losses.HuberMatching(0.5),
            losses.CosineMatching(),
            losses.DecoupledKD(),
            losses.StandardizedLogits(),
            losses.DIST(),
            losses.LabelSmoothing(),
            alpha=kd.schedules.Linear(0.9, 0.5, steps=5),
        ),
        "layers": distiller(
            losses.Hints(*layers),
            losses.AttentionTransfer(*layers),
            losses.SimilarityPreserving(*layers),
            losses.RelationalDistance(*layers),
            losses.RelationalAngle(*layers),
            losses.Contrastive(*layers, num_examples=16, num_negatives=4),
        ),
        "binary": distiller(losses.BinarySoftTargets()),
        "mutual": kd.MutualDistiller([net(), net(4, "other")]).compile(),
        "kdgan": adversarial.KDGANDistiller([net(), net(4, "other")]).compile(),
        "online": adversarial.OnlineAdversarialDistiller(
            [conv(4), conv(6, "other")], layer_names="conv_1"
        ).compile(),
        "discriminator": adversarial.DiscriminatorDistiller(
            student=net(), teacher=net(9, "teacher")
        ).compile(),
        "data_free": adversarial.DataFreeDistiller(
            student=conv(4),
            teacher=conv(6, "teacher"),
            replay=1,
            batch_size=12,
            generator_loss=[
                adversarial.OneHot(),
                adversarial.ClassBalance(),
                adversarial.Activation(0.1, teacher_layer_name="conv_1"),
                adversarial.Disagreement(),
                adversarial.BatchStatistics(),
                adversarial.TotalVariation(),
            ],
        ).compile(),
        "cross_entropy": compiled(net(), optimizer=optimizer),
        "function": compiled(net(), loss=as_loss_on_logits("mse")),
        "soft_targets": compiled(net(), loss=losses.SoftTargets()),
        "twin": compiled(twin()),
        "preprocess": keras.Sequential([keras.Input((8, 8, 1)), preprocess((4, 4), 3, "0..1")]),
    }


def parts_of_a_file():
    """Return layers that distillers make by themselves, as a model could hold them."""
    memory, words = ContrastiveMemory(16, 4, 0.1, 0.5, 8), IntegerEmbedding(5, 3, weight_bits=8)
    return [Projector(3), memory, TeacherUnits(3), Float32(), words]


def registered_names(config):
    """Return what a configuration names, at any depth."""
    if isinstance(config, dict):
        own = {config.get("registered_name")}
        return own.union(*(registered_names(value) for value in config.values()))
    return set().union(*map(registered_names, config)) if isinstance(config, list) else set()


# What a fresh process does: `{imports}` come first, then the files are loaded and asked.
LOADING = """
import json, sys
{imports}
import numpy as np
expected = np.load("expected.npz")
for name in {names}:
    model = keras.models.load_model(name + ".keras")
    predicted = np.asarray(model(expected["images"], training=False))
    np.testing.assert_allclose(predicted, expected[name], rtol=1e-5, atol=1e-5, err_msg=name)
for config in json.load(open("parts.json")):
    part = keras.saving.deserialize_keras_object(config)
    assert "keras_kd>" + type(part).__name__ == config["registered_name"]
print("loaded")
"""
IMPORTS = {
    "keras_kd first": """
import keras_kd
heavy = {"keras", "tensorflow", "numpy"} & set(sys.modules)
assert not heavy, heavy
import keras
assert keras.__spec__.loader is keras.__loader__ and "keras_kd" not in repr(keras.__loader__)
assert "keras_kd.distillers.distiller" not in sys.modules
""",
    "keras first": """
import tensorflow, keras
import keras_kd
assert "keras_kd.distillers.distiller" not in sys.modules
""",
}


@pytest.mark.filterwarnings("ignore:Class balance")
def test_a_fresh_process_loads_whatever_was_saved(tmp_path):
    models, expected, named = saved_models(), {"images": IMAGES}, set()
    for name, model in models.items():
        model.save(tmp_path / f"{name}.keras")
        expected[name] = np.asarray(model(IMAGES, training=False))
        with zipfile.ZipFile(tmp_path / f"{name}.keras") as archive:
            named |= registered_names(json.loads(archive.read("config.json")))
    np.savez(tmp_path / "expected.npz", **expected)
    parts = [keras.saving.serialize_keras_object(part) for part in parts_of_a_file()]
    (tmp_path / "parts.json").write_text(json.dumps(parts))
    # Nothing that is registered is forgotten here.
    assert {f"keras_kd>{name}" for _, name in decorated()} <= named | registered_names(parts)
    # One way finds every class; that the other finds any is seen by a few.
    names = {"keras_kd first": [*models], "keras first": ["logits", "discriminator", "twin"]}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", LOADING.format(imports=imports, names=names[order])],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for order, imports in IMPORTS.items()
    ]
    for printed, errors in [process.communicate() for process in processes]:
        assert printed.endswith("loaded\n"), errors
