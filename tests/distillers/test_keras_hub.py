"""The task models of KerasHub, small and untrained: taught, stored, saved, and written to files."""

import keras
import numpy as np
import pytest
from helpers import assert_equal_weights
from references import soft_targets

import keras_kd as kd
from keras_kd.export.runner import LiteRTFile

hub = pytest.importorskip(
    "keras_hub", reason="KerasHub is not installed: see docs/guides/keras_hub.md"
)
models = hub.models

N, LENGTH, WORDS = 4, 8, 80
RANDOM = np.random.default_rng(0)
SOFT, VALUES = kd.losses.SoftTargets(2.0), kd.losses.ValueMatching()


def ids():
    return RANDOM.integers(1, WORDS, (N, LENGTH)).astype("int32")


def padded():
    mask = np.ones((N, LENGTH), "int32")
    mask[0, 5:] = 0
    return mask


def text():
    return {"token_ids": ids(), "padding_mask": padded(), "segment_ids": padded() * 0}


def images(size):
    return RANDOM.normal(size=(N, size, size, 3)).astype("float32")


def of_text(kind, width):
    return kind(
        vocabulary_size=WORDS, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=width,
        max_sequence_length=LENGTH, dropout=0.0,
    )  # fmt: skip


def bert(width):
    return of_text(models.BertBackbone, width)


def resnet(size, stages=2):
    return models.ResNetBackbone(
        input_conv_filters=[64], input_conv_kernel_sizes=[3], block_type="basic_block",
        stackwise_num_filters=[64, *[16] * (stages - 1)], stackwise_num_blocks=[1] * stages,
        stackwise_num_strides=[1, *[2] * (stages - 1)], image_shape=(size, size, 3),
    )  # fmt: skip


def image_classifier(width):
    backbone = models.ViTBackbone(
        image_shape=(16, 16, 3), patch_size=(8, 8), num_layers=1, num_heads=2, hidden_dim=16,
        mlp_dim=width, dropout_rate=0.0, attention_dropout=0.0,
    )  # fmt: skip
    return models.ViTImageClassifier(backbone=backbone, num_classes=5)


def causal_lm(width):
    return models.GPT2CausalLM(backbone=of_text(models.GPT2Backbone, width))


def seq_2_seq_lm(width):
    return models.BartSeq2SeqLM(backbone=of_text(models.BartBackbone, width))


def image_segmenter(width):
    encoder = models.MiTBackbone(
        layerwise_depths=[1, 1], image_shape=(32, 32, 3), hidden_dims=[8, 16], num_layers=2,
        layerwise_num_heads=[1, 2], layerwise_sr_ratios=[2, 1], max_drop_path_rate=0.0,
        layerwise_patch_sizes=[7, 3], layerwise_strides=[4, 2],
    )  # fmt: skip
    backbone = models.SegFormerBackbone(image_encoder=encoder, projection_filters=width)
    return models.SegFormerImageSegmenter(backbone=backbone, num_classes=3)


def atrous_segmenter(width):
    backbone = models.DeepLabV3Backbone(
        image_encoder=resnet(32, 3), low_level_feature_key="P2", spatial_pyramid_pooling_key="P3",
        dilation_rates=[2], upsampling_size=2, image_shape=(32, 32, 3), projection_filters=width,
    )  # fmt: skip
    return models.DeepLabV3ImageSegmenter(backbone=backbone, num_classes=3)


def object_detector(width):
    backbone = models.RetinaNetBackbone(
        image_encoder=resnet(32, 3), min_level=3, max_level=4, use_p5=False, image_shape=(32, 32, 3)
    )
    return models.RetinaNetObjectDetector(
        backbone=backbone, num_classes=4, pre_logits_num_conv_layers=width // 16
    )


def query_detector(width):
    encoder = models.HGNetV2Backbone(
        stem_channels=[3, 8, 8], depths=[1, 1, 1, 1], embedding_size=8, hidden_act="relu",
        stackwise_stage_filters=[[8, 8, 8, 1, 3, 3], [8, 8, 8, 1, 3, 3], [8, 8, 8, 1, 3, 5],
                                 [8, 8, 8, 1, 3, 5]],
        apply_downsample=[False, True, True, True], hidden_sizes=[8, 8, 8, 8],
        use_lightweight_conv_block=[False, False, True, True], use_learnable_affine_block=True,
        image_shape=(64, 64, 3), out_features=["stage3", "stage4"],
    )  # fmt: skip
    backbone = models.DFineBackbone(
        backbone=encoder, decoder_in_channels=[16, 16], encoder_hidden_dim=16, num_labels=4,
        num_denoising=0, learn_initial_query=False, num_queries=5, anchor_image_size=(64, 64),
        feat_strides=[16, 32], num_feature_levels=2, hidden_dim=16, encoder_in_channels=[8, 8],
        encode_proj_layers=[1], num_attention_heads=2, encoder_ffn_dim=width, num_encoder_layers=1,
        hidden_expansion=0.5, depth_multiplier=0.5, eval_idx=-1, num_decoder_layers=1,
        decoder_attention_heads=2, decoder_ffn_dim=width, decoder_n_points=[2, 2],
        lqe_hidden_dim=8, num_lqe_layers=2, out_features=["stage3", "stage4"],
        image_shape=(64, 64, 3),
    )  # fmt: skip
    return models.DFineObjectDetector(backbone=backbone, num_classes=4, bounding_box_format="yxyx")


def depth_estimator(width):
    encoder = models.DINOV2Backbone(
        patch_size=8, num_layers=4, hidden_dim=16, num_heads=2, intermediate_dim=width,
        layer_scale_init_value=1.0, num_register_tokens=0, use_mask_token=False,
        use_swiglu_ffn=False, image_shape=(64, 64, 3), position_embedding_shape=(64, 64),
        apply_layernorm=True,
    )  # fmt: skip
    backbone = models.DepthAnythingBackbone(
        image_encoder=encoder, reassemble_factors=[4, 2, 1, 0.5], neck_hidden_dims=[8, 8, 8, 8],
        fusion_hidden_dim=8, head_hidden_dim=8, head_in_index=-1,
        feature_keys=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    return models.DepthAnythingDepthEstimator(backbone=backbone, depth_estimation_type="relative")


def two_texts():
    given = {"token_ids": ids, "padding_mask": padded}
    return {
        f"{side}_{key}": made() for side in ("encoder", "decoder") for key, made in given.items()
    }


# Of each task: how it is built, what it takes, which loss teaches it.
TASKS = {
    "ImageClassifier": (image_classifier, lambda: images(16), SOFT),
    "TextClassifier": (
        lambda width: models.BertTextClassifier(backbone=bert(width), num_classes=3, dropout=0.0),
        text,
        SOFT,
    ),
    "MaskedLM": (
        lambda width: models.BertMaskedLM(backbone=bert(width)),
        lambda: text() | {"mask_positions": np.tile([[1, 3]], (N, 1)).astype("int32")},
        SOFT,
    ),
    "TextEmbedder": (lambda width: models.BertTextEmbedder(backbone=bert(width)), text, VALUES),
    "CausalLM": (causal_lm, lambda: {"token_ids": ids(), "padding_mask": padded()}, SOFT),
    "Seq2SeqLM": (seq_2_seq_lm, two_texts, SOFT),
    "ImageSegmenter": (image_segmenter, lambda: images(32), SOFT),
    "ImageSegmenter of DeepLabV3": (atrous_segmenter, lambda: images(32), SOFT),
    "ObjectDetector": (
        object_detector,
        lambda: images(32),
        {"cls_logits": SOFT, "bbox_regression": VALUES},
    ),
    "ObjectDetector of queries": (
        query_detector,
        lambda: images(64),
        {"logits": SOFT, "pred_boxes": VALUES},
    ),
    "DepthEstimator": (depth_estimator, lambda: images(64), VALUES),
}


@pytest.fixture(scope="module", params=TASKS)
def task(request):
    """Teacher, student, inputs and losses of one kind of task; of many outputs, those compared."""
    build, made, losses = TASKS[request.param]
    keras.utils.set_random_seed(0)
    teacher, student = build(32), build(16)
    if isinstance(losses, dict) and len(student.outputs) > len(losses):
        # What a model returns beside boxes and classes, it returns for a loss of its own.
        teacher, student = (
            keras.Model(each.input, {name: each.output[name] for name in losses}, name=each.name)
            for each in (teacher, student)
        )
    for layer in student._flatten_layers():
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
    yield teacher, student, made(), losses
    keras.backend.clear_session()


def expected_loss(teacher, student, inputs, losses):
    """The mean over places, in float64; of several outputs their sum."""
    said, learned = teacher(inputs, training=False), student(inputs, training=True)
    if not isinstance(losses, dict):
        ends = (each if isinstance(each, dict) else {"": each} for each in (said, learned))
        said, learned = ends
        losses = dict.fromkeys(said, losses)
    total = 0.0
    for name, loss in losses.items():
        one, other = (np.asarray(each[name], "float64") for each in (said, learned))
        apart = soft_targets(one, other, 2.0) if loss is SOFT else np.square(one - other)
        total += apart.mean()
    return total


@pytest.mark.filterwarnings("ignore:The last layer of", "ignore:Gradients do not exist")
@pytest.mark.filterwarnings("ignore:`compile\\(\\)` was not called")
class TestTasks:
    def test_a_step_is_that_of_numpy_live_and_stored_and_the_student_is_saved(self, task, tmp_path):
        teacher, student, inputs, losses = task
        expected = expected_loss(*task)
        labels = np.zeros(N, "int32")
        if isinstance(losses, dict):  # A box ends in a sigmoid, and is no probability.
            kinds = {name: "logits" if loss is SOFT else "values" for name, loss in losses.items()}
            teacher, labels = kd.Teacher(teacher, head=kinds), dict.fromkeys(losses, labels)
        split = kd.data.Split(inputs, labels)
        stored = kd.SoftLabels.create(tmp_path / "stored", teacher, split, verbose=0)
        for said in ({"teacher": teacher}, {"soft_labels": stored}):
            distiller = kd.Distiller(student=student, distillation_loss=losses, alpha=1.0, **said)
            distiller.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
            history = distiller.fit(split.batches(N), verbose=0).history
            assert history["distillation_loss"][-1] == pytest.approx(expected, rel=2e-3, abs=1e-5)
        distiller.save(tmp_path / "distiller.keras")
        again = keras.saving.load_model(tmp_path / "distiller.keras").student
        assert_equal_weights(again.get_weights(), student.get_weights())

    def test_the_file_answers_as_the_student(self, task, tmp_path, request):
        student, inputs = task[1:3]
        if isinstance(inputs, dict):  # A file has places of one number.
            ends = {
                name: keras.Input(each.shape[1:], dtype=str(each.dtype), name=name)
                for name, each in inputs.items()
            }
            student = keras.Model(ends, student(ends), name=student.name)
        file = tmp_path / "student.tflite"
        options = {"calibration": inputs, "input_range": (-6, 6)}
        if "queries" in request.node.name:
            pytest.skip("Where scores tie, LiteRT may take other queries than TensorFlow.")
        # It compares every output at every place before it keeps a file. An embedder's mean over a
        # mask, and the square in its norm, are floats, which a file of integers must not hold.
        form = "dynamic" if "Embedder" in request.node.name else "int8"
        kd.export.litert(student, file, quantization=form, **options)
        held = LiteRTFile(file).interpreter.get_tensor_details()
        floats = [each for each in held if np.dtype(each["dtype"]).name.startswith("float")]
        assert bool(floats) == (form == "dynamic")
