"""Padding and missing labels count for nothing, on every path from the student to the loss."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from contracts import LOSSES
from references import correlation, soft_targets, softmax

import keras_kd as kd
from keras_kd.losses.feature import Projector
from keras_kd.losses.hard import as_loss_on_logits
from keras_kd.losses.masks import mask_of, with_mask

L = kd.losses
IDS = np.array([[1, 2, 0, 0], [3, 1, 2, 0], [4, 0, 0, 0], [2, 2, 3, 1]])
MASK = IDS > 0
LABELS = np.array([[0, 1, 2, 3], [1, 1, 0, 2], [3, 0, 0, 0], [2, 1, 0, 1]])


def tagger(seed, *, masked=True, **options):
    keras.utils.set_random_seed(seed)
    ids = keras.Input((4,), dtype="int32")
    x = keras.layers.Embedding(5, 6, mask_zero=masked, name="words")(ids)
    x = keras.layers.Dense(6, activation="tanh", name="hidden")(x)
    return keras.Model(ids, keras.layers.Dense(4, name="tags", dtype="float32", **options)(x))


def logits_of(model, order=(0, 1, 2, 3)):
    return np.asarray(model(IDS), float)[..., list(order)]


def distillation_loss(kind, *, teacher=None, student=None, labels=LABELS, **compile_to):
    student, teacher = student or tagger(1), teacher or tagger(0)
    distiller = kd.Distiller(student=student, teacher=teacher, distillation_loss=kind)
    # Eager, since it is quick, unless a test is about the way.
    distiller.compile(keras.optimizers.SGD(0.0), **(compile_to or {"run_eagerly": True}))
    history = distiller.fit(IDS, labels, batch_size=4, shuffle=False, verbose=0).history
    return history["distillation_loss"][0]


class TestEveryPath:
    """The mean over the nine words, none of the seven paddings, whatever is between."""

    EXPECTED = soft_targets(logits_of(tagger(0)), logits_of(tagger(1)), 2.0)[MASK].mean()

    @pytest.mark.parametrize(
        "options", [{"run_eagerly": True}, {"run_eagerly": False}, {"jit_compile": True}]
    )
    def test_of_fit(self, options):
        assert distillation_loss(L.SoftTargets(), **options) == pytest.approx(self.EXPECTED, 1e-4)

    @pytest.mark.parametrize("order", [(0, 1, 2, 3), (2, 0, 3, 1)])
    def test_over_the_teacher_s_classes(self, order):
        teacher, student = tagger(0), tagger(1)
        expected = soft_targets(logits_of(teacher), logits_of(student, order), 2.0)[MASK].mean()
        mapped = kd.Teacher(teacher, class_map=order)
        received = distillation_loss(L.SoftTargets(), teacher=mapped)
        assert received == pytest.approx(expected, rel=1e-4)

    def test_from_several_teachers(self):
        teachers = [tagger(0), tagger(5)]
        log_mean = np.log(np.mean([softmax(logits_of(each)) for each in teachers], axis=0))
        expected = soft_targets(log_mean, logits_of(tagger(1)), 2.0)[MASK].mean()
        received = distillation_loss(L.SoftTargets(), teacher=kd.Ensemble(teachers))
        # The two nearly agree: what is left of log-probabilities of 1.4, each known to 1e-7, times
        # T^2. With AVX2, oneDNN's products have other last digits.
        assert received == pytest.approx(expected, rel=1e-4, abs=4e-7)

    def test_between_students(self):
        students = [tagger(0), tagger(1)]
        mutual = kd.MutualDistiller(students, distillation_loss=L.SoftTargets())
        mutual.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
        history = mutual.fit(IDS, LABELS, batch_size=4, verbose=0).history
        logits = [logits_of(each) for each in students]
        expected = [soft_targets(*pair, 2.0)[MASK].mean() for pair in (logits, logits[::-1])]
        assert history["distillation_loss"][0] == pytest.approx(np.mean(expected), rel=1e-4)

    @pytest.mark.bfloat16
    def test_in_half_precision(self):
        with_half = distillation_loss(L.SoftTargets(), precision="mixed_bfloat16")
        assert with_half == pytest.approx(self.EXPECTED, rel=0.05)

    @pytest.mark.parametrize("name", ["StandardizedLogits", "DIST", "LabelSmoothing"])
    def test_over_the_teacher_s_classes_with_other_losses(self, name):
        mapped = kd.Teacher(tagger(0), class_map=[0, 1, 2, 3])
        expected = distillation_loss(LOSSES[name]())
        assert distillation_loss(LOSSES[name](), teacher=mapped) == pytest.approx(expected, 1e-5)

    @pytest.mark.parametrize("loss", [L.SimilarityPreserving, L.RelationalDistance])
    def test_on_layers(self, loss):
        """Ids of the padding's own row: other numbers there change nothing."""
        values = []
        for garbage in (0.0, 100.0):
            models = [tagger(0), tagger(1)]
            for model in models:
                words = model.get_layer("words")
                words.set_weights([np.r_[np.full((1, 6), garbage), words.get_weights()[0][1:]]])
            built = loss("hidden", "hidden")
            values.append(distillation_loss(built, teacher=models[0], student=models[1]))
        assert values[0] == pytest.approx(values[1], rel=1e-5) and values[0] > 0

    def test_keras_s_own_losses_which_know_no_padding_are_refused(self):
        with pytest.raises(ValueError, match="cannot weigh examples. Received: .*padding"):
            distillation_loss(keras.distillation.LogitsDistillation())


def outputs_for(name, seed):
    shape = (4, 4, 2, 5) if name == "AttentionTransfer" else (4, 4, 5)
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("name", sorted(set(LOSSES) - {"Contrastive"}))
def test_what_stands_in_padding_has_no_say(name, dtype):
    """Contrastive compares vectors and maps, which have no steps."""
    values, gradients = [], []
    for seed in (1, 2):
        pair = []
        for number in (0, 1):
            garbage = outputs_for(name, 10 * seed + number)
            mask = MASK.reshape(4, 4, *[1] * (garbage.ndim - 2))
            pair.append(tf.cast(np.where(mask, outputs_for(name, number), garbage), dtype))
        with tf.GradientTape() as tape:
            tape.watch(pair[1])
            value = LOSSES[name]()(pair[0], with_mask(pair[1], tf.constant(MASK)))
        values.append(float(value))
        gradients.append(tape.gradient(value, pair[1]).numpy())
    assert values[0] == pytest.approx(values[1], rel=1e-4) and values[0] > 0
    assert not gradients[0][~MASK].any() and gradients[0][MASK].any()


class TestRightValues:
    TEACHER, STUDENT = (np.random.default_rng(seed).normal(size=(4, 4, 5)) for seed in (3, 4))

    def masked(self, loss):
        return float(loss(self.TEACHER, with_mask(tf.constant(self.STUDENT), tf.constant(MASK))))

    def test_hints_are_a_mean_over_the_steps_that_count(self):
        expected = ((self.TEACHER - self.STUDENT) ** 2).mean(-1)[MASK].mean()
        assert self.masked(L.Hints()) == pytest.approx(expected, rel=1e-5)

    def test_dist_correlates_over_the_steps_that_count(self):
        p, q = softmax(self.TEACHER[MASK]), softmax(self.STUDENT[MASK])
        expected = 2 - correlation(q, p, -1).mean() - correlation(q, p, 0).mean()
        assert self.masked(L.DIST()) == pytest.approx(expected, rel=1e-5)

    def test_padding_is_zeros_where_examples_are_compared_whole(self):
        sides = [each * MASK[..., None] for each in (self.TEACHER, self.STUDENT)]
        grams = [each.reshape(4, -1) @ each.reshape(4, -1).T for each in sides]
        grams = [each / np.linalg.norm(each, axis=-1, keepdims=True) for each in grams]
        expected = ((grams[0] - grams[1]) ** 2).mean()
        assert self.masked(L.SimilarityPreserving()) == pytest.approx(expected, rel=1e-5)

    @pytest.mark.parametrize("power", [2, 3])
    def test_attention_is_over_the_steps_that_count(self, power):
        maps = [(np.abs(each) ** power).mean(-1) * MASK for each in (self.TEACHER, self.STUDENT)]
        maps = [each / np.linalg.norm(each, axis=-1, keepdims=True) for each in maps]
        expected = ((maps[0] - maps[1]) ** 2)[MASK].mean()
        assert self.masked(L.AttentionTransfer(power=power)) == pytest.approx(expected, rel=1e-5)
        found = L.AttentionTransfer(power=power)(self.TEACHER, self.STUDENT)
        maps = [(np.abs(each) ** power).mean(-1) for each in (self.TEACHER, self.STUDENT)]
        maps = [each / np.linalg.norm(each, axis=-1, keepdims=True) for each in maps]
        assert float(found) == pytest.approx(((maps[0] - maps[1]) ** 2).mean(), rel=1e-5)

    def test_attention_of_padding_is_no_attention(self):
        """Whatever stands there, in value and gradient."""
        found = []
        for garbage in (0.0, 100.0):
            pair = [
                tf.constant(np.where(MASK[..., None], each, garbage), tf.float32)
                for each in (self.TEACHER, self.STUDENT)
            ]
            with tf.GradientTape() as tape:
                tape.watch(pair[1])
                value = L.AttentionTransfer()(pair[0], with_mask(pair[1], tf.constant(MASK)))
            gradient = tape.gradient(value, pair[1]).numpy()
            assert not gradient[~MASK].any() and gradient[[0, 1, 3]][MASK[[0, 1, 3]]].any()
            found.append(float(value))
        assert found[0] == pytest.approx(found[1], rel=1e-6)

    @pytest.mark.parametrize("loss", [L.SimilarityPreserving(), L.AttentionTransfer()])
    def test_a_teacher_of_other_steps_is_refused(self, loss):
        student = with_mask(tf.constant(self.STUDENT), tf.constant(MASK))
        with pytest.raises(ValueError, match="(same|as many) steps.* Received: .* Name"):
            loss(self.TEACHER[:, :3], student)

    def test_attention_on_one_step_is_refused(self):
        with pytest.raises(ValueError, match="at least 2 places. Received: teacher .*4, 1, 5"):
            L.AttentionTransfer()(self.TEACHER[:, :1], self.STUDENT[:, :1])
        with pytest.raises(ValueError, match="at least 2 places"):
            L.AttentionTransfer().projector((None, 1, 5), (None, None, 5))

    @pytest.mark.parametrize("teacher", ["sequence", "vector", "map"])
    def test_contrastive_embeds_the_mean_of_the_steps_that_count(self, teacher):
        def mean(sequence):
            return (sequence * MASK[..., None]).sum(1) / MASK.sum(1, keepdims=True)

        given, means = {
            "sequence": (self.TEACHER, mean(self.TEACHER)),
            "vector": (self.TEACHER[:, 0], self.TEACHER[:, 0]),
            "map": (self.TEACHER[:, :, None], self.TEACHER.mean(1)),
        }[teacher]
        student = with_mask(tf.constant(self.STUDENT, tf.float32), tf.constant(MASK))
        scores = []
        for pair in ((given, student), (means, mean(self.STUDENT))):
            keras.utils.set_random_seed(0)
            loss = L.Contrastive(num_examples=9, num_negatives=4, embedding_size=3)
            memory = loss.projector(*(tuple(each.shape) for each in pair))
            pair = [tf.cast(each, tf.float32) if each is not student else each for each in pair]
            scores.append(memory(pair, index=tf.range(4)))
            assert mask_of(scores[-1][1]) is None
        np.testing.assert_allclose(scores[0], scores[1], rtol=1e-4, atol=1e-5)

    def test_the_projector_hands_the_mask_on(self):
        projector = Projector(7)
        student = with_mask(tf.constant(self.STUDENT, tf.float32), tf.constant(MASK))
        _, projected = projector([tf.zeros((4, 4, 7)), student])
        np.testing.assert_array_equal(mask_of(projected), MASK)


class TestMissingLabels:
    LOGITS = np.random.default_rng(0).normal(size=(6, 4))
    KNOWN = np.array([True, False, True, True, False, True])

    def smoothed(self, labels):
        y = 0.9 * labels + 0.1 / 4
        return -(y * np.log(softmax(self.LOGITS))).sum(-1)

    @pytest.mark.parametrize("column", [False, True])
    def test_label_smoothing_leaves_them_out_of_the_mean(self, column):
        labels = np.where(self.KNOWN, np.arange(6) % 4, -1)
        expected = self.smoothed(np.eye(4)[np.arange(6) % 4])[self.KNOWN].mean()
        given = {"labels": labels[:, None] if column else labels, "logits": self.LOGITS[::-1]}
        student = tf.constant(self.LOGITS, tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(student)
            value = L.LabelSmoothing(0.1)(given, student)
        assert float(value) == pytest.approx(expected, rel=1e-5)
        assert not tape.gradient(value, student).numpy()[~self.KNOWN].any()

    def test_label_smoothing_smooths_soft_labels_as_they_are(self):
        """As keras.losses.CategoricalCrossentropy(label_smoothing=0.1) does."""
        labels = np.random.default_rng(1).dirichlet(np.ones(4), 6)
        keras_s = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
        received = float(L.LabelSmoothing(0.1)({"labels": labels}, self.LOGITS))
        assert received == pytest.approx(self.smoothed(labels).mean(), rel=1e-5)
        assert received == pytest.approx(float(keras_s(labels, self.LOGITS)), rel=1e-5)

    @pytest.mark.parametrize("ignored", [255, 0, -100])
    @pytest.mark.parametrize("loss", [L.LabelSmoothing(0.1), L.DecoupledKD(), L.SoftTargets()])
    def test_what_the_hard_loss_ignores_counts_for_nothing(self, loss, ignored):
        hard = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=ignored)
        missing = LABELS == 0
        labels = np.where(missing, ignored, LABELS)
        teacher, student = (tf.constant(logits_of(tagger(seed))) for seed in (0, 1))
        given = {"logits": teacher, "labels": LABELS} if loss.uses_labels else teacher
        expected = np.asarray(loss.call(given, student))[MASK & ~missing].mean()
        received = distillation_loss(loss, labels=labels, loss=hard, run_eagerly=True)
        assert received == pytest.approx(expected, rel=1e-5)

    def test_a_one_hot_label_that_the_teacher_does_not_know_is_its_prediction(self):
        teacher = kd.Teacher(small(3, seed=0), class_map=[0, 1, 2])
        labels = np.array([3, 1, 3, 2])
        losses = []
        for given in (labels, np.eye(4)[labels].astype("float32")):
            distiller = kd.Distiller(
                student=small(4, seed=1), teacher=teacher, distillation_loss=L.DecoupledKD()
            )
            distiller.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
            history = distiller.fit(IDS.astype("float32"), given, verbose=0).history
            losses.append(history["distillation_loss"][0])
        assert losses[0] == pytest.approx(losses[1], rel=1e-6)

    def test_label_smoothing_is_about_all_classes_of_the_student(self):
        """It asks no teacher, so a teacher of fewer classes is none of its business."""
        teacher, student = kd.Teacher(small(3, seed=0), class_map=[0, 1, 2]), small(4, seed=1)
        labels = np.array([3, 1, 3, 2])
        distiller = kd.Distiller(
            student=student,
            teacher=teacher,
            distillation_loss=[L.SoftTargets(), L.LabelSmoothing(0.1)],
        )
        distiller.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
        history = distiller.fit(IDS.astype("float32"), labels, verbose=0).history
        y = 0.9 * np.eye(4)[labels] + 0.1 / 4
        logits = np.asarray(student(IDS.astype("float32")), float)
        expected = -(y * np.log(softmax(logits))).sum(-1).mean()
        assert history["label_smoothing"][0] == pytest.approx(expected, rel=1e-5)

    @pytest.mark.parametrize("loss", [L.LogitMatching(), L.LogitDistance(), L.BinarySoftTargets()])
    def test_the_labels_of_a_sigmoid_teacher_are_one_yes_or_no_each(self, loss):
        """Softmax cross-entropy would have taken them for one distribution."""
        teacher, student = small(4, seed=0, activation="sigmoid"), small(4, seed=1)
        labels = (LABELS > 1).astype("float32")
        distiller = kd.Distiller(student=student, teacher=teacher, distillation_loss=loss)
        distiller.compile(keras.optimizers.SGD(0.0), metrics=["accuracy"], run_eagerly=True)
        history = distiller.fit(IDS.astype("float32"), labels, verbose=0).history
        logits = np.asarray(student(IDS.astype("float32")), float)
        expected = np.logaddexp(0, np.where(labels, -logits, logits)).mean()
        assert history["hard_loss"][0] == pytest.approx(expected, rel=1e-5)
        assert history["accuracy"][0] == pytest.approx(np.mean((logits > 0) == labels))


class TestMissingYesOrNo:
    """Labels that are one yes or no each: -1 counts for nothing, as -1 for a class does."""

    IMAGES = IDS.astype("float32")
    LABELS = np.array([[1, -1, 0, 0.5], [-1, -1, -1, -1], [0, 1, 1, -1], [1, 1, 0, 0]])

    def expected(self, logits, known, weight=1.0):
        values = np.logaddexp(0, logits) - self.LABELS * logits
        return (weight * values)[known].sum() / known.sum()

    @pytest.mark.parametrize(
        "weight",
        [
            None,
            np.array([1.0, 2.0, 0.5, 1.0]),
            np.array([[1.0], [2.0], [0.5], [1.0]]),
            np.arange(16.0).reshape(4, 4),
        ],
    )
    def test_the_hard_loss_is_the_mean_over_the_known_ones(self, weight):
        teacher, student = small(4, seed=0, activation="sigmoid"), small(4, seed=1)
        distiller = kd.Distiller(
            student=student, teacher=teacher, distillation_loss=L.BinarySoftTargets()
        )
        distiller.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
        history = distiller.fit(
            self.IMAGES, self.LABELS, verbose=0, sample_weight=weight, batch_size=4
        ).history
        each = 1.0 if weight is None else weight.reshape(4, -1)
        expected = self.expected(np.asarray(student(self.IMAGES)), self.LABELS >= 0, each)
        assert history["hard_loss"][0] == pytest.approx(expected, rel=1e-5)

    @pytest.mark.parametrize("name", ["binary_crossentropy", "BinaryCrossEntropy"])
    def test_it_goes_by_its_names(self, name):
        assert isinstance(as_loss_on_logits(name), L.BinaryCrossEntropy)

    def test_without_missing_labels_it_is_keras_s(self):
        logits = np.random.default_rng(0).normal(size=(5, 3, 4))
        labels = np.random.default_rng(1).uniform(size=(5, 3, 4))
        keras_s = keras.losses.BinaryCrossentropy(from_logits=True)
        for shape in ((5, 3, 4), (15, 4), (60, 1), (60,)):
            given = labels.reshape(shape), logits.reshape(shape if len(shape) > 1 else (60, 1))
            assert float(L.BinaryCrossEntropy()(*given)) == pytest.approx(float(keras_s(*given)))

    def test_padding_is_left_out_too(self):
        logits = np.random.default_rng(0).normal(size=(4, 4, 3))
        labels = np.random.default_rng(1).integers(-1, 2, (4, 4, 3))
        known = MASK[..., None] & (labels >= 0)
        expected = (np.logaddexp(0, logits) - labels * logits)[known].mean()
        student = with_mask(tf.constant(logits, tf.float32), tf.constant(MASK))
        with tf.GradientTape() as tape:
            tape.watch(student)
            value = L.BinaryCrossEntropy()(labels, student)
        assert float(value) == pytest.approx(expected, rel=1e-5)
        assert not tape.gradient(value, student).numpy()[~known].any()

    def test_none_known_is_0(self):
        assert float(L.BinaryCrossEntropy()(-np.ones((4, 3)), np.ones((4, 3)))) == 0.0

    @pytest.mark.parametrize(
        ("loss", "label", "sentence"),
        [
            (None, 2, "from 0 to 1, or -1 where there is none. Received: label 2 for image 3"),
            (None, -2, "label -2 for image 3 of the training data; nothing was trained"),
            (
                keras.losses.BinaryCrossentropy(from_logits=True),
                -1,
                "label -1 for image 3.*BinaryCrossEntropy",
            ),
        ],
    )
    def test_what_is_no_yes_or_no_is_refused(self, loss, label, sentence):
        teacher, student = small(4, seed=0, activation="sigmoid"), small(4, seed=1)
        distiller = kd.Distiller(
            student=student, teacher=teacher, distillation_loss=L.BinarySoftTargets()
        )
        distiller.compile("sgd", loss)
        labels = np.ones((4, 4))
        labels[3, 1] = label
        with pytest.raises(ValueError, match=sentence):
            distiller.fit(self.IMAGES, labels, verbose=0)

    def test_placeholders_may_have_any_shape_where_labels_are_not_learned(self):
        distiller = kd.Distiller(
            student=small(4, seed=1), teacher=small(4, seed=0),
            distillation_loss=L.BinarySoftTargets(), alpha=1.0,
        )  # fmt: skip
        distiller.compile("sgd")
        history = distiller.fit(self.IMAGES, np.zeros(4), verbose=0).history
        assert np.isfinite(history["loss"][0])


class TestDiscriminators:
    """What stands in padding cannot be judged."""

    def classifier(self, seed, garbage):
        model = tagger(seed)
        words = model.get_layer("words")
        words.set_weights([np.r_[np.full((1, 6), garbage), words.get_weights()[0][1:]]])
        x = keras.layers.GlobalAveragePooling1D()(model.get_layer("hidden").output)
        return keras.Model(model.input, keras.layers.Dense(3)(x))

    def judge(self):
        return keras.Sequential(
            [keras.Input((4, 6)), keras.layers.Flatten(), keras.layers.Dense(1)]
        )

    @pytest.mark.parametrize("kind", ["discriminator", "online"])
    def test_of_sequences(self, kind):
        losses = []
        for garbage in (0.0, 50.0):
            models = [self.classifier(0, garbage), self.classifier(1, -garbage)]
            keras.utils.set_random_seed(2)
            if kind == "online":
                distiller = kd.adversarial.OnlineAdversarialDistiller(
                    models, layer_names="hidden", discriminators=[self.judge(), self.judge()]
                )
                rates = {"adversarial_optimizer": keras.optimizers.SGD(0.0)}
            else:
                distiller = kd.adversarial.DiscriminatorDistiller(
                    teacher=models[0], student=models[1], discriminator=self.judge(),
                    teacher_layer_name="hidden", student_layer_name="hidden",
                )  # fmt: skip
                rates = {}
            rates["discriminator_optimizer"] = keras.optimizers.SGD(0.0)
            distiller.compile(keras.optimizers.SGD(0.0), run_eagerly=True, **rates)
            history = distiller.fit(IDS, LABELS[:, 0] % 3, batch_size=4, verbose=0).history
            losses.append([history[f"{name}_loss"][0] for name in ("discriminator", "adversarial")])
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def small(num_classes, *, seed, activation=None):
    keras.utils.set_random_seed(seed)
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(num_classes, activation)])
