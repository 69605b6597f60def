"""The folder that a distillation is written to, and what lies there until it is finished."""

import contextlib
import json
import os
import shutil
import tempfile
from pathlib import Path

from keras_kd import export as export_module
from keras_kd._common.backend import require_extra
from keras_kd._common.checks import check_writable
from keras_kd._common.differences import differences, refuse_others
from keras_kd._common.files import remove_leftovers, written_whole
from keras_kd._common.json_files import NUMBER, interval, misfit, parsed, read_json
from keras_kd._common.locks import LOCK, at_work
from keras_kd.export.proof import check_formats
from keras_kd.own_data import report as report_module
from keras_kd.runs import folder as folder_module
from keras_kd.runs import records

UNFINISHED = "unfinished"
_CONFIG, _REPORT, _STUDENT = "config.json", "report.json", "student.keras"
# What a distillation writes, beside the files of its export.
_OURS = (_CONFIG, _REPORT, _STUDENT, "student_alone.keras", "export.json", "export.png")
_FIGURES = {
    "accuracy": NUMBER,
    "negative_log_likelihood": NUMBER,
    "expected_calibration_error": NUMBER,
    "agreement_with_teacher?": NUMBER,
}
_SHAPE = {
    "data": {"test": int},
    "models": {str: {"parameters": (int, None), "test": _FIGURES}},
    "gain?": {"accuracy": NUMBER, "interval_95": interval},
    "export": {
        "files": [({"file": str, "bytes": int, "accuracy": (*NUMBER, None)}, {"failed": str})]
    },
    "to_ship": (str, None),
}


def check_output(folder, formats):
    """Refuse before the work what could not be written after it.

    Args:
        folder: the `Path` to write to.
        formats: of the exported files.

    Raises:
        ValueError: if a format is none.
        OSError: if the folder holds something else or cannot be written to.
        ImportError: if a package of an extra is missing.
    """
    require_extra("ai_edge_litert", "export", "A distillation's .tflite files")
    require_extra("matplotlib", "report", "The picture of an export")
    check_formats(formats)
    _check_free(folder)
    check_writable("output", folder)


def is_begun(folder):
    """Return whether a distillation to go on with lies in a folder."""
    return os.path.lexists(folder / UNFINISHED / _CONFIG)


def is_finished(folder):
    """Return whether a finished distillation lies in a folder."""
    return (folder / _REPORT).is_file() and (folder / _STUDENT).is_file()


def finished(folder, settings, asked, overwrite):
    """Return the report of a finished distillation, `None` if there is none.

    Args:
        folder: the `Path` of the output.
        settings: as in `workplace`.
        asked: what was asked for beside, as a dict for JSON.
        overwrite: one of others is to be replaced; then there is none.

    Raises:
        ValueError: if it was made with other settings, or is damaged.
    """
    if is_begun(folder) or not is_finished(folder):
        return None
    config = records.read_config(folder)
    different = ["which, the former version did not say"]
    if config is not None:
        there, here = (
            {**config["options"], **config.get("settings", {})},
            json.loads(json.dumps({**asked, **settings})),
        )
        different = differences(there, here)
    if different and not overwrite:
        refuse_others(folder, "a finished distillation", different)
    if different:
        return None
    what, way_out = "The report of a distillation", f"Remove {folder} to distil anew."
    return read_json(folder / _REPORT, _SHAPE, what=what, way_out=way_out)


@contextlib.contextmanager
def workplace(folder, settings, data, progress, overwrite):
    """Yield a folder for what is not finished, which goes when the block ends.

    If the block is interrupted, or its process killed, it stays, and the same settings go on with
    what lies there.

    Args:
        folder: the `Path` of the output; a temporary one is yielded if `None`.
        settings: what the weights depend on, as a dict for JSON.
        data: a `Data`.
        progress: a `Progress`.
        overwrite: replace what was made with other settings.

    Raises:
        ValueError: if what lies there was begun with other settings, or another process is at
            work in it.
        OSError: if the folder holds something else or cannot be written to.
    """
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="keras_kd.") as temporary:
            yield Path(temporary)
        return
    with at_work(folder):
        _check_free(folder, overwrite)  # Another process may have finished meanwhile.
        unfinished = folder / UNFINISHED
        _check_settings(folder, settings, overwrite)
        unfinished.mkdir(exist_ok=True)
        remove_leftovers(unfinished)
        folder_module.begin(
            unfinished,
            kind="distill",
            recipe="distill",  # Not the data's name: the same images may be found elsewhere.
            options={},
            settings=settings,
            data={"digest": data.digest},
            progress=progress,
        )
        try:
            yield unfinished
        except BaseException:
            if [each.name for each in unfinished.iterdir()] == [_CONFIG]:
                shutil.rmtree(unfinished)  # There is nothing to go on with.
            raise
        _remove(unfinished)


def remembered(path, compute, shape=object):
    """Return what lies in a JSON file, or compute it and write it there.

    Args:
        path: of the file.
        compute: a function without arguments; what it returns is for JSON.
        shape: that it must have to be believed, as in `_json_files.misfit`.
    """
    with contextlib.suppress(FileNotFoundError, ValueError):
        found = parsed(path)
        if misfit(found, shape) is None:
            return found
    found = json.loads(json.dumps(compute()))
    folder_module.write_json(path, found)
    return found


def write(result, models, folder, asked, budgets, progress):
    """Write models, exported files and the report, and say what there is.

    The folder is held, see `workplace`. What another distillation left in it goes first.

    Args:
        result: a `Result`.
        models: `{name: keras.Model}`.
        folder: the `Path` to write to.
        asked: as in `finished`; its `formats` are those of the exported files.
        budgets: `{name: number or None}`.
        progress: a `Progress`.
    """
    for path in [*map(folder.joinpath, _OURS), *_exported(folder)]:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for name, model in models.items():
        with written_whole(folder / f"{name}.keras") as unfinished:
            export_module.uncompiled(model).save(unfinished)
    files = result.export_held(folder, asked["formats"], budgets, verbose=progress.verbose)
    result.report["export"] = files
    result.report["to_ship"] = _best_file(files)
    config = records.read_config(folder / UNFINISHED)
    folder_module.write_json(folder / _CONFIG, {**config, "options": asked})
    folder_module.write_json(folder / _REPORT, result.report)
    names = sorted(path.name for path in folder.iterdir() if path.name not in (UNFINISHED, LOCK))
    progress.say(report_module.to_ship(result.report))
    progress.say(f"Written to {folder}: {', '.join(names)}")


def _exported(folder):
    """Return the files of an export that lie in a folder."""
    patterns = (
        "student_*.tflite",
        "student_*.tflite.json",
        "student_saved_model*",
        "student_*.onnx",
    )
    return [path for pattern in patterns for path in folder.glob(pattern)]


def _best_file(export):
    """Return the name of the most accurate file within the budgets, the smallest among equals."""
    kept = [file for file in export["files"] if "failed" not in file and not file["missed"]]
    best = max(kept, key=lambda file: (file["accuracy"], -file["bytes"]), default=None)
    return best and best["file"]


def _check_free(folder, overwrite=True):
    """Refuse a folder of something else; of a finished distillation, unless it may be replaced."""
    if not folder.exists() or is_begun(folder) or (overwrite and is_finished(folder)):
        return
    if not folder.is_dir() or any(each.name not in (UNFINISHED, LOCK) for each in folder.iterdir()):
        raise FileExistsError(
            f"`output` must be a new or empty folder. Received: {folder}, which holds something. "
            "Name another, or remove it."
        )


def _check_settings(folder, settings, overwrite):
    """Refuse an unfinished distillation of other settings, or remove it."""
    if not is_begun(folder):
        return
    stored = records.read_config(folder / UNFINISHED)
    there = {} if stored is None else stored.get("settings", {})
    different = differences(there, json.loads(json.dumps(settings)))
    if different and not overwrite:
        refuse_others(folder, "an unfinished distillation", different)
    if different:
        shutil.rmtree(folder / UNFINISHED)


def _remove(folder):
    """Remove a workplace; without its config.json nobody would go on with what is left."""
    for path in [each for each in folder.iterdir() if each.name != _CONFIG]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.rmtree(folder)
