"""The documentation site is built, whole, from this checkout alone, and is good to look at."""

import re
import sys
from html.parser import HTMLParser
from urllib.parse import unquote, urldefrag

import pytest
from helpers import ROOT

DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS))

import build  # noqa: E402
import documents  # noqa: E402
import reference  # noqa: E402

# Of links in documents; the second is where files of the checkout are shown.
HOME = "https://github.com/keras-kd/keras-kd"
FILES = re.compile(
    rf"(?:{HOME}/(?:blob|tree)|https://raw.githubusercontent.com/keras-kd/keras-kd)/main/"
)
SITE = "https://keras-kd.github.io/keras-kd/"


class Page(HTMLParser):
    """What a page links to, asks for, and has a name for."""

    def __init__(self, path):
        super().__init__()
        self.links, self.files, self.names = [], [], set()
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.names |= {found[key] for key in ("id", "name") if found.get(key)}
        if tag == "a" and found.get("href") is not None:
            self.links.append(found["href"])
        if found.get("src"):
            self.files.append(found["src"])
        if tag == "link" and found.get("rel") in ("stylesheet", "icon", "preload", "manifest"):
            self.files.append(found["href"])
        if tag == "source" and found.get("srcset"):
            self.files.append(found["srcset"])


@pytest.fixture(scope="module")
def parsed(site):
    """Every page of the site by its path."""
    return {path: Page(path) for path in sorted(site.rglob("*.html")) if path.name != "404.html"}


def is_elsewhere(link):
    return re.match(r"[a-z+]+:|//", link) is not None


def file_of(link, page):
    """Return the file that a link of a page leads to."""
    target = page.parent / unquote(urldefrag(link).url.partition("?")[0])
    return (target / "index.html" if target.is_dir() else target).resolve()


def test_every_link_leads_somewhere(parsed):
    lost = []
    for page, found in parsed.items():
        for link in filter(lambda link: not is_elsewhere(link), found.links):
            path, anchor = urldefrag(link)
            target = file_of(path, page) if path else page
            names = parsed[target].names if target in parsed else set()
            if not target.is_file() or (names and anchor and unquote(anchor) not in names):
                lost.append(f"{page}: {link}")
    assert not lost


def test_every_picture_and_file_lies_on_the_site_itself(parsed, site):
    for page, found in parsed.items():
        for file in found.files:
            assert not is_elsewhere(file) or file.startswith("data:"), (page, file)
            assert file.startswith("data:") or file_of(file, page).is_file(), (page, file)
    for path in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?(https?:)?//|@import", path.read_text()), path


def test_every_public_name_has_its_place_in_the_reference(parsed, site):
    for name, module in reference.public_modules().items():
        page = site / "reference" / name.removeprefix("keras_kd.") / "index.html"
        for member in reference.public_names(module):
            assert f"{name}.{member}" in parsed[page].names


def test_every_tab_has_its_pages(parsed, site):
    home = (site / "index.html").read_text()
    tabs = re.findall(r'class="md-tabs__link">\s*(\w+)\s*<', home)
    assert tabs == [tab for tab in build.TABS if tab in tabs]
    assert {"Start", "Notebooks", "Reference", "Results"} <= set(tabs)


def sources():
    return [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("notebooks/*.ipynb")]


def test_links_to_the_public_home_name_files_of_this_checkout():
    for path in sources():
        for link in re.findall(r"https://[^\s\"'<>)\]\\]+", path.read_text()):
            if FILES.match(link):
                assert (ROOT / urldefrag(FILES.sub("", link)).url).exists(), (path, link)


def test_links_to_the_public_site_name_its_pages(site):
    for path in sources():
        for link in re.findall(rf"{SITE}[^\s\"'<>)\]\\]*", path.read_text()):
            page = urldefrag(link).url.removeprefix(SITE)
            assert (site / page / "index.html").is_file(), (path, link)


def test_relative_links_of_documents_lead_to_files():
    for path in sources():
        # Those of `docs/` lead to pages, some of which are made.
        targets = re.findall(r"\]\(([^)\s#]+)", path.read_text()) if path.parent == ROOT else ()
        for target in targets:
            assert is_elsewhere(target) or (ROOT / target).exists(), (path, target)


def test_a_figure_comes_from_the_atlas():
    assert re.fullmatch(
        r"over −?\d+\.\d points \(−?\d+\.\d to −?\d+\.\d\)",
        documents.with_gains("over {{gain recipe_digits}}", "page.md"),
    )
    with pytest.raises(ValueError, match="page.md: `{{gain nothing}}` must name a row"):
        documents.with_gains("{{gain nothing}}", "page.md")


def test_a_page_on_no_tab_is_an_error(tmp_path):
    (tmp_path / "stray.md").write_text("# Stray\n")
    with pytest.raises(ValueError, match=r"on no tab: stray.md"):
        build.navigation(tmp_path)


def test_links_of_documents_are_those_of_their_pages(tmp_path):
    text = "[a](atlas.md#b) ![c](results/pictures/atlas.png) [d](../Makefile) `[e](f)` [g](#h)"
    made = documents.relinked(text, "benchmarks/README.md", "results/index.md", tmp_path)
    assert made == (
        "[a](atlas.md#b) ![c](../benchmarks/results/pictures/atlas.png) "
        f"[d]({HOME}/blob/main/Makefile) `[e](f)` [g](#h)"
    )
    with pytest.raises(ValueError, match="leads to nowhere.md, which does not exist"):
        documents.relinked("[a](nowhere.md)", "README.md", "index.md", tmp_path)
