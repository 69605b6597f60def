"""Teachers of several inputs and outputs: each head as it is, all of them from one pass."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import keras_kd as kd
from keras_kd.losses.masks import mask_of
from keras_kd.teachers.ensemble import as_teacher, outputs_of_teacher
from keras_kd.teachers.features import feature_model
from keras_kd.teachers.heads import read_head

RNG = np.random.default_rng(0)
IDS = RNG.integers(1, 20, (5, 4)).astype("int32")
MASK = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]], "int32")
VECTORS = RNG.normal(size=(5, 6)).astype("float32")
PAIR = {"left": VECTORS, "right": 2 * VECTORS}
WORDS = {"ids": IDS, "padding_mask": MASK}


class PassCounter(layers.Layer):
    """Counts the passes, in a variable that is nobody's weight."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.passes = tf.Variable(0, trainable=False)

    def call(self, inputs):
        self.passes.assign_add(1)
        return inputs


class MeanOfWords(layers.Layer):
    """The mean over the words that count."""

    supports_masking = True

    def compute_mask(self, *args, **kwargs):
        return None

    def call(self, vectors, padding_mask):
        weights = ops.cast(padding_mask, vectors.dtype)[..., None]
        return ops.sum(weights * vectors, axis=1) / ops.sum(weights, axis=1)


def reader(wrap=lambda heads: heads, *, counter=None, masked=False):
    """Reads words and a mask; its heads end in softmax, sigmoid, nothing, and boxes of 0 to 1."""
    ids = keras.Input((None,), dtype="int32", name="ids")
    mask = keras.Input((None,), dtype="int32", name="padding_mask")
    vectors = layers.Embedding(20, 6, name="vectors", mask_zero=masked)(ids)
    x = MeanOfWords(name="mean")(vectors, mask)
    x = layers.Dense(5, activation="tanh", name="hidden")(counter(x) if counter else x)
    heads = {
        "topic": layers.Dense(3, activation="softmax", name="of_topics")(x),
        "tags": layers.Dense(2, activation="sigmoid", name="of_tags")(x),
        "length": layers.Dense(1, name="of_length")(x),
        "box": layers.Dense(4, activation="sigmoid", name="of_boxes")(x),
    }
    return keras.Model({"ids": ids, "padding_mask": mask}, wrap(heads), name="reader")


def by_hand(model, inputs=WORDS):
    """The reader's logits in float64, from its weights."""

    def dense(name, x):
        kernel, bias = (np.asarray(each, float) for each in model.get_layer(name).weights)
        return x @ kernel + bias

    vectors = np.asarray(model.get_layer("vectors").embeddings, float)[inputs["ids"]]
    weights = inputs["padding_mask"][..., None]
    x = np.tanh(dense("hidden", (weights * vectors).sum(1) / weights.sum(1)))
    return {name: dense(f"of_{name}", x) for name in ("topics", "tags", "length", "boxes")}


VALUES = {"length": "values", "box": "values"}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


class TestSeveralHeads:
    def test_each_is_opened_or_taken_as_it_is(self):
        model = reader()
        teacher = kd.Teacher(model, head=VALUES)
        assert teacher.heads == {"topic": "softmax", "tags": "sigmoid", **VALUES}
        assert teacher.output_names == ("topic", "tags", "length", "box")
        assert teacher.num_classes == {"topic": 3, "tags": 2, "length": 1, "box": 4}
        assert teacher.output_shape("box") == (None, 4)
        assert teacher.input_shape == {"ids": (None, None), "padding_mask": (None, None)}
        said, wanted = teacher(WORDS), by_hand(model)
        for name, expected in (
            ("topic", wanted["topics"]), ("tags", wanted["tags"]),
            ("length", wanted["length"]), ("box", sigmoid(wanted["boxes"])),
        ):  # fmt: skip
            np.testing.assert_allclose(said[name], expected, rtol=1e-4, atol=1e-5)

    def test_all_of_them_and_layers_cost_one_pass(self):
        counter = PassCounter()
        teacher = kd.Teacher(reader(counter=counter), head=VALUES)
        counter.passes.assign(0)
        said = teacher.ask(WORDS, ["hidden", "vectors"])
        assert int(counter.passes) == 1
        assert set(said.outputs) == {"topic", "tags", "length", "box"}
        assert said.features["hidden"].shape == (5, 5)
        np.testing.assert_array_equal(said.outputs["topic"], teacher(WORDS)["topic"])
        assert int(counter.passes) == 2

    def test_in_a_list_they_have_kerass_names(self):
        model = reader(lambda heads: list(heads.values()))
        names = ("of_topics", "of_tags", "of_length", "of_boxes")
        teacher = kd.Teacher(model, head=dict.fromkeys(names[2:], "values"))
        assert teacher.output_names == names
        wanted = by_hand(model)
        np.testing.assert_allclose(teacher(WORDS)["of_tags"], wanted["tags"], rtol=1e-4, atol=1e-5)

    def test_inside_models_that_are_called_for_each_head(self):
        counter, image = PassCounter(), keras.Input((6,))
        trunk = keras.Sequential([keras.Input((6,)), layers.Dense(8), counter], name="trunk")
        heads = [
            keras.Sequential([keras.Input((8,)), layers.Dense(3, activation=kind)], name=kind)
            for kind in ("softmax", "sigmoid")
        ]
        x = trunk(image)
        model = keras.Model(image, {"one": heads[0](x), "two": heads[1](x)})
        teacher = kd.Teacher(model)
        counter.passes.assign(0)
        said = teacher.ask(VECTORS, ["trunk"])
        assert int(counter.passes) == 1
        logits = [
            np.asarray(said.features["trunk"]) @ head.layers[0].kernel.numpy() for head in heads
        ]
        np.testing.assert_allclose(said.outputs["one"], logits[0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(said.outputs["two"], logits[1], rtol=1e-4, atol=1e-5)

    def test_on_layers_that_another_model_called_before(self):
        shared = layers.Dense(3, activation="softmax")
        shared(keras.Input((6,)))
        image = keras.Input((6,))
        model = keras.Model(image, {"one": shared(image), "two": layers.Dense(2)(image)})
        said = kd.Teacher(model)(VECTORS)
        np.testing.assert_allclose(said["one"], VECTORS @ shared.kernel.numpy(), rtol=1e-4)

    @pytest.mark.parametrize("wrap", [list, lambda ends: dict(zip("ab", ends, strict=True))])
    def test_one_layer_may_end_several(self, wrap):
        last = layers.Dense(3, activation="softmax", name="last")
        images = [keras.Input((6,)), keras.Input((6,))]
        model = keras.Model(images, wrap([last(image) for image in images]))
        teacher = kd.Teacher(model)
        names = ("last", "last_1") if wrap is list else ("a", "b")
        assert teacher.heads == dict.fromkeys(names, "softmax")
        inputs = [VECTORS, 2 * VECTORS]
        said, kernel = teacher(inputs), last.kernel.numpy()
        for name, each in zip(names, inputs, strict=True):
            np.testing.assert_allclose(said[name], each @ kernel, rtol=1e-4, atol=1e-5)

    def test_one_that_cannot_be_opened_is_read_through_log(self):
        image = keras.Input((6,))
        closed = layers.Average()([layers.Dense(3, activation="softmax")(image) for _ in "ab"])
        model = keras.Model(
            image, {"closed": closed, "open": layers.Softmax()(layers.Dense(3)(image))}
        )
        with pytest.warns(
            UserWarning, match=r"output closed of .*log\(p\).*\{'closed': 'softmax'\}"
        ):
            teacher = kd.Teacher(model)
        said, wanted = teacher(VECTORS), model(VECTORS)
        np.testing.assert_allclose(said["closed"], np.log(wanted["closed"]), rtol=1e-5)
        np.testing.assert_allclose(ops.softmax(said["open"]), wanted["open"], atol=1e-6)
        assert np.asarray(said["open"]).max() > 0

    @pytest.mark.bfloat16
    def test_in_half_precision_answers_are_float32(self):
        image = keras.Input((6,))
        kind = layers.Dense(3, activation="softmax", dtype="mixed_bfloat16")(image)
        model = keras.Model(image, {"kind": kind, "size": layers.Dense(1, dtype="bfloat16")(image)})
        said = kd.Teacher(model, head={"size": "values"})(VECTORS)
        assert {each.dtype.name for each in said.values()} == {"float32"}

    def test_an_output_of_which_it_cannot_be_told_is_named_with_the_ways_out(self):
        image = keras.Input((6,))
        odd = layers.Activation("hard_sigmoid")(layers.Dense(3)(image))
        model = keras.Model(
            image, {"odd": odd, "kind": layers.Dense(3, activation="softmax")(image)}
        )
        with pytest.raises(ValueError, match=r"whether the output odd .*head=\{'odd': 'values'\}"):
            kd.Teacher(model)
        teacher = kd.Teacher(model, outputs=["kind"])
        assert teacher.output_names == ("kind",) and teacher.head == "softmax"
        assert teacher(VECTORS).shape == (5, 3) and teacher.num_classes == 3
        teacher = as_teacher(model, heads={"odd": "values"})
        np.testing.assert_array_equal(teacher(VECTORS)["odd"], model(VECTORS)["odd"])
        assert as_teacher(model, outputs=("kind",)).output_names == ("kind",)

    def test_their_names_are_known_before_they_are_looked_at(self):
        model, called = reader(), TwoHeads()
        called(PAIR)
        assert outputs_of_teacher(model) == ("topic", "tags", "length", "box")
        assert outputs_of_teacher([model, called]) == outputs_of_teacher(model)
        assert outputs_of_teacher(called) == ("kind", "size")
        assert outputs_of_teacher(kd.Teacher(model, outputs=["tags"])) == ("tags",)

    def test_a_layer_that_leads_to_another_output_can_be_compared(self):
        image = keras.Input((6,))
        side = layers.Dense(4, name="side")(image)
        model = keras.Model(image, {"one": layers.Softmax()(layers.Dense(3)(image)),
                                    "two": layers.Dense(2)(side)})  # fmt: skip
        said = kd.Teacher(model, outputs=["one"]).ask(VECTORS, ["side"])
        assert set(said.outputs) == {"one"} and said.features["side"].shape == (5, 4)

    def test_none_are_wanted_where_layers_alone_are(self):
        teacher = kd.Teacher(reader(), outputs=())
        said = teacher.ask(WORDS, ["hidden"])
        assert said.outputs == {} == teacher.heads and said.features["hidden"].shape == (5, 5)
        with pytest.raises(ValueError, match="or none is wanted. Received: none"):
            teacher.head  # noqa: B018

    def test_values_are_never_opened_nor_read_through_log(self):
        model = keras.Sequential([keras.Input((6,)), layers.Dense(4, activation="sigmoid")])
        teacher = kd.Teacher(model, head="values")
        assert teacher.head == "values" and not teacher.is_sigmoid
        np.testing.assert_array_equal(teacher(VECTORS), model(VECTORS))

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            ({"head": {"boxes": "values"}}, "by the names of the outputs, topic, tags.*: boxes"),
            ({"head": {"box": "box"}}, "`head` must be one of logits, softmax, sigmoid, values"),
            ({"head": {"topic": "sigmoid"}}, r"head=\{'topic': 'sigmoid'\} for a model that ends"),
            ({"head": {"length": "softmax"}}, "must answer with probabilities|what the teacher"),
            ({"outputs": ["kind"]}, r"names of the teacher's outputs, topic.*\['kind'\]"),
            ({"outputs": "topic"}, "names of the teacher's outputs"),
            ({"class_map": [0, 1, 2]}, "`class_map` must be a dict by the names"),
            ({"class_map": {"kind": [0]}}, "`class_map` must be a dict by the names"),
            ({"class_map": {"topic": [0, 1]}}, "for each of the teacher's 3"),
            ({"class_map": {"box": [0, 1, 2, 3]}, "head": VALUES}, "is for outputs of classes"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, options, sentence):
        with pytest.raises(ValueError, match=sentence):
            kd.Teacher(reader(), **options)

    def test_outputs_that_are_no_tensors_of_a_batch_are_refused(self):
        image = keras.Input((6,))
        x = layers.Dense(2)(image)
        model = keras.Model(image, {"one": x, "sum": ops.sum(x, axis=-1)})
        with pytest.raises(ValueError, match=r"tensors \[batch, ..., classes or values\] as"):
            kd.Teacher(model)
        assert kd.Teacher(model, outputs=["one"]).head == "logits"

    def test_what_is_of_one_output_says_so_of_several(self):
        teacher = kd.Teacher(reader(), head=VALUES, class_map={"topic": [2, 0, 1]})
        assert teacher.class_maps == {"topic": (2, 0, 1)} == teacher.ask(WORDS).class_maps
        for attribute in ("head", "class_map", "is_sigmoid"):
            with pytest.raises(ValueError, match="has several outputs.* Received: topic, tags"):
                getattr(teacher, attribute)
        assert "head={'topic': 'softmax'" in repr(teacher)

    def test_the_fingerprint_knows_heads_maps_and_what_is_asked(self):
        model = reader()
        teachers = [
            kd.Teacher(model, head=VALUES),
            kd.Teacher(model, head={"length": "values"}),
            kd.Teacher(model, head=VALUES, class_map={"topic": [2, 0, 1]}),
            kd.Teacher(model, outputs=["topic"]),
            kd.Teacher(model, outputs=["tags"]),
        ]
        assert len({each.fingerprint for each in teachers}) == 5
        assert len({each.identity for each in teachers}) == 5
        assert kd.Teacher(model, head=VALUES).fingerprint == teachers[0].fingerprint


class TestSeveralInputs:
    def test_of_a_dict_it_takes_what_it_has_inputs_for(self):
        model = reader()
        teacher = kd.Teacher(model, outputs=["topic"])
        more = {"image": VECTORS, **WORDS}
        wanted = by_hand(model)["topics"]
        np.testing.assert_allclose(teacher(more), wanted, rtol=1e-4, atol=1e-5)
        with pytest.raises(ValueError, match="reader needs the input padding_mask. Received: ids"):
            teacher({"ids": IDS})
        with pytest.raises(ValueError, match="by name: ids, padding_mask. Received: a list"):
            teacher([IDS, MASK])

    def test_preprocess_maps_any_structure_to_another(self):
        model = reader()

        def words(inputs):
            return {"ids": inputs["text"][:, 0], "padding_mask": inputs["text"][:, 1]}

        text = {"text": np.stack([IDS, MASK], axis=1)}
        teacher = kd.Teacher(model, outputs=["topic"], preprocess=words, examples=text)
        assert teacher.input_shape is None
        wanted = by_hand(model)["topics"]
        np.testing.assert_allclose(teacher(text), wanted, rtol=1e-4, atol=1e-5)

    def test_a_tensor_is_the_only_input_of_a_dict(self):
        ids = keras.Input((6,), name="x")
        model = keras.Model({"x": ids}, layers.Dense(3)(ids))
        teacher = kd.Teacher(model)
        np.testing.assert_array_equal(teacher(VECTORS), teacher({"x": VECTORS}))
        assert teacher.input_shape == (None, 6)

    def test_a_list_of_images_is_a_list(self):
        left, right = keras.Input((4, 4, 1)), keras.Input((4, 4, 1))
        x = layers.Flatten()(layers.Concatenate()([left, right]))
        model = keras.Model([left, right], layers.Dense(3, activation="softmax")(x))
        teacher = kd.Teacher(model)
        images = [RNG.uniform(size=(5, 4, 4, 1)).astype("float32") for _ in "ab"]
        both = np.concatenate(images, axis=-1).reshape(5, -1)
        wanted = both.astype(float) @ model.layers[-1].kernel.numpy()
        np.testing.assert_allclose(teacher(images), wanted, rtol=1e-4, atol=1e-5)
        assert teacher.input_shape == [(None, 4, 4, 1)] * 2
        assert not teacher.minds_its_batch

    def test_made_up_words_are_in_the_table_and_made_up_masks_are_ones(self):
        ids = keras.Input((None,), dtype="int32")
        segments = keras.Input((None,), dtype="int32")
        mask, mask_of_words = keras.Input((None,), dtype="int32"), keras.Input((None,), name="mask")
        x = layers.Embedding(20, 6)(ids) + layers.Embedding(3, 6)(segments)
        x = MeanOfWords()(x, mask) + MeanOfWords()(x, mask_of_words)
        inputs = {"ids": ids, "segments": segments, "padding_mask": mask, "other": mask_of_words}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # That its keys are no names, which it says once.
            model = keras.Model(inputs, layers.Dense(3, activation="softmax")(x))
        head = read_head(model)
        made_up = head.trial.inputs
        assert head.name == "softmax" and head.logits_model is not None
        for name in ("ids", "segments"):
            assert made_up[name].min() >= 1 and made_up[name].max() < 3
        for name in ("padding_mask", "other"):
            assert made_up[name].shape == made_up["ids"].shape
            np.testing.assert_array_equal(made_up[name], 1)

    def test_a_file_is_loaded_with_all_its_inputs_and_outputs(self, tmp_path):
        left, right = keras.Input((6,), name="left"), keras.Input((6,), name="right")
        x = layers.Concatenate()([left, right])
        heads = {"kind": layers.Dense(3, activation="softmax")(x), "size": layers.Dense(1)(x)}
        model = keras.Model({"left": left, "right": right}, heads)
        model.save(tmp_path / "teacher.keras")
        teacher = kd.load_teacher(tmp_path / "teacher.keras", head={"size": "values"})
        inputs = {"left": VECTORS, "right": 2 * VECTORS}
        said, wanted = teacher(inputs), kd.Teacher(model, head={"size": "values"})(inputs)
        assert teacher.heads == {"kind": "softmax", "size": "values"}
        for name in said:
            np.testing.assert_array_equal(said[name], wanted[name])


class TwoHeads(keras.Model):
    """Without a graph; its call alone knows its inputs and outputs."""

    def __init__(self):
        super().__init__()
        self.kind = layers.Dense(3, activation="softmax")
        self.size = layers.Dense(1)

    def call(self, inputs):
        x = ops.concatenate([inputs["left"], inputs["right"]], axis=-1)
        return {"kind": self.kind(x), "size": self.size(x)}


class TestAModelThatWasCalledOnce:
    def called(self):
        model = TwoHeads()
        model(PAIR)
        return model

    def test_subclassed_with_dicts(self):
        model = self.called()
        teacher = kd.Teacher(model, head={"kind": "softmax", "size": "values"})
        assert teacher.output_names == ("kind", "size")
        assert teacher.input_shape == {"left": (None, 6), "right": (None, 6)}
        said, wanted = teacher(PAIR), model(PAIR)
        np.testing.assert_allclose(said["kind"], np.log(wanted["kind"]), rtol=1e-5)
        np.testing.assert_array_equal(said["size"], wanted["size"])
        assert teacher.output_shape("kind") == (None, 3)
        with pytest.raises(ValueError, match="cannot be named from outside"):
            teacher.ask(PAIR, ["kind"])

    def test_subclassed_with_examples(self):
        model = self.called()
        teacher = kd.Teacher(model, head={"kind": "softmax", "size": "values"}, examples=PAIR)
        np.testing.assert_array_equal(teacher(PAIR)["size"], model(PAIR)["size"])

    def test_lazily_built_sequential(self):
        model = keras.Sequential([layers.Dense(4), layers.Dense(3, activation="softmax")])
        model(VECTORS)
        teacher = kd.Teacher(model)
        np.testing.assert_allclose(ops.softmax(teacher(VECTORS)), model(VECTORS), atol=1e-6)
        assert teacher(VECTORS[:2]).shape == (2, 3)
        assert np.asarray(teacher(VECTORS)).max() > 0


class TestFeaturesOfAnyModel:
    def test_outputs_come_in_their_structure_beside_the_layers(self):
        model = reader()
        found = feature_model(model, ["hidden", "mean:input"])(WORDS)
        outputs = model(WORDS)
        assert set(found) == {"logits", "hidden", "mean:input"}
        for name in outputs:
            np.testing.assert_array_equal(found["logits"][name], outputs[name])
        assert found["mean:input"].shape == (5, 4, 6)

    def test_layers_of_words_keep_their_masks(self):
        model = reader(masked=True)
        padded = {**WORDS, "ids": IDS * MASK}
        found = feature_model(model, ["vectors"])(padded)
        np.testing.assert_array_equal(mask_of(found["vectors"]), MASK == 1)

    def test_a_layer_inside_a_model_of_several_outputs(self):
        inner = reader()
        ids, mask = keras.Input((4,), dtype="int32"), keras.Input((4,), dtype="int32")
        heads = inner({"ids": ids, "padding_mask": mask})
        model = keras.Model([ids, mask], [heads["topic"], heads["length"]])
        found = feature_model(model, ["reader/hidden"])([IDS, MASK])
        np.testing.assert_allclose(found["logits"][0], inner(WORDS)["topic"], rtol=1e-5)
        assert found["reader/hidden"].shape == (5, 5)

    def test_a_layer_called_as_the_outputs_are_is_refused_beside_several(self):
        image = keras.Input((6,))
        model = keras.Model(image, [layers.Dense(3, name="logits")(image), layers.Dense(2)(image)])
        with pytest.raises(ValueError, match="cannot be called `logits`"):
            feature_model(model, ["logits"])


class TestInADistiller:
    """What no loss compares is not asked what it is; what losses on values compare is values."""

    def student(self):
        ids = keras.Input((None,), dtype="int32", name="ids")
        x = layers.GlobalAveragePooling1D()(layers.Embedding(20, 4)(ids))
        x = layers.Dense(5, name="inside")(x)
        heads = {"topic": layers.Dense(3)(x), "box": layers.Dense(4)(x)}
        return keras.Model({"ids": ids}, heads)

    def test_each_output_is_taken_for_what_its_losses_say(self):
        model, student = reader(), self.student()
        distiller = kd.Distiller(
            student=student,
            teacher=model,
            distillation_loss={"topic": kd.losses.SoftTargets(), "box": kd.losses.ValueMatching()},
            alpha=1.0,
        )
        assert distiller.teacher.heads == {"topic": "softmax", "box": "values"}
        distiller.compile(keras.optimizers.SGD(0.0), steps_per_execution=1)
        history = distiller.fit(WORDS, batch_size=5, verbose=0).history
        boxes = sigmoid(by_hand(model)["boxes"])
        expected = ((np.asarray(student({"ids": IDS})["box"], float) - boxes) ** 2).mean()
        assert history["box_distillation_loss"][0] == pytest.approx(expected, rel=1e-4)

    def test_an_only_output_too(self):
        ids = keras.Input((6,))
        student = keras.Model(ids, layers.Dense(4)(ids))
        teacher = keras.Model(ids, layers.Dense(4, activation="sigmoid")(ids))
        loss = kd.losses.CosineMatching()
        distiller = kd.Distiller(student=student, teacher=teacher, distillation_loss=loss)
        assert distiller.teacher.head == "values"

    def test_a_list_of_teachers_whose_only_outputs_have_names_of_their_own(self):
        ids = keras.Input((6,))
        student = keras.Model(ids, layers.Dense(4)(ids))
        teachers = [
            keras.Model(ids, layers.Dense(4, activation="sigmoid", name=name)(ids))
            for name in ("one", "other")
        ]
        loss = kd.losses.ValueMatching()
        distiller = kd.Distiller(student=student, teacher=teachers, distillation_loss=loss)
        assert distiller.teacher.heads == {"one": "values"}
        wanted = np.mean([teacher(VECTORS) for teacher in teachers], axis=0)
        np.testing.assert_allclose(distiller.teacher(VECTORS), wanted, rtol=1e-5)
        with pytest.raises(ValueError, match="at least two teachers. Received: 0"):
            kd.Distiller(student=student, teacher=[], distillation_loss=loss)


class TestAnEnsembleOfSeveralOutputs:
    def test_each_output_is_averaged_as_what_it_is(self):
        models = [reader(), reader()]
        ensemble = kd.Ensemble(
            [kd.Teacher(model, head=VALUES) for model in models], weights=[0.3, 0.7]
        )
        assert ensemble.heads == {"topic": "softmax", "tags": "sigmoid", **VALUES}
        assert ensemble.num_classes == {"topic": 3, "tags": 2, "length": 1, "box": 4}
        assert ensemble.output_names == ("topic", "tags", "length", "box")
        assert ensemble.output_shape("box") == (None, 4)
        said, logits = ensemble.ask(WORDS).outputs, [by_hand(model) for model in models]

        def mean(function, name):
            return 0.3 * function(logits[0][name]) + 0.7 * function(logits[1][name])

        def softmax(x):
            return np.exp(x) / np.exp(x).sum(-1, keepdims=True)

        for found, wanted in (
            (ops.softmax(said["topic"]), mean(softmax, "topics")),
            (ops.sigmoid(said["tags"]), mean(sigmoid, "tags")),
            (said["length"], mean(np.array, "length")),
            (said["box"], mean(sigmoid, "boxes")),
        ):
            np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)

    def test_classes_in_another_order_are_put_in_the_students(self):
        model = reader()
        mapped = kd.Teacher(model, outputs=["topic", "tags"], class_map={"topic": [2, 0, 1]})
        plain = kd.Teacher(model, outputs=["topic", "tags"])
        said, other = kd.Ensemble([mapped, mapped])(WORDS), plain(WORDS)
        in_order = np.asarray(other["topic"])[:, np.argsort([2, 0, 1])]
        np.testing.assert_allclose(ops.softmax(said["topic"]), ops.softmax(in_order), rtol=1e-4)
        np.testing.assert_allclose(said["tags"], other["tags"], rtol=1e-3, atol=1e-5)

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            ([{"outputs": ["topic", "tags"]}, {"outputs": ["topic", "length"]}], "same outputs"),
            (
                [{"head": VALUES}, {"head": {"length": "values"}}],
                "all end in values, or none at the output box",
            ),
        ],
    )
    def test_teachers_that_do_not_go_together_are_refused(self, options, sentence):
        with pytest.raises(ValueError, match=sentence):
            kd.Ensemble([kd.Teacher(reader(), **each) for each in options])
