"""CRD: the memory against the authors' algorithm in NumPy, and what it asks of the data."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_kd as kd
from keras_kd.losses import Contrastive

NUM_EXAMPLES = 40
IMAGES = np.random.default_rng(0).uniform(0, 255, (NUM_EXAMPLES, 4, 4, 1)).astype("float32")
LABELS = np.arange(NUM_EXAMPLES) % 5


def net(width, seed):
    keras.utils.set_random_seed(seed)
    image = keras.Input((4, 4, 1))
    x = keras.layers.Conv2D(width, 2, name="maps")(keras.layers.Rescaling(1 / 255)(image))
    x = keras.layers.Dense(width, activation="tanh", name="hidden")(keras.layers.Flatten()(x))
    return keras.Model(image, keras.layers.Dense(5)(x))


def distiller(teacher_layer="hidden", student_layer="hidden", *, options=None, **settings):
    settings = {"num_examples": NUM_EXAMPLES, "num_negatives": 16, **settings}
    teacher, student = net(12, 0), net(8, 1)
    keras.utils.set_random_seed(2)
    loss = Contrastive(teacher_layer, student_layer, **settings)
    built = kd.Distiller(student=student, teacher=teacher, distillation_loss=loss)
    return built.compile(keras.optimizers.Adam(0.01), **(options or {}))


def batches(shuffle_seed=0):
    return kd.data.Split(IMAGES, LABELS).batches(8, shuffle_seed=shuffle_seed)


@functools.cache
def weights_after_two_epochs():
    """As `fit` has them by itself, which other ways are held against."""
    trained = distiller()
    trained.fit(batches(), epochs=2, verbose=0)
    return trained.get_weights()


def memory_of(distiller):
    return next(iter(distiller.projectors.values()))


def test_three_steps_are_those_of_the_authors():
    """Scores and memory in float64, with the draws of the layer."""
    loss = Contrastive(num_examples=30, num_negatives=7, temperature=0.1, embedding_size=4)
    keras.utils.set_random_seed(0)
    memory = loss.projector((None, 5), (None, 3))
    banks = [memory.teacher_bank.numpy().astype("float64"), memory.student_bank.numpy()]
    normalizers = None
    generator = np.random.default_rng(0)
    for _ in range(3):
        features = [generator.normal(size=(6, size)) for size in (5, 3)]
        index, others = generator.permutation(30)[:6], memory.negatives().numpy()
        embeddings = [
            unit(each @ layer.kernel.numpy() + layer.bias.numpy())
            for each, layer in zip(
                features, (memory.teacher_embedding, memory.student_embedding), strict=True
            )
        ]
        rows = np.concatenate([index[:, None], np.tile(others, (6, 1))], axis=1)
        ratios = [
            np.exp(np.einsum("bd,bkd->bk", embedding, bank[rows]) / 0.1)
            for embedding, bank in zip(embeddings, banks[::-1], strict=True)
        ]
        if normalizers is None:
            normalizers = [ratio.mean() * 30 for ratio in ratios]
        expected = [ratio / z for ratio, z in zip(ratios, normalizers, strict=True)]
        scores = memory([each.astype("float32") for each in features], index=index)
        for score, ratio in zip(scores, expected, strict=True):
            np.testing.assert_allclose(score, np.log(ratio), rtol=1e-4, atol=1e-4)
        for number, embedding in enumerate(embeddings):
            banks[number][index] = unit(0.5 * banks[number][index] + 0.5 * embedding)
    np.testing.assert_allclose(memory.teacher_bank, banks[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(memory.student_bank, banks[1], rtol=1e-4, atol=1e-5)


def unit(vectors):
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-8)


def test_draws_differ_from_step_to_step_and_cover_the_data():
    memory = Contrastive(num_examples=9, num_negatives=8).projector((None, 5), (None, 3))
    seen = []
    for _ in range(50):
        seen.append(memory.negatives().numpy())
        memory.draws.assign_add(1)
    assert set(np.concatenate(seen)) == set(range(9))
    assert len({tuple(each) for each in seen}) == 50


class TestInTheDistiller:
    @pytest.mark.parametrize("layers", [("hidden", "hidden"), ("maps", "hidden")])
    def test_the_student_learns_from_it(self, layers):
        trained, control = distiller(*layers), distiller(*layers)
        control.optimizer.learning_rate.assign(0.0)
        losses = [
            each.fit(batches(), epochs=15, verbose=0).history["distillation_loss"][-1]
            for each in (trained, control)
        ]
        assert losses[0] < 0.9 * losses[1]

    @pytest.mark.parametrize(
        "options", [{"run_eagerly": True}, {"steps_per_execution": 2}, {"jit_compile": True}]
    )
    def test_every_path_gives_the_same_weights(self, options):
        other = distiller(options=options)
        other.fit(batches(), epochs=2, verbose=0)
        for one, two in zip(weights_after_two_epochs(), other.get_weights(), strict=True):
            np.testing.assert_allclose(one, two, atol=1e-5)

    def test_each_image_finds_its_own_place_whatever_the_order(self):
        trained = distiller(momentum=0.0)
        trained.optimizer.learning_rate.assign(0.0)
        trained.fit(batches(shuffle_seed=3), verbose=0)
        memory = memory_of(trained)
        features = kd.teachers.feature_model(trained.student, ["hidden"])(IMAGES)["hidden"]
        expected = unit(memory.student_embedding(features).numpy())
        np.testing.assert_allclose(memory.student_bank, expected, atol=1e-5)

    def test_a_reloaded_run_goes_on_to_the_bit(self, tmp_path):
        whole, first = distiller(), distiller()
        whole.fit(IMAGES, LABELS, batch_size=8, epochs=4, verbose=0, shuffle=False)
        first.fit(IMAGES, LABELS, batch_size=8, epochs=2, verbose=0, shuffle=False)
        first.save(tmp_path / "distiller.keras")
        second = keras.models.load_model(tmp_path / "distiller.keras")
        second.attach_teacher(net(12, 0))
        second.fit(IMAGES, LABELS, batch_size=8, epochs=2, verbose=0, shuffle=False)
        for one, two in zip(whole.get_weights(), second.get_weights(), strict=True):
            np.testing.assert_array_equal(one, two)

    def test_it_serves_students_that_train_together(self):
        together = distiller()
        kd.train_together([together], batches(), epochs=2, verbose=0)
        for one, two in zip(weights_after_two_epochs(), together.get_weights(), strict=True):
            np.testing.assert_allclose(one, two, atol=1e-5)


class TestBadInput:
    @pytest.mark.parametrize(
        "settings",
        [
            {"num_examples": 1},
            {"num_negatives": NUM_EXAMPLES},
            {"num_negatives": 0},
            {"temperature": 0.0},
            {"temperature": "warm"},
            {"momentum": 1.0},
            {"embedding_size": 2.5},
        ],
    )
    def test_settings_out_of_range(self, settings):
        (name,) = settings
        with pytest.raises(ValueError, match=rf"`{name}` must .* Received: .*\.$"):
            Contrastive(**{"num_examples": NUM_EXAMPLES, **settings})

    def test_layers_that_nothing_can_embed(self):
        with pytest.raises(
            ValueError, match=r"teacher \(None, 2, 2, 2, 5\) and student \(None, 4\)"
        ):
            Contrastive(num_examples=9).projector((None, 2, 2, 2, 5), (None, 4))

    def test_data_of_another_size(self):
        with pytest.raises(ValueError, match="`num_examples` .* 40. Received: num_examples=50"):
            distiller(num_examples=50).fit(batches(), verbose=0)

    @pytest.mark.parametrize(
        ("data", "options"),
        [
            (tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(8), {}),
            (batches().map(lambda x, y: (x, y)), {}),
            (batches(), {"class_weight": {0: 2.0}}),
        ],
    )
    def test_data_without_an_index(self, data, options):
        with pytest.raises(ValueError, match="by its index in the training data. Received: data"):
            distiller().fit(data, verbose=0, **options)

    def test_evaluation_without_labels_has_no_index(self):
        with pytest.raises(ValueError, match="by its index"):
            distiller().evaluate(IMAGES, batch_size=8, verbose=0)
