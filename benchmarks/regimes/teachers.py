"""Teachers that saw every label: one a data set and seed, trained once and kept.

Command: `PYTHONPATH=benchmarks python -m regimes.teachers fashion_mnist 0 1 2` trains those of
these seeds that saw every label; the rows of the atlas train what they need.
Cost: two minutes each on two cores.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras

import keras_kd as kd
from keras_kd._common.files import written_whole
from keras_kd.experiment.optimizers import one_cycle
from keras_kd.runs.evaluation import logits_of

FOLDER = Path(os.environ.get("KERAS_KD_ATLAS", "saved_models/atlas"))
PIXELS = {
    "fashion_mnist": {"mean": 0.2860, "std": 0.3530},
    "mnist": {"mean": 0.1307, "std": 0.3081},
}
VIEWS = {
    "fashion_mnist": kd.data.RandomAffine(zoom=0.04, stretch=0.04, pixels=1.5, flip=True),
    "mnist": kd.data.RandomAffine(degrees=10, zoom=0.1, pixels=2),
}
EPOCHS = {"fashion_mnist": 12, "mnist": 8}
BATCH = 128
# Images an epoch, at least.
FEWEST = 10_000


def path_of(name, seed, saw, data_of, *, epochs=None, views=None):
    """Return the file of a teacher, trained now if it is not there.

    Args:
        name: of the data set.
        seed: of the row.
        saw: what it learned from, in a word, for the file's name.
        data_of: `() -> Data`, what it learns from.
        epochs: those of the data set if `None`.
        views: the augmentation of its images; that of the data set if `None`, none if `False`.
    """
    path = FOLDER / "teachers" / f"{name}_{saw}_{seed}.keras"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        views = VIEWS[name] if views is None else views or None
        teacher = trained(name, data_of().train, seed, epochs or EPOCHS[name], views)
        with written_whole(path) as unfinished:
            kd.export.uncompiled(teacher).save(unfinished)
    return path


def trained(name, train, seed, epochs, views):
    """Return a convolutional net that learned from a split, as it is after its last epoch.

    Few images are repeated, each repetition with a view of its own, to the number below.
    """
    keras.utils.set_random_seed(seed)
    train = train.repeated(max(1, round(FEWEST / len(train))))
    teacher = kd.models.conv_net([32, 64, 64], batch_norm=True, **PIXELS[name])
    distiller = kd.Distiller(student=teacher, alpha=0.0)
    rate = one_cycle(3e-3, warm_up=0.2, weight_decay=0.02)
    distiller.compile(
        rate(epochs * -(-len(train) // BATCH)), metrics=["accuracy"], precision="mixed"
    )
    batches = train.batches(BATCH, shuffle_seed=seed, augmentation=views)
    distiller.fit(batches, epochs=epochs, shuffle=False, verbose=0)
    return teacher


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", choices=PIXELS)
    parser.add_argument("seeds", nargs="+", type=int)
    options = parser.parse_args()
    for seed in options.seeds:
        whole = kd.data.load(options.data, seed=seed)
        path = path_of(options.data, seed, "all", lambda whole=whole: whole)
        data = whole.validation
        logits = logits_of(kd.load_teacher(path), data)
        print(path, f"validation accuracy {kd.metrics.accuracy(data.labels, logits):.4f}")


if __name__ == "__main__":
    main()
