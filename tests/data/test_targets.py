"""Stored teacher outputs travel under a name; every plain tuple means what Keras says it means."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_kd as kd
from keras_kd.losses.hard import as_loss_on_logits
from keras_kd.losses.weights import weighed

GENERATOR = np.random.default_rng(0)
IMAGES = GENERATOR.normal(size=(24, 4)).astype("float32")
LABELS = np.arange(24) % 3
LOGITS = GENERATOR.normal(size=(24, 3)).astype("float32")
WEIGHTS = GENERATOR.uniform(0, 2, 24).astype("float32")


def net(units=3, seed=0):
    keras.utils.set_random_seed(seed)
    image = keras.Input((4,))
    return keras.Model(image, layers.Dense(units)(image))


class Subclassed(keras.Model):
    def __init__(self, units=3):
        super().__init__()
        self.dense = layers.Dense(units)

    def call(self, images):
        return self.dense(images)


def subclassed(units=3):
    keras.utils.set_random_seed(0)
    student = Subclassed(units)
    student(IMAGES)
    return student


def distiller(student=None, loss=None, run_eagerly=True, **options):
    model = kd.Distiller(student=student or net(), distillation_loss=loss, **options)
    # A few steps are taken sooner than traced.
    return model.compile(keras.optimizers.SGD(0.0), run_eagerly=run_eagerly)


class Pairs(keras.utils.PyDataset):
    def __init__(self, *parts):
        super().__init__()
        self.parts = parts

    def __len__(self):
        return 2

    def __getitem__(self, number):
        chosen = slice(12 * number, 12 * number + 12)
        return tuple(
            kd.Targets(*(each if each is None else each[chosen] for each in part))
            if isinstance(part, kd.Targets)
            else part[chosen]
            for part in self.parts
        )


def generated(*parts):
    pairs = Pairs(*parts)
    while True:
        yield from (pairs[0], pairs[1])


def in_dataset(*parts):
    return tf.data.Dataset.from_tensor_slices(parts).batch(12)


CARRIERS = {
    "arrays": lambda *parts: dict(zip(("x", "y", "sample_weight"), parts, strict=False)),
    "tf.data": lambda *parts: {"x": in_dataset(*parts)},
    "PyDataset": lambda *parts: {"x": Pairs(*parts)},
    "generator": lambda *parts: {"x": generated(*parts), "steps_per_epoch": 2, "shuffle": False},
}


def losses_by_hand(student, weights):
    logits = student(IMAGES)
    hard = kd.losses.CrossEntropy()(LABELS, logits, weights)
    return float(hard), float(kd.losses.SoftTargets()(LOGITS, logits, weights))


class TestEveryCarrier:
    """Whatever Keras takes data from carries stored logits, with weights and without."""

    @pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
    @pytest.mark.parametrize("carrier", CARRIERS)
    def test_it_trains_from_the_stored_logits(self, carrier, weights):
        parts = (IMAGES, kd.Targets(LABELS, LOGITS), weights)[: 2 + (weights is not None)]
        model = distiller(run_eagerly=weights is None and carrier != "arrays")
        options = {"verbose": 0, "shuffle": False} if carrier == "arrays" else {"verbose": 0}
        history = model.fit(**CARRIERS[carrier](*parts), **options).history
        hard, soft = losses_by_hand(model.student, weights)
        assert history["hard_loss"][0] == pytest.approx(hard, rel=1e-5)
        assert history["distillation_loss"][0] == pytest.approx(soft, rel=1e-5)

    @pytest.mark.parametrize("carrier", CARRIERS)
    def test_class_weights_weigh_its_labels(self, carrier):
        model, class_weight = distiller(), {0: 0.5, 2: 3.0}
        data = CARRIERS[carrier](IMAGES, kd.Targets(LABELS, LOGITS))
        if carrier == "generator":  # Keras weighs no classes of a generator.
            with pytest.raises(ValueError, match="`class_weight` is not supported for Python gen"):
                model.fit(**data, class_weight=class_weight, verbose=0)
            return
        history = model.fit(**data, class_weight=class_weight, verbose=0).history
        hard, soft = losses_by_hand(
            model.student, np.array([class_weight.get(label, 1.0) for label in LABELS])
        )
        assert history["hard_loss"][0] == pytest.approx(hard, rel=1e-5)
        assert history["distillation_loss"][0] == pytest.approx(soft, rel=1e-5)

    # Keras's PyDataset cannot carry `None`: there, labels of -1 say that there is none.
    @pytest.mark.parametrize("carrier", ["arrays", "tf.data", "generator"])
    def test_without_labels_the_logits_alone_teach(self, carrier):
        model = distiller(alpha=1.0)
        targets = kd.Targets(teacher_logits=LOGITS)
        history = model.fit(**CARRIERS[carrier](IMAGES, targets), verbose=0).history
        assert history["loss"][0] == pytest.approx(losses_by_hand(model.student, None)[1], rel=1e-5)

    @pytest.mark.parametrize("carrier", CARRIERS)
    def test_evaluate_takes_its_labels(self, carrier):
        model = distiller()
        data = CARRIERS[carrier](IMAGES, kd.Targets(LABELS, LOGITS))
        if "steps_per_epoch" in data:
            data = {"x": data["x"], "steps": 2}
        found = model.evaluate(**data, verbose=0, return_dict=True)
        assert found["hard_loss"] == pytest.approx(losses_by_hand(model.student, None)[0], rel=1e-5)

    def test_weights_of_any_shape_and_validation_beside_arrays(self):
        model = distiller(net(5), kd.losses.BinarySoftTargets())
        labels, logits = ints(24, 5), GENERATOR.normal(size=(24, 5))
        weights = GENERATOR.uniform(0, 2, (24, 5)).astype("float32")
        history = model.fit(
            IMAGES, kd.Targets(labels, logits), sample_weight=weights, verbose=0,
            validation_data=(IMAGES, kd.Targets(labels, logits), weights),
        ).history  # fmt: skip
        expected = float(weighed(BINARY, labels, model.student(IMAGES), weights))
        assert history["hard_loss"][0] == pytest.approx(expected, rel=1e-5)
        assert history["val_hard_loss"][0] == pytest.approx(expected, rel=1e-5)

    def test_one_batch(self):
        targets = kd.Targets(LABELS, LOGITS)
        for options, weights in (
            ({}, None),
            ({"sample_weight": WEIGHTS}, WEIGHTS),
            ({"class_weight": {1: 5.0}}, np.where(LABELS == 1, 5.0, 1.0)),
        ):
            model = distiller()
            logs = model.train_on_batch(IMAGES, targets, return_dict=True, **options)
            hard, soft = losses_by_hand(model.student, weights)
            assert logs["hard_loss"] == pytest.approx(hard, rel=1e-5)
            assert logs["distillation_loss"] == pytest.approx(soft, rel=1e-5)


def ints(*shape, classes=2):
    return np.random.default_rng(1).integers(0, classes, shape)


BINARY = keras.losses.BinaryCrossentropy(from_logits=True)
# Places of an example, logits, labels, hard loss and distillation loss.
TASKS = {
    "classes": ((), 5, ints(8, classes=5), kd.losses.CrossEntropy(), kd.losses.SoftTargets()),
    "several labels": ((), 5, ints(8, 5), BINARY, kd.losses.BinarySoftTargets()),
    "horizons": ((), 5, ints(8, 5), keras.losses.MeanSquaredError(), kd.losses.LogitMatching()),
    "one logit": ((), 1, ints(8), BINARY, kd.losses.BinarySoftTargets()),
    "tokens": ((3,), 5, ints(8, 3, classes=5), kd.losses.CrossEntropy(), kd.losses.SoftTargets()),
    # As many as examples: an example's weight must not be a token's.
    "8 tokens": ((8,), 5, ints(8, 8, classes=5), kd.losses.CrossEntropy(), kd.losses.SoftTargets()),
    "tokens with labels": ((3,), 5, ints(8, 3, 5), BINARY, kd.losses.BinarySoftTargets()),
    "places": (
        (3, 2),
        5,
        ints(8, 3, 2, 1, classes=5),
        kd.losses.CrossEntropy(),
        kd.losses.SoftTargets(),
    ),
    "layers": ((3, 2), 5, ints(8, 3, 2, classes=5), kd.losses.CrossEntropy(), kd.losses.Hints()),
}


class TestWeightsAreWeights:
    @pytest.mark.parametrize("name", TASKS)
    def test_whatever_their_shape_ones_change_nothing_and_an_example_s_weigh_it(self, name):
        """Ones were taken for the teacher's logits: 0.615 became 0.996."""
        places, units, labels, hard, soft = TASKS[name]
        generator = np.random.default_rng(2)
        teacher, student = (
            tf.constant(generator.normal(size=(8, *places, units)), "float32") for _ in range(2)
        )
        ones = [1] * len(places)
        shapes = {(8,), (8, 1), (8, *ones), (8, *places), (8, *places, 1), (8, *places, units)}
        by_example = generator.uniform(0, 2, 8).astype("float32")
        for loss, targets in ((hard, labels), (soft, teacher)):
            plain = float(weighed(loss, targets, student, None))
            alone = [
                float(loss(targets[number : number + 1], student[number : number + 1]))
                for number in range(8)
            ]
            for shape in shapes:
                weights = np.ones(shape, "float32")
                assert float(weighed(loss, targets, student, weights)) == pytest.approx(
                    plain, rel=1e-5
                ), (shape, loss)
                weights *= by_example.reshape(-1, *[1] * (len(shape) - 1))
                assert float(weighed(loss, targets, student, weights)) == pytest.approx(
                    np.mean(by_example * alone), rel=1e-4
                ), (shape, loss)

    def test_each_label_has_its_own_weight(self):
        """By hand: the mean over examples and labels of weight times what the label loses."""
        labels, teacher = ints(8, 5), GENERATOR.normal(size=(8, 5))
        logits = GENERATOR.normal(size=(8, 5)).astype("float32")
        weights = GENERATOR.uniform(0, 2, (8, 5)).astype("float32")
        by_label = np.logaddexp(0, logits) - labels * logits
        hard = weighed(BINARY, labels, logits, weights)
        assert float(hard) == pytest.approx((weights * by_label).mean(), rel=1e-5)
        soft = weighed(kd.losses.LogitMatching(), teacher, logits, weights)
        expected = (weights * (teacher - logits) ** 2).mean()
        assert float(soft) == pytest.approx(expected, rel=1e-5)

    def test_a_loss_of_one_s_own_takes_labels_as_keras_gives_them(self):
        def squares(labels, logits):  # Of whole numbers, TensorFlow would subtract none.
            return tf.square(labels - logits)

        labels, weights = tf.constant(ints(8, 5)), np.full((8, 5), 2.0, "float32")
        logits = tf.constant(GENERATOR.normal(size=(8, 5)), "float32")
        found = weighed(as_loss_on_logits(squares), labels, logits, weights)
        expected = 2 * np.mean((labels.numpy() - logits.numpy()) ** 2)
        assert float(found) == pytest.approx(expected, rel=1e-5)

    def test_padding_stays_out_under_weights_of_labels(self):
        logits = tf.constant(GENERATOR.normal(size=(2, 3, 4)), "float32")
        labels, weights = ints(2, 3, 4), GENERATOR.uniform(0, 2, (2, 3, 4)).astype("float32")
        valid = np.array([[True, True, False], [True, False, False]])
        masked = tf.identity(logits)
        masked._keras_mask = tf.constant(valid)
        by_label = np.logaddexp(0, logits) - labels * logits.numpy()
        found = weighed(BINARY, labels, masked, weights)
        assert float(found) == pytest.approx((weights * by_label)[valid].mean(), rel=1e-5)

    def test_fit_with_weights_of_labels_and_a_live_teacher(self):
        labels = GENERATOR.integers(0, 2, (24, 5)).astype("float32")
        teacher = keras.Sequential([net(5, seed=1), layers.Activation("sigmoid")])
        histories = []
        for weights in (None, np.ones((24, 5))):
            model = distiller(net(5), kd.losses.BinarySoftTargets(), teacher=teacher)
            histories.append(model.fit(IMAGES, labels, sample_weight=weights, verbose=0).history)
        plain, ones = histories
        for name, values in plain.items():
            assert ones[name] == pytest.approx(values, rel=1e-5)

    def test_a_subclassed_student_keeps_its_weights(self):
        model = distiller(subclassed(), alpha=0.0)
        history = model.fit(IMAGES, LABELS, sample_weight=WEIGHTS, verbose=0).history
        hard, _ = losses_by_hand(model.student, WEIGHTS)
        assert history["hard_loss"][0] == pytest.approx(hard, rel=1e-5)

    @pytest.mark.parametrize("shape", [(24,), (24, 1), (24, 3)])
    def test_a_discriminator_takes_them_too(self, shape):
        judged = kd.adversarial.DiscriminatorDistiller(student=net(), teacher=net(seed=1))
        judged.compile(
            keras.optimizers.SGD(0.0),
            discriminator_optimizer=keras.optimizers.SGD(0.0),
            run_eagerly=True,
        )
        logs = judged.fit(IMAGES, LABELS, sample_weight=np.zeros(shape), verbose=0).history
        assert {key: value[0] for key, value in logs.items()} == dict.fromkeys(logs, 0.0)


class TestASentenceEach:
    @pytest.mark.parametrize("run_eagerly", [False, True])
    def test_four_parts_name_the_new_way(self, run_eagerly):
        model = distiller()
        model.compile(run_eagerly=run_eagerly)
        data = in_dataset(IMAGES, LABELS, LOGITS, WEIGHTS)
        with pytest.raises(ValueError, match=r"Received: 4 parts.*keras_kd.Targets\(labels, teach"):
            model.fit(data, verbose=0)

    def test_three_parts_without_a_teacher_name_it_too(self):
        with pytest.raises(ValueError, match=r"has no teacher.*Targets\(labels, logits\)"):
            distiller().fit(in_dataset(IMAGES, LABELS, LOGITS), verbose=0)

    def test_no_images(self):
        data = tf.data.Dataset.from_tensors(kd.Targets(LABELS, LOGITS))
        with pytest.raises(ValueError, match="must begin with its images"):
            distiller().fit(data, verbose=0)

    def test_unequal_counts(self):
        with pytest.raises(ValueError, match="equally many. Received: 24, 24, 23"):
            distiller().fit(IMAGES, kd.Targets(LABELS, LOGITS[:-1]), verbose=0)

    def test_logits_that_are_not_finite(self):
        logits = np.where(np.arange(24)[:, None] == 7, np.nan, LOGITS)
        with pytest.raises(ValueError, match="must be finite.*for image 7"):
            distiller().fit(IMAGES, kd.Targets(LABELS, logits), verbose=0)

    def test_logits_of_other_classes(self):
        with pytest.raises(ValueError, match="same classes. Received: 2 and 3"):
            distiller().fit(IMAGES, kd.Targets(LABELS, LOGITS[:, :2]), verbose=0)

    def test_a_loss_on_layers(self):
        teacher, student = net(seed=1), net()
        hints = kd.losses.Hints(teacher.layers[-1].name, student.layers[-1].name)
        model = distiller(student, hints, teacher=teacher)
        with pytest.raises(ValueError, match="do not hold what is inside the teacher.*a loss on"):
            model.fit(IMAGES, kd.Targets(LABELS, LOGITS), verbose=0)

    def test_students_that_teach_each_other(self):
        mutual = kd.MutualDistiller([net(), net(seed=1)]).compile()
        with pytest.raises(ValueError, match="teach each other. Received: stored"):
            mutual.fit(IMAGES, kd.Targets(LABELS, LOGITS), verbose=0)

    def test_one_axis_too_few(self):
        """Such as labels and logits the wrong way round: `num_classes=None` was the remedy."""
        for targets in (kd.Targets(LOGITS, LABELS), kd.Targets(LABELS, LOGITS[:, 0])):
            with pytest.raises(
                ValueError, match=r"axes of the student's, \(None, 3\).*labels first"
            ):
                distiller().fit(IMAGES, targets, verbose=0)

    def test_weights_of_nothing(self):
        """Their mean was an example's weight."""
        model = distiller(alpha=0.0)
        for step, shape in (("train_on_batch", (24, 2)), ("test_on_batch", (24, 3, 2))):
            weights = np.ones(shape, "float32")
            with pytest.raises(
                ValueError, match=r"in axes of the student's logits, \(.*, 3\)\. Rec"
            ):
                getattr(model, step)(IMAGES, LABELS, sample_weight=weights)

    def test_both_weights(self):
        with pytest.raises(ValueError, match="or `sample_weight`. Received: both"):
            distiller().fit(
                IMAGES, kd.Targets(LABELS, LOGITS), sample_weight=WEIGHTS, class_weight={0: 1.0}
            )


class TestWhateverElseIsThere:
    """Stored logits are the student's own classes, whatever Keras or a teacher makes of them."""

    def test_a_class_map_is_of_the_live_teacher_alone(self, tmp_path):
        soft = pytest.approx(losses_by_hand(net(), None)[1], rel=1e-5)
        stored = kd.SoftLabels.from_logits(
            tmp_path / "labels", LOGITS, (IMAGES, LABELS), dtype="float32"
        )
        teacher = kd.Teacher(net(2, seed=1), class_map=[2, 0])
        model = distiller(teacher=teacher, run_eagerly=False)
        live = model.fit(IMAGES, LABELS, verbose=0).history
        student = tf.gather(net()(IMAGES), [2, 0], axis=-1)
        expected = float(kd.losses.SoftTargets()(teacher(IMAGES), student))
        assert live["distillation_loss"][0] == pytest.approx(expected, rel=1e-5)
        for data in (
            in_dataset(IMAGES, kd.Targets(LABELS, LOGITS)),
            stored.join((IMAGES, LABELS), 12),
        ):
            assert model.fit(data, verbose=0).history["distillation_loss"][0] == soft
        targets = kd.Targets(teacher_logits=LOGITS)
        found = distiller(teacher=teacher, alpha=1.0).test_on_batch(IMAGES, targets)
        assert found[0] == soft

    def test_labels_alone_ask_the_live_teacher(self):
        teacher, model = net(seed=1), distiller(teacher=net(seed=1))
        history = model.fit(IMAGES, kd.Targets(LABELS), verbose=0).history
        expected = float(kd.losses.SoftTargets()(teacher(IMAGES), model.student(IMAGES)))
        assert history["distillation_loss"][0] == pytest.approx(expected, rel=1e-5)

    def test_a_student_whose_input_stands_in_a_dict(self):
        image = keras.Input((4,), name="image")
        student = keras.Model({"image": image}, net()(image))
        for weights in (None, WEIGHTS):
            history = (
                distiller(student)
                .fit(
                    {"image": IMAGES}, kd.Targets(LABELS, LOGITS), sample_weight=weights, verbose=0
                )
                .history
            )
            hard, soft = losses_by_hand(net(), weights)
            assert history["hard_loss"][0] == pytest.approx(hard, rel=1e-5)
            assert history["distillation_loss"][0] == pytest.approx(soft, rel=1e-5)

    @pytest.mark.parametrize(
        "options", [{"validation_split": 0.25}, {"steps_per_epoch": 1, "batch_size": 24}]
    )
    def test_what_keras_divides_keeps_its_weights(self, options):
        count = 18 if "validation_split" in options else 24
        weights = GENERATOR.uniform(0, 2, (24, 3)).astype("float32")
        by_class, labels = {0: 2.0, 1: 0.5}, np.eye(3)[LABELS].astype("float32")
        for given, each in (
            ({"sample_weight": weights}, weights),
            ({"class_weight": by_class}, np.array([by_class.get(c, 1.0) for c in LABELS])),
        ):
            model = kd.Distiller(student=net(), distillation_loss="logit_matching")
            model.compile(keras.optimizers.SGD(0.0), loss="mse", run_eagerly=True)
            targets = kd.Targets(labels, LOGITS)
            history = model.fit(IMAGES, targets, **options, **given, verbose=0).history
            squares = (model.student(IMAGES).numpy() - labels) ** 2
            values = each.reshape(24, -1) * squares
            assert history["hard_loss"][0] == pytest.approx(values[:count].mean(), rel=1e-5)
            if "validation_split" in options:
                expected = values[18:] if "sample_weight" in given else squares[18:]
                assert history["val_hard_loss"][0] == pytest.approx(expected.mean(), rel=1e-5)

    def test_weights_without_labels(self):
        model = distiller(alpha=1.0)
        targets = kd.Targets(teacher_logits=LOGITS)
        history = model.fit(IMAGES, targets, sample_weight=WEIGHTS, verbose=0).history
        expected = losses_by_hand(model.student, WEIGHTS)[1]
        assert history["loss"][0] == pytest.approx(expected, rel=1e-5)


def test_one_logit_with_stored_logits_of_one_column():
    """`[n, 1]` was told from a weight only where there was no teacher."""
    labels, logits = (LABELS == 0).astype("float32"), LOGITS[:, :1]
    for parts in ((labels, logits), (labels[:, None], logits)):
        model = distiller(net(1), kd.losses.BinarySoftTargets())
        history = model.fit(IMAGES, kd.Targets(*parts), verbose=0).history
        soft = kd.losses.BinarySoftTargets()(logits, model.student(IMAGES))
        assert history["distillation_loss"][0] == pytest.approx(float(soft), rel=1e-5)


def test_a_subclassed_student_learns_from_stored_logits():
    model = distiller(subclassed())
    history = model.fit(IMAGES, kd.Targets(LABELS, LOGITS), verbose=0).history
    soft = losses_by_hand(model.student, None)[1]
    assert history["distillation_loss"][0] == pytest.approx(soft, rel=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_a_split_of_them_is_learned_and_judged_as_its_arrays_are(alpha):
    targets = kd.Targets(LABELS, LOGITS)
    batches = kd.data.Split(IMAGES, targets).batches(12)
    logs = [
        distiller(alpha=alpha).fit(*given, verbose=0, **options).history
        for given, options in (
            ((IMAGES, targets), {"batch_size": 12, "shuffle": False}),
            ((batches,), {}),
        )
    ]
    assert logs[0] == logs[1]
    if alpha == 0:
        judged = distiller(alpha=alpha).fit(IMAGES, LABELS, validation_data=batches, verbose=0)
        assert np.isfinite(judged.history["val_loss"]).all()
