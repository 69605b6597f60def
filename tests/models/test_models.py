"""Model builders: raw pixels in, logits out, under the names that exports rely on."""

import keras
import numpy as np
import pytest

import keras_kd as kd

BUILDERS = {
    "mlp": lambda **options: kd.models.mlp([16, 8], **options),
    "conv_net": lambda **options: kd.models.conv_net([4, 8], **options),
    "lenet5": lambda **options: kd.models.lenet5(0.5, **options),
    "residual_net": lambda **options: kd.models.residual_net([4, 8], **options),
    "resnet18": lambda **options: kd.models.resnet18(0.05, **options),
    "speed_net": lambda **options: kd.models.speed_net([8, 4], **options),
}


def test_every_builder_is_tested():
    assert set(BUILDERS) | {"byte_net", "from_spec"} == set(kd.models.__all__)


@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)
class TestEveryBuilder:
    def test_input_and_output_have_their_names(self, build):
        model = build(image_shape=(32, 32, 3), num_classes=7)
        assert model.inputs[0].name == "image"
        assert model.output_names == ["logits"]
        assert model.output_shape == (None, 7)

    def test_it_normalises_inside_itself(self, build):
        model = build(mean=0.25, std=0.5)
        pixels = np.full((1, 28, 28, 1), 255, np.uint8)
        normalized = keras.Model(model.input, model.get_layer("normalize").output)(pixels)
        np.testing.assert_allclose(normalized, (1 - 0.25) / 0.5, rtol=1e-6)

    def test_uint8_and_float32_pixels_give_the_same_logits(self, build):
        pixels = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 1), np.uint8)
        model = build()
        np.testing.assert_array_equal(model(pixels), model(pixels.astype("float32")))

    def test_logits_are_float32_under_mixed_precision(self, build):
        keras.config.set_dtype_policy("mixed_bfloat16")
        try:
            model = build()
        finally:
            keras.config.set_dtype_policy("float32")
        assert model.outputs[0].dtype == "float32"
        assert model.layers[-2].compute_dtype == "bfloat16"

    def test_it_is_saved_and_loaded(self, build, tmp_path):
        model = build()
        model.save(tmp_path / "model.keras")
        pixels = np.ones((2, 28, 28, 1), "float32")
        loaded = keras.models.load_model(tmp_path / "model.keras")
        np.testing.assert_array_equal(loaded(pixels), model(pixels))


def test_the_published_teachers_and_students_have_their_sizes():
    def parameters(model):
        return model.count_params()

    assert parameters(kd.models.mlp([128, 128, 128])) == 134_794
    assert parameters(kd.models.mlp([128])) == 101_770
    # Convolution 1 -> 8, 3x3, stride 2, then 14 * 14 * 8 -> 10.
    assert parameters(kd.models.conv_net([8])) == 9 * 8 + 8 + 14 * 14 * 8 * 10 + 10


def test_convolutions_have_batch_normalization_or_a_bias():
    plain, normed = (kd.models.conv_net([4, 8], batch_norm=each) for each in (False, True))
    kinds = [type(layer).__name__ for layer in normed.layers]
    assert kinds.count("BatchNormalization") == kinds.count("Conv2D") == 2
    assert "BatchNormalization" not in [type(layer).__name__ for layer in plain.layers]
    # Four numbers a channel instead of one.
    assert normed.count_params() - plain.count_params() == 3 * (4 + 8)


def test_dropout_is_off_outside_training():
    model = kd.models.mlp([32], dropout=0.5)
    pixels = np.ones((2, 28, 28, 1), "float32")
    np.testing.assert_array_equal(model(pixels), model(pixels))
    assert not np.array_equal(model(pixels, training=True), model(pixels))


def test_input_dropout_drops_pixels_in_training():
    model = kd.models.mlp([], input_dropout=0.5)
    pixels = np.ones((2, 28, 28, 1), "float32")
    np.testing.assert_array_equal(model(pixels), model(pixels))
    assert not np.array_equal(model(pixels, training=True), model(pixels))


def test_no_hidden_unit_of_an_mlp_gets_more_weight_than_allowed(digits):
    student = kd.models.mlp([16, 16], image_shape=(8, 8, 1), max_norm=0.5)
    distiller = kd.Distiller(student=student, alpha=0.0).compile(keras.optimizers.Adam(0.01))
    distiller.fit(digits.train.batches(64, shuffle_seed=0), epochs=2, verbose=0)
    for name in ("hidden_1", "hidden_2"):
        norms = np.linalg.norm(student.get_layer(name).kernel.numpy(), axis=0)
        assert norms.max() == pytest.approx(0.5, abs=1e-5)


def test_lenet5_is_for_28_or_32_pixels():
    assert kd.models.lenet5(image_shape=(32, 32, 1)).count_params() == 61_706
    with pytest.raises(ValueError, match="28x28 or 32x32 pixels. Received: .*24, 24"):
        kd.models.lenet5(image_shape=(24, 24, 1))


def num_trained(model):
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def test_resnet18_has_the_published_sizes():
    # Of the usual CIFAR-10 implementation, and of the paper's on ImageNet.
    assert num_trained(kd.models.resnet18(image_shape=(32, 32, 3))) == 11_173_962
    large = kd.models.resnet18(image_shape=(224, 224, 3), num_classes=1000)
    assert num_trained(large) == 11_689_512


def test_resnet18_refuses_a_width_of_nothing():
    with pytest.raises(ValueError, match="`width` must be above 0"):
        kd.models.resnet18(0)


@pytest.mark.parametrize("build", [kd.models.mlp, kd.models.conv_net, kd.models.byte_net])
@pytest.mark.parametrize("widths", [16, "16", [0], [1.5], None])
def test_widths_must_be_a_list_of_sizes(build, widths):
    with pytest.raises(ValueError, match="must be (a list|an integer)"):
        build(widths)


class TestSpeedNet:
    def test_patches_are_turned_and_nothing_of_them_is_lost(self):
        kernel = (
            kd.models.speed_net([4], image_shape=(8, 8, 3))
            .get_layer("features")
            .get_layer("patches")
            .kernel
        )
        rows = np.asarray(kernel).reshape(12, 24).T
        np.testing.assert_allclose(rows[:12] @ rows[:12].T, np.eye(12), atol=1e-6)
        np.testing.assert_array_equal(rows[12:], -rows[:12])
        np.testing.assert_allclose(rows[0], 1 / np.sqrt(12), rtol=1e-6)  # Its mean.

    def test_a_convolution_begins_as_the_identity_of_what_comes_in(self):
        model = kd.models.speed_net([16, 16], image_shape=(32, 32, 3))
        images = np.random.default_rng(0).normal(size=(1, 8, 8, 16)).astype("float32")
        same = model.get_layer("features").get_layer("stage_2_1_conv")(images)
        np.testing.assert_allclose(same, images, atol=1e-6)
        wider = kd.models.speed_net([16, 24], image_shape=(32, 32, 3)).get_layer("features")
        said = np.asarray(wider.get_layer("stage_2_1_conv")(images))
        np.testing.assert_allclose(said[..., :16], images, atol=1e-6)
        assert np.abs(said[..., 16:]).max() > 0.1

    def test_a_mirrored_one_says_the_same_of_mirror_images_unless_it_trains(self):
        model = kd.models.speed_net([4], mirrored=True, image_shape=(8, 8, 3))
        images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)
        other = images[:, :, ::-1]
        np.testing.assert_allclose(model(images), model(other), rtol=1e-5, atol=1e-5)
        assert np.abs(model(images, training=True) - model(other, training=True)).max() > 1e-3

    def test_a_mirrored_one_is_saved_and_loaded(self, tmp_path):
        model = kd.models.speed_net([4], mirrored=True, image_shape=(8, 8, 3))
        model.save(tmp_path / "model.keras")
        images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)
        loaded = keras.models.load_model(tmp_path / "model.keras")
        np.testing.assert_array_equal(loaded(images), model(images))

    def test_no_stage_is_refused(self):
        with pytest.raises(ValueError, match="at least one stage"):
            kd.models.speed_net([])
