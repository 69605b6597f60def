"""Students named in a word."""

import numpy as np
import pytest

import keras_kd as kd

SHAPE = {"image_shape": (32, 32, 3), "num_classes": 7}


@pytest.mark.parametrize(
    ("spec", "twin"),
    [
        ("mlp:16-8", lambda: kd.models.mlp([16, 8], **SHAPE)),
        ("conv:4-8", lambda: kd.models.conv_net([4, 8], **SHAPE)),
        ("lenet5", lambda: kd.models.lenet5(**SHAPE)),
        ("lenet5:0.5", lambda: kd.models.lenet5(0.5, **SHAPE)),
        ("resnet18:0.05", lambda: kd.models.resnet18(0.05, **SHAPE)),
    ],
)
def test_a_spec_builds_what_the_builder_builds(spec, twin):
    student, twin = kd.models.from_spec(spec, **SHAPE), twin()
    assert [w.shape for w in student.weights] == [w.shape for w in twin.weights]
    assert student.output_shape == (None, 7)


def test_every_family_can_be_named():
    import keras_kd.models.spec as spec

    for family in set(spec.FAMILIES) - {"bytes"}:
        sizes = {"mlp": ":4", "conv": ":4", "lenet5": ":0.2", "resnet18": ":0.05"}
        student = kd.models.from_spec(family + sizes.get(family, ":0.35") + "@32", **SHAPE)
        assert student(np.zeros((2, 32, 32, 3), "uint8")).shape == (2, 7)


def test_a_student_of_texts_is_named_by_its_filters():
    student = kd.models.from_spec("bytes:4-8", num_bytes=32, num_classes=3)
    twin = kd.models.byte_net([4, 8], num_bytes=32, num_classes=3)
    assert [w.shape for w in student.weights] == [w.shape for w in twin.weights]
    of_texts, of_images = {"num_bytes": 32, "num_classes": 3}, SHAPE
    for spec, given, sentence in (
        ("conv:4", of_texts, "'conv:4' takes images. Received: texts. Name one such as 'bytes"),
        ("bytes:4", of_images, "'bytes:4' takes texts. Received: images"),
        ("bytes:4@32", of_texts, "texts"),
        ("bytes:4", {"input_shape": (5,), "num_classes": 2}, "takes texts. Received: examples"),
        ("bytes", of_texts, "takes layers, such as 16-32"),
    ):
        with pytest.raises(ValueError, match=sentence):
            kd.models.from_spec(spec, **given)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_side_resizes_inside_the_student_and_grey_images_are_coloured(channels):
    student = kd.models.from_spec(
        "mobilenet_v3_small:0.35@32", image_shape=(28, 28, channels), num_classes=3
    )
    images = np.random.default_rng(0).integers(0, 256, (2, 28, 28, channels), dtype=np.uint8)
    logits = np.asarray(student(images))
    assert student.input_shape == (None, 28, 28, channels) and logits.shape == (2, 3)
    student = kd.models.from_spec("conv:4@14", image_shape=(28, 28, channels), num_classes=3)
    assert student.get_layer("conv_net").input_shape == (None, 14, 14, channels)


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("resnet:1", "Received: 'resnet:1'. Did you mean 'resnet18'?"),
        ("mobilenetv3_small", "Did you mean 'mobilenet_v3_small'?"),
        ("tree", "must be one of mlp, conv, lenet5.*Received: 'tree'.$"),
        ("", "must be one of"),
        (3, "must be one of"),
        ("mlp", "takes layers, such as 16-32. Received: 'mlp'"),
        ("mlp:1.5", "takes layers, such as 16-32"),
        ("conv:4--4", "takes layers, such as 16-32"),
        ("conv:1..2", "takes layers, such as 16-32"),
        ("resnet18:1-2", "takes at most one width"),
        ("conv:0", "must be above 0"),
        ("conv:4@0", "must be above 0"),
        ("lenet5@64", "LeNet-5 must have images of 28x28 or 32x32"),
        ("mobilenet_v3_small:0.5@16", "at least 32x32.*such as mobilenet_v3_small@96"),
    ],
)
def test_what_names_no_student_is_refused(spec, sentence):
    with pytest.raises(ValueError, match=sentence):
        kd.models.from_spec(spec, **SHAPE)
