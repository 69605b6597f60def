"""The page's sections of what was left: no teacher, no control, no images, a hundred classes."""

import re

import numpy as np
import pytest

from keras_kd.experiment import blocks, gallery, sections
from keras_kd.runs.evaluation import Predictions

GENERATOR = np.random.default_rng(0)
FIGURES = {
    "accuracy": 0.5,
    "negative_log_likelihood": 1.0,
    "expected_calibration_error": 0.1,
}
THREE = ("teacher", "student_alone", "student")


def predictions(folder, names=THREE, num_classes=3, images=None):
    """Write and read what models said of 300 examples; the better a model, the surer."""
    labels = np.arange(300) % num_classes
    sure = {"teacher": 4.0, "student": 3.0, "student_alone": 2.0}
    logits = {name: GENERATOR.normal(size=(300, num_classes)) for name in names}
    for name, each in logits.items():
        each[np.arange(300), labels] += sure[name]
    shown = np.arange(4)
    images = np.empty(0) if images is None else images[shown]
    np.savez(
        folder / "predictions.npz", labels=labels, shown=shown, images=images,
        **{f"logits/{name}": each for name, each in logits.items()},
    )  # fmt: skip
    return Predictions(folder, num_classes, names=("student",))


def page_of(said, results=None):
    class_names = [f"class {number}" for number in range(next(iter(said.logits.values())).shape[1])]
    results = {"data": {"test": 300}, "models": {}} | (results or {})
    part = type("Part", (), {"predictions": said, "curves": {}})
    return "\n".join(
        [
            sections.comparisons(results, [part]),
            sections.learning([part]),
            sections.by_class([said], class_names),
            sections.confusions([said], class_names),
            sections.sureness([said]),
            gallery.section(said),
        ]
    )


def test_everything_is_there_where_all_models_are(tmp_path):
    text = page_of(predictions(tmp_path))
    assert "distillation gave back" in text and "compression cost" in text
    assert "distilled minus student alone" in text
    assert 'id="cards"' in text


def test_without_a_control_the_student_is_held_against_its_teacher(tmp_path):
    text = page_of(predictions(tmp_path, ("teacher", "student")))
    assert "distilled minus teacher" in text and "student alone" not in text
    assert "distillation gave back" not in text
    assert text.count('class="strip"') == 1 + 3  # Against the teacher; three classes.


def test_without_a_teacher_there_is_no_gallery(tmp_path):
    said = predictions(tmp_path, ("student_alone", "student"))
    text = page_of(said)
    assert "distilled minus student alone" in text and "teacher" not in text
    assert 'id="cards"' not in text


def test_a_student_alone_in_the_world_has_no_comparison(tmp_path):
    text = page_of(predictions(tmp_path, ("student",)))
    assert "against each other model" not in text and "minus" not in text
    assert "By class" in text


def test_of_a_hundred_classes_twenty_are_shown_and_the_page_says_which(tmp_path):
    said = predictions(tmp_path, num_classes=100)
    hardest = np.argmin(sections.metrics.per_class_accuracy(said.labels, said.logits["student"]))
    text = page_of(said)
    assert "20 of 100 classes: the hardest, and where models differ most." in text
    strips = text[text.index("By class") : text.index("<table")]
    assert strips.count('class="strip"') == 20 and f"class {hardest}<" in strips
    for table in re.findall(r'<table class="matrix.*?</table>', text, flags=re.DOTALL):
        assert table.count("<tr>") == 1 + 20 and ">others<" in table


def test_a_row_of_a_confusion_matrix_is_all_that_its_label_is_taken_for(tmp_path):
    text = page_of(predictions(tmp_path, num_classes=100))
    (student,) = re.findall(r'<table class="matrix student [^"]*"><caption>student d.*?</table>',
                            text, flags=re.DOTALL)  # fmt: skip
    rows = student.split("<tr>")[2:]
    sums = [sum(map(float, re.findall(r">(\d+)</td>", row))) for row in rows]
    np.testing.assert_allclose(sums, 100, atol=1.5)  # Three examples a class, rounded.


def test_a_class_without_a_test_example_is_none_of_the_hardest(tmp_path):
    said = predictions(tmp_path, num_classes=100)
    said.labels[said.labels == 7] = 8
    assert "class 7<" not in page_of(said)


def test_examples_that_are_no_images_are_shown_without(tmp_path):
    names = ["a", "b", "c"]
    found = gallery.examples(predictions(tmp_path), names)
    assert [each["image"] for each in found["examples"]] == [None] * 4
    for depth in (1, 3, 4):
        images = GENERATOR.uniform(0, 255, (300, 5, 5, depth)).astype("float32")
        found = gallery.examples(predictions(tmp_path, images=images), names)
        assert all(each["image"].startswith("data:image/png") for each in found["examples"])


def test_an_example_shows_its_label_and_the_likeliest_classes(tmp_path):
    said = predictions(tmp_path, num_classes=100)
    said.logits["teacher"][0, said.labels[0]] = said.logits["student"][0, said.labels[0]] = -9
    first = gallery.examples(said, [""] * 100)["examples"][0]
    assert len(first["bars"]) == 10 and first["label"] in first["bars"]
    assert said.logits["teacher"][0].argmax() in first["bars"]


def test_a_fixed_teacher_has_no_curves_and_maybe_no_file(tmp_path):
    student = {"parameters": 10, "bytes": 2000, "test": FIGURES}
    models = {"teacher": {"parameters": 100, "test": FIGURES}, "student": student}
    results = {"data": {"test": 300}, "models": models}
    assert re.search(r"teacher</th>(<td>[^<]+</td>){3}<td>100</td><td></td>",
                     sections.models(results))  # fmt: skip
    files = sections.files(results, tmp_path)
    assert "student distilled, .keras" in files and "teacher, .keras" not in files


def test_a_calibration_that_got_worse_is_said_below_the_table():
    worse = FIGURES | {"expected_calibration_error": 0.2}
    models = {
        name: {"parameters": 10, "bytes": 2000, "test": figures}
        for name, figures in (("student_alone", FIGURES), ("student", worse))
    }
    text = sections.models({"data": {"test": 300}, "models": models})
    assert "Calibration got WORSE" in text
    models["student"]["test"] = FIGURES
    assert "WORSE" not in sections.models({"data": {"test": 300}, "models": models})


def test_a_table_leaves_out_what_nobody_has_a_figure_of():
    text = blocks.table(["", "a", "b"], [["x", "", "1"], ["y", "", ""]], best="x")
    assert ">a<" not in text and ">b<" in text and text.count("<td>") == 2
    assert '<tr class=best><th scope="row">x' in text


class TestStrips:
    def test_dots_and_lines_lie_where_their_values_are(self):
        rows = [("one", [("student", 2.0, 4.0, 8.0)], "")]
        text, begin = blocks.strips(rows, "what", zero=True)
        assert begin == 0
        assert 'class="line student" style="left:25.00%;width:75.00%' in text
        assert 'class="dot student" style="left:50.00%' in text
        assert 'class="zero" style="left:0.00%"' in text

    @pytest.mark.parametrize("value", [float("nan"), 50.0])
    def test_the_axis_stays_within_its_limits(self, value):
        rows = [("one", [("student", None, 99.9, None), ("teacher", None, value, None)], "")]
        text, begin = blocks.strips(rows, "what", within=(0, 100))
        assert begin >= 0 and ">100</i>" in text and ">102" not in text
        assert ("dot teacher" in text) == (value == value)


def test_a_matrix_is_darker_where_it_is_more_and_leaves_zeros_out():
    text = blocks.matrix("<m>", ["a", "b"], ["a", "b"], [[100, 0], [-50, float("nan")]])
    assert re.findall(r"--v:([\d.]+)\">([^<]*)<", text) == [
        ("0.50", "100"), ("0.00", ""), ("0.25", "-50"), ("0.00", ""),
    ]  # fmt: skip
    assert text.count("student_alone") == 1 and "<m>" not in text
