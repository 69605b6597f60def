"""Bad input: one exact sentence, an exit code, and nothing written. One row a case."""

import json
import os
import shutil
import zipfile

import keras
import numpy as np
import pytest
from PIL import Image

from keras_kd import cli

layers = keras.layers


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder in which nothing is wrong: data/, teacher.keras, student.keras, data.npz."""
    root = tmp_path_factory.mktemp("whole")
    generator = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (root / "data" / name).mkdir(parents=True)
        for number in range(12):
            pixels = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "data" / name / f"{number}.png")
    keras.utils.set_random_seed(0)
    net((8, 8, 3), 2).save(root / "teacher.keras")
    images = generator.integers(0, 256, (24, 8, 8, 3), dtype=np.uint8)
    labels = np.arange(24) % 2
    np.savez(root / "data.npz", train_images=images, train_labels=labels,
             test_images=images[:4], test_labels=labels[:4])  # fmt: skip
    return root


def net(shape, num_classes, *more):
    return keras.Sequential([
        keras.Input(shape), layers.Rescaling(1 / 255), layers.Flatten(),
        layers.Dense(num_classes, name="last"), *more,
    ])  # fmt: skip


# What is done to the folder; each returns the arguments that differ, as a dict.


def nothing(**arguments):
    return lambda root: arguments


def writes(path, content, **arguments):
    def plant(root):
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return arguments

    return plant


def truncates(path, share, **arguments):
    def plant(root):
        content = (root / path).read_bytes()
        (root / path).write_bytes(content[: int(share * len(content))])
        return arguments

    return plant


def makes(path, **arguments):
    def plant(root):
        (root / path).mkdir(parents=True)
        return arguments

    return plant


def links(path, target, **arguments):
    def plant(root):
        os.symlink(target, root / path)
        return arguments

    return plant


def removes(path, **arguments):
    def plant(root):
        shutil.rmtree(root / path)
        return arguments

    return plant


def saves(model, **arguments):
    def plant(root):
        model().save(root / "other.keras")
        return {"--teacher": "other.keras"} | arguments

    return plant


def with_nan():
    model = net((8, 8, 3), 2)
    model.layers[-1].bias.assign([np.nan, 0])
    return model


def with_lambda():
    return net((8, 8, 3), 2, layers.Lambda(lambda x: x))


def of_two_inputs():
    one, other = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    return keras.Model([one, other], layers.Dense(2)(layers.Flatten()(one + other)))


def huge_header(root):
    file = root / "data" / "cat" / "0.bmp"
    Image.new("L", (1, 1)).save(file)
    content = bytearray(file.read_bytes())
    content[18:26] = (30_000).to_bytes(4, "little") * 2
    file.write_bytes(content)
    return {}


def other_zip(root):
    with zipfile.ZipFile(root / "teacher.keras", "w") as archive:
        archive.writestr("model.bin", "x")
    return {}


def npz(**arrays):
    def plant(root):
        np.savez(root / "data.npz", **arrays)
        return {"--data": "data.npz"}

    return plant


class Code:
    def __reduce__(self):
        return os.system, ("touch was_run",)


IMAGES, LABELS = np.zeros((4, 8, 8, 3), np.uint8), np.arange(4) % 2


def saves_student(model):
    def plant(root):
        model().save(root / "student.keras")
        return {"--student": "student.keras"}

    return plant


def shard_of_noise(root):
    (root / "data" / "schema.json").write_text(
        json.dumps({"train": "*.tfrecord", "class_names": ["cat", "dog"]})
    )
    (root / "data" / "x.tfrecord").write_bytes(bytes(range(100)))
    return {}


CASES = {
    "teacher_missing": (
        nothing(**{"--teacher": "none.keras"}),
        (
            "The teacher must be a .keras, .h5, .onnx or .tflite file, or a SavedModel. "
            "Received: none.keras, no file."
        ),
    ),
    "teacher_empty": (
        writes("teacher.keras", ""),
        (
            "The teacher must be a whole .keras file. Received: teacher.keras, which is "
            'damaged or of another kind. Write it again with `model.save("model.keras")`.'
        ),
    ),
    "teacher_truncated": (
        truncates("teacher.keras", 0.7),
        (
            "The teacher must be a whole .keras file. Received: teacher.keras, which is "
            'damaged or of another kind. Write it again with `model.save("model.keras")`.'
        ),
    ),
    "teacher_is_text": (
        writes("teacher.keras", "hello"),
        (
            "The teacher must be a whole .keras file. Received: teacher.keras, which is "
            'damaged or of another kind. Write it again with `model.save("model.keras")`.'
        ),
    ),
    "teacher_is_a_directory": (
        makes("folder.keras", **{"--teacher": "folder.keras"}),
        (
            "The teacher must be a .keras, .h5, .onnx or .tflite file, or a SavedModel. "
            "Received: folder.keras. Write one with "
            '`model.save("model.keras")`.'
        ),
    ),
    "teacher_is_another_zip": (
        other_zip,
        (
            "The teacher must be made of Keras's own layers, without code of its own such "
            'as a Lambda layer. Received: teacher.keras: "There is no item named '
            "'config.json' in the archive\". For a class of yours, name the module that "
            "registers it with --import; in Python, import it first."
        ),
    ),
    "teacher_of_another_framework": (
        writes("model.pt", "x", **{"--teacher": "model.pt"}),
        (
            "The teacher must be a .keras, .h5, .onnx or .tflite file, or a SavedModel. "
            "Received: model.pt. Write one with "
            '`model.save("model.keras")`.'
        ),
    ),
    "teacher_is_h5": (
        writes("model.h5", "x", **{"--teacher": "model.h5"}),
        (
            "The teacher must be a whole .h5 file. Received: model.h5, which is damaged or of "
            'another kind. Write it again with `model.save("model.keras")`.'
        ),
    ),
    "teacher_is_a_loop": (
        links("loop.keras", "loop.keras", **{"--teacher": "loop.keras"}),
        (
            "The teacher must be a .keras, .h5, .onnx or .tflite file, or a SavedModel. "
            "Received: loop.keras, no file."
        ),
    ),
    "teacher_with_lambda": (
        saves(with_lambda),
        (
            "The teacher must be made of Keras's own layers, without code of its own such "
            "as a Lambda layer. Received: other.keras: Requested the deserialization of a "
            "`Lambda` layer whose `function` is a Python lambda. For a class of yours, "
            "name the module that registers it with --import; in Python, import it first."
        ),
    ),
    "teacher_with_nan": (
        saves(with_nan),
        (
            "The teacher's weights must be finite. Received: NaN or infinity in "
            "last/bias. Train it again with a smaller learning rate."
        ),
    ),
    "teacher_of_two_inputs": (
        saves(of_two_inputs),
        ("The teacher must have one input. Received: 2. Wrap it in a model that takes one."),
    ),
    "teacher_of_other_classes": (
        saves(lambda: net((8, 8, 3), 5)),
        (
            "Training would be wasted: the teacher tells 5 classes apart, the data has 2 "
            "(teacher and data). Give the folders of the teacher's classes, all of them, "
            "in the order of its class_names.json; or train the teacher on these classes."
        ),
    ),
    "teacher_of_vectors": (
        saves(lambda: net((8,), 2)),
        (
            "The teacher must take images [height, width, 1 or 3 channels]. Received: "
            "inputs of shape (8,). Wrap it in a model that does."
        ),
    ),
    "teacher_of_five_channels": (
        saves(lambda: net((8, 8, 5), 2)),
        (
            "The teacher must take images [height, width, 1 or 3 channels]. Received: "
            "inputs of shape (8, 8, 5). Wrap it in a model that does."
        ),
    ),
    "no_teacher": (
        nothing(**{"--teacher": None}),
        (
            "There must be a teacher, or soft labels that one left. Received: neither. "
            "Name a .keras file, in Python a `keras.Model`."
        ),
    ),
    "data_missing": (
        nothing(**{"--data": "none"}),
        (
            "The data must be a folder of images or texts, a folder of TFRecord shards with "
            "schema.json, a file of rows (.csv, .tsv, .jsonl, .ndjson), or an .npz file. "
            "Received: none, which is not there. Known names are fashion_mnist, mnist, cifar10, "
            "digits."
        ),
    ),
    "data_empty_folder": (
        makes("empty", **{"--data": "empty"}),
        (
            "The data must hold one folder of images (.png, .jpg, .jpeg, .bmp, .webp, .gif) for "
            "each class. Received: empty, where no folder holds any. Sort the images into "
            "folders, or name another folder."
        ),
    ),
    "data_is_a_text_file": (
        writes("data.md", "1,2", **{"--data": "data.md"}),
        (
            "The data must be a folder of images or texts, a folder of TFRecord shards with "
            "schema.json, a file of rows (.csv, .tsv, .jsonl, .ndjson), or an .npz file. "
            "Received: data.md, something else."
        ),
    ),
    "rows_without_labels": (
        writes("data.csv", "size,kind\n1,a\n", **{"--data": "data.csv"}),
        (
            "The file must have a column 'label' of labels. Received: data.csv with 'size', "
            "'kind'. Name the one that holds them with `label` (--label)."
        ),
    ),
    "rows_broken": (
        writes("data.jsonl", '{"text": "a", "label": "b"}\n{"text"\n', **{"--data": "data.jsonl"}),
        (
            "Each line of data.jsonl must be a JSON object. Received: line 2, which is broken "
            "(Expecting ':' delimiter: line 2 column 1 (char 8))."
        ),
    ),
    "rows_of_none": (
        writes("data.csv", "", **{"--data": "data.csv"}),
        (
            "The first line of data.csv must name the columns, each once. Received: no columns. "
            "Write the names there."
        ),
    ),
    "columns_of_images": (
        nothing(**{"--label": "kind"}),
        "Images are read without `label`. Received: label='kind' for data. Leave it out.",
    ),
    "data_without_classes": (
        nothing(**{"--data": "data/cat"}),
        (
            "The data must hold one folder of images (.png, .jpg, .jpeg, .bmp, .webp, .gif) for "
            "each class. Received: data/cat, where no folder holds any. Sort the images "
            "into folders, or name another folder."
        ),
    ),
    "data_typo_beside_train": (
        makes("data/train/cat", **{}),
        (
            "Beside `train` there must be nothing but `validation` and `test`. Received: "
            "'cat', 'dog' in data. Move it away."
        ),
    ),
    "data_loop": (
        links("loop", "loop", **{"--data": "loop"}),
        (
            "The data must be a folder of images or texts, a folder of TFRecord shards with "
            "schema.json, a file of rows (.csv, .tsv, .jsonl, .ndjson), or an .npz file. "
            "Received: loop, which is not there. Known names are fashion_mnist, mnist, cifar10, "
            "digits."
        ),
    ),
    "npz_empty": (
        writes("data.npz", "", **{"--data": "data.npz"}),
        (
            "data.npz must be an .npz file of plain arrays. Received: File is not a zip "
            "file. Write it with `numpy.savez`."
        ),
    ),
    "npz_truncated": (
        truncates("data.npz", 0.5, **{"--data": "data.npz"}),
        (
            "data.npz must be an .npz file of plain arrays. Received: File is not a zip "
            "file. Write it with `numpy.savez`."
        ),
    ),
    "npz_of_other_arrays": (
        npz(images=IMAGES),
        (
            "An .npz file must hold `train_images`, `train_labels`, `test_images` and "
            "`test_labels`. Received: data.npz with images."
        ),
    ),
    "npz_of_code": (
        npz(
            train_images=np.array([Code()]),
            train_labels=LABELS,
            test_images=IMAGES,
            test_labels=LABELS,
        ),
        (
            "data.npz must be an .npz file of plain arrays. Received: Object arrays cannot "
            "be loaded when allow_pickle=False. Write it with `numpy.savez`."
        ),
    ),
    "npz_of_floats_as_labels": (
        npz(train_images=IMAGES, train_labels=LABELS / 2, test_images=IMAGES, test_labels=LABELS),
        (
            "The train labels must be integers [n]. Received: float64 of shape (4,). Turn "
            'them into the numbers of classes, such as with `labels.astype("int64")`; for what is '
            "no class use `Distiller.fit`."
        ),
    ),
    "npz_of_other_count": (
        npz(train_images=IMAGES, train_labels=LABELS[:3], test_images=IMAGES, test_labels=LABELS),
        ("The train images and labels must be equally many. Received: 4 images and 3 labels."),
    ),
    "npz_of_negative_labels": (
        npz(train_images=IMAGES, train_labels=LABELS - 1, test_images=IMAGES, test_labels=LABELS),
        ("The train labels must count from 0. Received: a label of -1."),
    ),
    "npz_of_two_shapes": (
        npz(
            train_images=IMAGES, train_labels=LABELS, test_images=IMAGES[:, :4], test_labels=LABELS
        ),
        ("Train and test images must have the same shape. Received: (8, 8, 3) and (4, 8, 3)."),
    ),
    "npz_with_image_size": (
        nothing(**{"--data": "data.npz", "--image-size": "16"}),
        (
            "Arrays keep their shape. Received: image_size for data.npz. Give the teacher "
            "a `preprocess` that resizes, or write them to files."
        ),
    ),
    "image_empty": (
        writes("data/cat/x.png", ""),
        (
            "Every image must be readable. Received: 1 that cannot be decoded: "
            "data/cat/x.png (empty). Repair or remove them, or go on without them by "
            'unreadable="leave_out" (--leave-out-unreadable).'
        ),
    ),
    "image_is_text": (
        writes("data/cat/x.png", "hello"),
        (
            "Every image must be readable. Received: 1 that cannot be decoded: "
            "data/cat/x.png (no PNG, JPEG, BMP, WebP or GIF image). Repair or remove them, or "
            'go on without them by unreadable="leave_out" (--leave-out-unreadable).'
        ),
    ),
    "image_truncated": (
        truncates("data/cat/0.png", 0.5),
        (
            "Every image must be readable. Received: 1 that cannot be decoded: "
            "data/cat/0.png (image file is truncated). Repair or remove them, or go on "
            'without them by unreadable="leave_out" (--leave-out-unreadable).'
        ),
    ),
    "image_is_a_gif": (
        writes("data/cat/x.png", b"GIF89a" + bytes(99)),
        (
            "Every image must be readable. Received: 1 that cannot be decoded: "
            "data/cat/x.png (no PNG, JPEG, BMP, WebP or GIF image). Repair or remove them, or "
            'go on without them by unreadable="leave_out" (--leave-out-unreadable).'
        ),
    ),
    "image_of_a_huge_header": (
        huge_header,
        (
            "Every image must be readable. Received: 1 that cannot be decoded: "
            "data/cat/0.bmp (of more pixels than Pillow takes, and above 31,250,000, which "
            "KERAS_KD_MAX_GB can allow). Repair or remove them, or go on without them by "
            'unreadable="leave_out" (--leave-out-unreadable).'
        ),
    ),
    "image_is_a_loop": (
        links("data/cat/x.png", "x.png"),
        (
            "Every image must be readable. Received: 1 that cannot be decoded: "
            "data/cat/x.png (Too many levels of symbolic links). Repair or remove them, or "
            'go on without them by unreadable="leave_out" (--leave-out-unreadable).'
        ),
    ),
    "image_link_to_nothing": (
        links("data/cat/x.png", "nothing.png"),
        (
            "Every image must be readable. Received: 1 that cannot be decoded: "
            "data/cat/x.png (No such file or directory). Repair or remove them, or go on "
            'without them by unreadable="leave_out" (--leave-out-unreadable).'
        ),
    ),
    "image_name_of_a_new_line": (
        writes("data/cat/a\nb.png", "hello"),
        (
            "Every image must be readable. Received: 1 that cannot be decoded: "
            "data/cat/a\\nb.png (no PNG, JPEG, BMP, WebP or GIF image). Repair or remove them, "
            'or go on without them by unreadable="leave_out" (--leave-out-unreadable).'
        ),
    ),
    "image_name_of_markup": (
        writes("data/cat/[red]<b>.png", "hello"),
        (
            "Every image must be readable. Received: 1 that cannot be decoded: "
            "data/cat/[red]<b>.png (no PNG, JPEG, BMP, WebP or GIF image). Repair or remove "
            'them, or go on without them by unreadable="leave_out" '
            "(--leave-out-unreadable)."
        ),
    ),
    "image_name_of_255_bytes": (
        writes("data/cat/" + 251 * "n" + ".png", "hello"),
        (
            "Every image must be readable. Received: 1 that cannot be decoded: "
            "data/cat/{N}.png (no PNG, JPEG, BMP, WebP or GIF image). Repair or remove them, or "
            'go on without them by unreadable="leave_out" (--leave-out-unreadable).'
        ).replace("{N}", 251 * "n"),
    ),
    "class_map_missing": (
        nothing(**{"--class-map": "none.json"}),
        ("Class names must lie in a JSON file. Received: none.json, no file."),
    ),
    "class_map_is_a_folder": (
        makes("names.json", **{"--class-map": "names.json"}),
        "Class names must lie in a JSON file. Received: names.json, no file.",
    ),
    "class_map_broken": (
        writes("names.json", "[", **{"--class-map": "names.json"}),
        (
            "names.json must hold the class names as a list in the order of the logits, or "
            "as an object of names and numbers from 0. Received: a file which is damaged: it is "
            "no JSON."
        ),
    ),
    "class_map_of_another_kind": (
        writes("names.json", "3", **{"--class-map": "names.json"}),
        (
            "names.json must hold the class names as a list in the order of the logits, or "
            "as an object of names and numbers from 0. Received: 3."
        ),
    ),
    "class_names_of_a_class_without_folder": (
        writes("class_names.json", json.dumps(["cat", "dog", "cow"])),
        (
            "There must be a folder of training images for each of the 3 classes, and no "
            "other. Received: no training images: 'cow'. Fill, remove or rename the "
            "folders, or give the names in the teacher's order with `class_names` (or "
            "class_names.json)."
        ),
    ),
    "class_names_twice": (
        writes("class_names.json", json.dumps(["cat", "cat"])),
        ("`class_names` must name each class once. Received: 'cat' twice."),
    ),
    "class_names_too_few": (
        writes("class_names.json", json.dumps(["cat"])),
        (
            "There must be a folder of training images for each of the 1 classes, and no "
            "other. Received: a folder that is no class: 'dog'. Fill, remove or rename "
            "the folders, or give the names in the teacher's order with `class_names` (or "
            "class_names.json)."
        ),
    ),
    "student_typo": (
        nothing(**{"--student": "resnet:1"}),
        (
            "A student must be one of mlp, conv, lenet5, resnet18, mobilenet_v2, "
            "mobilenet_v3_small, mobilenet_v3_large, bytes, or a .keras file. Received: "
            "'resnet:1'. Did you mean 'resnet18'?"
        ),
    ),
    "student_without_layers": (
        nothing(**{"--student": "mlp"}),
        ("A student 'mlp' takes layers, such as 16-32. Received: 'mlp'."),
    ),
    "student_of_nothing": (
        nothing(**{"--student": "conv:0"}),
        ("The sizes of a student must be above 0. Received: 'conv:0'."),
    ),
    "student_too_large_for_the_images": (
        nothing(**{"--student": "mobilenet_v3_small:0.5"}),
        (
            "The student 'mobilenet_v3_small:0.5' must fit images of 8x8. Received: Input "
            "size must be at least 32x32; Received `input_shape=(8, 8, 3)`. Name another "
            "size, such as mobilenet_v3_small@96."
        ),
    ),
    "student_missing": (
        nothing(**{"--student": "none.keras"}),
        ("The student must be a .keras file. Received: none.keras, no file."),
    ),
    "student_of_other_classes": (
        saves_student(lambda: net((8, 8, 3), 5)),
        (
            "Teacher and student must predict the same classes. Received: 2 and 5. Build "
            "the student with `num_classes=2`, or say which classes these are: "
            "`Teacher(model, class_map=...)`."
        ),
    ),
    "student_of_other_images": (
        saves_student(lambda: net((9, 9, 3), 2)),
        (
            "The student must take images of shape (8, 8, 3). Received: one for (9, 9, 3). "
            "Build it for these, or resize them with `image_size`."
        ),
    ),
    "student_of_softmax": (
        saves_student(lambda: net((8, 8, 3), 2, layers.Softmax())),
        (
            "The student must return logits. Received: a model that ends in softmax. Leave "
            "the last activation out; the exported model can add it again."
        ),
    ),
    "temperature_0": (
        nothing(**{"--temperature": "0"}),
        "`temperature` must be a number from 0.01 to 10000. Received: temperature=0.0.",
    ),
    "temperature_nan": (
        nothing(**{"--temperature": "nan"}),
        "`temperature` must be a number from 0.01 to 10000. Received: temperature=nan.",
    ),
    "alpha_3": (
        nothing(**{"--alpha": "3"}),
        ("`alpha` must be a number from 0 to 2. Received: alpha=3.0."),
    ),
    "epochs_0": (
        nothing(**{"--epochs": "0"}),
        ("`epochs` must be an integer of at least 1. Received: epochs=0."),
    ),
    "seed_negative": (
        nothing(**{"--seed": "-1"}),
        ("`seed` must be an integer of at least 0. Received: seed=-1."),
    ),
    "batch_size_0": (
        nothing(**{"--batch-size": "0"}),
        ("`batch_size` must be an integer of at least 1. Received: batch_size=0."),
    ),
    "scale_typo": (
        nothing(**{"--scale": "0-1"}),
        (
            "The teacher's scale must be one of 0..255, 0..1, -1..1, imagenet, caffe. "
            "Received: scale='0-1'."
        ),
    ),
    "format_typo": (
        nothing(**{"--formats": "int9"}),
        (
            "`formats` must be some of saved_model, onnx, float32, float32_any_batch, "
            "float16, dynamic, int4, int8, int8_uint8_input, 16x8. Received: int9."
        ),
    ),
    "budget_negative": (
        nothing(**{"--max-kb": "-3"}),
        ("`max_kb` must be a number from 0 to 1e+15. Received: max_kb=-3.0."),
    ),
    "import_missing": (
        nothing(**{"--import": "no_such_module"}),
        (
            "--import must name a module that can be imported. Received: 'no_such_module': "
            "No module named 'no_such_module'."
        ),
    ),
    "unlabelled_missing": (
        nothing(**{"--unlabelled": "none"}),
        "`unlabelled` must be a folder. Received: none, which is not there.",
    ),
    "unlabelled_empty": (
        makes("empty", **{"--unlabelled": "empty"}),
        (
            "A folder of unlabelled images must hold some (.png, .jpg, .jpeg, .bmp, "
            ".webp, .gif). Received: empty, which holds none."
        ),
    ),
    "soft_labels_and_teacher": (
        makes("labels", **{"--soft-labels": "labels"}),
        (
            "Soft labels stand for the teacher, on the training images alone. Received: a "
            "teacher or unlabelled images beside them. Pass one or the other."
        ),
    ),
    "soft_labels_missing": (
        nothing(**{"--soft-labels": "none", "--teacher": None}),
        "`soft_labels` must be a folder. Received: none, which is not there.",
    ),
    "output_holds_something": (
        writes("full/student_int8.tflite", "x", **{"--output": "full"}),
        (
            "The folder of a distillation must be new, or hold what one left. Received: full, "
            "which holds student_int8.tflite of something else. Choose another folder, or move "
            "that file away."
        ),
    ),
    "output_is_a_file": (
        nothing(**{"--output": "teacher.keras"}),
        (
            "`output` must be a folder that can be written to. "
            "Received: teacher.keras (Not a directory)."
        ),
    ),
    "output_below_a_file": (
        nothing(**{"--output": "teacher.keras/new"}),
        (
            "`output` must be a folder that can be written to. "
            "Received: teacher.keras/new (Not a directory)."
        ),
    ),
    "schema_broken": (
        writes("data/schema.json", "{"),
        (
            "data/schema.json must be a JSON object. Received: a file which is damaged: it is no "
            "JSON."
        ),
    ),
    "schema_leads_out": (
        writes("data/schema.json", '{"train": "../*", "class_names": ["a"]}'),
        ("The shards of a schema.json must lie in its folder. Received: train='../*'."),
    ),
    "shard_of_noise": (
        shard_of_noise,
        (
            "data/x.tfrecord must be whole, uncompressed TFRecords. Received: corrupted "
            "record at 0. Write or copy it again."
        ),
    ),
}


def run(plant, whole, root, monkeypatch, capsys):
    """Plant one fault, run the command, and return its exit code and error."""
    shutil.copytree(whole, root / "here")
    monkeypatch.chdir(root / "here")
    arguments = {
        "--teacher": "teacher.keras", "--data": "data", "--student": "mlp:4", "--output": "new",
        "--epochs": "1",
    } | plant(root / "here")  # fmt: skip
    command = [part for pair in arguments.items() if pair[1] is not None for part in pair]
    before = everything_below(root)
    capsys.readouterr()
    code = cli.main(["distill", *command])
    assert everything_below(root) == before
    return code, capsys.readouterr().err


def everything_below(root):
    return sorted(
        (str(path), path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in root.rglob("*")
        if not path.is_dir()
    ) + sorted(str(path) for path in root.rglob("*") if path.is_dir())


# What is wrong with the options themselves; the rest is wrong with what they name.
OPTIONS = {
    "teacher_missing", "teacher_is_a_directory", "teacher_of_another_framework",
    "teacher_is_a_loop", "no_teacher", "data_missing", "data_is_a_text_file", "data_loop",
    "npz_with_image_size", "class_map_missing", "class_map_is_a_folder", "student_typo",
    "student_without_layers", "student_of_nothing", "student_missing", "temperature_0",
    "temperature_nan", "alpha_3", "epochs_0", "seed_negative", "batch_size_0", "scale_typo",
    "format_typo", "budget_negative", "import_missing", "unlabelled_missing",
    "soft_labels_and_teacher", "soft_labels_missing", "output_is_a_file", "output_below_a_file",
    "output_holds_something",
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_one_sentence_and_nothing_is_written(
    case, whole, tmp_path, monkeypatch, capsys
):
    plant, sentence = CASES[case]
    code, error = run(plant, whole, tmp_path, monkeypatch, capsys)
    assert error == f"keras-kd: error: {sentence}\n"
    assert code == (2 if case in OPTIONS else 1)


def test_there_are_at_least_60_cases():
    assert len(CASES) >= 60


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["distil"], "invalid choice: 'distil'"),
        (["export", "x.keras"], "the following arguments are required: --to"),
        (["check", "--data", "x", "--image-size", "axb"], "invalid image size value: 'axb'"),
        (["distill", "--temperature", "hot"], "invalid number value: 'hot'"),
        (["distill", "--epochs", "many"], "invalid int value: 'many'"),
    ],
)
def test_a_wrong_command_line_exits_with_2(arguments, sentence, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert sentence in capsys.readouterr().err


def test_without_a_fault_the_folder_is_taken(whole, tmp_path, monkeypatch, capsys):
    """What the table changes is what is wrong: the same command alone does its work."""
    shutil.copytree(whole, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    files = ["--teacher", "teacher.keras", "--data", "data", "--student", "mlp:4"]
    cli.main(["check", *files])
    assert "Data: 20 to train, 2 to validate, 2 to test" in capsys.readouterr().out
