"""A folder with a folder for each class, maybe in `train`, `validation` and `test`: whose files."""

import dataclasses
import os

import numpy as np

from keras_kd.data.encoded import name_of
from keras_kd.data.splits import check_class_names, stratified

SPLITS = {
    "train": ("train",),
    "validation": ("validation", "val", "valid"),
    "test": ("test",),
}
_MOST_NAMED = 3


@dataclasses.dataclass(frozen=True)
class Sought:
    """What lies in the folders of the classes, and what people call it.

    Args:
        one: such as `"image"`; of several with an `s`.
        suffixes: of the files that can be read.
        others: of files that are some too and cannot be read.
    """

    one: str
    suffixes: tuple[str, ...]
    others: tuple[str, ...] = ()

    @property
    def several(self):
        return f"{self.one}s"

    def is_one(self, name):
        """Return whether the file of a name is some, and not hidden."""
        return name.lower().endswith(self.suffixes + self.others) and not name.startswith(".")

    def below(self, folder):
        """Return the files below a folder, hidden ones left out, sorted, as strings.

        Links to folders are not followed, so that none can lead in circles.
        """
        files = []
        for parent, folders, names in os.walk(folder):
            folders[:] = [each for each in folders if not each.startswith(".")]
            files += [os.path.join(parent, each) for each in names if self.is_one(each)]
        return sorted(files)


def files_by_class(root, sought, class_names=None):
    """Return `{split: files}`, `{split: labels}` and the names of the classes.

    Args:
        root: the `Path` of the folder.
        sought: a `Sought`.
        class_names: in the order of the labels; the sorted names of the folders if `None`.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it does not hold one folder a class.
    """
    if not root.is_dir():
        raise FileNotFoundError(
            f"The data must be a folder with one folder of {sought.several} for each class. "
            f"Received: {name_of((root, None, None))}, no folder."
        )
    folders = _split_folders(root, sought)
    found = {
        split: {each.name: sought.below(each) for each in _subfolders(folder)}
        for split, folder in folders.items()
    }
    class_names = _class_names(root, found, class_names, sought)
    for folder in {root, *folders.values()}:
        _check_no_strays(folder, sought)
    files, labels = {}, {}
    for split, by_class in found.items():
        ordered = [(label, file) for label, each in enumerate(class_names)
                   for file in by_class.get(each, ())]  # fmt: skip
        labels[split] = [label for label, _ in ordered]
        files[split] = [file for _, file in ordered]
    return files, labels, class_names


def carved(splits, *, what, source, seed, validation_fraction, test_fraction):
    """Return all three splits, those that were missing carved from the training examples.

    Args:
        splits: `{name: Split}`, `"train"` among them.
        what: what people call the examples, such as `"images"`.
        source: where they were found.
        seed: integer that the validation split depends on; the test split is that of every seed.
        validation_fraction: share of each class.
        test_fraction: the same.

    Raises:
        ValueError: if a split would be empty.
    """
    splits = dict(splits)
    # The test examples are the same for every seed of ours.
    for split, fraction, drawn_by in (
        ("test", test_fraction, 0),
        ("validation", validation_fraction, seed),
    ):
        if split in splits:
            if not len(splits[split].labels):
                raise ValueError(
                    f"There must be {split} {what} where there is a folder for them. Received: "
                    f"none in {source}. Fill or remove the folder."
                )
            continue
        train = splits["train"]
        chosen = stratified(train.labels, fraction, drawn_by)
        if not chosen.any() or chosen.all():
            raise ValueError(
                f"There must be enough {what} to carve {split} {what} from. Received: "
                f"{len(chosen)} training {what}, of which a share of {fraction} a class leaves "
                f"one side empty. Add {what}, or pass another `{split}_fraction`."
            )
        splits[split], splits["train"] = train.take(chosen), train.take(~chosen)
    return splits


def check_unreadable(unreadable):
    """Refuse what is neither of the two ways to deal with what cannot be read.

    Raises:
        ValueError: in one sentence.
    """
    if unreadable not in ("refuse", "leave_out"):
        raise ValueError(
            f"`unreadable` must be 'refuse' or 'leave_out'. Received: unreadable={unreadable!r}."
        )


def refuse_unreadable(left_out, unreadable, *, one, fault):
    """Refuse what cannot be read, unless it is to be left out.

    Args:
        left_out: `{name: reason}`.
        unreadable: `"refuse"` or `"leave_out"`.
        one: what people call an example, such as `"image"`.
        fault: such as `"that cannot be decoded"`.

    Raises:
        ValueError: in one sentence.
    """
    if left_out and unreadable == "refuse":
        some = [f"{name} ({reason})" for name, reason in sorted(left_out.items())[:_MOST_NAMED]]
        more = f" and {len(left_out) - _MOST_NAMED} more" if len(left_out) > _MOST_NAMED else ""
        raise ValueError(
            f"Every {one} must be readable. Received: {len(left_out)} {fault}: "
            f"{', '.join(some)}{more}. Repair or remove them, or go on without them by "
            'unreadable="leave_out" (--leave-out-unreadable).'
        )


def check_classes_kept(labels, class_names, *, what, source):
    """Refuse data of which leaving out what is unreadable has left a class without examples.

    Args:
        labels: of the training examples that are left.
        class_names: of all classes.
        what: what people call the examples.
        source: where they were found.

    Raises:
        ValueError: in one sentence.
    """
    missing = np.setdiff1d(np.arange(len(class_names)), labels)
    if len(missing):
        raise ValueError(
            f"Every class must keep training {what}. Received: none that can be read of "
            f"{class_names[missing[0]]!a} in {source}. Repair them, or remove the class."
        )


def _check_no_strays(folder, sought):
    strays = sorted(each for each in folder.iterdir() if sought.is_one(each.name))
    strays = [each.name for each in strays if not each.is_dir()]
    if strays:
        raise ValueError(
            f"Each {sought.one} must lie in the folder of its class. Received: {strays[0]!a}"
            f"{f' and {len(strays) - 1} more' if strays[1:] else ''} in {folder} itself. Move it "
            "into its folder, or away."
        )


def _split_folders(root, sought):
    folders = {each.name: each for each in _subfolders(root)}
    if "train" not in folders:
        return {"train": root}
    split_folders, known = {}, []
    for split, names in SPLITS.items():
        there = [name for name in names if name in folders]
        known += there
        if len(there) > 1:
            raise ValueError(
                f"There must be one folder of {split} {sought.several}. Received: "
                f"{' and '.join(there)} in {root}. Remove one."
            )
        if there:
            split_folders[split] = folders[there[0]]
    others = sorted(set(folders) - set(known))
    if others:
        raise ValueError(
            "Beside `train` there must be nothing but `validation` and `test`. "
            f"Received: {', '.join(map(ascii, others[:5]))} in {root}. Move it away."
        )
    return split_folders


def _subfolders(folder):
    return sorted(
        each
        for each in folder.iterdir()
        if each.is_dir() and not each.name.startswith((".", "__MACOSX"))
    )


def _class_names(root, found, class_names, sought):
    what = sought.several
    if not any(found["train"].values()):
        raise ValueError(
            f"The data must hold one folder of {what} ({', '.join(sought.suffixes)}) for each "
            f"class. Received: {name_of((root, None, None))}, where no folder holds any. Sort the "
            f"{what} into folders, or name another folder."
        )
    there = {name for by_class in found.values() for name, files in by_class.items() if files}
    if class_names is None:
        class_names = sorted(found["train"])
    class_names = check_class_names(class_names)
    unknown = sorted(there - set(class_names))
    missing = [each for each in class_names if not found["train"].get(each)]
    for split, by_class in found.items():
        empty = [each for each in class_names if by_class.get(each) == []]
        if empty and not unknown and not missing:
            raise ValueError(
                f"A folder of a class must hold {what}. Received: none in the {split} folder of "
                f"{empty[0]!a}. Fill or remove it."
            )
    if unknown or missing:
        kind = f"no training {what}" if missing else "a folder that is no class"
        some = ", ".join(map(ascii, (missing or unknown)[:5]))
        raise ValueError(
            f"There must be a folder of training {what} for each of the {len(class_names)} "
            f"classes, and no other. Received: {kind}: {some}. Fill, remove or rename the folders, "
            "or give the names in the teacher's order with `class_names` (or class_names.json)."
        )
    return class_names
