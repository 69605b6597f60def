"""Tables: numbers and words by column, and what was learned of the rows."""

import json

import numpy as np
import pytest

import keras_kd as kd

HEADER = "weight,colour,label"


def lines(count=40):
    return [
        f"{n},{'red' if n % 3 else 'blue'},{'big' if n > 20 else 'small'}" for n in range(count)
    ]


@pytest.fixture
def things(tmp_path):
    def write(*rows, header=HEADER, name="things.csv", encoding="utf-8"):
        path = tmp_path / name
        path.write_text("\n".join([header, *(rows or lines())]) + "\n", encoding=encoding)
        return path

    return write


def test_numbers_stand_as_they_are_and_words_are_places(things):
    data = kd.data.read(things())
    assert data.columns.inputs == ("weight", "colour=blue", "colour=red")
    assert data.class_names == ("big", "small") and data.reads == "numbers"
    every = np.concatenate([each.images for each in (data.train, data.validation, data.test)])
    assert every.dtype == np.float32
    for weight, blue, red in every:
        assert (blue, red) == ((0, 1) if weight % 3 else (1, 0))
    labels = np.concatenate([each.labels for each in (data.train, data.validation, data.test)])
    np.testing.assert_array_equal(labels, (every[:, 0] <= 20).astype(int))


def test_what_is_missing_or_unknown_is_the_mean_or_zeros(things):
    rows = lines()
    rows[3], rows[5], rows[7] = ",red,small", "NA,red,small", "7,,small"
    data = kd.data.table(things(*rows), seed=3)
    weight, colour = data.columns.columns
    assert colour.categories == ("blue", "red")
    numbers = data.columns.encode(
        [{"weight": None, "colour": "green"}, {"weight": " 2.5", "colour": None}]
    )
    np.testing.assert_allclose(numbers, [[weight.mean, 0, 0], [2.5, 0, 0]], rtol=1e-6)


def test_nothing_is_learned_of_test_rows_and_the_same_for_every_seed(tmp_path):
    head, train = "x,label", [f"{n % 5},{'ab'[n % 2]}" for n in range(40)]
    (tmp_path / "train.csv").write_text("\n".join([head, *train]))
    (tmp_path / "test.csv").write_text("\n".join([head, "1000,a", "2000,b"]))
    columns = [kd.data.table(tmp_path, seed=seed).columns for seed in (0, 1)]
    assert columns[0] == columns[1] and columns[0].columns[0].mean == 2.0


def test_of_carved_test_rows_nothing_is_learned_either(things):
    rows = [f"{n},c{n % 10},{'ab'[n % 2]}" for n in range(40)]
    data = kd.data.table(things(*rows))
    known = np.concatenate([data.train.images, data.validation.images])
    assert data.columns.columns[0].mean == pytest.approx(known[:, 0].mean(), rel=1e-6)


def test_a_test_row_that_holds_a_word_for_a_number_is_named(tmp_path):
    head, train = "x,label", [f"{n},{'ab'[n % 2]}" for n in range(40)]
    (tmp_path / "train.csv").write_text("\n".join([head, *train]))
    (tmp_path / "test.csv").write_text("\n".join([head, "1,a", "old,b"]))
    with pytest.raises(
        ValueError, match="'x' must hold finite numbers. Received: 'old' in .*line 3"
    ):
        kd.data.table(tmp_path)


def test_columns_are_those_that_were_asked_for(things):
    data = kd.data.table(things(), columns=["colour", "weight"])
    assert data.columns.inputs == ("colour=blue", "colour=red", "weight")
    data = kd.data.table(things(), columns=["weight"], categorical=["weight"])
    assert data.columns.inputs[:2] == ("weight=0", "weight=1")


def test_rows_of_json_are_those_of_csv(things, tmp_path):
    def value(word):
        return int(word) if word.isdecimal() else word

    names = HEADER.split(",")
    rows = [dict(zip(names, map(value, line.split(",")), strict=True)) for line in lines()]
    path = tmp_path / "things.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    assert kd.data.read(path).digest == kd.data.read(things()).digest
    tabs = things(*(line.replace(",", "\t") for line in lines()), header="weight\tcolour\tlabel")
    assert kd.data.read(tabs).digest == kd.data.read(path).digest


def test_whole_numbers_as_labels_are_in_their_own_order(things):
    data = kd.data.table(things(*(f"{n},{n % 12}" for n in range(240)), header="x,label"))
    assert data.class_names == tuple(map(str, range(12)))


@pytest.mark.parametrize(
    ("rows", "options", "sentence"),
    [
        (["1,red,a", "2,red,a", "old,red,b", "4,red,b"], {},
         "'weight' with 3 numbers and 1 words, such as 'old' in .*things.csv, line 4"),
        (["1,red,a", "2,red", "3,red,b"], {}, "3 fields in every line. Received: 2 in line 3"),
        (['1,"red,a', "2,red,b"], {}, "must be CSV. Received: unexpected end of data"),
        (["1,red,a", "2,red,a", "3,red,b"], {}, "'b' once as 'label' in .*line 4"),
        (["1,red,a", "2,red,a", "3,red,"], {}, "Received: none as 'label' in .*line 4"),
        (["1;5,red,a", "2;5,red,b"] * 9, {"label": "kind"}, "a column 'kind' of labels"),
        (["1,red,a", "2,red,b"] * 9, {"columns": ["size"]}, "must have a column 'size'"),
        (["1,red,a", "2,red,b"] * 9, {"columns": ["label"]}, "Received: the label 'label'"),
        (["1,red,a", "2,red,b"] * 9, {"columns": "weight"}, "`columns` must be a list of names"),
        (["1,red,a", "2,red,b"] * 9, {"categorical": "colour"}, "`categorical` must be a list"),
        (["1,,a", "2,,b"] * 9, {}, "'colour', which is empty"),
        (["1e39,red,a", "2,red,b"] * 9, {}, "float32 does not hold"),
        (["9" * 400 + ",red,a", "2,red,b"] * 9, {}, "float32 does not hold"),
        (["1,red,a"] * 9, {}, "several classes. Received: 'a' as 'label' of every row"),
        ([f"1,name {n},{'ab'[n % 2]}" for n in range(150)], {}, "at most 100 of them"),
        (["1,red,a", "2,red,b"] * 9, {"class_names": ["a", "b", "c"]}, "none of 'c'"),
        (["1,red,a", "2,red,b"] * 9, {"class_names": ["a", "z"]}, "Received: 'b' in .*line 3"),
    ],
)  # fmt: skip
def test_what_could_not_be_learned_from_is_refused(things, rows, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        kd.data.table(things(*rows), **options)


def test_numbers_with_commas_are_no_words(things):
    rows = [f"{n},5;red;{'ab'[n % 2]}" for n in range(20)]
    with pytest.raises(ValueError, match="Numbers must have a point. Received: 'weight'"):
        kd.data.table(things(*rows, header="weight;colour;label"))


@pytest.mark.parametrize(
    ("header", "sentence"),
    [
        ("weight,weight,label", "'weight' twice"),
        ("weight,,label", "one without a name"),
        ("", "no columns"),
    ],
)
def test_columns_must_have_names(things, header, sentence):
    with pytest.raises(ValueError, match=sentence):
        kd.data.table(things(header=header))


def test_another_encoding_and_an_empty_file_are_refused(things, tmp_path):
    path = things("1,gr\xfcn,a", "2,rot,b", encoding="latin-1")
    with pytest.raises(ValueError, match="must be UTF-8. Received: byte 0xfc"):
        kd.data.table(path)
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(ValueError, match="no columns"):
        kd.data.table(tmp_path / "empty.csv")
    (tmp_path / "head.csv").write_text(HEADER)
    with pytest.raises(ValueError, match="which has none"):
        kd.data.table(tmp_path / "head.csv")
    with pytest.raises(FileNotFoundError, match="neither"):
        kd.data.table(tmp_path / "none.csv")


def test_a_row_of_another_day_must_have_its_columns(things):
    columns = kd.data.table(things()).columns
    with pytest.raises(ValueError, match="a column 'colour'. Received: row 0 with 'weight'"):
        columns.encode([{"weight": 1}])
    with pytest.raises(ValueError, match="'weight' must hold finite numbers. Received: 'heavy'"):
        columns.encode([{"weight": "heavy", "colour": "red"}])
    with pytest.raises(ValueError, match="a list of dicts. Received: one dict"):
        columns.encode({"weight": 1, "colour": "red"})
    with pytest.raises(ValueError, match="a dict by column. Received: 'red' as row 0"):
        columns.encode(["red"])


def test_rows_without_labels_are_read_by_the_same_columns(things):
    data = kd.data.table(things())
    path = things("9,red", header="weight,colour", name="others.csv")
    assert kd.data.unlabelled(path, data).tolist() == [[9, 0, 1]]


def test_a_file_tells_its_columns(things, tmp_path):
    data = kd.data.table(things())
    student = kd.models.mlp([4], input_shape=(3,), num_classes=2)
    path = kd.export.litert(student, tmp_path / "student.tflite", columns=data.columns)
    told = kd.data.Columns.from_config(kd.export.embedded(path))
    assert told == data.columns
    assert kd.export.run_litert(path, told.encode([{"weight": 1, "colour": "red"}])).logits.shape
    kd.export.litert(student, path)
    with pytest.raises(ValueError, match="must tell the columns of its table. Received: none"):
        kd.data.Columns.from_config(kd.export.embedded(path))
    with pytest.raises(ValueError, match="those of a table.*Received: columns='weight'"):
        kd.export.litert(student, tmp_path / "other.tflite", columns="weight")
    columns = kd.data.Columns(data.columns.columns[:1])
    with pytest.raises(ValueError, match="must make the \\[3\\] numbers"):
        kd.export.litert(student, tmp_path / "other.tflite", columns=columns)
    assert not (tmp_path / "other.tflite").exists()
