"""A small language model: which byte is next, in the English of manual pages.

Command: `keras-kd run language_model`, `python benchmarks/scripts/language_model.py --seeds 5`.
Cost: once, the texts of the recipe `languages`; then a teacher in two minutes of one core, what it
says of every byte in a minute, and a student in 45 seconds.

Result, five seeds, in bits a byte of pages never seen: teacher 1.692, student distilled 1.943, the
same student alone 1.992: 0.049 gained (0.043 to 0.054). The store has 99 bytes a byte of text, and
the distillation loss from it is 0.2 % off. As int8 the student has 94 KB, and loses 0.005.

Teacher and student are causal convolutions over bytes; the student has a quarter of the weights. Of
a million bytes the teacher keeps its 16 largest logits on disk, and 35 bytes on all others. T = 1
and alpha = 1 were chosen on the validation split: what the teacher says of a byte is worth more
than the byte that came.

The text is that of the recipe `languages`, its English: sentences of manual pages, without names.
A page is in one split as a whole. It is cut into windows of 128 bytes, of which 8,192 are drawn to
train on, 1,024 to validate and 1,024 to test. NLL is in nats a byte: divided by 0.693, in bits.
"""

from pathlib import Path

import keras
import numpy as np
from keras import layers

from keras_kd import data as data_module
from keras_kd.data.debian import Place
from keras_kd.experiment import Recipe
from keras_kd.experiment.optimizers import one_cycle
from keras_kd.recipes.languages import sentences, split_of

LANGUAGE = "English"
# English is written in ASCII; a sentence that holds anything else is left out.
NUM_SYMBOLS = 128
STEPS = 128
# Windows of so many bytes, drawn.
_MOST = {"train": 8192, "validation": 1024, "test": 1024}
_UNSEEN = {" ": "space", "\n": "end of line"}


def windows(seed=0):
    """Return windows of text as a `Data`: 128 bytes, and as labels the one after each.

    Args:
        seed: not used: a page is in one split, and all seeds have the same.

    Raises:
        FileNotFoundError: if there are no sentences yet, and no `apt-get`.
    """
    pages = sentences()[LANGUAGE]
    splits = {split: _windows_of(pages, split, most) for split, most in _MOST.items()}
    symbols = map(chr, range(NUM_SYMBOLS))
    return data_module.Data(
        "language_model", source=str(Path(Place("languages"))), reads="numbers",
        class_names=tuple(_UNSEEN.get(each, ascii(each)[1:-1]) for each in symbols), **splits,
    )  # fmt: skip


def text_of(pages, split):
    """Return the text of a split: a sentence a line, an empty line after each page.

    Args:
        pages: `{page: sentences}`.
        split: `"train"`, `"validation"` or `"test"`.
    """
    kept = (
        [sentence for sentence in pages[page] if sentence.isascii()]
        for page in sorted(pages)
        if split_of(page) == split
    )
    return "".join("\n".join(each) + "\n\n" for each in kept if each)


def _windows_of(pages, split, most):
    numbers = np.frombuffer(text_of(pages, split).encode("ascii"), np.uint8).astype(np.int32)
    count = (len(numbers) - 1) // STEPS
    chosen = np.sort(np.random.default_rng(0).permutation(count)[:most])
    here, following = (
        numbers[start : start + count * STEPS].reshape(count, STEPS)[chosen] for start in (0, 1)
    )
    return data_module.Split(here, following)


def teacher(input_shape, num_classes):
    """Return the teacher: five causal convolutions, each over twice as many bytes.

    Args:
        input_shape: `(128,)`, or `(None,)`.
        num_classes: symbols.
    """
    return _causal("teacher", input_shape, num_classes, width=76, depth=5)


def student(input_shape, num_classes):
    """Return the student: the same, narrower and by one less, a quarter of the weights.

    Args:
        input_shape: `(128,)`, or `(None,)`.
        num_classes: symbols.
    """
    return _causal("student", input_shape, num_classes, width=40, depth=4)


def _causal(name, input_shape, num_classes, *, width, depth):
    """Return a model that sees of a text what was before: each block adds to what came to it."""
    numbers = keras.Input(input_shape, dtype="int32", name="bytes")
    x = layers.Embedding(num_classes, width, name="table")(numbers)
    for number in range(depth):
        found = layers.Conv1D(
            2 * width, 3, padding="causal", dilation_rate=2**number, activation="relu"
        )(layers.LayerNormalization()(x))
        x = layers.Add()([x, layers.Dense(width)(found)])
    logits = layers.Dense(num_classes, name="logits")(layers.LayerNormalization()(x))
    return keras.Model(numbers, logits, name=name)


language_model = Recipe(
    name="language_model",
    data=windows,
    teacher=teacher,
    student=student,
    temperature=1.0,
    alpha=1.0,
    top_k=16,
    epochs=1,
    quick_epochs=1,
    quick_share=0.05,
    student_patience=None,
    teacher_patience=None,
    batch_size=16,
    optimizer=one_cycle(6e-3, warm_up=0.1, weight_decay=0.01),
    teacher_epochs=2,
    teacher_optimizer=one_cycle(6e-3, warm_up=0.1, weight_decay=0.01),
)
