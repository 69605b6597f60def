"""What the command `keras-kd` may be told."""

import argparse
from pathlib import Path

import keras_kd
from keras_kd._common.checks import MOST_SIDE
from keras_kd._common.terminal import printable


def parser():
    """Return the parser; `command` of what it returns names the command."""
    main = _Parser(
        prog="keras-kd",
        description="Knowledge distillation for Keras 3: train a small student from a teacher, "
        "measure it, export it for a phone.",
    )
    main.add_argument("--version", action="version", version=f"keras-kd {keras_kd.__version__}")
    main.add_argument(
        "--device",
        default="auto",
        metavar="NAME",
        help="cpu, gpu, gpu:1, ... (default: a GPU if there is one)",
    )
    commands = main.add_subparsers(
        title="commands", dest="command", required=True, metavar="COMMAND"
    )
    run = commands.add_parser(
        "run",
        help="run a known experiment: teacher, student distilled, the same student alone",
        description="Train a teacher, distil a student from it, train the same student alone, "
        "compare them on the test images, and write models, a .tflite file that was run, a "
        "picture and results.json.",
    )
    _add_recipe(run, "RECIPE")
    _add_budget(run)
    run.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    _add_compare(commands)
    _add_sweep(commands)
    _add_search(commands)
    _add_runs(commands)
    _add_export(commands)
    _add_serve(commands)
    _add_distill(commands)
    _add_check(commands)
    return main


def _add_recipe(parser, folder):
    """Add what every command asks that runs a recipe."""
    parser.add_argument("recipe", choices=recipe_names(), help="one of: %(choices)s")
    parser.add_argument("--epochs", type=int, help="the most epochs of each training")
    parser.add_argument(
        "--quick", action="store_true", help="a first look: a few epochs, too short to judge"
    )
    parser.add_argument(
        "--best", action="store_true", help="the same student under our own schedule, if it has one"
    )
    parser.add_argument(
        "--output", metavar="DIR", help=f"folder to write to (default: saved_models/{folder})"
    )
    _add_overwrite(parser)
    parser.add_argument(
        "--data-dir", metavar="DIR", help="where the data set lies, if it is not found by itself"
    )


def _add_overwrite(parser):
    """Add the word without which no folder's results are replaced by others."""
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace what the folder holds, though its settings were others",
    )


def _add_budget(parser):
    """Add what may be asked beside, where a recipe is trained from end to end."""
    parser.add_argument(
        "--budget",
        metavar="TIME",
        help="such as 90min or 1h30min: our own schedule, with as many epochs as fit into it here",
    )
    parser.add_argument(
        "--tensorboard", action="store_true", help="write TensorBoard events into the folder"
    )


def _add_compare(commands):
    compare = commands.add_parser(
        "compare",
        help="does distillation help? student distilled and alone over seeds, with a verdict",
        description="Over seeds, train a teacher, the student alone, the student on smoothed "
        "labels and the student distilled, and say whether distillation beats the others: mean "
        "gain, 95 % interval, verdict. A killed comparison goes on where it stopped.",
    )
    _add_recipe(compare, "RECIPE_compare")
    _add_budget(compare)
    compare.add_argument("--seeds", type=int, default=5, help="how many (default: %(default)s)")


def _add_sweep(commands):
    sweep = commands.add_parser(
        "sweep",
        help="a grid of temperatures, alphas and losses, trained together",
        description="Distil a student for each cell of a grid on one teacher pass, choose the "
        "best on validation images, and test that one. A killed sweep goes on where it stopped.",
    )
    _add_recipe(sweep, "RECIPE_sweep")
    _add_budget(sweep)
    sweep.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    sweep.add_argument(
        "--temperature", type=float, nargs="+", metavar="T", help="default: the recipe's"
    )
    sweep.add_argument(
        "--alpha",
        type=float,
        nargs="+",
        metavar="A",
        help="weights of the distillation loss (default: 0.1 0.5 0.9)",
    )
    sweep.add_argument(
        "--loss", nargs="+", metavar="LOSS", help="of keras_kd.losses (default: the recipe's)"
    )


def _add_search(commands):
    search = commands.add_parser(
        "search",
        help="search for the best temperature, alpha, loss, rate and batch size",
        description="Distil students with settings drawn from what earlier trials found, prune "
        "those below the median, choose the best on validation images, and test that one. A "
        "killed search goes on with the trials that are there. By default it is over temperature "
        "1 16 and alpha 0.1 0.9; naming any setting replaces both.",
    )
    _add_recipe(search, "RECIPE_search")
    search.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    search.add_argument(
        "--trials", type=int, default=20, metavar="N", help="to be finished (default: %(default)s)"
    )
    search.add_argument(
        "--workers", type=int, default=1, metavar="N", help="processes (default: %(default)s)"
    )
    search.add_argument(
        "--storage",
        metavar="URL",
        help="a journal file or database that other machines share (default: in the folder); for "
        "a password write ***, and the whole URL into KERAS_KD_STORAGE",
    )
    for name in ("temperature", "alpha", "learning-rate"):
        search.add_argument(f"--{name}", type=float, nargs=2, metavar=("LOW", "HIGH"))
    search.add_argument("--loss", nargs="+", metavar="LOSS", help="of keras_kd.losses")
    search.add_argument("--batch-size", type=int, nargs="+", metavar="N")


def _add_runs(commands):
    resume = commands.add_parser(
        "resume",
        help="go on with a run that was interrupted or killed",
        description="Go on with a run, a comparison, a sweep or a search after its last whole "
        "epoch, to the weights of an uninterrupted one. A finished one is shown.",
    )
    resume.add_argument("folder", metavar="DIR", help="the folder of the run")
    resume.add_argument(
        "--data-dir", metavar="DIR", help="where the data set lies, if it has moved"
    )
    listing = commands.add_parser(
        "list",
        help="the runs below a folder, how far they are, what they found",
        description="Show the runs below a folder, how far they are, and what they found.",
    )
    listing.add_argument(
        "folder", metavar="DIR", nargs="?", default="saved_models", help="default: %(default)s"
    )
    report = commands.add_parser(
        "report",
        help="a finished run as one HTML page",
        description="Write report.html into the folder of a finished run, comparison or sweep: "
        "one page that opens offline.",
    )
    report.add_argument("folder", metavar="DIR", help="the folder of the run")


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
    _add_overwrite(export)
    export.add_argument("--max-us", type=float, metavar="N", help="most microseconds an image")


def _add_serve(commands):
    serve = commands.add_parser(
        "serve",
        help="try exported files in the browser, beside their teacher",
        description="Open a local page that runs the .tflite files of a folder in the browser: "
        "on test images or drawings, teacher and student side by side, and where they differ. "
        "Reached from this machine only.",
    )
    serve.add_argument("folder", metavar="DIR", help="as `keras-kd run` or `export` wrote it")
    serve.add_argument(
        "--data", metavar="NAME", help="data set of the test images, if no results in DIR name it"
    )
    serve.add_argument("--data-dir", metavar="DIR", help="where it lies, if not found by itself")
    serve.add_argument(
        "--teacher", metavar="FILE", help="a .keras file to compare with (default: DIR's own)"
    )
    serve.add_argument("--port", type=int, default=0, metavar="N", help="default: one that is free")
    serve.add_argument("--no-browser", action="store_true", help="only say where the page is")


def _add_distill(commands):
    distill = commands.add_parser(
        "distill",
        help="distil a teacher of yours on images of yours, down to measured phone files",
        description="Check teacher, data and student, distil, train the same student alone, "
        "compare them on the test images, and export the student. The exit code is 1 if training "
        "would be wasted or no file is within its budgets. A killed distillation goes on when the "
        "same command is said again.",
    )
    _add_own_data(distill, default_student="auto")
    distill.add_argument("--output", metavar="DIR", required=True, help="a new or empty folder")
    _add_overwrite(distill)
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


def _add_check(commands):
    check = commands.add_parser(
        "check",
        help="say before training what would go wrong with a teacher, data and a student",
        description="Look at teacher, data and student, and say what would go wrong. The exit "
        "code is 1 if training would be wasted.",
    )
    _add_own_data(check, default_student=None)


def _add_own_data(command, default_student):
    command.add_argument(
        "--teacher",
        action="append",
        metavar="FILE",
        help="a .keras or .h5 file; class_names.json beside it tells the order of its classes; "
        "several teachers: named several times",
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


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, without the usage before it."""

    def error(self, message):
        self.exit(2, f"keras-kd: error: {printable(message)}. See `{self.prog} --help`.\n")


def _number(text):
    """Return a number, or `auto`."""
    return text if text == "auto" else float(text)


def _image_size(text):
    """Return `(height, width)` of `96` or `96x128`."""
    sizes = [int(part) for part in text.lower().split("x")]
    if len(sizes) > 2 or min(sizes) < 1 or max(sizes) > MOST_SIDE:
        raise ValueError(text)
    return sizes[0], sizes[-1]


# What argparse calls them in its errors.
_number.__name__, _image_size.__name__ = "number", "image size"


def recipe_names():
    """Return the recipes that there are."""
    # Read from the folder, since importing the recipes would import Keras.
    files = (Path(__file__).parent / "recipes").glob("[a-z]*.py")
    return sorted(file.stem for file in files)
