"""A classifier of file contents that people use, in a tenth of its bytes: Google's `magika`.

Command: `keras-kd run magika`, after `pip install "keras-kd[cpu,data,export,report,magika]"`.
Cost: once, some hundred MB of packages and the teacher's answers to 44,000 files at 8 ms on a quiet
core; then a minute a student. From an empty folder to the table it took ten minutes on two cores.
Result, five seeds, on packages that were never seen: the student distilled agrees with its teacher
on 68.5 % of the files, on hard answers 67.2 %, on suffixes alone 55.7 %; 97 % was wanted. As int8
it has 136 KB and takes 38 microseconds a file, its teacher 3.2 MB and 8.3 milliseconds.

The teacher lies inside the package `magika`: 3.1 MB of ONNX that tell 214 kinds of content by the
bytes at both ends of a file. It is asked once about files of Debian packages and of this machine;
its answer is the label, so accuracy is agreement with it. The student alone learns from the hard
answers, the student distilled from the probabilities.

The bytes and the answers are kept in `~/.keras/datasets/magika`, or in the folder `magika` of one
that KERAS_KD_DATA names. Where `train` and `test` lie in there, their files are taken, and nothing
is fetched.
"""

import collections
import functools
import importlib.resources
import json
import shutil
from pathlib import Path

import keras
import numpy as np
from keras import layers

from keras_kd import data as data_module
from keras_kd._common.backend import require_extra
from keras_kd._common.console import Console
from keras_kd._common.files import sha256_of, written_whole
from keras_kd.data import debian
from keras_kd.data.files import PADDING
from keras_kd.experiment import Recipe
from keras_kd.experiment.optimizers import one_cycle
from keras_kd.runs.evaluation import logits_of
from keras_kd.runs.fingerprints import digest_of
from keras_kd.soft_labels import SoftLabels
from keras_kd.teachers import load_teacher

# Fetched by name. No package to test on is of a project that one to train on is of.
TRAIN = """
ansible autoconf-archive bash-completion clamav-testfiles cmake-data coffeescript docbook-xsl elixir
emacs-el erlang-src fonts-roboto-unhinted fpc-source-3.2.2 gettext-doc gfortran-12 gimp-data gnat-12
gnucobol3 golang-github-prometheus-client-golang-dev golang-golang-x-tools-dev gnuplot-doc groovy
hugin-data iverilog libboost1.74-dev libjs-bootstrap4 liblapack-doc liblwt-ocaml-dev
libmojolicious-perl libmoose-perl libprotobuf-dev libpython3.11-testsuite libreoffice-common
librust-regex-dev librust-tokio-dev lilypond-data lua-penlight lyx-common manpages-de mono-devel
monodoc-manual musescore-common nmap-common node-lodash node-typescript octave octave-doc
oxygen-icon-theme phpmyadmin pingus-data postgresql-15 puppet-agent python3-pandas python3-pydicom
python3-skimage python3-sympy qtbase5-examples r-base-core ruby-activesupport sbcl-source scala
sound-theme-freedesktop sphinx-doc sqlite3-doc swi-prolog-core syslinux-common systemtap-common
tcllib texlive-fonts-recommended texlive-latex-extra valac vim-runtime yosys
""".split()  # noqa: SIM905
TEST = """
apktool asymptote bpftrace breeze-icon-theme cl-asdf clojure debian-reference-en doc-base elpa-magit
erlang-p1-tls extra-cmake-modules fish-common fonts-font-awesome fonts-lato frozen-bubble-data
gedit-common gnome-user-docs gnucash-common golang-github-gin-gonic-gin-dev
golang-github-spf13-cobra-dev inkscape jekyll kde-config-screenlocker knot-doc
libcommons-lang3-java libdatetime-timezone-perl libeigen3-dev libgtk2.0-cil-dev libjs-jquery-ui
libjs-mathjax librust-clap-dev librust-serde-dev libsass-dev libzarith-ocaml-dev lintian lmodern
lua-socket manpages-fr nasm nginx-doc node-d3 octave-image octave-statistics
openjdk-17-jdk-headless php-twig python-matplotlib-data python3-django python3-matplotlib
python3-netcdf4 qml-module-qtquick-controls2 r-cran-ggplot2 ruby-bootstrap-sass ruby-nokogiri
ruby-sinatra samba-common scribus sqlitebrowser tango-icon-theme texinfo wireshark-common wordpress
zsh-common
""".split()  # noqa: SIM905
MACHINE = "/usr"
# Suffixes that the package knows for one kind, and that others use for another.
_AMBIGUOUS = {"P", "cat", "cl", "cls", "doc", "hlp", "l", "obj", "one", "pkg", "pp", "pro", "pth",
              "sum", "v"}  # fmt: skip
# So many files are asked about at a time, and then lie on disk.
_PIECE = 2048
# Numbers that stand for a byte.
_BYTE = 8
Place = functools.partial(debian.Place, "magika")


def package():
    """Return the folder of the installed package.

    Raises:
        ImportError: if it is not installed (extra `magika`).
    """
    require_extra("magika", "magika", "The recipe magika")
    return importlib.resources.files("magika")


def model_path():
    """Return the path of the teacher's ONNX file."""
    return Path(str(package() / "models" / "standard_v3_3" / "model.onnx"))


def class_names():
    """Return the 214 kinds, in the order of the teacher's answers."""
    config = json.loads(model_path().with_name("config.min.json").read_text())
    return tuple(config["target_labels_space"])


def suffixes():
    """Return `{suffix: label}` of suffixes that the package knows for one kind alone."""
    kinds = json.loads((package() / "config" / "content_types_kb.min.json").read_text())
    owners = collections.defaultdict(set)
    for kind, facts in kinds.items():
        for suffix in facts["extensions"]:
            owners[suffix].add(kind)
    numbers = {name: number for number, name in enumerate(class_names())}
    return {
        f".{suffix}": numbers[min(kinds)]
        for suffix, kinds in owners.items()
        if len(kinds) == 1 and min(kinds) in numbers and suffix not in _AMBIGUOUS
    }


def answered(seed=0):
    """Return the files as a `Data`, labelled by the teacher; it is asked about each once.

    Args:
        seed: not used: all seeds have one validation split, of which the answers are stored.

    Raises:
        ImportError: if the package `magika` is not installed.
        FileNotFoundError: if there are no folders and no `apt-get`.
    """
    names = class_names()
    with np.load(_gathered()) as arrays:
        images = {split: arrays[split] for split in ("train", "validation", "test")}
    splits = {}
    for split, each in images.items():
        logits = _answers(split, each)
        splits[split] = data_module.Split(each, logits.argmax(-1).astype(np.int32))
        if split == "train":  # Of others nobody learns.
            SoftLabels.from_logits(
                Path(Place("answers", split)), logits, splits[split], overwrite=True
            )
    return data_module.Data(
        "magika", class_names=names, source=str(Path(Place())), is_images=False,
        is_files=True, **splits,
    )  # fmt: skip


def student(input_shape, num_classes):
    """Return the student: it reads bytes by the teacher's own table, and looks for short patterns.

    Args:
        input_shape: `(2048,)`.
        num_classes: of the teacher.
    """
    convolution = functools.partial(
        layers.Conv1D, padding="same", activation="relu", kernel_initializer="he_normal"
    )
    numbers = keras.Input(input_shape, dtype="int32", name="bytes")
    # Frozen: the gradient of a table is most of the time of a step.
    read = layers.Embedding(PADDING + 1, _BYTE, trainable=False, name="table")(numbers)
    x = convolution(64, 3, strides=2)(layers.Reshape((512, 4 * _BYTE))(read))
    x = convolution(128, 3, strides=2)(x)
    # What was found in the first half of the bytes, and in the last.
    found = layers.Flatten()(layers.MaxPooling1D(64)(x))
    head = layers.Flatten()(layers.Cropping1D((0, 2048 - 32))(read))
    head = layers.Dense(64, activation="relu", kernel_initializer="he_normal")(head)
    logits = layers.Dense(num_classes, name="logits")(layers.Concatenate()([found, head]))
    model = keras.Model(numbers, logits, name="student")
    model.get_layer("table").set_weights([_table()])
    return model


@functools.cache
def weights():
    """Return the teacher's weights, as arrays by their names in its file."""
    require_extra("onnx", "magika", "The recipe magika")
    import onnx

    graph = onnx.load(model_path()).graph
    return {
        each.name.split("MagikaV2/")[-1].split("logits_/")[-1]: onnx.numpy_helper.to_array(each)
        for each in graph.initializer
    }


def teacher():
    """Return the teacher as a Keras model to its logits, for who has no ONNX: the browser."""
    found = weights()
    numbers = keras.Input((2048,), dtype="int32", name="bytes")
    x = layers.Embedding(PADDING + 1, 64, name="table")(numbers)
    x = layers.Reshape((512, 256))(x)
    x = layers.LayerNormalization(axis=1, epsilon=1e-6, name="over_places")(x)
    x = keras.ops.gelu(layers.Conv1D(512, 5, name="patterns")(x), approximate=True)
    x = layers.GlobalMaxPooling1D()(x)
    x = layers.LayerNormalization(epsilon=1e-6, name="over_patterns")(x)
    model = keras.Model(numbers, layers.Dense(214, name="logits")(x), name="teacher")
    norms = {"over_places": "LayerNorm_0", "over_patterns": "LayerNorm_1"}
    for name, own in norms.items():
        scale, offset = (found[f"{own}/Reshape_{number}:0"].ravel() for number in (2, 3))
        model.get_layer(name).set_weights([scale, offset])
    kernel = found["Conv_0/transpose_3:0"][..., 0].transpose(2, 1, 0)
    model.get_layer("table").set_weights([_read_by_teacher()])
    model.get_layer("patterns").set_weights([kernel, found["const_fold_opt__209"].ravel()])
    dense = [found["Const_24:0"], found["Dense_1/Reshape:0"].ravel()]
    model.get_layer("logits").set_weights(dense)
    return model


def _read_by_teacher():
    """Return what the teacher reads of each byte, `[257, 64]`."""
    found = weights()
    before = found["Const:0"] + found["Dense_0/Reshape:0"].ravel()
    return keras.ops.convert_to_numpy(keras.ops.gelu(before, approximate=True))


def _table():
    """Return that in the few directions in which bytes differ most, `[257, 8]`."""
    read = _read_by_teacher()
    left, sizes, _ = np.linalg.svd(read - read.mean(axis=0), full_matrices=False)
    table = left[:, :_BYTE] * sizes[:_BYTE]
    return table / table.std()


def _gathered():
    """Return the path of the bytes of all files, read now if they were not before."""
    path = Path(Place("files.npz"))
    if path.exists():
        return path
    own = [Path(Place(name)) for name in ("train", "test")]
    if all(each.is_dir() for each in own):
        train, test = ([each] for each in own)
    else:
        folder = Path(Place("packages"))
        train = [*debian.unpacked(TRAIN, folder, Console().say), MACHINE]
        test = debian.unpacked(TEST, folder, Console().say)
    taught = data_module.files(train, suffixes=suffixes(), per_folder=16, per_suffix=800)
    unseen = data_module.files(test, suffixes=suffixes(), per_folder=16, per_suffix=120)
    known = {each.tobytes() for each in taught.images}
    unseen = unseen.take(np.array([each.tobytes() not in known for each in unseen.images]))
    chosen = np.random.default_rng(0).random(len(taught)) < 0.05
    splits = {"train": taught.take(~chosen), "validation": taught.take(chosen), "test": unseen}
    with written_whole(path) as unfinished:
        np.savez(
            unfinished,
            **{split: each.images for split, each in splits.items()},
            **{f"{split}_suffixes": each.labels for split, each in splits.items()},
        )
    shutil.rmtree(Place("packages"), ignore_errors=True)
    return path


def _answers(split, images):
    """Return the teacher's logits, asked in pieces of which each is kept."""
    pieces, model, teacher = [], sha256_of(model_path()), None
    for start in range(0, len(images), _PIECE):
        piece = data_module.Split(images[start : start + _PIECE], None)
        # By what was asked of whom, so that no answer is to another question.
        path = Path(Place("answers", f"{digest_of(model, piece.digest)[:16]}.npy"))
        if not path.exists():
            said = f"{split} files, {start:,} to {start + len(piece):,} of {len(images):,}"
            Console().say(f"The teacher is asked about {said}")
            # Once: each keeps the memory that its runtime has taken.
            teacher = teacher or load_teacher(model_path(), head="softmax")
            with written_whole(path) as unfinished:
                np.save(unfinished, logits_of(teacher, piece))
        pieces.append(np.load(path))
    return np.concatenate(pieces)


magika = Recipe(
    name="magika",
    data=answered,
    soft_labels=Place("answers", "train"),
    student=student,
    temperature=1.0,
    alpha=1.0,
    epochs=5,
    quick_epochs=1,
    # What is left to choose is nothing: the rate falls to 0, and the last epoch counts.
    student_patience=None,
    batch_size=128,
    optimizer=one_cycle(3e-3, optimizer=keras.optimizers.Adam, warm_up=0.1),
)
