"""What an experiment gives."""

import dataclasses
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_kd import export as export_module
from keras_kd._common.typing import PathLike
from keras_kd.data import Data, Split
from keras_kd.experiment.display import html_of
from keras_kd.teachers.fitting import TeacherModel

_CALIBRATION_IMAGES = 500
_MOST_TEST_BYTES = 500_000_000


class Result(dict):
    """What an experiment found: the contents of its `results.json`, and what goes with them.

    Args:
        results: what its `results.json` holds.
        kind: the `Kind` of the experiment.
        folder: where it is written, `None` if nothing is kept.
        student: the student that it recommends, a `keras.Model` that returns logits.
        teacher: the user's own `Teacher` or `Ensemble`; `None` if the run trained one.
        data: the `Data` of the first seed.
    """

    def __init__(
        self,
        results: dict,
        *,
        kind: Any,
        folder: Path | None,
        student: keras.Model,
        teacher: Any,
        data: Data,
    ):
        super().__init__(results)
        self.kind, self.folder = kind, folder
        self.student, self.teacher, self.data = student, teacher, data

    def _repr_html_(self):
        return html_of(self.kind.lines(self)[0], self.kind.table(self), self.folder)

    @property
    def report(self) -> dict[str, Any]:
        """The results as a plain dict."""
        return dict(self)

    def export(self, folder: PathLike, **options: Any) -> dict[str, Any]:
        """Write the student in several formats, each run and measured on the test images.

        Args:
            folder: where to write.
            **options: those of `keras_kd.export.export`, such as `formats`, `max_kb`,
                `max_drop`.

        Returns:
            What `export.json` holds, as a dict.
        """
        teacher = None if self.teacher is None else TeacherModel(self.teacher)
        data = decoded(self.data)
        return export_module.export(self.student, folder, data=data, teacher=teacher, **options)


def decoded(data):
    """Return the data with the images that an export needs as arrays in memory."""
    if not (data.train.is_read_anew or data.test.is_read_anew):
        return data
    size = data.test.nbytes // len(data.test)
    return dataclasses.replace(
        data,
        train=_some(data.train, _CALIBRATION_IMAGES),
        test=_some(data.test, max(1, _MOST_TEST_BYTES // size)),
    )


def _some(split, most):
    """Return up to `most` examples in memory, evenly spread over the split."""
    chosen = np.linspace(0, len(split) - 1, min(len(split), most)).astype(int)
    some = split.take(chosen)
    return Split(keras.tree.map_structure(np.asarray, some.images), some.labels)
