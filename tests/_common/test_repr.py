"""What things of ours say that they are: what one would write to have them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_kd as kd
from keras_kd.losses.hard import as_loss_on_logits

L, S, A = kd.losses, kd.schedules, kd.adversarial
SPLIT = kd.data.Split(np.zeros((6, 4, 4, 1), "uint8"), np.arange(6) % 3)


@pytest.mark.parametrize(
    "written",
    [
        "SoftTargets(temperature=2.0)",
        "SoftTargets(reduction='sum', temperature=3.0)",
        "SoftTargets(temperature=Cosine(start=4.0, end=1.0, steps=9))",
        "BinaryCrossEntropy()",
        "BinarySoftTargets(temperature=2.0)",
        "TeacherLabels()",
        "LabelSmoothing(smoothing=0.2)",
        "StandardizedLogits(loss=DIST(temperature=1.0, inter_weight=2.0, intra_weight=1.0))",
        "Hints(name='inner', teacher_layer_name='a', student_layer_name=None, project=True)",
        "AttentionTransfer(teacher_layer_name='a', student_layer_name='b', power=2)",
        "CrossEntropy()",
        "Linear(start=0.0, end=1.0, steps=3)",
        "OneHot(weight=1.0)",
        "Disagreement(weight=0.5, distance=LogitMatching(), bounded=False)",
        "RandomShift(pixels=2, flip=False)",
    ],
)
def test_it_is_what_makes_the_thing(written):
    names = {**vars(L), **vars(S), **vars(A), **vars(kd.data)}
    assert repr(eval(written, names)) == written


def test_of_every_loss_it_tells_no_address():
    for name, member in vars(L).items():
        if isinstance(member, type) and issubclass(member, keras.losses.Loss):
            needs = {"Contrastive": {"num_examples": 8}}.get(name, {})
            assert repr(member(**needs)).startswith(f"{name}(")
    assert repr(as_loss_on_logits("mse")) == (
        "FunctionLoss(name='hard_loss', function=mean_squared_error)"
    )
    falling = keras.optimizers.schedules.ExponentialDecay(1.0, 2, 0.5)
    assert "temperature=ExponentialDecay(initial_learning_rate=1.0, " in repr(
        L.SoftTargets(falling)
    )


def test_arrays_are_told_by_their_shapes(tmp_path):
    assert repr(SPLIT) == "Split(images=uint8 [6, 4, 4, 1], labels=int64 [6])"
    pair = SPLIT.images, SPLIT.labels
    data = kd.data.from_arrays(pair, pair, seed=0, validation_fraction=0.5)
    assert "test=Split(images=uint8 [6, 4, 4, 1], labels=int" in repr(data)
    targets = kd.Targets(SPLIT.labels, tf.zeros((6, 3)))
    assert repr(targets) == "Targets(labels=int64 [6], teacher_logits=float32 [6, 3])"
    run = kd.export.LiteRTRun
    assert repr(run({"logits": np.zeros((2, 3), "float32")}, 5.0)) == (
        "LiteRTRun(logits=float32 [2, 3], microseconds=5.0)"
    )
    teacher = kd.models.mlp([4], image_shape=(4, 4, 1), num_classes=3)
    labels = kd.SoftLabels.create(tmp_path / "labels", teacher, SPLIT, verbose=False)
    assert repr(labels) == (
        f"SoftLabels(path='{tmp_path}/labels', views=1, num_examples=6, num_classes=3)"
    )
