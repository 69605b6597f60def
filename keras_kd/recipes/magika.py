"""A classifier of file contents that people use, in a tenth of its bytes: Google's `magika`.

Command: `keras-kd run magika`, after `pip install "keras-kd[cpu,data,export,report,magika]"`.
Cost: once, a gigabyte of packages and the teacher's words on 35,000 files, 8 ms each; then five
minutes of one core a student. In all some 17 minutes of one core, added up from its parts; and
14 GB of disk at most, of which the 3.5 GB of the teacher's words stay.
Result, five seeds, on packages that were never seen: the student distilled agrees with its teacher
on 76.4 % of 4,205 files (75.1 to 77.7), on suffixes alone on 64.7 %, on hard answers on 73.5 % (one
seed); 97 % was wanted. As int8 it has 235 KB, agrees on 76.2 %, and takes 136 microseconds a file;
its teacher has 3.2 MB and takes 16.7 milliseconds. That was on a busy machine, in turns.

The teacher lies inside the package `magika`: 3.1 MB of ONNX that tell 214 kinds of content by the
bytes at both ends of a file. It is asked once about files of Debian packages and of this machine;
its answer is the label, so accuracy is agreement with it. Everything is chosen on packages of which
no file is trained on; those to test on are others again. The student alone learns from the hard
answers, the student distilled from the probabilities and from what the teacher finds at each place.

The bytes and the answers are kept in `~/.keras/datasets/magika`, or in the folder `magika` of one
that KERAS_KD_DATA names. Where `train`, `validation` and `test` lie in there, their files are
taken, and nothing is fetched.
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
from keras_kd.distillers.distiller import Distiller
from keras_kd.experiment import Recipe
from keras_kd.experiment.optimizers import one_cycle
from keras_kd.losses import Hints, SoftTargets
from keras_kd.runs.evaluation import logits_of
from keras_kd.runs.fingerprints import digest_of
from keras_kd.soft_labels import SoftLabels
from keras_kd.teachers import load_teacher

# Fetched by name. No source of Debian's has packages in two of these lists.
TRAIN = """
adwaita-icon-theme ansible apache2 apache2-doc aptitude-doc-en ardour-data aspell-en
asterisk-core-sounds-en-gsm audacity-data autoconf autoconf-archive automake avr-libc awesome
awesome-extra bacula-director bash-completion bats bazel-platforms bibtool busybox bwidget byacc
camlp5 cc65 cdbs cheese-common chicken-bin chktex cinnamon-common cl-babel cl-ironclad
clamav-testfiles clang-14-examples clisp cmake-data coffeescript collectd-core conky-all darktable
debhelper debian-policy debootstrap developers-reference dictionaries-common dirb docbook-dsssl
docbook-xml docbook-xsl dovecot-core doxygen-doc dpkg-dev dracut-core dub easy-rsa ecl efitools
elixir elpa-haskell-mode elpa-markdown-mode elpa-yasnippet emacs-el erlang-src eslint espeak-ng-data
exim4-base fasm festvox-kallpc16k ffmpeg firmware-linux-free fluxbox fonts-cantarell fonts-firacode
fonts-freefont-ttf fonts-glyphicons-halflings fonts-katex fonts-liberation fonts-lobster
fonts-roboto-unhinted fonts-stix fop-doc forensics-samples-multiple fpc-source-3.2.2 gap-core gawk
gdal-data gettext gettext-doc gfortran-12 ghdl-common ghostscript gimp-data git git-gui gnat-12
gnome-shell-common gnome-themes-extra-data gnucobol3 gnuplot-doc gnuplot-x11 gnutls-doc
golang-github-docker-docker-dev golang-github-hashicorp-hcl-dev
golang-github-prometheus-client-golang-dev golang-golang-x-net-dev golang-golang-x-tools-dev
golang-google-grpc-dev gpsbabel gputils-common gradle graphicsmagick groovy grub-common
grub-rescue-pc gstreamer1.0-plugins-base gtkwave handbrake haproxy haxe hlint hugin-data
hunspell-en-us hydra i3-wm ibus-table-wubi icewm-common icinga2-common icingaweb2
imagemagick-6-common initramfs-tools-core ipxe iso-codes iverilog jabref jedit jmol jq
jupyter-notebook kbibtex-data kde-standard kicad-symbols kicad-templates libabsl-dev
libapache-poi-java libboost1.74-dev libc6-armhf-cross libcatalyst-perl libcpan-meta-yaml-perl
libdbix-class-perl libemail-mime-perl libfftw3-doc libgcc-12-dev libgcc-12-dev-arm64-cross
libghc-aeson-dev libglib2.0-doc libgsl-dev libgtk-3-dev libheif-examples libimage-exiftool-perl
libimlib2 libjetty9-java libjs-bootstrap4 libjs-pdf libjs-prettify libjs-sphinxdoc libjs-underscore
libjson-perl liblapack-doc liblwt-ocaml-dev libmail-box-perl libmojolicious-perl libmoose-perl
libonnx-testdata libopencv-core-dev libopenraw-dev libphobos2-ldc-shared-dev libprotobuf-dev
libpython3.11-testsuite librecad-data libreoffice-common librust-bindgen-dev librust-cargo-dev
librust-hyper-dev librust-image-dev librust-nix-dev librust-regex-dev librust-tokio-dev libsdl2-dev
libsmali-java libspring-core-java libssl-doc libstdc++-12-dev libsvgpp-dev libtool libvtk9-dev
libwebp-dev libwxgtk3.2-dev lilypond-data live-build lua-lpeg lua-penlight luakit lyx-common
maint-guide manpages manpages-dev manpages-zh mapserver-bin maven maxima-src memtest86+
mercurial-common meson minetest-data mingw-w64-x86-64-dev monitoring-plugins-basic mono-devel
monodoc-manual mplayer mpv munin-common musescore-common mutt mythes-en-us ncbi-data ncurses-doc
neovim-runtime netpbm nim nim-doc ninja-build nmap-common node-babel7 node-core-js node-graphql
node-highlight.js node-lodash node-postcss node-react node-typescript nodejs-doc notmuch npm nqp
octave octave-control octave-doc octave-io octave-struct octave-symbolic openbox openexr opensbi
openscad openttd-data osm2pgsql ovmf oxygen-icon-theme perl-doc perl-modules-5.36
php-guzzlehttp-guzzle php-phpseclib3 phpmyadmin pike8.0-core pingus-data postfix-doc postgis-doc
postgresql-15 postgresql-15-postgis-3-scripts postgresql-doc-15 proj-data prosody puppet-agent
pymol-data python3-astropy python3-biopython python3-breezy python3-chardet python3-docutils
python3-docx python3-ebooklib python3-feedparser python3-imageio python3-ipywidgets python3-joblib
python3-magic python3-nbconvert python3-nibabel python3-nltk python3-notebook python3-numpy
python3-odf python3-opencv python3-openpyxl python3-pandas python3-pil python3-plotly
python3-pydicom python3-pygments python3-rarfile python3-reportlab python3-ruamel.yaml python3-scapy
python3-skimage python3-statsmodels python3-sympy python3-twisted python3-xarray python3-yaml
qemu-system-data qpdf qtbase5-examples quilt r-base-core r-bioc-biobase r-cran-data.table
r-cran-lattice r-cran-maps r-cran-openxlsx r-cran-plotly r-cran-readxl r-cran-sf r-cran-shiny
r-cran-survival rake rakudo roundcube-core ruby-activesupport ruby-mail ruby-rouge rxvt-unicode
saga-common samtools-test sbcl-source scala scheme48 scilab-full-bin scons screen sdcc-libraries
seabios sgml-data shunit2 singular-data slib sound-icons sound-theme-freedesktop spamassassin
sphinx-doc sqlite3-doc sqlmap sway swi-prolog-core syslinux-common systemd systemtap-common
tcl8.6-doc tcllib teeworlds-data testssl.sh texlive-fonts-recommended texlive-latex-extra texstudio
tk8.6-dev tklib tmux tomcat10-docs tuxguitar tuxpaint-data u-boot-qemu vagrant valac verilator
viking vim-runtime vim-scripts vlc-data w3c-sgml-lib wamerican webpack wfuzz whatweb wngerman
xfce4-settings xfonts-75dpi xfonts-base xscreensaver-data xterm yarnpkg yelp-xsl yosys
""".split()  # noqa: SIM905
# On these everything is chosen.
VALIDATION = """
abiword-common ant bind9-doc bpfcc-tools byobu catch2 cl-alexandria cl-ppcre cups-common debian-faq
devscripts dh-python dia-common dokuwiki ecj elementary-xfce-icon-theme elpa-helm fizsh
fonts-linuxlibertine fonts-materialdesignicons-webfont fonts-open-sans geany-common gnome-icon-theme
golang-github-gorilla-mux-dev golang-github-stretchr-testify-dev grass-doc groff guile-3.0-libs
homebank-data lbreakout2-data leiningen libarmadillo-dev libextlib-ocaml-dev libguava-java
libjs-codemirror libjs-leaflet libmagic-mgc libmodule-build-perl libnunit-cil-dev librust-rand-dev
librust-syn-dev libyaml-cpp-dev lighttpd-doc lua-lgi lxqt-panel manpages-ja mate-user-guide
node-less octave-signal php-symfony-console pluma-common povray-includes proguard-cli python3-h5py
python3-networkx python3-sqlalchemy qml-module-org-kde-kirigami2 r-cran-dplyr ruby-asciidoctor
ruby-mechanize ruby-rack yasm
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
_BYTE = 32
# The teacher's patterns are taught at every fourth of its places: the most of four.
_PLACES = 4
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
    with np.load(gathered()) as arrays:
        images = {split: arrays[split] for split in ("train", "validation", "test")}
    labels = {split: _answers(split, images[split]) for split in ("validation", "test")}
    labels["train"] = _stored(images["train"])
    splits = {split: data_module.Split(each, labels[split]) for split, each in images.items()}
    return data_module.Data(
        "magika", class_names=class_names(), source=str(Path(Place())), reads="files",
        **splits,
    )  # fmt: skip


def student(input_shape, num_classes):
    """Return the student: the teacher's own ends, and between them a narrow way to its patterns.

    It reads bytes by the teacher's table, in fewer numbers, and ends in the teacher's last layers.
    At every fourth place it is to know what the teacher finds at four.

    Args:
        input_shape: `(2048,)`.
        num_classes: of the teacher.
    """
    convolution = functools.partial(
        layers.Conv1D, activation="relu", kernel_initializer="he_normal"
    )
    numbers = keras.Input(input_shape, dtype="int32", name="bytes")
    # Frozen: the gradient of a table is most of the time of a step.
    x = layers.Embedding(PADDING + 1, _BYTE, trainable=False, name="table")(numbers)
    x = convolution(40, 1)(layers.Reshape((512, 4 * _BYTE))(x))
    # As the teacher's: a pattern is of the bytes from its place on.
    x = convolution(48, 5)(layers.ZeroPadding1D((0, 4))(x))
    x = convolution(98, _PLACES, strides=_PLACES)(x)
    # It begins at what the teacher finds at most places, so that no pattern is dead.
    usual = keras.initializers.Constant(4.0)
    x = convolution(512, 1, bias_initializer=usual, name="patterns")(x)
    x = layers.GlobalMaxPooling1D()(x)
    x = layers.LayerNormalization(epsilon=1e-6, name="over_patterns")(x)
    model = keras.Model(numbers, layers.Dense(num_classes, name="logits")(x), name="student")
    model.get_layer("table").set_weights([_table()])
    _give_ends(model)
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
    x = layers.Conv1D(512, 5, name="patterns")(x)
    x = keras.ops.gelu(x, approximate=True)
    x = layers.GlobalMaxPooling1D(name="most")(x)
    x = layers.LayerNormalization(epsilon=1e-6, name="over_patterns")(x)
    model = keras.Model(numbers, layers.Dense(214, name="logits")(x), name="teacher")
    kernel = found["Conv_0/transpose_3:0"][..., 0].transpose(2, 1, 0)
    model.get_layer("table").set_weights([_read_by_teacher()])
    model.get_layer("over_places").set_weights(_norm(0))
    model.get_layer("patterns").set_weights([kernel, found["const_fold_opt__209"].ravel()])
    _give_ends(model)
    return model


def by_places():
    """Return the teacher as a Keras model to its logits and to its patterns, `[128, 512]`."""
    model = teacher()
    patterns = model.get_layer("most").input
    # As many places as the student has; at the last there is no room for a pattern.
    patterns = layers.ZeroPadding1D((0, 4))(patterns)
    patterns = layers.MaxPooling1D(_PLACES)(patterns)
    return keras.Model(model.input, {"logits": model.output, "patterns": patterns})


def _give_ends(model):
    """Give a model the teacher's last layers."""
    found = weights()
    model.get_layer("over_patterns").set_weights(_norm(1))
    dense = [found["Const_24:0"], found["Dense_1/Reshape:0"].ravel()]
    model.get_layer("logits").set_weights(dense)


def _norm(number):
    """Return scale and offset of the teacher's first or second normalization."""
    return [weights()[f"LayerNorm_{number}/Reshape_{each}:0"].ravel() for each in (2, 3)]


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


def gathered():
    """Return the path of the bytes of all files, read now if they were not before."""
    path = Path(Place(f"files_{digest_of(TRAIN, VALIDATION, TEST)[:8]}.npz"))
    if path.exists():
        return path
    names = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
    own = {split: Path(Place(split)) for split in names}
    if all(each.is_dir() for each in own.values()):
        folders = {split: [each] for split, each in own.items()}
    else:
        packages, say = Path(Place("packages")), Console().say
        folders = {split: debian.unpacked(names[split], packages, say) for split in names}
        folders["train"].append(MACHINE)
    most = {"train": (4, 300), "validation": (16, 120), "test": (16, 120)}
    found, known = {}, set()
    for split, each in folders.items():
        per_folder, per_suffix = most[split]
        files = data_module.files(
            each, suffixes=suffixes(), per_folder=per_folder, per_suffix=per_suffix
        )
        files = files.take(np.array([one.tobytes() not in known for one in files.images]))
        known |= {one.tobytes() for one in files.images}
        found |= {split: files.images, f"{split}_suffixes": files.labels}
    with written_whole(path) as unfinished:
        np.savez(unfinished, **found)
    shutil.rmtree(Place("packages"), ignore_errors=True)
    return path


def _answers(split, images):
    """Return what the teacher says files are, asked in pieces of which each is kept."""
    pieces, model, teacher = [], sha256_of(model_path()), None
    for start in range(0, len(images), _PIECE):
        piece = data_module.Split(images[start : start + _PIECE], None)
        # By what was asked of whom, so that no answer is to another question.
        path = Path(Place("answers", f"{digest_of(model, piece.digest)[:16]}.npy"))
        if not path.exists():
            _say(split, images, start)
            # Once: each keeps the memory that its runtime has taken.
            teacher = teacher or load_teacher(model_path(), head="softmax")
            with written_whole(path) as unfinished:
                np.save(unfinished, logits_of(teacher, piece))
        pieces.append(np.load(path))
    return np.concatenate(pieces).argmax(-1).astype(np.int32)


def _stored(images):
    """Return what the teacher says files are; its words, by place too, become soft labels."""
    model, asked = sha256_of(model_path()), data_module.Split(images, None).digest
    path = Path(Place("answers", f"train_{digest_of(model, asked)[:16]}.npy"))
    if path.exists():
        return np.load(path)
    folder = path.with_suffix(".unfinished")
    said = _asked_by_place(images, folder)
    labels = said["logits"].argmax(-1).astype(np.int32)
    SoftLabels.from_logits(
        Path(Place("answers", "train")),
        said,
        data_module.Split(images, labels),
        head={"logits": "logits", "patterns": "values"},
        dtype="float16",
        overwrite=True,
    )
    for former in path.parent.glob("train_*.npy"):
        former.unlink()
    with written_whole(path) as unfinished:
        np.save(unfinished, labels)
    shutil.rmtree(folder)
    return labels


def _asked_by_place(images, folder):
    """Return what `by_places` says as arrays on disk; who was killed goes on at the next piece."""
    folder.mkdir(parents=True, exist_ok=True)
    teacher, said = by_places(), {}
    for name, output in teacher.output.items():
        path, size = folder / f"{name}.npy", (len(images), *output.shape[1:])
        if not path.exists():
            # A file of zeros takes no room.
            np.lib.format.open_memmap(
                path, "w+", "float32" if name == "logits" else "float16", size
            )
        said[name] = np.load(path, mmap_mode="r+")
    for start in range(0, len(images), _PIECE):
        piece = slice(start, start + _PIECE)
        if said["logits"][piece].any():
            continue
        _say("train", images, start)
        answers = teacher.predict(images[piece], batch_size=64, verbose=0)
        for name in ("patterns", "logits"):  # Who finds logits finds all.
            said[name][piece] = answers[name]
            said[name].flush()
    return said


def _say(split, images, start):
    end = min(start + _PIECE, len(images))
    files = f"{split} files, {start:,} to {end:,} of {len(images):,}"
    Console().say(f"The teacher is asked about {files}")


def by_answers_and_places(temperature):
    """Return the losses: what the student answers, and what it finds at each place (FitNets)."""
    return [
        SoftTargets(temperature),
        # The same patterns: nothing is projected.
        Hints("patterns", "patterns", project=False),
    ]


magika = Recipe(
    name="magika",
    data=answered,
    soft_labels=Place("answers", "train"),
    student=student,
    loss=by_answers_and_places,
    distiller=functools.partial(Distiller, distillation_loss_weights=[1.0, 0.3]),
    temperature=1.0,
    alpha=1.0,
    epochs=5,
    quick_epochs=1,
    # What is left to choose is nothing: the rate falls to 0, and the last epoch counts.
    student_patience=None,
    batch_size=64,
    optimizer=one_cycle(1.2e-2, optimizer=keras.optimizers.Adam, warm_up=0.1),
)
