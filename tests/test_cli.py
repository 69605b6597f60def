"""The command as a person types it."""

import json
import os
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path

import pytest
import warm

import keras_kd
from keras_kd import arguments, cli

pytestmark = pytest.mark.usefixtures("no_pictures")


def keras_kd_command(*arguments, code=None, **environment):
    command = ["-c", code] if code else ["-m", "keras_kd", *arguments]
    environment = {**os.environ, **environment}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    return subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, env=environment, timeout=300
    )


def test_help_names_the_commands_and_imports_nothing_heavy():
    code = (
        "import sys, contextlib\n"
        "from keras_kd.cli import main\n"
        "with contextlib.suppress(SystemExit): main(['run', '--help'])\n"
        "heavy = {'keras', 'tensorflow', 'numpy', 'rich', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    result = keras_kd_command(code=code)
    assert result.returncode == 0, result.stderr
    for word in ("fashion_mnist_mlp", "digits", "--seed", "--epochs", "--quick", "--output"):
        assert word in result.stdout


def test_an_unknown_recipe_is_refused_with_the_known_ones(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["run", "imagenet"])
    assert caught.value.code == 2
    assert "digits" in capsys.readouterr().err


def test_every_recipe_can_be_named():
    import keras_kd as kd

    for name in arguments.recipe_names():
        recipe = getattr(kd.recipes, name)
        kinds = kd.experiment.Recipe, kd.experiment.MapRecipe
        assert isinstance(recipe, kinds) and recipe.name == name
    assert arguments.recipe_names() == sorted(kd.recipes.__all__)


def test_a_wrong_option_is_one_sentence_and_exit_code_2(capsys, tmp_path):
    assert cli.main(["run", "digits", "--seed", "-1", "--output", str(tmp_path / "new")]) == 2
    error = capsys.readouterr().err
    assert error == "keras-kd: error: `seed` must be an integer of at least 0. Received: seed=-1.\n"
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("hide", "environment", "sentence"),
    [
        ("tensorflow", {}, 'pip install "keras-kd[cpu]"'),
        ("ai_edge_litert", {}, 'pip install "keras-kd[export]"'),
        ("matplotlib", {}, 'pip install "keras-kd[report]"'),
        ("sklearn", {}, 'pip install "keras-kd[data]"'),
        (None, {"KERAS_BACKEND": "jax"}, "KERAS_BACKEND=tensorflow"),
    ],
)
def test_what_is_missing_is_one_sentence_not_a_traceback(hide, environment, sentence, tmp_path):
    code = (
        "import sys\n"
        f"for name in [each for each in sys.modules if each.split('.')[0] == {hide!r}]:\n"
        "    del sys.modules[name]\n"
        f"sys.modules[{hide!r}] = None\n"
        "from keras_kd.cli import main\n"
        f"sys.exit(main(['run', 'digits', '--output', {str(tmp_path)!r}]))"
    )
    # Others are looked for when TensorFlow and the package are there already.
    first = hide in ("tensorflow", None)
    result = keras_kd_command(code=code, **environment) if first else warm.run(code=code)
    assert result.returncode == 1
    assert sentence in result.stderr
    assert result.stderr.count("\n") == 1 and "Traceback" not in result.stderr


@pytest.mark.slow
def test_a_run_shows_its_progress_and_its_table_and_no_chatter(tmp_path):
    short = ["--quick", "--epochs", "1", "--output", str(tmp_path / "run")]
    result = keras_kd_command("run", "digits", *short)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    for words in (
        "Device: ", "teacher ", "student distilled ", "student alone ", "best val_accuracy",
        "NLL", "ECE", "agreement", "parameters", "executed by LiteRT on all 359 test examples",
        "microseconds each", "`--quick` is too short to judge",
    ):  # fmt: skip
        assert words in result.stdout
    assert (tmp_path / "run" / "student.tflite").is_file()


COMMANDS = ["run", "compare", "sweep", "search", "distill", "check", "resume", "list", "report",
            "export", "serve"]  # fmt: skip


def help_of(command, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main([*command, "--help"])
    assert caught.value.code == 0
    return capsys.readouterr().out


def examples_in(said):
    return [line.strip() for line in said.splitlines() if line.startswith("  keras-kd ")]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_ends_in_examples_that_can_be_typed(command, capsys):
    said = help_of([command], capsys)
    assert said.startswith(f"usage: keras-kd {command} ")
    examples = examples_in(said.split("examples:")[1])
    assert 1 <= len(examples) <= 2 and said.rstrip().endswith(examples[-1])
    for example in examples:
        name, *words = example.split(" | ")[0].split()
        assert name == "keras-kd" and words[0] == command
        assert arguments.parser().parse_args(words).command == command


def test_the_first_help_shows_three_commands_to_begin_with(capsys):
    examples = examples_in(help_of([], capsys))
    assert [example.split()[1] for example in examples] == ["run", "check", "distill"]


def test_the_help_of_a_run_says_what_each_recipe_is(capsys):
    said = " ".join(help_of(["run"], capsys).split())
    recipes = Path(keras_kd.__file__).with_name("recipes")
    for name in arguments.recipe_names():
        line = (recipes / f"{name}.py").read_text().split("\n")[0].strip('"')
        assert f"{name} {line}" in said


@pytest.mark.parametrize("width", [60, 80])
@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_no_help_breaks_a_word_or_a_line_of_the_terminal(command, width, capsys, monkeypatch):
    command = [command] if command else []
    monkeypatch.setenv("COLUMNS", "1000")
    whole = help_of(command, capsys).split()
    monkeypatch.setenv("COLUMNS", str(width))
    said = help_of(command, capsys)
    assert said.split() == whole
    assert max(map(len, said.splitlines())) <= width


def test_a_teacher_and_a_folder_become_a_recipe_that_can_be_written_down(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    keras_kd.models.mlp([4], image_shape=(6, 5, 1), num_classes=2).save("t.keras")
    (tmp_path / "class_names.json").write_text('["dog", "cat"]')
    own = ["--teacher", "t.keras", "--data", "photos", "--leave-out-unreadable", "--cache", "here"]
    words = ["run", *own, "--student", "mlp:4", "--alpha", "0.5", "--batch-size", "8"]
    recipe = cli._recipe(arguments.parser().parse_args(words)).with_size()
    assert recipe.name == "photos" and recipe.temperature == "auto" and recipe.checked
    assert (recipe.student, recipe.alpha, recipe.batch_size) == ("mlp:4", 0.5, 8)
    written = json.loads(json.dumps(recipe.words()))
    assert written["teacher"] == str(tmp_path / "t.keras")
    assert written["data"] == str(tmp_path / "photos")
    assert written["data_options"] == {
        "unreadable": "leave_out",
        "cache": str(tmp_path / "here"),
        "class_names": ["dog", "cat"],
        "default_size": [6, 5],
    }
    assert keras_kd.experiment.Recipe(**written).words() == written
    two = cli._recipe(arguments.parser().parse_args(["sweep", *own, "--teacher", "t.keras"]))
    assert two.teacher == ["t.keras", "t.keras"] and two.alpha == two.student == "auto"


@pytest.mark.parametrize("words", [["--quick", "digits"], ["digits", "--quick"]])
def test_a_recipe_stands_before_or_behind_its_options(words):
    options = arguments.parser().parse_args(["run", *words, "--epochs", "2"])
    assert (options.recipe, options.quick, options.epochs) == ("digits", True, 2)


def test_quiet_shows_nothing_but_errors(capsys, tmp_path):
    assert cli.main(["check", "digits", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    (tmp_path / "file").touch()
    assert cli.main(["run", "digits", "--quiet", "--output", str(tmp_path / "file")]) == 2
    assert capsys.readouterr().err.startswith("keras-kd: error: `output` must be a folder")


class Thing:
    """What a weak reference may point to."""


def interrupted_in_a_finaliser(options):
    thing = Thing()
    reference = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGTERM))
    del thing
    assert reference() is None
    for _ in range(60_000):
        time.sleep(0.001)


def interrupted_while_a_library_loads(options):
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        raise ImportError("initialization failed") from None


@pytest.mark.parametrize("work", [interrupted_in_a_finaliser, interrupted_while_a_library_loads])
def test_no_interruption_is_lost(work, monkeypatch, capsys):
    monkeypatch.setitem(cli._CALLS, "list", work)
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    start = time.monotonic()
    assert cli.main(["list", "runs"]) == 130
    assert time.monotonic() - start < 60
    assert capsys.readouterr().err == "keras-kd: interrupted. Nothing half-written was left.\n"
    assert handlers == [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_words_are_parsed_ends_quietly(number, monkeypatch, capsys):
    monkeypatch.setattr(cli, "parser", lambda: os.kill(os.getpid(), number) or time.sleep(5))
    assert cli.main(["list"]) == 130
    assert capsys.readouterr().err == "keras-kd: interrupted. Nothing half-written was left.\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_it_is_imported_ends_quietly(number):
    code = (
        "import os, sys, time, types\n"
        "from keras_kd.__main__ import main\n"
        "class Interrupts:\n"
        "    def find_spec(name, *rest):\n"
        "        if name == 'argparse':\n"
        f"            os.kill(os.getpid(), {int(number)}); time.sleep(5)\n"
        "sys.modules.pop('argparse', None); sys.meta_path.insert(0, Interrupts)\n"
        "sys.exit(main())"
    )
    result = keras_kd_command(code=code)
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "")


@pytest.mark.parametrize("arguments", [["--help"], ["list", "."], ["list", "/nowhere", "--no"]])
def test_nobody_who_reads_is_no_error(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.run(
        [sys.executable, "-m", "keras_kd", *arguments], stdout=writer, stderr=subprocess.PIPE,
        text=True, timeout=300,
    )  # fmt: skip
    os.close(writer)
    wrong = arguments[-1] == "--no"
    assert process.returncode == (2 if wrong else 0)
    assert ("unrecognized arguments: --no" in process.stderr) == wrong
    assert "Broken" not in process.stderr and "Traceback" not in process.stderr


def test_a_terminal_without_the_signs_gets_escapes():
    result = keras_kd_command("list", "no such ± folder", PYTHONIOENCODING="ascii")
    assert (result.returncode, result.stderr) == (0, "")
    assert "There is no run in or below no such \\xb1 folder" in result.stdout


def test_a_training_goes_on_when_nobody_reads(tmp_path, monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w", closefd=False) as nobody, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", nobody)
        assert cli.main(["run", "digits", "--epochs", "1", "--output", str(tmp_path)]) == 0
        os.dup2(os.open(os.devnull, os.O_WRONLY), writer)
    assert (tmp_path / "results.json").is_file()


class Gone:
    """A stream that nobody reads any more."""

    def write(self, text):
        raise BrokenPipeError

    def isatty(self):
        return False


def test_the_exit_code_is_right_where_nobody_reads_the_sentence(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Gone())
    assert cli.main(["run", "digits", "--epochs", "0"]) == 2


def test_where_a_stream_is_closed_no_file_takes_its_place(tmp_path):
    # A child in which 2 is closed; what it opens next must not be 2, where TensorFlow writes.
    code = (
        "import os, sys\n"
        "from keras_kd import __main__\n"
        "from keras_kd import cli\n"
        f"cli.main = lambda: os.open({str(tmp_path / 'x')!r}, os.O_CREAT | os.O_RDWR)\n"
        "os._exit(10 + __main__.main())\n"
    )
    closed = subprocess.run(
        [sys.executable, "-c", code], stdin=subprocess.DEVNULL, preexec_fn=lambda: os.close(2)
    )
    assert closed.returncode > 12
