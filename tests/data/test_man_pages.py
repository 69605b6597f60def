"""Manual pages: what is left of roff is what somebody wrote."""

import gzip

from keras_kd.data.man_pages import pages_of, sentences_of

PAGE = r""".\" A comment that nobody reads.
.TH CAT 1 "September 2022" "GNU coreutils 9.1"
.SH BEZEICHNUNG
cat \- Dateien aneinanderh\[u00E4]ngen und ausgeben
.SH ÜBERSICHT
\fBcat\fP [\fI\,OPTION\/\fP]… [\fI\,DATEI\/\fP]…
.SH BESCHREIBUNG
.TP
\fB\-A\fP, \fB\-\-show\-all\fP
wie die Option \fB\-vET\fP mit allen
Zeilen der \(BqEingabe\(lq.  Ein zweiter Satz steht in Klammern.
.PP
Die Datei
.I /etc/passwd
und
.BR ls (1)
sind von dieser Seite nicht betroffen.
.nf
int main(void) is code of nobody at all
.fi
Zuletzt noch version 2.0 von stdio.h und errorCode und ein Ende.
"""


def test_markup_options_files_and_code_are_left_out():
    assert sentences_of(PAGE) == [
        "Dateien aneinanderhängen und ausgeben",
        "wie die Option mit allen Zeilen der „Eingabe“.",
        "Ein zweiter Satz steht in Klammern.",
        "Die Datei und sind von dieser Seite nicht betroffen.",
        "Zuletzt noch version von und und ein Ende.",
    ]


def test_latin_words_are_names_in_other_letters():
    page = ".SH ОПИС\nДатотека README описује Linux и његове наредбе.\n"
    said = "Датотека описује и његове наредбе."
    assert sentences_of(page, latin=False) == [said]


def test_where_no_spaces_stand_sentences_end_at_their_own_stop():
    page = r""".SH 説明
ファイル (file) の内容を \fBcat\fP で結合します。標準出力に書きます。
短い。
"""
    assert sentences_of(page, spaced=False) == [
        "ファイルの内容をで結合します。",
        "標準出力に書きます。",
    ]


def test_code_that_never_ends_ends_at_the_next_heading():
    page = ".nf\nsome code that is not closed\n.SH NOTES\nThis is what follows it here.\n"
    assert sentences_of(page) == ["This is what follows it here."]


def test_links_and_pages_of_another_kind_are_left_out(tmp_path):
    folder = tmp_path / "man1"
    folder.mkdir()
    for name, content in (
        ("cat.1", PAGE.encode()),
        ("also.1", b".so man1/cat.1\n"),
        ("bsd.1", b".Dd May 1\n.Nm bsd\n"),
        ("old.1", "Größe".encode("latin-1")),
    ):
        (folder / f"{name}.gz").write_bytes(gzip.compress(content))
    (folder / "link.1.gz").symlink_to("cat.1.gz")
    assert [name for name, _ in pages_of(tmp_path)] == ["cat.1"]
