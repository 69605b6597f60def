"""What soft labels of a language model cost a token, and how wrong the loss is that they give.

    python benchmarks/scripts/soft_labels.py            # about ten minutes on two idle cores
    python benchmarks/scripts/soft_labels.py --steps 50 --tokens 1000   # to try it

Text: the docstrings of Python's standard library and of the packages that are installed beside
it, a twentieth of them held out. Teacher and a smaller student are word-level models of it, of
10,000 words. Their logits for held-out text are compared: the loss from the teacher's logits,
and from what `SoftLabels` gives back of them.

Writes: `benchmarks/results/soft_labels.json` and the table of `benchmarks/files.md`; the words
around it take what is printed. A trial writes neither.
"""

import argparse
import ast
import collections
import hashlib
import os
import platform
import re
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from pages import write_section
from results import read, update

import keras_kd as kd

PACKAGES = ("numpy", "scipy", "sklearn", "keras")
NUM_WORDS, STEPS = 10_000, 48
KEPT = (4, 8, 16, 32, 64)
_WORD = re.compile(r"[a-z]+|\d|[^\sa-z\d]")


def docstrings():
    """Yield every docstring once, as words."""
    library = Path(sysconfig.get_path("stdlib"))
    site = Path(np.__file__).parent.parent
    seen = set()
    for root in (library, *(site / name for name in PACKAGES)):
        for path in sorted(root.rglob("*.py")):
            if "site-packages" in path.relative_to(root).parts:
                continue
            try:
                tree = ast.parse(path.read_text("utf-8"))
            except (SyntaxError, ValueError):  # Files that test Python itself.
                continue
            for node in ast.walk(tree):
                if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                    text = ast.get_docstring(node)
                    if text and text not in seen:
                        seen.add(text)
                        yield [*_WORD.findall(text.lower()), "<end>"]


def text():
    """Return numbers of words `[n, STEPS]`: inputs and what follows, to train on and held out."""
    parts = {True: [], False: []}
    for words in docstrings():
        held_out = hashlib.sha256(" ".join(words).encode()).digest()[0] < 13
        parts[held_out] += words
    most = collections.Counter(parts[False]).most_common(NUM_WORDS - 1)
    numbers = {word: number for number, (word, _) in enumerate(most, start=1)}
    found = []
    for held_out in (False, True):
        words = np.array([numbers.get(word, 0) for word in parts[held_out]], "int32")
        count = (len(words) - 1) // STEPS
        inputs, following = words[: count * STEPS], words[1 : count * STEPS + 1]
        # In another order than that of the packages.
        order = np.random.default_rng(0).permutation(count)
        found += [each.reshape(count, STEPS)[order] for each in (inputs, following)]
    return found


def language_model(width, depth, seed):
    """Return a model of the next word: causal convolutions, each over twice as many words."""
    keras.utils.set_random_seed(seed)
    words = x = keras.Input((STEPS,), dtype="int32")
    x = layers.Embedding(NUM_WORDS, width)(x)
    for number in range(depth):
        convolution = layers.Conv1D(
            2 * width, 3, padding="causal", dilation_rate=2**number, activation="relu"
        )
        x = layers.LayerNormalization()(x + layers.Dense(width)(convolution(x)))
    return keras.Model(words, layers.Dense(NUM_WORDS)(x))


def trained(model, inputs, following, steps):
    schedule = keras.optimizers.schedules.CosineDecay(3e-3, steps)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(schedule), loss)
    count = 32 * steps
    started = time.time()
    model.fit(inputs[:count], following[:count], batch_size=32, shuffle=False, verbose=0)
    return time.time() - started


def losses(teacher_logits, student_logits, temperature):
    """Return the loss of every token in float64, by the formula of `losses.soft_targets`."""
    found = []
    for some, others in zip(teacher_logits, student_logits, strict=True):
        log_p, log_q = (_log_softmax(each / temperature) for each in (some, others))
        found.append(temperature**2 * (np.exp(log_p) * (log_p - log_q)).sum(-1))
    return np.concatenate(found)


def gradient_distance(teacher_logits, found_logits, student_logits, temperature):
    """Return how far the gradient is off: mean of |p - found| over mean of |p - q|, in L1."""
    off = full = 0.0
    for parts in zip(teacher_logits, found_logits, student_logits, strict=True):
        p, found, q = (np.exp(_log_softmax(each / temperature)) for each in parts)
        off, full = off + np.abs(p - found).sum(), full + np.abs(p - q).sum()
    return off / full


def _log_softmax(logits):
    logits = logits.astype("float64")
    logits -= logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def spread_evenly(logits, top_k):
    """Return logits of which those beside the largest share their mass evenly."""
    exact = logits.astype("float64")
    classes = np.argpartition(-exact, top_k - 1, axis=-1)[..., :top_k]
    kept = np.take_along_axis(exact, classes, -1)
    others = np.exp(exact)
    np.put_along_axis(others, classes, 0, axis=-1)
    level = np.log(others.sum(-1, keepdims=True) / (logits.shape[-1] - top_k))
    found = np.broadcast_to(level, exact.shape).copy()
    np.put_along_axis(found, classes, kept.astype("float16"), axis=-1)
    return found


def stored(folder, teacher, inputs, num_compared, **options):
    """Return what soft labels give back of some, and their bytes a token."""
    path = Path(folder) / "labels"
    started = time.time()
    labels = kd.SoftLabels.create(path, teacher, inputs, verbose=False, overwrite=True, **options)
    seconds = time.time() - started
    batches = labels.join(inputs, 16).take(-(-num_compared // 16))
    found = [targets.teacher_logits.numpy() for _, targets in batches]
    shards = sum(each.stat().st_size for each in path.glob("rows-*.npy"))
    shared = sum(each.stat().st_size for each in path.glob("others-*.npy"))
    return found, shards / inputs.size, shared, seconds


def measure(teacher_logits, student_logits, found):
    """Return how wrong loss and gradient are, by temperature."""
    wrong = {}
    for temperature in (1.0, 2.0):
        exact = losses(teacher_logits, student_logits, temperature)
        errors = losses(found, student_logits, temperature) - exact
        off = gradient_distance(teacher_logits, found, student_logits, temperature)
        wrong[f"T = {temperature:g}"] = {
            "mean": float(errors.mean() / exact.mean()),
            "each": float(np.abs(errors).mean() / exact.mean()),
            "gradient": float(off),
        }
    return wrong


def document():
    """Return the table."""
    lines = [
        "| kept | bytes a token | T = 1: mean | each | gradient | T = 2: mean | each | gradient |",
        "|" + " --- |" * 8,
    ]
    for row in read("soft_labels")["rows"]:
        digits = 0 if row["bytes"] >= 1000 else 1
        cells = [row["kept"], f"{row['bytes']:,.{digits}f}".removesuffix(".0")]
        for wrong in row["wrong"].values():
            cells += [
                f"{100 * wrong['mean']:+.2f} %",
                f"{100 * wrong['each']:.2f} %",
                f"{100 * wrong['gradient']:.1f} %",
            ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=600, help="of the teacher's training")
    parser.add_argument("--width", type=int, default=128, help="of the teacher")
    parser.add_argument("--tokens", type=int, default=4608, help="held out, that are compared")
    parser.add_argument("--stored", type=int, default=24576, help="held out, that are stored")
    options = parser.parse_args()
    inputs, following, held_out, answers = text()
    print(f"{inputs.size:,} words to train on, {held_out.size:,} held out", flush=True)
    judge = held_out[:200], answers[:200]
    models = {}
    for name, model, steps in (
        ("teacher", language_model(options.width, 4, seed=0), options.steps),
        ("student", language_model(48, 2, seed=1), options.steps // 3),
    ):
        seconds = trained(model, inputs, following, steps)
        perplexity = np.exp(model.evaluate(*judge, verbose=0))
        print(
            f"{name}: {model.count_params():,} weights, {steps} steps of {32 * STEPS} words, "
            f"{seconds:.0f} s, perplexity {perplexity:.0f}",
            flush=True,
        )
        models[name] = model
    held_out = held_out[: options.stored // STEPS]
    num_compared = options.tokens // STEPS
    teacher, student = (
        [
            model.predict_on_batch(held_out[start : start + 16])
            for start in range(0, num_compared, 16)
        ]
        for model in models.values()
    )
    for temperature in (1.0, 2.0):
        print(f"loss at T = {temperature:g}: {losses(teacher, student, temperature).mean():.4f}")
    sums = {k: np.concatenate([_kept_mass(each, k) for each in teacher]).mean() for k in KEPT}
    print(
        "mass of the largest:", {k: round(float(mass), 3) for k, mass in sums.items()}, flush=True
    )
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        found, size, _, _ = stored(folder, models["teacher"], held_out, num_compared)
        rows = [("all, float16", size, found)]
        rows += [
            (f"{k}, the others evenly", 6 * k + 4, [spread_evenly(e, k) for e in teacher])
            for k in KEPT
        ]
        for name, size, found in rows:
            wrong = measure(teacher, student, found)
            lines.append({"kept": name, "bytes": size, "wrong": wrong})
            print(lines[-1], flush=True)
        for k in KEPT:
            found, size, shared, seconds = stored(
                folder, models["teacher"], held_out, num_compared, top_k=k
            )
            wrong = measure(teacher, student, found)
            lines.append({"kept": f"top_k={k}", "bytes": size, "wrong": wrong})
            print(lines[-1], flush=True)
    if options == parser.parse_args([]):
        update("soft_labels", "rows", lines)
        write_section("files.md", "soft labels", document())
    print(f"A table of {shared:,} bytes beside them; written in {seconds:.1f} s.")
    print(
        f"Python {platform.python_version()}, Keras {keras.__version__}, TensorFlow "
        f"{tf.__version__}, NumPy {np.__version__}; {os.cpu_count()} cores, {platform.machine()}"
    )
    return 0


def _kept_mass(logits, top_k):
    return np.sort(np.exp(_log_softmax(logits)), axis=-1)[..., -top_k:].sum(-1).ravel()


if __name__ == "__main__":
    sys.exit(main())
