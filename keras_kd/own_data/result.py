"""What a distillation gives."""

import dataclasses

import keras
import numpy as np

from keras_kd import export as export_module
from keras_kd.data import Data, Split
from keras_kd.export.proof import export_held
from keras_kd.teachers.fitting import TeacherModel

_CALIBRATION_IMAGES = 500
_MOST_TEST_BYTES = 500_000_000


@dataclasses.dataclass(frozen=True, eq=False)
class Result:
    """A distilled student, and what it is worth.

    Attributes:
        student: a `keras.Model` from raw pixels to logits.
        report: figures on teacher, student and control, as a dict for JSON.
        teacher: the `Teacher` or `Ensemble` that it learned from.
        data: the `Data` that it learned from.
    """

    student: keras.Model
    report: dict
    teacher: object
    data: Data

    def export(self, folder, **options):
        """Write the student in several formats, each run and measured on the test images.

        Args:
            folder: where to write.
            **options: those of `keras_kd.export.export`, such as `formats`, `max_kb`,
                `max_drop`.

        Returns:
            What `export.json` holds, as a dict.
        """
        return export_module.export(self.student, folder, **self._beside(), **options)

    def export_held(self, folder, formats, budgets, verbose):
        """Do what `export` does, in a folder that the caller holds, where nothing is exported."""
        return export_held(
            self.student,
            folder,
            formats=tuple(dict.fromkeys(formats)),
            budgets=budgets,
            input_range=None,
            overwrite=True,
            verbose=verbose,
            **self._beside(),
        )

    def _beside(self):
        teacher = None if self.teacher is None else TeacherModel(self.teacher)
        return {"data": _decoded(self.data), "teacher": teacher}


def _decoded(data):
    """Return the data with the images that an export needs as arrays in memory."""
    if type(data.test.images) is np.ndarray:
        return data
    size = int(np.prod(data.image_shape))
    return dataclasses.replace(
        data,
        train=_some(data.train, _CALIBRATION_IMAGES),
        test=_some(data.test, max(1, _MOST_TEST_BYTES // size)),
    )


def _some(split, most):
    """Return up to `most` images, evenly spread over the split."""
    chosen = np.linspace(0, len(split) - 1, min(len(split), most)).astype(int)
    return Split(np.asarray(split.images[chosen]), split.labels[chosen])
