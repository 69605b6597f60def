"""Students trained together come out as each would alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_kd as kd

pytestmark = pytest.mark.usefixtures("improved_graphs")

NUM_EXAMPLES = 230
IMAGES = np.random.default_rng(0).integers(0, 256, (NUM_EXAMPLES, 6, 6, 1), dtype=np.uint8)
LABELS = np.random.default_rng(1).integers(0, 3, NUM_EXAMPLES)
SPLIT = kd.data.Split(IMAGES, LABELS)
SHAPE = {"image_shape": (6, 6, 1), "num_classes": 3}


@pytest.fixture(scope="module")
def teacher():
    keras.utils.set_random_seed(5)
    return kd.models.mlp([12], **SHAPE)


def mlp(units, seed=0):
    keras.utils.set_random_seed(seed)
    return kd.models.mlp([units], **SHAPE)


def conv_net(filters):
    keras.utils.set_random_seed(0)
    return kd.models.conv_net([filters], **SHAPE)


def compiled(student, teacher=None, temperature=2.0, rate=1e-2, **options):
    options.setdefault("distillation_loss", kd.losses.SoftTargets(temperature))
    distiller = kd.Distiller(student=student, teacher=teacher, **options)
    return distiller.compile(keras.optimizers.Adam(rate), metrics=["accuracy"])


def different(teacher):
    """Temperatures, alphas, losses, seeds, architectures, and one without the teacher."""
    hints = kd.losses.Hints("hidden_1", "hidden_1")
    return [
        compiled(mlp(6), teacher, temperature=1.0, alpha=0.9),
        compiled(mlp(6, seed=1), teacher, temperature=4.0),
        compiled(mlp(9), teacher, distillation_loss=[hints, kd.losses.DecoupledKD()]),
        compiled(mlp(6), alpha=0.0),
    ]


def assert_equal_runs(together, histories, alone):
    for distiller, history, (other, expected) in zip(together, histories, alone, strict=True):
        for one, two in zip(distiller.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_allclose(one, two, atol=2e-5)
        assert history.keys() == expected.keys()
        for key, values in expected.items():
            np.testing.assert_allclose(history[key], values, rtol=1e-4, err_msg=key)


@pytest.mark.parametrize(
    "make",
    [different, lambda teacher: [compiled(conv_net(c), teacher, alpha=0.7) for c in (2, 3)]],
    ids=["dense", "convolutions"],
)
def test_each_is_trained_as_if_alone(make, teacher):
    fit = {"epochs": 2, "validation_data": SPLIT.batches(100), "verbose": 0}
    together = make(teacher)
    histories = kd.train_together(together, SPLIT.batches(32, shuffle_seed=3), **fit)
    alone = [
        (each, each.fit(SPLIT.batches(32, shuffle_seed=3), **fit).history) for each in make(teacher)
    ]
    assert_equal_runs(together, histories, alone)


def test_each_stops_where_it_would_alone(teacher):
    def stopping(distiller):
        return [kd.callbacks.EarlyStopping("val_hard_loss", patience=2)]

    def make():
        return [compiled(mlp(units), teacher, alpha=0.5, rate=3e-2) for units in (2, 40)]

    fit = {"epochs": 20, "validation_data": SPLIT.batches(100), "verbose": 0}
    together = make()
    batches = SPLIT.batches(32, shuffle_seed=3)
    histories = kd.train_together(together, batches, callbacks=stopping, **fit)
    alone = [
        (each, each.fit(SPLIT.batches(32, shuffle_seed=3), callbacks=stopping(each), **fit).history)
        for each in make()
    ]
    lengths = [len(history["loss"]) for history in histories]
    assert lengths[0] != lengths[1] and max(lengths) < 20
    assert_equal_runs(together, histories, alone)
    for distiller, (other, _) in zip(together, alone, strict=True):
        assert int(distiller.optimizer.iterations) == int(other.optimizer.iterations)


def test_one_stopped_before_it_begins_is_left_as_it_was(teacher):
    class Stopped(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.model.stop_training = True

    one, other = (compiled(mlp(6), teacher) for _ in range(2))
    before = one.get_weights()
    histories = kd.train_together(
        [one, other],
        SPLIT.batches(32, shuffle_seed=3, initial_epoch=2),
        epochs=4,
        initial_epoch=2,
        callbacks=lambda distiller: [Stopped()] if distiller is one else [],
        verbose=0,
    )
    for now, then in zip(one.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)
    assert histories[0] == {} and len(histories[1]["loss"]) == 2


def test_the_teacher_is_asked_once_for_all(teacher, monkeypatch):
    asked = []
    ask = kd.Teacher.__call__
    monkeypatch.setattr(
        kd.Teacher,
        "__call__",
        lambda self, images: asked.append(tf.executing_eagerly()) or ask(self, images),
    )
    distillers = [compiled(mlp(6), teacher, temperature=t) for t in (1.0, 2.0, 4.0)]
    kd.train_together(distillers, SPLIT.batches(46), epochs=3, verbose=0)
    assert asked.count(False) == 1  # Traced once, for all distillers and epochs.


def test_they_share_soft_labels(teacher, tmp_path):
    shift = kd.data.RandomShift(1)
    labels = kd.SoftLabels.create(
        tmp_path / "labels", teacher, SPLIT, views=2, augmentation=shift, verbose=False
    )

    def make():
        return [compiled(mlp(6), temperature=t) for t in (1.0, 3.0)]

    together = make()
    histories = kd.train_together(
        together, labels.join(SPLIT, 32, shuffle_seed=1), epochs=2, verbose=0
    )
    alone = [
        (each, each.fit(labels.join(SPLIT, 32, shuffle_seed=1), epochs=2, verbose=0).history)
        for each in make()
    ]
    assert_equal_runs(together, histories, alone)


class TestBadInput:
    def test_a_sentence_each(self, teacher):
        one, batches = compiled(mlp(6), teacher), SPLIT.batches(32)
        with pytest.raises(ValueError, match="at least one distiller, each once"):
            kd.train_together([], batches)
        with pytest.raises(ValueError, match="at least one distiller, each once"):
            kd.train_together([one, one], batches)
        with pytest.raises(ValueError, match="a student of its own"):
            kd.train_together([one, compiled(one.student, teacher)], batches)
        with pytest.raises(ValueError, match="what `Split.batches`"):
            kd.train_together([one], batches.take(2))
        eager = compiled(mlp(6), teacher)
        eager.compile(run_eagerly=True)
        with pytest.raises(ValueError, match="run_eagerly of their own"):
            kd.train_together([one, eager], batches)
        never_compiled = kd.Distiller(student=mlp(6), teacher=teacher)
        with pytest.raises(ValueError, match="needs a compiled distiller"):
            kd.train_together([never_compiled], batches)
