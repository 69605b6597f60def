"""Every option of every command is judged before anything is made: exit code 2, one sentence.

The options are walked as the parser has them, so that a new one cannot be forgotten: whoever adds
one says here which of the values below it takes.
"""

import argparse
import os
import sys
from pathlib import Path

import pytest

from keras_kd import arguments, cli

NASTY = [
    "", " ", "nan", "inf", "-inf", "1e308", "1e-300", "-1", "0", "99999999999999999999", "abc",
    "a\0b",
]  # fmt: skip
NAMES = {"nan", "inf", "1e308", "1e-300", "-1", "0", "99999999999999999999", "abc"}
FOLDER_TO_WRITE, FOLDER, FILE = "folder to write", "folder", "file"
# What an option takes of the values above, and what it names.
TAKES = {
    "device": (set(), None),
    "recipe": (set(), None),
    "seed": ({"0"}, None),
    "seeds": (set(), None),
    "epochs": (set(), None),
    "patience": (set(), None),
    "batch_size": (set(), None),
    "trials": (set(), None),
    "asked": (set(), None),
    "shard": (set(), None),
    "top_k": (set(), None),
    "workers": (set(), None),
    "ray": (set(), None),
    "port": ({"0"}, None),
    "budget": (set(), None),
    "temperature": (set(), None),
    "alpha": ({"0", "1e-300"}, None),
    "learning_rate": (set(), None),
    "loss": (set(), None),
    "formats": (set(), None),
    "student": (set(), None),
    "scale": (set(), None),
    "head": (set(), None),
    "image_size": (set(), None),
    "num_bytes": (set(), None),
    "label": (set(), None),  # Arrays have no columns.
    "text": (set(), None),
    "modules": ({"abc"}, None),  # Python's own.
    "max_kb": ({"0", "1e-300"}, None),
    "max_drop": ({"0", "1e-300"}, None),
    "max_us": ({"0", "1e-300"}, None),
    "storage": (NAMES, FILE),
    "output": (NAMES, FOLDER_TO_WRITE),
    "to": (NAMES, FOLDER_TO_WRITE),
    "cache": (NAMES, FOLDER_TO_WRITE),
    "data_dir": (set(), FOLDER),
    "unlabelled": (set(), FOLDER),
    "soft_labels": (set(), FOLDER),
    "folder": (set(), FOLDER),
    "model": (set(), FILE),
    "teacher": (set(), FILE),
    "class_map": (set(), FILE),
    "data": (set(), None),
}
LISTED = "list", "folder"  # One that is not there holds no runs, and is said to.
COMMANDS = {
    "run": ["digits"],
    "compare": ["digits"],
    "sweep": ["digits"],
    "search": ["digits"],
    "resume": ["here"],
    "list": ["here"],
    "report": ["here"],
    "export": ["model.keras", "--to", "new", "--data", "digits"],
    "serve": ["here"],
    "distill": ["digits"],
    "check": ["digits"],
    "soft-labels": ["--teacher", "model.keras", "--data", "data.npz", "--output", "new"],
}
# In place of a recipe: a teacher and data of one's own, and what is said of them alone.
OWN = ["--teacher", "model.keras", "--data", "data.npz"]
OF_OWN = {
    "teacher", "data", "student", "scale", "head", "image_size", "num_bytes", "label", "text",
    "class_map", "cache", "modules", "patience", "unlabelled", "soft_labels",
}  # fmt: skip
CHOSEN = {"temperature", "alpha", "batch_size"}  # Those of a sweep and of a search are axes.
FILES = {"max_kb", "max_us"}  # A distillation asks them of a recipe too.
OWNERS = ("run", "compare", "sweep", "search", "distill", "check")
ACCEPTED = 99


def commands():
    (choices,) = (
        action.choices
        for action in arguments.parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    return choices


def options_of(parser):
    """Yield what takes a value: a flag has none that could be wrong."""
    for action in parser._actions:
        if action.nargs != 0 and not isinstance(action, argparse._SubParsersAction):
            yield action


EVERY = [(name, action) for name, parser in commands().items() for action in options_of(parser)]
# One function adds a user's own to six commands, and one judges them: two commands tell.
ALL = [
    (name, action)
    for name, action in EVERY
    if action.dest not in OF_OWN or name not in ("compare", "sweep", "search", "distill")
]


def line(command, action, value):
    """Return a command line on which nothing is wrong but one value."""
    base = list(COMMANDS[command])
    axes = CHOSEN if command in ("sweep", "search") else set()
    files = set() if command == "distill" else FILES
    if command in OWNERS and action.dest in OF_OWN | CHOSEN - axes | files:
        base = list(OWN)
    if not action.option_strings:
        if base and not base[0].startswith("-"):
            base = base[1:]
        return [command, value, *base]
    option = action.option_strings[0]
    if option in base:
        del base[base.index(option) : base.index(option) + 2]
    values = [value, value] if action.nargs == 2 else [value]
    more = ["--temperature", "2"] if option == "--loss" and command == "sweep" else []
    if action.dest == "soft_labels":
        del base[: base.index("--teacher") + 2]
        more = ["--student", "mlp:4"]
    return [command, *base, *more, option, *values]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Where the command finds its files, and where no command gets further than its options."""
    root = tmp_path / "place"
    (root / "here").mkdir(parents=True)
    for name in ("model.keras", "data.npz", "file"):
        (root / name).write_bytes(b"x")
    monkeypatch.chdir(root)
    for name in cli._CALLS:
        monkeypatch.setitem(cli._CALLS, name, lambda options: ACCEPTED)
    return root


def everything(root):
    return sorted(str(each.relative_to(root)) for each in root.rglob("*"))


def told(words, capsys, root):
    """Return the exit code, having looked at what was said and left."""
    before = everything(root)
    capsys.readouterr()
    try:
        code = cli.main(words)
    except SystemExit as ended:
        code = ended.code
    said, error = capsys.readouterr()
    assert everything(root) == before
    if code != ACCEPTED:
        assert said == ""
        assert error.startswith("keras-kd: error: ") and error.count("\n") == 1, error
        assert "Traceback" not in error and len(error) > 40
        assert "\0" not in error
    return code


def test_every_option_stands_in_the_table():
    assert set(COMMANDS) == set(commands())
    dests = {action.dest for _, action in EVERY} | {
        action.dest for action in options_of(arguments.parser())
    }
    assert dests == set(TAKES)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_table_is_taken_without_what_is_wrong(command, place, capsys):
    assert told([command, *COMMANDS[command]], capsys, place) == ACCEPTED


@pytest.mark.parametrize(
    ("command", "action"), ALL, ids=[f"{name}-{action.dest}" for name, action in ALL]
)
def test_values_that_could_not_do_end_with_2(command, action, place, capsys):
    taken = NAMES if (command, action.dest) == LISTED else TAKES[action.dest][0]
    for value in NASTY:
        code = told(line(command, action, value), capsys, place)
        # A value of both ends of a range, and of a positional argument, looks like an option.
        if value in taken and not (value == "-1" and code == 2):
            assert code == ACCEPTED, (value, code)
        else:
            assert code == 2, (value, code)


@pytest.mark.parametrize(
    ("command", "action"), ALL, ids=[f"{name}-{action.dest}" for name, action in ALL]
)
def test_a_folder_for_a_file_and_a_file_for_a_folder_end_with_2(command, action, place, capsys):
    kind = TAKES[action.dest][1]
    wrong = {
        None: [],
        FILE: ["here", "here/", "here/none/x" if action.dest != "storage" else "file/x", 300 * "n"],
        FOLDER: ["file", "file/x", "none" if command != "list" else "file", 300 * "n"],
        FOLDER_TO_WRITE: ["file", "file/new", "/dev/null/new", 300 * "n", "new/" + 300 * "n"],
    }[kind]
    if command == "list":
        wrong = [each for each in wrong if each in ("file",)]
    for value in wrong:
        assert told(line(command, action, value), capsys, place) == 2, value


@pytest.mark.parametrize("value", [*NASTY, "gpu:99", "cpu:", "tpu"])
def test_a_device_that_is_none_ends_with_2(value, place, capsys):
    assert told(["--device", value, "list", "here"], capsys, place) == 2


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("serve here --port 99999", "`port` must be at most 65535"),
        ("serve here --data imagenet", "`name` must be one of"),
        ("compare digits --seeds 99999999999", "`seeds` must be at most 1000"),
        ("run digits --seed 4294967296", "`seed` must be at most 4294967295"),
        ("run digits --best", "has no best form"),
        ("sweep digits --temperature 4 inf", "from 0.01 to 10000"),
        ("sweep digits --temperature 4 4", "must be different numbers"),
        ("sweep digits --loss SoftTargets NoLoss", "must name losses on logits"),
        ("search digits --temperature 8 2", "the low one first"),
        ("search digits --workers 257", "`workers` must be at most 256"),
        ("compare digits --workers 0", "`workers` must be an integer of at least 1"),
        ("sweep digits --workers 1.5", "invalid int value"),
        ("search digits --batch-size 8 8", "must be different integers"),
        ("search digits --storage nosuch://x", "of a kind that SQLAlchemy does not know"),
        ("search digits --storage postgresql://me:hunter2@h/d", "needs the package `psycopg"),
        ("search digits --storage sqlite:///here", "a folder or in none that is there"),
        ("search digits --storage sqlite:///none/x.db", "a folder or in none that is there"),
        ("search digits --storage sqlite://", "in memory"),
        ("export model.keras --to new --max-drop 1", "`max_drop` needs `data`"),
        ("export model.keras --to new --formats int9", "`formats` must be some of"),
        ("export model.keras --to new --data imagenet", "is not there. Known names are fashion"),
        ("export model.keras --to new --data digits --text said", "Received: --text beside digits"),
        ("export model.keras --to new --label kind", "Received: --label beside no data"),
        ("check --teacher model.keras --data digits --num-bytes 9", "--num-bytes beside digits"),
        ("check --teacher model.keras --data data.npz --num-bytes 9", "Arrays keep their shape"),
        ("check --data data.npz", "There must be a teacher"),
        ("run", "Received: neither. Say `keras-kd run digits`, or `keras-kd run --teacher"),
        ("sweep --temperature 1 2", "Received: neither"),
        ("distill digits --teacher model.keras", "Received: both, digits and --teacher"),
        ("run digits --max-kb 100", "Received: both, digits and --max-kb"),
        ("compare digits --alpha 0.5", "Received: both, digits and --alpha"),
        ("search digits --no-check", "Received: both, digits and --no-check"),
        ("sweep --teacher model.keras", "Received: no --data"),
        ("run --teacher model.keras --data data.npz --best", "Only a known recipe"),
        ("run --soft-labels here --data data.npz --student mlp:4 --unlabelled here", "Pass one or"),
        ("check --teacher model.keras --data data.npz --image-size 99999", "image size"),
        ("check --teacher model.keras --data data.npz --image-size 8x8", "Arrays keep their shape"),
        ("check --teacher model.keras --data data.npz --text said", "A column is one of a file of"),
        ("check --teacher model.keras --data data.npz --student mlp:99999999", "at most 10000000"),
        ("check --teacher model.keras --data data.npz --student resnet18:99", "at most 16"),
        ("check --teacher model.keras --data data.npz --student lenet5@99999", "at most 8192"),
        ("distill --data data.npz --output new --soft-labels here", "Name a student"),
    ],
)
def test_options_that_do_not_go_together_end_with_2(words, sentence, place, capsys, monkeypatch):
    code = None
    try:
        code = cli.main(words.split())
    except SystemExit as ended:
        code = ended.code
    error = capsys.readouterr().err
    assert code == 2 and error.count("\n") == 1
    assert sentence in error and "hunter2" not in error
    assert not Path("new").exists()


def test_a_missing_extra_is_no_wrong_option(place, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert cli.main(["search", "digits", "--storage", "sqlite:///x.db"]) == 1
    assert 'pip install "keras-kd[search]"' in capsys.readouterr().err


def test_what_was_typed_reaches_the_terminal_without_its_escape_sequences(place, capsys):
    for words in (
        ["run", "\x1b[31mred"],
        ["list", "here", "\x1b]0;title\x07"],
        ["report", "\x1b[2J"],
        ["check", "--teacher", "a\x1b[31m.keras", "--data", "data.npz"],
        ["check", "--teacher", "model.keras", "--data", "\x9b31m"],
    ):
        code = None
        try:
            code = cli.main(words)
        except SystemExit as ended:
            code = ended.code
        error = capsys.readouterr().err
        assert code == 2 and not {"\x1b", "\x9b", "\x07"} & set(error), error


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="The root may write anywhere.")
def test_a_folder_that_may_not_be_written_to_ends_with_2(place, capsys):
    (place / "here").chmod(0o500)
    assert told(["run", "digits", "--output", "here/new"], capsys, place) == 2
