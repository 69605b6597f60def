"""The command `keras-kd`: parses, calls, prints."""

import argparse
import os
import sys
from pathlib import Path

import keras_kd


def main(arguments=None):
    """Run the command line; return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        return options.call(options) or 0
    except (ImportError, OSError, ValueError) as error:
        print(f"keras-kd: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "keras-kd: interrupted. Nothing half-written was left; the same command begins again, "
            "with the teacher if it was finished.",
            file=sys.stderr,
        )
        return 130


def _parser():
    parser = argparse.ArgumentParser(
        prog="keras-kd",
        description="Knowledge distillation for Keras 3: train a small student from a teacher, "
        "measure it, export it for a phone.",
    )
    parser.add_argument("--version", action="version", version=f"keras-kd {keras_kd.__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    run = commands.add_parser(
        "run",
        help="run a known experiment: teacher, student distilled, the same student alone",
        description="Train a teacher, distil a student from it, train the same student alone, "
        "compare them on the test images, and write models, a .tflite file that was run, a "
        "picture and results.json.",
    )
    run.add_argument("recipe", choices=_recipe_names(), help="one of: %(choices)s")
    run.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    run.add_argument("--epochs", type=int, help="the most epochs of each training")
    run.add_argument("--quick", action="store_true", help="a first look: a few epochs")
    run.add_argument(
        "--output", metavar="DIR", help="folder to write to (default: saved_models/RECIPE)"
    )
    run.add_argument(
        "--data-dir", metavar="DIR", help="where the data set lies, if it is not found by itself"
    )
    run.set_defaults(call=_run)
    _add_export(commands)
    _add_distill(commands)
    _add_check(commands)
    return parser


def _add_export(commands):
    export = commands.add_parser(
        "export",
        help="write a model in every format, run each file, say what it is worth",
        description="Write a model as SavedModel, LiteRT and ONNX files, run each in a fresh "
        "process, and show size, accuracy, agreement, time and memory. The exit code is 1 if a "
        "format fails or a file misses a budget.",
    )
    export.add_argument("model", metavar="MODEL", help="a .keras file that returns logits")
    export.add_argument("--to", metavar="DIR", required=True, help="folder to write to")
    export.add_argument(
        "--formats", nargs="+", metavar="FORMAT", help="default: all that are possible"
    )
    export.add_argument(
        "--data",
        metavar="NAME",
        help="data set that calibrates and measures (fashion_mnist, mnist, cifar10, digits)",
    )
    export.add_argument("--data-dir", metavar="DIR", help="where it lies, if not found by itself")
    export.add_argument("--teacher", metavar="FILE", help="a .keras file to compare with")
    export.add_argument("--max-kb", type=float, metavar="N", help="most kilobytes of a file")
    export.add_argument("--max-drop", type=float, metavar="P", help="most points of accuracy lost")
    export.add_argument("--max-us", type=float, metavar="N", help="most microseconds an image")
    export.set_defaults(call=_export)


def _add_distill(commands):
    distill = commands.add_parser(
        "distill",
        help="distil a teacher of yours on images of yours, down to measured phone files",
        description="Check teacher, data and student, distil, train the same student alone, "
        "compare them on the test images, and export the student. The exit code is 1 if training "
        "would be wasted or no file is within its budgets.",
    )
    _add_own_data(distill, default_student="auto")
    distill.add_argument("--output", metavar="DIR", required=True, help="a new or empty folder")
    distill.add_argument("--max-kb", type=float, metavar="N", help="most kilobytes of a file")
    distill.add_argument("--max-drop", type=float, metavar="P", help="most points of accuracy lost")
    distill.add_argument("--max-us", type=float, metavar="N", help="most microseconds an image")
    distill.add_argument("--formats", nargs="+", metavar="FORMAT", help="of the exported files")
    distill.add_argument(
        "--temperature", type=_number, metavar="T", help="of the soft targets (default: auto)"
    )
    distill.add_argument(
        "--alpha",
        type=_number,
        metavar="A",
        help="weight of the teacher, 1 - A of the labels (default: auto)",
    )
    distill.add_argument(
        "--unlabelled", metavar="DIR", help="images without labels, for the teacher to speak of"
    )
    distill.add_argument(
        "--soft-labels", metavar="DIR", help="what a teacher said, where none is at hand"
    )
    distill.add_argument("--epochs", type=int, metavar="N", help="at most")
    distill.add_argument("--patience", type=int, metavar="N", help="epochs without gain to the end")
    distill.add_argument("--batch-size", type=int, metavar="N")
    distill.add_argument(
        "--no-control",
        dest="control",
        action="store_false",
        help="do not train the same student alone: nobody will know if distillation helped",
    )
    distill.add_argument(
        "--no-check", dest="check", action="store_false", help="begin whatever a check would say"
    )
    distill.set_defaults(call=_distill)


def _add_check(commands):
    check = commands.add_parser(
        "check",
        help="say before training what would go wrong with a teacher, data and a student",
        description="Look at teacher, data and student, and say what would go wrong. The exit "
        "code is 1 if training would be wasted.",
    )
    _add_own_data(check, default_student=None)
    check.set_defaults(call=_check)


def _add_own_data(command, default_student):
    command.add_argument(
        "--teacher",
        action="append",
        metavar="FILE",
        help="a .keras file; class_names.json beside it tells the order of its classes; several "
        "teachers: named several times",
    )
    command.add_argument(
        "--data",
        metavar="DIR",
        required=True,
        help="a folder with a folder of images for each class (in train/, validation/, test/, if "
        "you like), a folder of TFRecord shards with schema.json, an .npz file, or a known name",
    )
    command.add_argument(
        "--student",
        metavar="SPEC",
        default=default_student,
        help="mlp:128, conv:16-32, lenet5, resnet18:0.25, mobilenet_v3_small:0.5@96, a .keras "
        "file, or (to distill, by default) auto: the best of three within --max-kb and --max-us",
    )
    command.add_argument(
        "--scale",
        default="0..255",
        help="what the teacher's pixels were: 0..255, 0..1, -1..1, imagenet, caffe "
        "(default: %(default)s)",
    )
    command.add_argument(
        "--head",
        choices=["logits", "softmax"],
        help="what the teacher returns, if its last layer does not say",
    )
    command.add_argument(
        "--image-size",
        type=_image_size,
        metavar="HxW",
        help="to resize to (default: that of the files if they agree, else the teacher's)",
    )
    command.add_argument(
        "--class-map", metavar="FILE", help="the teacher's class names in order, as JSON"
    )
    command.add_argument("--cache", metavar="DIR", help="for decoded images beyond the memory")
    command.add_argument(
        "--leave-out-unreadable", action="store_true", help="go on without broken images"
    )
    command.add_argument(
        "--import",
        dest="modules",
        action="append",
        default=[],
        metavar="MODULE",
        help="a module of yours that registers the teacher's own classes; it is run",
    )
    command.add_argument("--seed", type=int, default=0, help="default: %(default)s")


def _number(text):
    """Return a number, or `auto`."""
    return text if text == "auto" else float(text)


def _image_size(text):
    """Return `(height, width)` of `96` or `96x128`."""
    sizes = [int(part) for part in text.lower().split("x")]
    if len(sizes) > 2 or min(sizes) < 1:
        raise ValueError(text)
    return sizes[0], sizes[-1]


# What argparse calls them in its errors.
_number.__name__, _image_size.__name__ = "number", "image size"


def _recipe_names():
    # Read from the folder, since importing the recipes would import Keras.
    files = (Path(__file__).parent / "recipes").glob("[a-z]*.py")
    return sorted(file.stem for file in files)


def _run(options):
    _import_quietly()
    getattr(keras_kd.recipes, options.recipe)(
        seed=options.seed,
        epochs=options.epochs,
        quick=options.quick,
        output=options.output,
        data_dir=options.data_dir,
    )


def _export(options):
    _import_quietly()
    data = None
    model = _load(options.model)
    teacher = None if options.teacher is None else _load(options.teacher)
    if options.data is not None:
        data = keras_kd.data.load(options.data, data_dir=options.data_dir)
    results = keras_kd.export.export(
        model,
        options.to,
        formats=options.formats,
        data=data,
        teacher=teacher,
        max_kb=options.max_kb,
        max_drop=options.max_drop,
        max_us=options.max_us,
    )
    print(f"Written to {options.to} in {results['seconds']:.0f} s: export.json, export.png, files")
    return 0 if results["ok"] else 1


def _distill(options):
    _import_quietly()
    from keras_kd.own_data.command import run_distill

    return run_distill(options)


def _check(options):
    _import_quietly()
    from keras_kd.own_data.command import run_check

    return run_check(options)


def _load(path):
    """Load a `.keras` file without running code that it may carry."""
    import importlib

    import keras

    importlib.import_module("keras_kd.quantize")  # Its layers may be in the file.
    if not Path(path).is_file():
        raise FileNotFoundError(f"A model must be a .keras file. Received: {path}, no file.")
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises all kinds, in paragraphs.
        reason = str(error).strip().split(". ")[0].splitlines()[0]
        raise ValueError(
            f"{path} must be a .keras file of Keras's own layers, without code of its own such "
            f"as a Lambda layer. Received: {reason}."
        ) from error


def _import_quietly():
    """Import Keras and TensorFlow without their start-up messages."""
    from keras_kd._backend import quiet_native_stderr, require_tensorflow

    # 2: errors only, unless the user asked for another level.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with quiet_native_stderr():
        require_tensorflow()
        import tensorflow as tf

        # TensorFlow looks for its devices at the first operation, and says so.
        tf.config.list_physical_devices()
        tf.zeros(())
