"""Settings that change while training: by step, without tracing again."""

import keras
import numpy as np
import pytest

import keras_kd as kd

IMAGES = np.random.default_rng(0).uniform(0, 255, (32, 4, 4, 1)).astype("float32")
LABELS = np.arange(32) % 3


def net(units=6):
    return kd.models.mlp([units], image_shape=(4, 4, 1), num_classes=3)


def test_a_line_and_a_cosine():
    line = kd.schedules.Linear(2.0, 4.0, steps=10)
    assert [float(line(step)) for step in (0, 5, 10, 99)] == [2.0, 3.0, 4.0, 4.0]
    cosine = kd.schedules.Cosine(0.0, 1.0, steps=4)
    expected = [(1 - np.cos(np.pi * share)) / 2 for share in (0, 0.25, 0.5, 1, 1)]
    np.testing.assert_allclose([float(cosine(s)) for s in (0, 1, 2, 4, 9)], expected, atol=1e-6)


def test_no_steps_are_refused():
    with pytest.raises(ValueError, match="`steps` must be an integer of at least 1"):
        kd.schedules.Linear(0.0, 1.0, steps=0)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_temperature_and_alpha_follow_the_optimizer_s_step(jit_compile):
    traces = []

    class Counted(kd.losses.SoftTargets):
        def call(self, teacher_outputs, student_outputs):
            traces.append(1)
            return super().call(teacher_outputs, student_outputs)

    student, teacher = net(), net(8)
    temperature = kd.schedules.Linear(1.0, 4.0, steps=3)
    alpha = kd.schedules.Linear(1.0, 0.25, steps=3)
    distiller = kd.Distiller(
        student=student, teacher=teacher, distillation_loss=Counted(temperature), alpha=alpha
    )
    distiller.compile(keras.optimizers.SGD(0.0), jit_compile=jit_compile)
    history = distiller.fit(IMAGES, LABELS, batch_size=32, epochs=5, verbose=0).history
    for epoch, (t, a) in enumerate([(1, 1), (2, 0.75), (3, 0.5), (4, 0.25), (4, 0.25)]):
        soft = float(kd.losses.SoftTargets(float(t))(teacher(IMAGES), student(IMAGES)))
        hard = float(kd.losses.CrossEntropy()(LABELS, student(IMAGES)))
        assert history["distillation_loss"][epoch] == pytest.approx(soft, rel=1e-4)
        assert history["loss"][epoch] == pytest.approx(a * soft + (1 - a) * hard, rel=1e-4)
    assert len(traces) <= 2  # One trace, and one that builds the metrics.


def test_a_schedule_goes_on_where_it_was_after_loading(tmp_path):
    loss = kd.losses.SoftTargets(kd.schedules.Cosine(1.0, 8.0, steps=20))
    teacher = net(8)
    distiller = kd.Distiller(
        student=net(), teacher=teacher, distillation_loss=loss,
        alpha=kd.schedules.Linear(0.0, 1.0, steps=20),
    ).compile()  # fmt: skip
    fit = {"batch_size": 8, "epochs": 2, "shuffle": False, "verbose": 0}
    distiller.fit(IMAGES, LABELS, **fit)
    distiller.save(tmp_path / "distiller.keras")
    loaded = keras.models.load_model(tmp_path / "distiller.keras")
    loaded.attach_teacher(teacher)
    histories = [model.fit(IMAGES, LABELS, **fit).history for model in (distiller, loaded)]
    assert histories[0] == histories[1]
    for one, other in zip(distiller.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_decoupled_kd_warms_up():
    loss = kd.losses.DecoupledKD(warm_up_steps=4)
    distiller = kd.Distiller(student=net(), teacher=net(8), distillation_loss=loss, alpha=1.0)
    distiller.compile(keras.optimizers.SGD(0.0))
    values = distiller.fit(IMAGES, LABELS, batch_size=32, epochs=6, verbose=0).history["loss"]
    np.testing.assert_allclose(values, np.minimum(np.arange(6) / 4, 1) * values[-1], rtol=1e-5)
