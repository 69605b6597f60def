"""Several inputs and outputs go by stacks as images do: the weights are those of the plain path."""

from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_kd as kd
from keras_kd.data.minibatches import Minibatches
from keras_kd.distillers import stacks

pytestmark = pytest.mark.usefixtures("improved_graphs")

COUNT = 70  # Four minibatches of 16 and one of 6.
GENERATOR = np.random.default_rng(0)
INPUTS = {
    "ids": GENERATOR.integers(0, 9, (COUNT, 5)),
    "more": GENERATOR.normal(size=(COUNT, 3)),
}
LABELS = {"class": np.arange(COUNT) % 4, "box": GENERATOR.normal(size=(COUNT, 2))}
LOGITS = {"class": GENERATOR.normal(size=(COUNT, 4)), "box": GENERATOR.normal(size=(COUNT, 2))}
WEIGHTS = {"class": GENERATOR.uniform(0, 2, COUNT), "box": GENERATOR.uniform(0, 2, COUNT)}
LOSSES = {
    "class": kd.losses.SoftTargets(2.0),
    "box": kd.losses.ValueMatching(),
}
PLAIN = {"steps_per_execution": 1, "jit_compile": False}


def net(units, seed, inputs=("ids", "more"), outputs=("class", "box")):
    keras.utils.set_random_seed(seed)
    ends = {"ids": keras.Input((5,), name="ids"), "more": keras.Input((3,), name="more")}
    x = layers.Concatenate()([layers.Rescaling(0.1)(ends["ids"]), ends["more"]])
    x = layers.Dense(units, activation="relu")(x)
    found = {"class": layers.Dense(4)(x), "box": layers.Dense(2)(x)}
    return keras.Model(
        {name: ends[name] for name in inputs}, {name: found[name] for name in outputs}
    )


def distiller(teacher=True, **options):
    return kd.Distiller(
        student=net(6, 0),
        teacher=kd.Teacher(net(12, 1), head={"class": "logits", "box": "values"})
        if teacher
        else None,
        distillation_loss=LOSSES,
        **options,
    )


def compiled(model, **options):
    model.compile(
        keras.optimizers.Adam(1e-2),
        loss={"class": kd.losses.CrossEntropy(), "box": "mse"},
        metrics={"class": "accuracy", "box": "mae"},
        **options,
    )
    return model


def heights():
    """Record the heights of the stacks that `fit` goes by."""
    return mock.patch.object(Minibatches, "stacks", autospec=True, side_effect=Minibatches.stacks)


def run(make, data, **options):
    model = compiled(make(), **options)
    with heights() as stacked:
        history = model.fit(data(), epochs=3, verbose=0).history
    assert stacked.called == (not options)
    return model.get_weights(), history


def batches(**options):
    return kd.data.Split(INPUTS, LABELS).batches(16, shuffle_seed=3, **options)


def stored():
    found = batches().minibatches.with_teacher_logits(as_float32(LOGITS))
    return found.with_sample_weight(as_float32(WEIGHTS)).dataset()


def as_float32(structure):
    return {name: each.astype("float32") for name, each in structure.items()}


@pytest.mark.parametrize(
    ("make", "data", "tolerance"),
    [
        # The teacher is asked about all examples at once, not about a minibatch.
        (lambda: distiller(alpha={"class": 0.7, "box": 0.3}), batches, 1e-6),
        (lambda: distiller(teacher=False), stored, 0),
        (lambda: distiller(teacher=False, alpha=0.0), batches, 0),
    ],
    ids=["live teacher", "stored and weighed", "student alone"],
)
def test_by_stacks_it_trains_as_one_by_one(make, data, tolerance):
    (fast, history), (plain, plain_history) = run(make, data), run(make, data, **PLAIN)
    for one, other in zip(fast, plain, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance)
    assert history.keys() == plain_history.keys() >= {"loss", "class_loss", "box_loss"}
    for key, values in plain_history.items():
        np.testing.assert_allclose(history[key], values, rtol=1e-5, err_msg=key)


def test_arrays_with_stored_logits_and_weights_of_any_structure_go_by_stacks():
    def history(inputs, targets, weights, **options):
        model = compiled(distiller(teacher=False), **options)
        with heights() as stacked:
            found = model.fit(
                inputs, targets, sample_weight=weights, shuffle=False, batch_size=16, verbose=0
            )
        return found.history, stacked.called

    dicts = INPUTS, kd.Targets(LABELS, LOGITS), WEIGHTS
    (one, by_stacks), (other, plain) = history(*dicts), history(*dicts, **PLAIN)
    assert by_stacks and not plain
    for key, values in other.items():
        np.testing.assert_allclose(one[key], values, rtol=1e-5, err_msg=key)
    # Keras divides: the same weights, one by one.
    halved, _ = history(*(cut(each) for each in dicts))
    model = compiled(distiller(teacher=False))
    split = model.fit(
        INPUTS, kd.Targets(LABELS, LOGITS), sample_weight=WEIGHTS, validation_split=0.5,
        shuffle=False, batch_size=16, verbose=0,
    ).history  # fmt: skip
    for key, values in halved.items():
        np.testing.assert_allclose(split[key], values, rtol=1e-5, err_msg=key)


def cut(structure):
    return keras.tree.map_structure(lambda each: each[: COUNT // 2], structure)


def listed(units, seed):
    keras.utils.set_random_seed(seed)
    ends = [keras.Input((5,)), keras.Input((3,))]
    x = layers.Dense(units, activation="relu")(layers.Concatenate()(ends))
    return keras.Model(ends, [layers.Dense(4)(x), layers.Dense(2)(x)])


def test_lists_go_by_their_places_and_an_output_may_be_without_a_teacher():
    """Of a teacher of two outputs one alone was asked, which then had no place of its own."""

    def run(**options):
        model = kd.Distiller(
            student=listed(6, 0), teacher=listed(12, 1), distillation_loss=["soft_targets", None]
        )
        model.compile("sgd", loss=[kd.losses.CrossEntropy(), "mse"], **options)
        data = [*INPUTS.values()], [*LABELS.values()]
        history = model.fit(*data, shuffle=False, batch_size=16, verbose=0).history
        return model, history

    with heights() as stacked:
        (fast, history), (plain, _) = run(), run(**PLAIN)
    assert stacked.call_count == 1
    first, second = fast.parts.names
    losses = {f"{first}_distillation_loss", f"{first}_loss", f"{second}_loss"}
    assert history.keys() == losses | {"loss", "hard_loss", "distillation_loss"}
    for one, other in zip(fast.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_inputs_alone_go_by_stacks_where_the_teacher_alone_teaches():
    def run(**options):
        model = distiller(alpha=1.0).compile(keras.optimizers.Adam(1e-2), **options)
        return model.fit(INPUTS, shuffle=False, batch_size=16, verbose=0).history["loss"]

    with heights() as stacked:
        fast = run()
    assert stacked.called
    np.testing.assert_allclose(fast, run(**PLAIN), rtol=1e-5)


def test_students_of_several_outputs_train_together():
    def make():
        return [compiled(distiller(alpha=alpha)) for alpha in (0.3, {"class": 0.9})]

    together = make()
    histories = kd.train_together(together, batches(), epochs=2, verbose=0)
    for one, history, alone in zip(together, histories, make(), strict=True):
        expected = alone.fit(batches(), epochs=2, verbose=0).history
        assert history.keys() == expected.keys()
        for key, values in expected.items():
            np.testing.assert_allclose(history[key], values, rtol=1e-5, err_msg=key)
        for weight, other in zip(one.get_weights(), alone.get_weights(), strict=True):
            np.testing.assert_allclose(weight, other, atol=1e-6)


class TestKept:
    """What a teacher says is kept by output, below a bound, once in memory."""

    def test_each_output_is_kept_and_their_bytes_are_bounded_together(self, monkeypatch):
        model, given = compiled(distiller()), batches().minibatches
        size = COUNT * (4 + 2) * 4
        monkeypatch.setattr(stacks, "_KEPT_BYTES", size)
        found = stacks.with_teacher_logits(given, [model], False)
        assert found.kept and found.resident[1].teacher_logits.keys() == LABELS.keys()
        for name, output in model.teacher(INPUTS).items():
            np.testing.assert_allclose(found.resident[1].teacher_logits[name], output, rtol=1e-5)
        monkeypatch.setattr(stacks, "_KEPT_BYTES", size - 1)
        assert stacks.with_teacher_logits(given, [model], False) is given

    def test_places_that_the_model_leaves_free_are_those_of_the_data(self, monkeypatch):
        def tagger(units):
            ids = keras.Input((None,), dtype="int32", name="ids")
            return keras.Model({"ids": ids}, layers.Dense(3)(layers.Embedding(9, units)(ids)))

        model = kd.Distiller(student=tagger(2), teacher=tagger(4)).compile()
        ids = {"ids": INPUTS["ids"].astype("int32")}
        given = kd.data.Split(ids, INPUTS["ids"] % 3).batches(16).minibatches
        monkeypatch.setattr(stacks, "_KEPT_BYTES", COUNT * 5 * 3 * 4)
        found = stacks.with_teacher_logits(given, [model], False)
        assert found.kept
        monkeypatch.setattr(stacks, "_KEPT_BYTES", COUNT * 5 * 3 * 4 - 1)
        assert stacks.with_teacher_logits(given, [model], False) is given

    def test_a_data_set_does_not_copy_what_it_is_made_of(self):
        """Written down and read again by the pipeline, the inputs lay in memory twice."""
        inputs = np.zeros((60_000, 1000), "float32")  # 240 MB.
        minibatches = kd.data.Split(inputs, np.zeros(60_000)).batches(500).minibatches
        del inputs
        before = resident_megabytes()
        for _ in minibatches.stacks(64, gathered=False):
            pass
        assert resident_megabytes() - before < 100


def resident_megabytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 1e6


class TestLabels:
    """They are looked at output by output, before anything is trained."""

    @pytest.mark.parametrize(
        ("labels", "sentence"),
        [
            ({"class": np.full(COUNT, 4)}, "0 to 3, .*label 4 for image 0 of the training data, "
             "output class; nothing"),
            ({"box": np.full((COUNT, 2), np.nan)}, "finite.*label nan .*output box"),
            ({"box": np.zeros((COUNT, 3))}, r"these values must have the shape \[n, 2\].*"
             r"\[70, 3\] in the training data, output box"),
            ({"other": np.zeros(COUNT)}, "names of the outputs, class, box. Received: other"),
        ],
    )  # fmt: skip
    def test_the_output_is_named(self, labels, sentence):
        model = compiled(distiller())
        before = model.get_weights()
        for data in ((INPUTS, LABELS | labels), (batches_of(LABELS | labels),)):
            with pytest.raises(ValueError, match=sentence):
                model.fit(*data, verbose=0)
        with pytest.raises(ValueError, match=sentence.replace("training", "validation")):
            model.fit(INPUTS, LABELS, validation_data=(INPUTS, LABELS | labels), verbose=0)
        for one, other in zip(model.get_weights(), before, strict=True):
            np.testing.assert_array_equal(one, other)

    def test_an_output_that_learns_no_labels_may_have_any(self):
        model = distiller(alpha={"class": 1.0, "box": 0.5})
        model.compile("sgd", loss={"class": kd.losses.CrossEntropy(), "box": "mse"})
        labels = LABELS | {"class": np.full(COUNT, 99)}
        assert np.isfinite(model.fit(INPUTS, labels, verbose=0).history["loss"][0])


def batches_of(labels):
    return kd.data.Split(INPUTS, labels).batches(16)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (np.array(["a", "b"]), np.arange(2)),
        (np.array([{}, {}], dtype=object), np.arange(2)),
        ({"a": np.zeros(3), "b": np.zeros(2)}, np.zeros(3)),
        ({"a": np.zeros(0)}, np.zeros(0)),
        ({"a": tf.zeros([2, 1])}, np.zeros(2)),
        (tf.ragged.constant([[1], [2, 3]]), np.zeros(2)),
        ([[1.0], [2.0]], [0, 1]),
    ],
    ids=["strings", "objects", "unequal", "none", "tensor", "ragged", "lists"],
)
def test_other_data_is_keras_s_own(x, y):
    assert stacks.minibatches_of(x, y) is None
