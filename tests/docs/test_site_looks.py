"""The site can be read by everyone: in light and dark, on a phone, by keyboard, by ear."""

import functools
import http.server
import itertools
import re
import shutil
import threading
from html.parser import HTMLParser

import pytest

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
MAIN_PAGES = ("", "start/first_student/", "losses/", "reference/losses/", "results/atlas/")
SCHEMES = ("light", "dark")

# Text whose contrast with what lies behind it is less than WCAG 2.2 asks for (1.4.3).
PALE = """
const parse = (colour) => {
  const [r, g, b, a = 1] = colour.match(/[\\d.]+/g).map(Number);
  return colour.startsWith("color(") ? [255 * r, 255 * g, 255 * b, a] : [r, g, b, a];
};
const over = (top, below) =>
  [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
const behind = (element) => {
  if (element === null) return [255, 255, 255, 1];
  const colour = parse(getComputedStyle(element).backgroundColor);
  return colour[3] === 1 ? colour : over(colour, behind(element.parentElement));
};
const luminance = (colour) => colour.slice(0, 3).map((value) => value / 255)
  .map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
  .reduce((sum, value, i) => sum + value * [0.2126, 0.7152, 0.0722][i], 0);
const found = new Map();
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement, text = walker.currentNode.data.trim();
  const style = getComputedStyle(element);
  if (!text || !element.checkVisibility({ opacityProperty: true, visibilityProperty: true }))
    continue;
  const paper = behind(element), ink = over(parse(style.color), paper);
  const [darker, lighter] = [luminance(ink), luminance(paper)].sort((a, b) => a - b);
  const ratio = (lighter + 0.05) / (darker + 0.05), size = parseFloat(style.fontSize);
  const isLarge = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
  const name = `${element.tagName}.${element.className}`;
  if (ratio < (isLarge ? 3 : 4.5)) found.set(name, `${text.slice(0, 30)} ${ratio.toFixed(2)}`);
}
return Object.fromEntries(found);
"""
# What sticks out of a narrow screen, and is not inside of something that scrolls.
WIDE = """
const wide = document.documentElement.scrollWidth > innerWidth;
const scrolls = (element) => element !== null && (
  ["auto", "scroll", "hidden"].includes(getComputedStyle(element).overflowX)
  || scrolls(element.parentElement));
return wide ? [...document.querySelectorAll("article *")]
  .filter((each) => each.getBoundingClientRect().right > innerWidth + 1 && !scrolls(each))
  .map((each) => each.outerHTML.slice(0, 80)).concat("the page") : [];
"""
# Whether what has the focus looks another way than without it.
FOCUS = """
const look = (element) => {
  const style = getComputedStyle(element);
  return [style.outlineStyle === "none" ? "" : style.outline, style.boxShadow, style.borderColor,
    style.backgroundColor, style.color, style.transform, style.opacity].join();
};
const element = document.activeElement, name = element.outerHTML;
// A box that is hidden is shown by its label.
const shown = () => [element, element.nextElementSibling || element].map(look).join();
const focused = shown();
element.blur();
const differs = shown() !== focused;
element.focus();
return [name.slice(0, 120), differs];
"""
ELSEWHERE = """
return performance.getEntriesByType("resource").map((entry) => entry.name)
  .filter((name) => !name.startsWith(location.origin) && !name.startsWith("data:"));
"""


class Outline(HTMLParser):
    """The headings of a page, and its pictures that say nothing to who cannot see them."""

    def __init__(self, text):
        super().__init__()
        self.levels, self.silent = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if re.fullmatch(r"h[1-6]", tag):
            self.levels.append(int(tag[1]))
        if tag == "img" and len((dict(attrs).get("alt") or "").split()) < 2:
            self.silent.append(dict(attrs).get("src"))


@pytest.fixture(scope="module")
def outlines(site):
    """Every page of the site by its path."""
    found = {}
    for path in sorted(site.rglob("index.html")):
        article = path.read_text().partition("<article")[2].partition("</article>")[0]
        found[path.relative_to(site)] = Outline(article)
    return found


def test_headings_are_one_title_and_no_level_is_left_out(outlines):
    for path, outline in outlines.items():
        levels = outline.levels
        assert levels[0] == 1 and levels.count(1) == 1, path
        for above, below in itertools.pairwise(levels):
            assert below <= above + 1, (path, levels)


def test_every_picture_is_told_in_words(outlines):
    for path, outline in outlines.items():
        assert not outline.silent, (path, outline.silent)


@pytest.fixture(scope="module")
def address(site):
    """Where the site is served, on this machine alone."""
    handler = functools.partial(QuietHandler, directory=site)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format, *args):
        pass


@pytest.fixture(scope="module")
def browser():
    if BROWSER is None or DRIVER is None:
        pytest.skip("Chromium is missing (Debian: apt-get install chromium chromium-driver).")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in (
        "headless", "no-sandbox", "disable-gpu", "disable-quic", "disable-dev-shm-usage",
        "no-first-run", "disable-background-networking", "disable-component-update",
        "disable-sync", "window-size=1400,1000", "hide-scrollbars",
    ):  # fmt: skip
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def open_page(browser, url, *, scheme="light", width=1400):
    scheme = {"name": "prefers-color-scheme", "value": scheme}
    size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(url)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("page", MAIN_PAGES)
def test_text_stands_out_from_its_paper(page, scheme, browser, address):
    open_page(browser, address + page, scheme=scheme)
    shown = browser.execute_script("return document.body.dataset.mdColorScheme")
    assert shown == {"light": "default", "dark": "slate"}[scheme]
    assert browser.execute_script(PALE) == {}


@pytest.mark.parametrize("page", MAIN_PAGES)
def test_a_narrow_screen_scrolls_one_way(page, browser, address):
    open_page(browser, address + page, width=390)
    assert browser.execute_script(WIDE) == []


@pytest.mark.parametrize("page", MAIN_PAGES)
def test_a_browser_asks_no_other_machine_and_finds_no_error(page, browser, address):
    browser.get_log("browser")
    open_page(browser, address + page)
    assert browser.execute_script(ELSEWHERE) == []
    assert browser.get_log("browser") == []


@pytest.mark.parametrize("page", MAIN_PAGES[:2])
def test_the_keyboard_shows_where_it_is(page, browser, address):
    from selenium.webdriver import ActionChains, Keys

    open_page(browser, address + page)
    names = []
    for _ in range(25):
        ActionChains(browser).send_keys(Keys.TAB).perform()
        name, is_seen = browser.execute_script(FOCUS)
        if name.startswith("<body"):  # All round.
            break
        assert is_seen, name
        names.append(name)
    assert "Skip to content" in names[0]
    assert len(set(names)) > 15


def test_the_search_finds_a_loss(browser, address):
    from selenium.webdriver.support.ui import WebDriverWait

    open_page(browser, address)
    browser.execute_script("document.querySelector('[for=__search], .md-search__button').click()")
    entry = browser.switch_to.active_element
    entry.send_keys("SoftTargets")
    WebDriverWait(browser, 20).until(
        lambda found: (
            "reference/losses"
            in found.execute_script("""
            const all = (root) => [...root.querySelectorAll("*")].flatMap((each) =>
              [each, ...(each.shadowRoot ? all(each.shadowRoot) : [])]);
            return all(document).map((each) => each.href || "").join(" ");""")
        )
    )
