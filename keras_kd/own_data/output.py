"""The folder that a distillation is written to, and what lies there until it is finished."""

import contextlib
import json
import shutil
import tempfile
from pathlib import Path

from keras_kd import export as export_module
from keras_kd._backend import require_extra
from keras_kd._checks import check_writable
from keras_kd._files import remove_leftovers, written_whole
from keras_kd._locks import at_work
from keras_kd.experiment import folder as folder_module
from keras_kd.export.proof import check_formats
from keras_kd.own_data import report as report_module

UNFINISHED = "unfinished"
_CONFIG = "config.json"


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
    return (folder / UNFINISHED / _CONFIG).is_file()


@contextlib.contextmanager
def workplace(folder, settings, data, progress):
    """Yield a folder for what is not finished, which goes when the block ends.

    If the block is interrupted, or its process killed, it stays, and the same settings go on with
    what lies there.

    Args:
        folder: the `Path` of the output; a temporary one is yielded if `None`.
        settings: what the weights depend on, as a dict for JSON.
        data: a `Data`.
        progress: a `Progress`.

    Raises:
        ValueError: if what lies there was begun with other settings, or another process is at
            work in it.
        OSError: if the folder holds something else or cannot be written to.
    """
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="keras_kd.") as temporary:
            yield Path(temporary)
        return
    unfinished = _made(folder / UNFINISHED)
    with at_work(unfinished):
        _check_free(folder)  # Another process may have finished meanwhile.
        remove_leftovers(folder)
        _check_settings(folder, settings)
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


def remembered(path, compute):
    """Return what lies in a JSON file, or compute it and write it there.

    Args:
        path: of the file.
        compute: a function without arguments; what it returns is for JSON.
    """
    with contextlib.suppress(FileNotFoundError, ValueError):
        return json.loads(path.read_text())
    text = json.dumps(compute())
    with written_whole(path) as unfinished:
        unfinished.write_text(text + "\n")
    return json.loads(text)


def write(result, models, folder, formats, budgets, progress):
    """Write models, exported files and the report, and say what there is.

    Args:
        result: a `Result`.
        models: `{name: keras.Model}`.
        folder: the `Path` to write to.
        formats: of the exported files.
        budgets: `{name: number or None}`.
        progress: a `Progress`.
    """
    for name, model in models.items():
        with written_whole(folder / f"{name}.keras") as unfinished:
            export_module.uncompiled(model).save(unfinished)
    files = result.export(folder, formats=formats, **budgets, verbose=progress.verbose)
    result.report["export"] = files
    result.report["to_ship"] = _best_file(files)
    with written_whole(folder / "report.json") as unfinished:
        unfinished.write_text(json.dumps(result.report, indent=1) + "\n")
    names = sorted(path.name for path in folder.iterdir() if path.name != UNFINISHED)
    progress.say(report_module.to_ship(result.report))
    progress.say(f"Written to {folder}: {', '.join(names)}")


def _best_file(export):
    """Return the name of the most accurate file within the budgets, the smallest among equals."""
    kept = [file for file in export["files"] if "failed" not in file and not file["missed"]]
    best = max(kept, key=lambda file: (file["accuracy"], -file["bytes"]), default=None)
    return best and best["file"]


def _check_free(folder):
    if not folder.exists() or is_begun(folder):
        return
    if not folder.is_dir() or any(each.name != UNFINISHED for each in folder.iterdir()):
        raise FileExistsError(
            f"`output` must be a new or empty folder. Received: {folder}, which holds something. "
            "Name another, or remove it."
        )


def _check_settings(folder, settings):
    if not is_begun(folder):
        return
    stored = folder_module.read_config(folder / UNFINISHED)
    if not isinstance(stored, dict) or not isinstance(stored.get("settings"), dict):
        raise ValueError(
            "The record of an unfinished distillation must be as it was written. Received: "
            f"{folder / UNFINISHED / _CONFIG}, which is damaged. Remove {folder} to begin anew."
        )
    before, settings = stored["settings"], json.loads(json.dumps(settings))
    for name in before | settings:
        if before.get(name) != settings.get(name):
            raise ValueError(
                "An unfinished distillation must go on with what it was begun with. Received: "
                f"{name}={settings.get(name)!r} for {folder}, begun with "
                f"{name}={before.get(name)!r}. Say the same as then, or remove the folder to "
                "begin anew."
            )


def _made(folder):
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"`output` must be a folder that can be written to. Received: {folder.parent} "
            f"({error.strerror})."
        ) from error
    return folder


def _remove(folder):
    """Remove a workplace; without its config.json nobody would go on with what is left."""
    for path in [each for each in folder.iterdir() if each.name != _CONFIG]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.rmtree(folder)
