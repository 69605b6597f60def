"""What the command `keras-kd` may be told."""

import argparse
import ast
import textwrap
from pathlib import Path

import keras_kd
from keras_kd._common.checks import MOST_SIDE
from keras_kd._common.terminal import printable

_RECIPES = Path(__file__).parent / "recipes"


def parser():
    """Return the parser; `command` of what it returns names the command."""
    main = _Parser(
        prog="keras-kd",
        usage="%(prog)s [--device NAME] COMMAND ...",
        description="Knowledge distillation for Keras 3: train a small student from a teacher, "
        "measure it, export it for a phone. Begin with one of these three:\n\n"
        "  keras-kd run digits\n"
        "  keras-kd check --teacher t.keras --data photos\n"
        "  keras-kd distill --teacher t.keras --data photos\n\n"
        "The first is a whole experiment in seconds; the others take a model and images of yours.",
        epilog="More on each: keras-kd COMMAND --help",
        formatter_class=_Formatter,
    )
    main.add_argument("--version", action="version", version=f"keras-kd {keras_kd.__version__}")
    main.add_argument(
        "--device",
        default="auto",
        metavar="NAME",
        help="cpu, gpu, gpu:1, ... (default: a GPU if there is one)",
    )
    commands = main.add_subparsers(
        prog="keras-kd", title="commands", dest="command", required=True, metavar="COMMAND"
    )
    for add in (_add_run, _add_compare, _add_sweep, _add_search, _add_distill, _add_check,
                _add_soft_labels, _add_resume, _add_list, _add_report, _add_export,
                _add_serve):  # fmt: skip
        add(commands)
    return main


def recipe_names():
    """Return the recipes that there are."""
    # Read from the folder, since importing the recipes would import Keras.
    return sorted(file.stem for file in _RECIPES.glob("[a-z]*.py"))


def _add_run(commands):
    run = _new(
        commands,
        "run",
        "one experiment: teacher, student distilled, the same student alone",
        "Train a teacher (or take yours), distil a student from it, train the same student alone, "
        "compare them on the test images, and write models, a .tflite file that was run, a "
        "picture and results.json.",
        ["{} digits", "{} --teacher t.keras --data photos"],
        of_recipes=True,
        more="recipes:\n" + "\n".join(f"\t{name}\t{_told(name)}" for name in recipe_names()),
    )
    _add_recipe(run, "NAME")
    _add_budget(run)
    _add_seed(run)
    _add_own(run)


def _add_compare(commands):
    compare = _new(
        commands,
        "compare",
        "does distillation help? student distilled and alone over seeds, with a verdict",
        "Over seeds, train a teacher (or take yours), the student alone, the student on smoothed "
        "labels and the student distilled, and say whether distillation beats the others: mean "
        "gain, 95 % interval, verdict. A killed comparison goes on where it stopped.",
        ["{} digits --seeds 5 --workers 2", "{} --teacher t.keras --data photos"],
        of_recipes=True,
    )
    _add_recipe(compare, "NAME_compare")
    _add_budget(compare)
    compare.add_argument("--seeds", type=int, default=5, help="how many (default: %(default)s)")
    _add_workers(compare)
    _add_own(compare)


def _add_sweep(commands):
    sweep = _new(
        commands,
        "sweep",
        "a grid of temperatures, alphas and losses, trained together",
        "Distil a student for each cell of a grid on one teacher pass, choose the best on "
        "validation images, and test that one. A killed sweep goes on where it stopped.",
        ["{} digits --temperature 1 2 4 --alpha 0.5 0.9", "{} --teacher t.keras --data photos"],
        of_recipes=True,
    )
    _add_recipe(sweep, "NAME_sweep")
    _add_budget(sweep)
    _add_seed(sweep)
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
    _add_workers(sweep)
    _add_own(sweep, without=("temperature", "alpha"))


def _add_search(commands):
    search = _new(
        commands,
        "search",
        "search for the best temperature, alpha, loss, rate and batch size",
        "Distil students with settings drawn from what earlier trials found, prune those below "
        "the median, choose the best on validation images, and test that one. A killed search "
        "goes on with the trials that are there. By default it is over temperature 1 16 and alpha "
        "0.1 0.9; naming any setting replaces both.",
        ["{} digits --trials 10 --temperature 1 16", "{} --teacher t.keras --data photos"],
        of_recipes=True,
    )
    _add_recipe(search, "NAME_search")
    _add_seed(search)
    search.add_argument(
        "--trials", type=int, default=20, metavar="N", help="to be finished (default: %(default)s)"
    )
    _add_workers(search)
    search.add_argument(
        "--storage",
        metavar="URL",
        help="a journal file or database that other machines share (default: in the folder); for "
        "a password write ***, and the whole URL into KERAS_KD_STORAGE",
    )
    for name in ("temperature", "alpha", "learning-rate"):
        search.add_argument(
            f"--{name}", type=float, nargs=2, metavar=("LOW", "HIGH"), help="where to search"
        )
    search.add_argument("--loss", nargs="+", metavar="LOSS", help="of keras_kd.losses")
    search.add_argument("--batch-size", type=int, nargs="+", metavar="N", help="to choose from")
    _add_own(search, without=("temperature", "alpha", "batch_size"))


def _add_distill(commands):
    distill = _new(
        commands,
        "distill",
        "from a teacher and images of yours to measured phone files",
        "Check teacher, data and student, distil, train the same student alone, compare them on "
        "the test images, and export the student. The exit code is 1 if training would be wasted "
        "or no file is within its budgets. A killed distillation goes on where it stopped.",
        [
            "{} --teacher t.keras --data photos",
            "{} --teacher t.keras --data photos --seeds 3",
        ],
        of_recipes=True,
    )
    _add_recipe(distill, "NAME_distill")
    _add_budget(distill)
    _add_seed(distill)
    distill.add_argument(
        "--seeds", type=int, metavar="N", help="train with so many seeds, from 0, for a verdict"
    )
    _add_budgets_of_files(distill)
    distill.add_argument("--max-drop", type=float, metavar="P", help="most points of accuracy lost")
    distill.add_argument("--formats", nargs="+", metavar="FORMAT", help="of the exported files")
    distill.add_argument(
        "--no-control",
        dest="control",
        action="store_false",
        help="do not train the same student alone: nobody will know if distillation helped",
    )
    _add_own(distill, without=("max_kb", "max_us"))


def _add_check(commands):
    check = _new(
        commands,
        "check",
        "say before training what would go wrong with a teacher, data and a student",
        "Look at teacher, data and student, say what would go wrong, and what distillation gained "
        "in a case like it. The exit code is 1 if training would be wasted.",
        ["{} --teacher t.keras --data photos", "{} digits"],
        of_recipes=True,
    )
    check.add_argument("recipe", nargs="?", choices=recipe_names(), metavar="RECIPE", help=_RECIPE)
    _add_data_dir(check)
    _add_seed(check)
    _add_quiet(check)
    _add_own(check, trains=False)


def _add_soft_labels(commands):
    soft_labels = _new(
        commands,
        "soft-labels",
        "ask a teacher once about every training image, with as many machines as there are",
        "Store what a teacher says of the training images, for `--soft-labels` of what trains. "
        "Machines that see one folder or bucket share the work: each does a part with `--shard`, "
        "in any order, and the last one finishes the store. What was killed is said again.",
        [
            "{} --teacher t.keras --data photos --output labels",
            "{} --teacher t.keras --data photos --output labels --shard 3/16",
            "{} --teacher t.keras --data photos --output labels --ray auto",
            "{} --teacher t.keras --data photos --output s3://bucket/labels --shard 3/16",
            "{} status labels",
        ],
    )
    soft_labels.set_defaults(recipe=None)
    soft_labels.add_argument(
        "asked", nargs="*", metavar="status STORE", help="only say how far a store is"
    )
    soft_labels.add_argument("--output", metavar="STORE", help="folder of the store, or s3://...")
    soft_labels.add_argument(
        "--shard", type=_part, metavar="K/N", help="do part K of N, as another machine does others"
    )
    _add_workers(soft_labels)
    soft_labels.add_argument(
        "--top-k", type=int, metavar="N", help="keep the N largest logits, for many classes"
    )
    _add_overwrite(soft_labels)
    _add_seed(soft_labels)
    _add_data_dir(soft_labels)
    _add_quiet(soft_labels)
    _add_own_files(soft_labels, has_student=False)


def _add_resume(commands):
    resume = _new(
        commands,
        "resume",
        "go on with what was interrupted or killed",
        "Go on with an experiment of any kind after its last whole epoch, to the weights of an "
        "uninterrupted one. A finished one is shown.",
        ["{} saved_models/digits"],
    )
    resume.add_argument("folder", metavar="DIR", help="the folder of the run")
    resume.add_argument(
        "--data-dir", metavar="DIR", help="where the data set lies, if it has moved"
    )
    _add_import(resume)
    _add_quiet(resume)


def _add_list(commands):
    listing = _new(
        commands,
        "list",
        "the runs below a folder, how far they are, what they found",
        "Show the runs below a folder, how far they are, and what they found.",
        ["{}", "{} saved_models | grep unfinished"],
    )
    listing.add_argument(
        "folder", metavar="DIR", nargs="?", default="saved_models", help="default: %(default)s"
    )


def _add_report(commands):
    report = _new(
        commands,
        "report",
        "a finished run as one HTML page",
        "Write report.html into the folder of a finished run of any kind: one page that opens "
        "offline.",
        ["{} saved_models/digits"],
    )
    report.add_argument("folder", metavar="DIR", help="the folder of the run")


def _add_export(commands):
    export = _new(
        commands,
        "export",
        "write a model in every format, run each file, say what it is worth",
        "Write a model as SavedModel, LiteRT and ONNX files, run each in a fresh process, and show "
        "size, accuracy, agreement, time and memory. The exit code is 1 if a format fails or a "
        "file misses a budget.",
        [
            "{} student.keras --to files --data digits",
            "{} student.keras --to files --data photos",
        ],
    )
    export.add_argument("model", metavar="MODEL", help="a .keras file that returns logits")
    export.add_argument("--to", metavar="DIR", required=True, help="folder to write to")
    export.add_argument(
        "--formats", nargs="+", metavar="FORMAT", help="default: all that are possible"
    )
    export.add_argument(
        "--data",
        metavar="DATA",
        help="what calibrates and measures: fashion_mnist, mnist, cifar10, digits, or the path of "
        "data of yours",
    )
    _add_data_dir(export)
    _add_columns(export)
    _add_class_map(export, "the model's")
    export.add_argument("--teacher", metavar="FILE", help="a model file to compare with")
    _add_budgets_of_files(export)
    export.add_argument("--max-drop", type=float, metavar="P", help="most points of accuracy lost")
    _add_overwrite(export)
    _add_quiet(export)


def _add_serve(commands):
    serve = _new(
        commands,
        "serve",
        "try exported files in the browser, beside their teacher",
        "Open a local page that runs the .tflite files of a folder, or the students of a run, in "
        "the browser: on test images or drawings, teacher and student side by side, and where they "
        "differ. Reached from this machine only.",
        ["{} saved_models/digits"],
    )
    serve.add_argument("folder", metavar="DIR", help="of a run, of any kind, or of an export")
    serve.add_argument(
        "--data", metavar="DATA", help="its test images: a name or a path (default: the run's own)"
    )
    _add_data_dir(serve)
    serve.add_argument(
        "--teacher", metavar="FILE", help="a model file to compare with (default: the run's own)"
    )
    _add_ends(serve)
    _add_import(serve)
    serve.add_argument("--port", type=int, default=0, metavar="N", help="default: one that is free")
    serve.add_argument("--no-browser", action="store_true", help="only say where the page is")


def _new(commands, name, help, description, examples, *, of_recipes=False, more=""):
    """Return the parser of a new command, whose help ends in examples to copy."""
    lines = "\n".join(f"  {each.format(f'keras-kd {name}')}" for each in examples)
    usage = None
    if of_recipes:
        usage = "%(prog)s RECIPE [options]\n       %(prog)s --teacher FILE --data DIR [options]"
    return commands.add_parser(
        name,
        help=help,
        usage=usage,
        description=description,
        epilog=f"{more}\n\nexamples:\n{lines}".strip(),
        formatter_class=_Formatter,
    )


_RECIPE = "a known experiment; `keras-kd run --help` lists them"


def _add_recipe(parser, folder):
    """Add what every command asks that trains."""
    parser.add_argument("recipe", nargs="?", choices=recipe_names(), metavar="RECIPE", help=_RECIPE)
    parser.add_argument("--epochs", type=int, help="the most epochs of each training")
    parser.add_argument(
        "--quick", action="store_true", help="a first look: a few epochs, too short to judge"
    )
    parser.add_argument(
        "--best", action="store_true", help="the same student under our own schedule, if it has one"
    )
    parser.add_argument(
        "--output",
        metavar="DIR",
        help=f"folder to write to (default: saved_models/{folder}, after recipe or data)",
    )
    _add_overwrite(parser)
    _add_data_dir(parser)
    _add_quiet(parser)


def _add_data_dir(parser):
    parser.add_argument(
        "--data-dir", metavar="DIR", help="where the data set lies, if it is not found by itself"
    )


def _add_seed(parser):
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")


def _add_quiet(parser):
    parser.add_argument(
        "--quiet", action="store_true", help="show nothing but errors; files tell the rest"
    )


def _add_overwrite(parser):
    """Add the word without which no folder's results are replaced by others."""
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace what the folder holds, though its settings were others",
    )


def _add_workers(parser):
    parser.add_argument(
        "--workers",
        type=int,
        default=1,
        metavar="N",
        help="processes that share the work (default: %(default)s)",
    )
    parser.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="workers in this Ray cluster: auto, HOST:PORT, ray://HOST:PORT or local; one a GPU or "
        "a machine, or more with --workers",
    )


def _add_budgets_of_files(parser):
    parser.add_argument("--max-kb", type=float, metavar="N", help="most kilobytes of a file")
    parser.add_argument("--max-us", type=float, metavar="N", help="most microseconds an image")


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


def _add_ends(parser):
    parser.add_argument(
        "--scale",
        help="what the teacher's pixels were: 0..255, 0..1, -1..1, imagenet, caffe "
        "(default: 0..255)",
    )
    parser.add_argument(
        "--head",
        choices=["logits", "softmax", "sigmoid"],
        help="what the teacher returns, if its last layer does not say",
    )


def _add_columns(parser):
    parser.add_argument(
        "--label", metavar="COLUMN", help="of the labels in a file of rows (default: label)"
    )
    parser.add_argument(
        "--text",
        metavar="COLUMN",
        help="of the texts (default: text; without such a column the file is a table)",
    )


def _add_class_map(parser, whose):
    parser.add_argument(
        "--class-map", metavar="FILE", help=f"{whose} class names in order, as JSON"
    )


def _add_import(parser):
    parser.add_argument(
        "--import",
        dest="modules",
        action="append",
        default=[],
        metavar="MODULE",
        help="a module of yours that registers the teacher's own classes; it is run",
    )


def _add_own(parser, *, trains=True, without=()):
    """Add what tells of a teacher and data of the user's, in place of a recipe.

    Args:
        parser: of a command.
        trains: whether the command trains.
        without: what the command itself asks for, by another meaning.
    """
    own = parser.add_argument_group("in place of a recipe, your own teacher and data")
    _add_own_files(own)
    if trains:
        _add_own_training(own, without)


def _add_own_files(own, *, has_student=True):
    own.add_argument(
        "--teacher",
        action="append",
        metavar="FILE",
        help="a .keras, .h5, .onnx or .tflite file, or a SavedModel; class_names.json beside it "
        "tells the order of its classes; several teachers: named several times",
    )
    own.add_argument(
        "--data",
        metavar="PATH",
        help="a folder with a folder of images, or of .txt files, for each class (in train/, "
        "validation/, test/, if you like), a .csv or .jsonl file of texts or of a table, a folder "
        "of TFRecord shards with schema.json, an .npz file, or a known name",
    )
    _add_columns(own)
    if has_student:
        own.add_argument(
            "--student",
            metavar="SPEC",
            help="mlp:128, conv:16-32, bytes:16-32 (of texts), lenet5, resnet18:0.25, "
            "mobilenet_v3_small:0.5@96, a .keras file, or (to train, by default) auto: the "
            "best of three within --max-kb and --max-us",
        )
    _add_ends(own)
    own.add_argument(
        "--image-size",
        type=_image_size,
        metavar="HxW",
        help="to resize to (default: that of the files if they agree, else the teacher's)",
    )
    own.add_argument(
        "--num-bytes",
        type=int,
        metavar="N",
        help="to read of each text (default: as many as the teacher takes, else 256)",
    )
    _add_class_map(own, "the teacher's")
    if has_student:
        own.add_argument(
            "--unlabelled",
            metavar="PATH",
            help="images, texts or rows without labels, for the teacher to speak of",
        )
    own.add_argument(
        "--cache", metavar="DIR", help="for decoded images, or texts, beyond the memory"
    )
    own.add_argument(
        "--leave-out-unreadable", action="store_true", help="go on without broken images or texts"
    )
    _add_import(own)


def _add_own_training(own, without):
    if "temperature" not in without:
        own.add_argument(
            "--temperature", type=_number, metavar="T", help="of the soft targets (default: auto)"
        )
    if "alpha" not in without:
        own.add_argument(
            "--alpha",
            type=_number,
            metavar="A",
            help="weight of the teacher, 1 - A of the labels (default: auto)",
        )
    if "batch_size" not in without:
        own.add_argument("--batch-size", type=int, metavar="N", help="default: 64")
    own.add_argument(
        "--patience", type=int, metavar="N", help="epochs without gain to the end (default: 10)"
    )
    own.add_argument(
        "--soft-labels", metavar="DIR", help="what a teacher said, where none is at hand"
    )
    if "max_kb" not in without:
        _add_budgets_of_files(own)
    own.add_argument(
        "--no-check", dest="check", action="store_false", help="begin whatever a check would say"
    )


def _told(name):
    """Return the line that says what a recipe is: the first of its file."""
    docstring = ast.get_docstring(ast.parse((_RECIPES / f"{name}.py").read_text("utf-8")))
    return docstring.splitlines()[0]


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, without the usage before it."""

    def error(self, message):
        self.exit(2, f"keras-kd: error: {printable(message)}. See `{self.prog} --help`.\n")


class _Formatter(argparse.HelpFormatter):
    """Breaks lines between words alone; what is indented can be copied as it stands.

    A line `\\tword\\tsentence` is one of a list of words.
    """

    def _split_lines(self, text, width):
        return _wrap(" ".join(text.split()), width)

    def _fill_text(self, text, width, indent):
        lines = []
        for line in text.split("\n"):
            if line.startswith("\t"):
                _, word, sentence = line.split("\t")
                lines += [f"  {word}", *_wrap(sentence, width, indent=" " * 6)]
            else:
                lines += [line] if line.startswith(" ") else _wrap(line, width) or [""]
        return "\n".join(f"{indent}{line}" for line in lines)


def _wrap(text, width, indent=""):
    return textwrap.wrap(
        text,
        width,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _number(text):
    """Return a number, or `auto`."""
    return text if text == "auto" else float(text)


def _part(text):
    """Return `(number, count)` of `3/16`."""
    number, count = text.split("/")
    return int(number), int(count)


def _image_size(text):
    """Return `(height, width)` of `96` or `96x128`."""
    sizes = [int(part) for part in text.lower().split("x")]
    if len(sizes) > 2 or min(sizes) < 1 or max(sizes) > MOST_SIDE:
        raise ValueError(text)
    return sizes[0], sizes[-1]


# What argparse calls them in its errors.
_number.__name__, _image_size.__name__, _part.__name__ = "number", "image size", "part"
