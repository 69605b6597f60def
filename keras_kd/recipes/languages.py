"""Which language is this? Some words of a manual page, in one of 21 languages, read as bytes.

Command: `keras-kd compare languages --seeds 5`.
Cost: once, 39 MB of Debian's packages `manpages-*` and two minutes to fetch and read them; then
four minutes of one core a seed.
Result, five seeds, on pages that were never seen: teacher 0.7606, student distilled 0.7676, the
same student alone 0.6630, on the teacher's hard labels 0.7701: 10.46 points gained (8.97 to
11.95). So it is what the teacher says of further pieces that gains, not how sure it is. As int8 it
has 55 KB.

The regime is that of `fashion_mnist_few_labels`: a hundred pieces of each language have a label,
1,400 more have none. A convolutional teacher learns from the labels, then says what it thinks of
all. T = 1 and alpha = 1 were chosen on the validation split, with labels of a seed that is in no
table.

What is read: packages are fetched by name and unpacked without root. Of a page the roff is taken
away, and with it what stands in bold or italics, code, tables, options, file names, and the page's
own name (`data/man_pages.py`). A sentence is left out that stands on pages of two languages, or of
which seven words in ten are usual in English: nobody translated it. Words that are shared by half
of the languages of Latin letters are left out (Linux, David, stderr), of English those with a
capital; of other letters all Latin words. Each sentence is cut into pieces of two to eight words,
without spaces of four to twenty characters. All translations of a page are in one split, a piece of
two languages is of none, and no piece is in two splits. Each language has as many pieces as any
other: 1,500 to train on, 160 to validate, 400 to test.

The pages are under many free licences, each named in its package's `copyright`. Of them only the
sentences are kept, in `~/.keras/datasets/languages`, or in the folder `languages` of one that
KERAS_KD_DATA names; none is in this package.
"""

import collections
import gzip
import hashlib
import itertools
import json
import re
import shutil
from pathlib import Path

import keras
import numpy as np
from keras import layers

from keras_kd import data as data_module
from keras_kd._common.console import Console
from keras_kd._common.files import written_whole
from keras_kd.data.debian import Place, unpacked
from keras_kd.data.man_pages import pages_of, sentences_of
from keras_kd.experiment import Recipe
from keras_kd.experiment.optimizers import one_cycle

# Their folder below `man`, and what Debian's `manpages-...` calls them. Six more that it has are
# left out, with less than 80 pages: Greek, Indonesian, Macedonian, Romanian, and what is written
# twice over, Chinese in Taiwan's characters.
LANGUAGES = {
    "Chinese": ("zh_CN", "zh"),
    "Czech": ("cs", "cs cs-dev"),
    "Danish": ("da", "da da-dev"),
    "Dutch": ("nl", "nl nl-dev"),
    "English": ("", " dev"),
    "Finnish": ("fi", "fi"),
    "French": ("fr", "fr fr-dev"),
    "German": ("de", "de de-dev"),
    "Hungarian": ("hu", "hu"),
    "Italian": ("it", "it it-dev"),
    "Japanese": ("ja", "ja ja-dev"),
    "Norwegian": ("nb", "nb"),
    "Polish": ("pl", "pl pl-dev"),
    "Portuguese": ("pt_BR", "pt-br pt-br-dev"),
    "Russian": ("ru", "ru ru-dev"),
    "Serbian": ("sr", "sr"),
    "Spanish": ("es", "es es-dev"),
    "Swedish": ("sv", "sv"),
    "Turkish": ("tr", "tr"),
    "Ukrainian": ("uk", "uk uk-dev"),
    "Vietnamese": ("vi", "vi"),
}
# Their letters are others; a Latin word in them is a name.
_OTHER_LETTERS = {"Chinese", "Japanese", "Russian", "Serbian", "Ukrainian"}
_NO_SPACES = {"Chinese", "Japanese"}
# A person types some words. Of a sentence so many follow each other, of characters without spaces
# so many.
_WORDS, _CHARACTERS = (2, 8), (4, 20)
_FEWEST_BYTES = 10
NUM_BYTES = 64
# As many of each language, so that no class weighs more.
_MOST = {"train": 1500, "validation": 160, "test": 400}
# A word that stands in so many of the languages of Latin letters is a name: Linux, David, stderr.
_SHARED_BY = 8
# A sentence of which so many words are usual in English pages was left untranslated.
_ENGLISH_SHARE, _USUAL = 0.7, 5


def labelled(seed=0):
    """Return pieces of sentences as a `Data`, equally many of each language.

    Args:
        seed: not used: a page is in one split, and all seeds have the same.

    Raises:
        FileNotFoundError: if there are no sentences yet, and no `apt-get`.
    """
    texts = {split: {name: [] for name in LANGUAGES} for split in _MOST}
    for split, name, piece in _told_apart(_pieces(sentences())):
        texts[split][name].append(piece)
    splits = {}
    for split, most in _MOST.items():
        taken = {name: _drawn(each, most) for name, each in texts[split].items()}
        numbers = np.repeat(np.arange(len(LANGUAGES)), [len(each) for each in taken.values()])
        bytes_of_all = data_module.encode_texts(
            list(itertools.chain(*taken.values())), num_bytes=NUM_BYTES
        )
        splits[split] = data_module.Split(bytes_of_all, numbers.astype(np.int32))
    return data_module.Data(
        "languages", class_names=tuple(LANGUAGES), source=str(Path(Place("languages"))),
        reads="texts", **splits,
    )  # fmt: skip


def sentences():
    """Return `{language: {page: sentences}}`, of packages that are fetched now if need be."""
    path = Path(Place("languages", "sentences.json.gz"))
    if not path.exists():
        found = _translated(_gathered(Path(Place("languages", "packages"))))
        with written_whole(path) as unfinished:
            unfinished.write_bytes(gzip.compress(json.dumps(found).encode(), mtime=0))
        shutil.rmtree(Place("languages", "packages"), ignore_errors=True)
    return json.loads(gzip.decompress(path.read_bytes()))


def split_of(page):
    """Return the split of a page: of `cat.1` the same in all languages, and on all machines."""
    share = int(hashlib.sha256(page.encode()).hexdigest()[:8], 16) / 2**32
    return "test" if share < 0.2 else "validation" if share < 0.3 else "train"


def _gathered(folder):
    """Return all sentences of all pages."""
    packages = {
        name: [f"manpages-{each}".removesuffix("-") for each in suffixes.split(" ")]
        for name, (_, suffixes) in LANGUAGES.items()
    }
    console, found = Console(), {}
    unpacked(list(itertools.chain(*packages.values())), folder, console.say)
    for name, (place, _) in LANGUAGES.items():
        how = {"latin": name not in _OTHER_LETTERS, "spaced": name not in _NO_SPACES}
        pages = found[name] = {}
        for each in packages[name]:
            for page, text in pages_of(folder / each / "usr" / "share" / "man" / place):
                pages[page] = sentences_of(text, **how)
        console.say(f"{name}: {len(pages):,} pages")
    return found


def _translated(found):
    """Return the sentences that are of their language, each once, without shared words."""
    languages_of, usual = collections.defaultdict(set), collections.Counter()
    for name, pages in found.items():
        for sentence in itertools.chain(*pages.values()):
            languages_of[sentence].add(name)
            if name == "English":
                usual.update(set(_words(sentence.lower())))
    usual = {word for word, count in usual.items() if count >= _USUAL}
    shared = _shared_words(found)
    kept = {}
    for name, pages in found.items():
        seen, kept[name] = set(), {}
        for page, each in pages.items():
            own = [
                sentence
                for sentence in each
                if sentence not in seen
                and (name == "English" or not _is_english(sentence, languages_of, usual))
            ]
            seen.update(each)
            cleaned = (_without(shared, sentence, name) for sentence in own)
            kept[name][page] = [sentence for sentence in cleaned if sentence]
    return kept


def _is_english(sentence, languages_of, usual):
    """Return whether a sentence of another language's page was never translated."""
    words = _words(sentence.lower())
    count = sum(word in usual for word in words)
    return len(languages_of[sentence]) > 1 or count >= _ENGLISH_SHARE * max(1, len(words))


def _shared_words(found):
    """Return words of at least four letters that stand in the pages of many languages."""
    languages_of = collections.defaultdict(set)
    for name in found.keys() - _OTHER_LETTERS:
        for sentence in itertools.chain(*found[name].values()):
            for word in _words(sentence):
                languages_of[word].add(name)
    return {
        word for word, names in languages_of.items() if len(names) >= _SHARED_BY and len(word) >= 4
    }


def _without(shared, sentence, name):
    if name in _OTHER_LETTERS:
        return sentence
    return " ".join(
        word
        for word in sentence.split(" ")
        # English has all of these words: of them those with a capital are names.
        if not any(
            each in shared and (name != "English" or each[0].isupper()) for each in _words(word)
        )
    )


def _words(text):
    return re.findall(r"\w+", text)


def _pieces(found):
    """Yield `(split, language, piece)`: each sentence, cut into pieces of a few words."""
    for name, pages in found.items():
        generator = np.random.default_rng(0)
        joined = "" if name in _NO_SPACES else " "
        low, high = _CHARACTERS if name in _NO_SPACES else _WORDS
        in_order = ((name_of, each) for name_of in sorted(pages) for each in pages[name_of])
        for page, sentence in in_order:
            parts = list(sentence) if name in _NO_SPACES else sentence.split(" ")
            start = 0
            while len(parts) - start >= low:
                end = start + int(generator.integers(low, high + 1))
                piece, start = joined.join(parts[start:end]), end
                if len(piece.encode()) >= _FEWEST_BYTES:
                    yield split_of(page), name, piece


def _told_apart(pieces):
    """Yield those that are of one language alone, each once, so that no test piece is known."""
    pieces, languages_of = list(pieces), collections.defaultdict(set)
    for _, name, piece in pieces:
        languages_of[piece].add(name)
    order = list(_MOST)  # What stands in several splits is left to the first.
    seen = set()
    for split, name, piece in sorted(pieces, key=lambda each: order.index(each[0])):
        if len(languages_of[piece]) == 1 and piece not in seen:
            seen.add(piece)
            yield split, name, piece


def _drawn(texts, most):
    chosen = np.random.default_rng(0).permutation(len(texts))[:most]
    return [texts[at] for at in sorted(chosen)]


def teacher(input_shape, num_classes):
    """Return the teacher: convolutions over bytes, and two residual ones over what they found.

    Args:
        input_shape: `(64,)`.
        num_classes: languages.
    """
    numbers = keras.Input(input_shape, dtype="int32", name="bytes")
    x = layers.Embedding(256, 32, name="table")(numbers)
    x = layers.SpatialDropout1D(0.1)(_normed(x, 96, 5, strides=2))
    x = layers.Add()([x, _normed(_normed(x, 96), 96)])
    x = _normed(x, 192, strides=2)
    x = layers.Add()([x, _normed(x, 192)])
    found = [layers.GlobalMaxPooling1D()(x), layers.GlobalAveragePooling1D()(x)]
    x = layers.Dropout(0.3)(layers.Concatenate()(found))
    return keras.Model(numbers, layers.Dense(num_classes, name="logits")(x), name="teacher")


def student(input_shape, num_classes):
    """Return the student: the teacher's beginning, narrower, 55 KB as an int8 file.

    Args:
        input_shape: `(64,)`.
        num_classes: languages.
    """
    numbers = keras.Input(input_shape, dtype="int32", name="bytes")
    x = layers.Embedding(256, 16, name="table")(numbers)
    x = _normed(_normed(_normed(x, 64, 5, strides=2), 64), 96, strides=2)
    found = [layers.GlobalMaxPooling1D()(x), layers.GlobalAveragePooling1D()(x)]
    logits = layers.Dense(num_classes, name="logits")(layers.Concatenate()(found))
    return keras.Model(numbers, logits, name="student")


def _normed(x, filters, size=3, strides=1):
    x = layers.Conv1D(
        filters, size, strides=strides, padding="same", use_bias=False,
        kernel_initializer="he_normal",
    )(x)  # fmt: skip
    return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))


languages = Recipe(
    name="languages",
    data=labelled,
    labels=2100,
    teacher=teacher,
    student=student,
    temperature=1.0,
    alpha=1.0,
    epochs=6,
    quick_epochs=1,
    student_patience=10,
    batch_size=128,
    optimizer=one_cycle(3e-3, warm_up=0.2, weight_decay=0.01),
    teacher_epochs=3,
    teacher_patience=3,
    teacher_optimizer=one_cycle(3e-3, warm_up=0.2, weight_decay=0.05),
)
