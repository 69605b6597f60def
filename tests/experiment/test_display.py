"""What a notebook shows of a finished experiment."""

import base64
import re

from keras_kd._common.console import Table
from keras_kd.experiment.display import html_of

NASTY = '<script>alert("x")</script>\x1b[2J'


def table():
    found = Table(NASTY, ["", "accuracy"], caption="One figure.")
    found.add_row(NASTY, "0.9876", colour="#0081c8", bold=True)
    found.add_section()
    found.add_row("alone", "0.9765")
    return found


def test_it_says_the_verdict_first_then_the_table_and_where_the_files_are(tmp_path):
    shown = html_of("Better by 0.65 points.", table(), tmp_path)
    places = [shown.index(part) for part in ("Better by 0.65", "0.9876", "0.9765", str(tmp_path))]
    assert places == sorted(places) and "<img" not in shown
    assert shown.count("<tr>") == 3 and "color: #0081c8" in shown


def test_what_comes_from_outside_is_text_in_it(tmp_path):
    shown = html_of(NASTY, table(), tmp_path / "<b>")
    assert "<script" not in shown and "\x1b" not in shown and "/&lt;b&gt;" in shown


def test_each_picture_of_the_folder_is_in_it_with_what_it_shows(tmp_path):
    for name in ("picture.png", "search.png"):
        (tmp_path / name).write_bytes(name.encode())
    found = re.findall(
        r'alt="([^"]+)" src="data:image/png;base64,([^"]+)"', html_of("", table(), tmp_path)
    )
    assert [base64.b64decode(data) for _, data in found] == [b"picture.png", b"search.png"]
    assert all(len(alt) > 20 for alt, _ in found)


def test_of_what_is_not_kept_no_place_is_told():
    shown = html_of("Better.", table(), None)
    assert "Better." in shown and "0.9876" in shown and "Written" not in shown
