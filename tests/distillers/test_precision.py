"""Training steps compute in another precision; the models are as they were outside of them."""

import functools

import keras
import numpy as np
import pytest

import keras_kd as kd
from keras_kd.distillers import precision as module
from keras_kd.distillers.precision import policy_for

pytestmark = pytest.mark.usefixtures("improved_graphs")

IMAGES = np.random.default_rng(0).uniform(0, 255, (64, 6, 6, 1)).astype("float32")
LABELS = np.arange(64) % 5


def net(seed, activation=None):
    """A net with a nested backbone and BatchNorm."""
    keras.utils.set_random_seed(seed)
    image = keras.Input((6, 6, 1))
    backbone = keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            keras.layers.Conv2D(8, 3, name="maps"),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
        ],
        name="backbone",
    )
    x = backbone(keras.layers.Rescaling(1 / 255)(image))
    outputs = keras.layers.Dense(5, activation=activation)(keras.layers.Flatten()(x))
    return keras.Model(image, outputs)


def trained(precision, *, loss=None, teacher=None, **options):
    student, teacher = net(1), teacher or net(0, "softmax")
    keras.utils.set_random_seed(2)
    distiller = kd.Distiller(student=student, teacher=teacher, distillation_loss=loss)
    distiller.compile(keras.optimizers.Adam(0.01), precision=precision, **options)
    history = distiller.fit(IMAGES, LABELS, batch_size=16, epochs=5, verbose=0, shuffle=False)
    return distiller, history.history


once_trained = functools.cache(trained)  # To be looked at.


@pytest.fixture
def dtypes(monkeypatch):
    """The types that convolutions and dense layers are given, by the layer's kind."""
    seen = {"Conv2D": set(), "Dense": set()}
    for kind in seen:
        layer = getattr(keras.layers, kind)
        call = layer.call

        def recording(self, inputs, *args, call=call, kind=kind, **kwargs):
            seen[kind].add(keras.backend.standardize_dtype(inputs.dtype))
            return call(self, inputs, *args, **kwargs)

        monkeypatch.setattr(layer, "call", recording)
    return seen


@pytest.mark.parametrize(
    "precision", [pytest.param("mixed_bfloat16", marks=pytest.mark.bfloat16), "mixed_float16"]
)
class TestInAStep:
    def test_both_models_compute_in_it_and_their_logits_are_float32(self, precision, dtypes):
        distiller = kd.Distiller(student=net(1), teacher=net(0, "softmax"))
        distiller.compile(precision=precision, run_eagerly=True)
        for seen in dtypes.values():
            seen.clear()  # What was asked while they were built.
        distiller.fit(IMAGES, LABELS, batch_size=64, verbose=0)
        assert dtypes == {"Conv2D": {precision.removeprefix("mixed_")}, "Dense": {"float32"}}

    def test_the_training_is_nearly_that_of_float32(self, precision):
        _, exact = once_trained(None)
        distiller, history = once_trained(precision)
        # bfloat16 keeps two digits.
        assert history["loss"][0] == pytest.approx(exact["loss"][0], rel=0.03)
        assert history["loss"][-1] < 0.7 * history["loss"][0]
        assert history["loss"] != exact["loss"]
        assert {weight.dtype for weight in distiller.weights} <= {"float32", "int32", "uint32"}

    def test_layers_are_compared_in_it(self, precision):
        loss = kd.losses.Hints("backbone/maps", "backbone/maps")
        _, history = trained(precision, loss=loss)
        assert history["loss"][-1] < 0.7 * history["loss"][0]

    def test_eager_and_xla(self, precision):
        # A loss that is scaled is what XLA could take otherwise.
        options = {"jit_compile" if precision == "mixed_float16" else "run_eagerly": True}
        _, history = trained(precision, **options)
        assert history["loss"][-1] < 0.7 * history["loss"][0]


@pytest.mark.bfloat16
class TestOutsideOfAStep:
    def test_student_and_teacher_are_what_they_were(self, tmp_path):
        teacher = net(0, "softmax")
        before = teacher.get_config(), teacher.predict(IMAGES, verbose=0)
        distiller, _ = trained("mixed_bfloat16", teacher=teacher)
        assert teacher.get_config() == before[0]
        np.testing.assert_array_equal(teacher.predict(IMAGES, verbose=0), before[1])
        assert {layer.compute_dtype for layer in distiller.student.layers} == {"float32"}
        distiller.student.save(tmp_path / "student.keras")
        copy = keras.models.load_model(tmp_path / "student.keras", compile=False)
        expected = distiller.predict(IMAGES, verbose=0)
        np.testing.assert_allclose(copy.predict(IMAGES, verbose=0), expected, atol=1e-6)

    def test_also_after_a_step_that_failed(self):
        student, teacher = net(1), net(0)
        distiller = kd.Distiller(student=student, teacher=teacher)
        distiller.compile(precision="mixed_bfloat16", loss=lambda labels, logits: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            distiller.fit(IMAGES, LABELS, verbose=0)
        assert {layer.compute_dtype for layer in module.layers_of(student)} == {"float32"}
        assert {layer.compute_dtype for layer in module.layers_of(teacher)} == {"float32"}

    def test_evaluation_is_in_float32(self, dtypes):
        distiller, _ = once_trained("mixed_bfloat16")
        for seen in dtypes.values():
            seen.clear()
        distiller.evaluate(IMAGES, LABELS, verbose=0)
        assert dtypes == {"Conv2D": {"float32"}, "Dense": {"float32"}}

    def test_it_is_saved_with_the_distiller(self, tmp_path):
        distiller, _ = once_trained("mixed_bfloat16")
        distiller.save(tmp_path / "distiller.keras")
        assert keras.models.load_model(tmp_path / "distiller.keras").precision == "mixed_bfloat16"


@pytest.mark.bfloat16
def test_it_is_said_once(capsys):
    distiller = kd.Distiller(student=net(1), teacher=net(0))
    distiller.compile(precision="mixed_bfloat16", run_eagerly=True)
    for _ in range(2):
        distiller.fit(IMAGES, LABELS, verbose=2)
    assert capsys.readouterr().out.count("Precision: mixed_bfloat16 (as asked)") == 1


class TestChoice:
    @pytest.mark.parametrize(
        ("gpu", "flags", "policy"),
        [
            (True, set(), "mixed_float16"),
            (False, {"avx2", "amx_bf16"}, "mixed_bfloat16"),
            (False, {"avx512_bf16"}, "mixed_bfloat16"),
            (False, {"avx512f"}, "float32"),
        ],
    )
    def test_mixed_is_what_the_device_is_fast_in(self, gpu, flags, policy, monkeypatch):
        monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
        monkeypatch.setattr(module, "processor_flags", lambda: flags)
        assert policy_for("mixed", on_gpu=gpu)[0] == policy

    @pytest.mark.parametrize(
        ("limit", "policy"),
        [("AVX2", "float32"), ("avx512_core", "float32"), ("AVX512_CORE_AMX", "mixed_bfloat16")],
    )
    def test_what_onednn_may_not_use_is_not_taken(self, limit, policy, monkeypatch):
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
        monkeypatch.setattr(module, "processor_flags", lambda: {"avx512_bf16", "amx_bf16"})
        assert policy_for("mixed", on_gpu=False)[0] == policy

    def test_float16_scales_the_loss(self):
        distiller, _ = once_trained("mixed_float16")
        assert isinstance(distiller.optimizer, keras.optimizers.LossScaleOptimizer)

    def test_an_adversary_takes_bfloat16_where_others_take_float16(self):
        assert policy_for("mixed", on_gpu=True, float16=False)[0] == "mixed_bfloat16"
        game = kd.adversarial.DiscriminatorDistiller(student=net(1), teacher=net(0))
        with pytest.raises(ValueError, match="Received: precision='mixed_float16'. Use"):
            game.compile(precision="mixed_float16")

    @pytest.mark.parametrize("precision", ["float16", "half", 16, True])
    def test_anything_else_is_refused(self, precision):
        with pytest.raises(ValueError, match="`precision` must be 'mixed' or one of"):
            kd.Distiller(student=net(1), teacher=net(0)).compile(precision=precision)

    def test_students_of_one_step_share_it(self):
        distillers = [
            kd.Distiller(student=net(seed), teacher=net(0)).compile(precision=precision)
            for seed, precision in ((1, None), (2, "mixed_bfloat16"))
        ]
        batches = kd.data.Split(IMAGES, LABELS).batches(16)
        with pytest.raises(ValueError, match="share its precision"):
            kd.train_together(distillers, batches, verbose=0)

    @pytest.mark.bfloat16
    def test_together_is_as_by_itself(self):
        alone, together = (
            kd.Distiller(student=net(1), teacher=net(0)).compile(
                keras.optimizers.SGD(0.1), precision="mixed_bfloat16"
            )
            for _ in range(2)
        )
        batches = [kd.data.Split(IMAGES, LABELS).batches(16, shuffle_seed=0) for _ in range(2)]
        keras.utils.set_random_seed(3)
        alone.fit(batches[0], verbose=0)
        kd.train_together([together], batches[1], verbose=0)
        for one, two in zip(alone.get_weights()[:2], together.get_weights()[:2], strict=True):
            np.testing.assert_allclose(one, two, atol=1e-2)


def test_every_output_of_a_model_stays_in_float32():
    image = keras.Input((4,))
    x = keras.layers.Dense(3, name="hidden")(image)
    outputs = {name: keras.layers.Dense(2, name=name)(x) for name in ("class", "box")}
    model = keras.Model(image, outputs)
    with module.computing_in("mixed_bfloat16", [model]):
        found = {each.name: each.compute_dtype for each in model.layers[1:]}
    assert found == {"hidden": "bfloat16", "class": "float32", "box": "float32"}
