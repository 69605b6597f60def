"""A user's program, which `mypy` reads and nobody runs: what the hints of public names promise."""

from pathlib import Path
from typing import Any, assert_type

import numpy as np

import keras_kd as kd

data = kd.data.load("digits", seed=0)
assert_type(data, kd.data.Data)
assert_type(data.train, kd.data.Split)
table, classes = np.zeros((40, 5)), np.arange(40) % 2
of_a_table = kd.data.from_arrays((table, classes), (table, classes), validation=(table, classes))
assert_type(of_a_table.is_images, bool)
assert_type(kd.metrics.accuracy([1, 0], np.zeros((2, 2))), float)
assert_type(kd.use_device("cpu"), str)
student = kd.models.mlp([16], image_shape=data.image_shape, num_classes=data.num_classes)
teacher = kd.load_teacher("teacher.keras")
assert_type(teacher.fingerprint, str)
assert_type(kd.losses.SoftTargets(2.0).get_config(), dict[str, Any])
labels = kd.SoftLabels.create("labels", teacher, data.train, top_k=16)
assert_type(labels, kd.SoftLabels)
distiller = kd.Distiller(
    student=student, teacher=[teacher, student], alpha={"logits": 0.9}, soft_labels=labels
)
assert_type(distiller.compile("adam", metrics=["accuracy"]), kd.Distiller)
assert_type(distiller.needs_teacher(), bool)
path = kd.export.litert(student, "student.tflite", quantization="int8", calibration=data.train)
assert_type(path, Path)
assert_type(kd.export.run_litert(path, data.test.images).microseconds, float)
assert_type(kd.recipes.digits(seed=1, epochs=2), dict[str, Any])
assert_type(kd.check(student, data).ok, bool)
result = kd.distill([student, student], data, student="mlp:16", max_kb=100)
assert_type(result.report["gain"], Any)

# A mistake is one before anything runs: mypy says so where an `ignore` is of no use.
kd.data.load(0)  # type: ignore[arg-type]
kd.models.mlp([16], num_clases=10)  # type: ignore[call-arg]
kd.Teacher(student, heads="softmax")  # type: ignore[call-arg]
