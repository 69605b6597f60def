"""Data sets: a name, arrays or files in, train / validation / test out, as raw pixels."""

from keras_kd._common.surface import only
from keras_kd.data.archive import read_npz
from keras_kd.data.arrays import from_arrays
from keras_kd.data.augmentation import RandomAffine, RandomShift
from keras_kd.data.columns import Column, Columns
from keras_kd.data.datasets import NAMES, load
from keras_kd.data.files import files
from keras_kd.data.idx import read_idx
from keras_kd.data.image_folder import image_folder
from keras_kd.data.reading import read, unlabelled
from keras_kd.data.records import read_records
from keras_kd.data.splits import Data, Split
from keras_kd.data.table import table
from keras_kd.data.text_file import text_file
from keras_kd.data.text_folder import text_folder
from keras_kd.data.texts import decode_texts, encode_texts
from keras_kd.data.tf_datasets import from_dataset

__all__ = [
    "NAMES",
    "Column",
    "Columns",
    "Data",
    "RandomAffine",
    "RandomShift",
    "Split",
    "decode_texts",
    "encode_texts",
    "files",
    "from_arrays",
    "from_dataset",
    "image_folder",
    "load",
    "read",
    "read_idx",
    "read_npz",
    "read_records",
    "table",
    "text_file",
    "text_folder",
    "unlabelled",
]

__dir__ = only(__all__)
