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
        options.call(options)
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
    return 0


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
    return parser


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
