"""`Hints` on what a layer may return, against logits, and beside Keras's own feature loss."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_kd as kd
from keras_kd.losses import Hints

RANDOM = np.random.default_rng(0)
TOKENS = RANDOM.integers(1, 20, (16, 6))
TOKENS[:8, 3:] = 0  # Padding.
TAGS = RANDOM.integers(0, 3, (16, 6))
IMAGES = RANDOM.uniform(0, 255, (16, 4, 4, 1)).astype("float32")
LABELS = np.arange(16) % 3


def tagger(units, name, *, steps=6, mask_zero=True):
    tokens = keras.Input((steps,), dtype="int32")
    x = layers.Embedding(20, units, mask_zero=mask_zero)(tokens)
    x = layers.Dense(units, activation="tanh", name="hidden")(x)
    return keras.Model(tokens, layers.Dense(3, name="logits")(x), name=name)


def taggers(student_units=4, **options):
    return {
        "student": tagger(student_units, "student", **options),
        "teacher": tagger(6, "teacher", **options),
    }


def classifiers(student_units=4):
    shape = {"image_shape": (4, 4, 1), "num_classes": 3}
    return {
        "student": kd.models.mlp([student_units], **shape),
        "teacher": kd.models.mlp([6], **shape),
    }


def distiller(models, loss, **options):
    made = kd.Distiller(**models, distillation_loss=loss, **options)
    return made.compile(run_eagerly=True)


class TestSequences:
    @pytest.mark.parametrize("mask_zero", [True, False])
    @pytest.mark.parametrize(
        ("names", "student_units", "project"),
        [
            (("hidden", "hidden"), 4, True),
            (("hidden", "hidden"), 6, False),
            (("hidden", None), 4, True),
            ((None, "hidden"), 4, True),
        ],
    )
    def test_the_steps_of_padding_count_for_nothing(self, mask_zero, names, student_units, project):
        model = distiller(
            taggers(student_units, mask_zero=mask_zero), Hints(*names, project=project)
        )
        found = model.evaluate(TOKENS, verbose=0, return_dict=True)["distillation_loss"]
        teacher, student = (
            kd.teachers.feature_model(each, ["hidden"])(TOKENS)[name or "logits"]
            for each, name in zip((model.teacher.model, model.student), names, strict=True)
        )
        if project:
            student = model.projectors["hints"].channels(student)
        steps = np.mean(np.square(np.asarray(student) - np.asarray(teacher)), axis=-1)
        kept = TOKENS != 0 if mask_zero else np.ones_like(TOKENS, bool)
        assert found == pytest.approx(steps[kept].mean(), rel=1e-5)

    def test_the_student_and_its_projector_learn(self):
        model = distiller(taggers(), Hints("hidden", "hidden"))
        before = [np.array(each) for each in model.trainable_variables]
        model.fit(TOKENS, TAGS, verbose=0)
        for old, new in zip(before, model.trainable_variables, strict=True):
            assert not np.array_equal(old, new)

    def test_of_any_length(self):
        model = kd.Distiller(**taggers(steps=None), distillation_loss=Hints("hidden", "hidden"))
        assert model.compile().fit(TOKENS, TAGS, verbose=0).history["distillation_loss"][0] > 0

    def test_of_other_lengths_they_are_refused(self):
        with pytest.raises(ValueError, match=r"bridge .*\(None, 5, 6\) and .*\(None, 4, 6\)"):
            Hints().projector((None, 5, 6), (None, 4, 6))


class TestAgainstLogits:
    @pytest.mark.parametrize("names", [("hidden_1", None), (None, "hidden_1")])
    def test_a_projector_bridges_them(self, names, tmp_path):
        model = distiller(classifiers(), Hints(*names))
        model.fit(IMAGES, LABELS, verbose=0)
        found = model.evaluate(IMAGES, verbose=0, return_dict=True)["distillation_loss"]
        assert list(model.projectors) == ["hints"] and found > 0
        model.save(tmp_path / "distiller.keras")
        loaded = keras.models.load_model(tmp_path / "distiller.keras")
        loaded.attach_teacher(model.teacher)
        loaded.run_eagerly = True
        again = loaded.evaluate(IMAGES, verbose=0, return_dict=True)["distillation_loss"]
        assert again == pytest.approx(found, rel=1e-6)

    def test_the_teachers_choice_of_classes_is_of_logits_alone(self):
        models = classifiers()
        teacher = kd.models.mlp([6], image_shape=(4, 4, 1), num_classes=2)
        models["teacher"] = kd.Teacher(teacher, class_map=[2, 0])
        model = distiller(models, Hints("hidden_1", None))
        found = model.evaluate(IMAGES, verbose=0, return_dict=True)["distillation_loss"]
        hidden = kd.teachers.feature_model(teacher, ["hidden_1"])(IMAGES)["hidden_1"]
        student = model.projectors["hints"].channels(model.student(IMAGES))
        expected = np.mean(np.square(np.asarray(student) - np.asarray(hidden)))
        assert found == pytest.approx(expected, rel=1e-5)

    def test_on_logits_alone_there_is_no_projector(self):
        assert distiller(classifiers(), Hints()).projectors == {}
        assert distiller(classifiers(), Hints("hidden_1", None), alpha=0.0).projectors == {}

    def test_where_there_are_no_layers_it_is_refused(self, tmp_path):
        models = classifiers()
        options = {"distillation_loss": Hints("hidden_1", None), "soft_labels": tmp_path / "no"}
        stored = kd.Distiller(**models, **options).compile()
        with pytest.raises(ValueError, match="Received: a loss on hidden_1, and soft labels of "):
            stored.fit(IMAGES, LABELS, verbose=0)
        assert not (tmp_path / "no").exists()  # Nobody was asked in vain.
        with pytest.raises(ValueError, match="by their logits"):
            kd.MutualDistiller(list(models.values()), distillation_loss=Hints("hidden_1", None))


class TestEqualShapes:
    def test_without_a_projector_it_is_keras_s_feature_loss(self):
        models = classifiers(6)
        theirs = keras.distillation.FeatureDistillation(
            loss="mse", teacher_layer_name="hidden_1", student_layer_name="hidden_1"
        )
        values = []
        for loss in (theirs, Hints("hidden_1", "hidden_1", project=False)):
            model = distiller(models, loss)
            assert model.projectors == {}
            values.append(model.evaluate(IMAGES, verbose=0, return_dict=True)["distillation_loss"])
        assert values[1] == pytest.approx(values[0], rel=1e-5)
        models["student"].set_weights(models["teacher"].get_weights())
        model = distiller(models, Hints("hidden_1", "hidden_1", project=False))
        assert model.evaluate(IMAGES, verbose=0, return_dict=True)["distillation_loss"] == 0.0

    def test_with_one_a_loss_of_an_earlier_version_still_has_it(self):
        config = kd.losses.serialize(Hints("hidden_1", "hidden_1"))
        del config["config"]["project"]
        model = distiller(classifiers(6), kd.losses.deserialize(config))
        assert list(model.projectors) == ["hints"]

    def test_other_shapes_are_refused(self):
        model = distiller(classifiers(), Hints("hidden_1", "hidden_1", project=False))
        with pytest.raises(ValueError, match=r"of one shape.* with `project=True`"):
            model.evaluate(IMAGES, verbose=0)
