"""The report in a real Chromium, offline: what a person sees and can do, and what a hostile page must not."""

import json
import shutil
from pathlib import Path

import pytest

from pipelines.audit.report import write_report

WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", event => window.violations.push(event.violatedDirective));
"""
FLAGS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--hide-scrollbars"]

pytestmark = pytest.mark.xdist_group("audit")  # one worker makes the run that these tests read


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    found = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )
    assert found is not None, "there is no Chromium to look at the report with: run `make apt` as root"
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def address(dataset, tmp_path_factory):
    path = tmp_path_factory.mktemp("browser") / "report.html"
    write_report(dataset, path)
    return path.as_uri()


class Look:
    """An open page with everything that it said and asked for."""

    def __init__(self, context, address):
        self.said, self.asked = [], []
        self.page = context.new_page()
        self.page.add_init_script(WATCH)
        self.page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("dialog", lambda dialog: self.said.append(f"dialog: {dialog.message}"))
        self.page.goto(address)
        self.page.wait_for_load_state("load")

    def blurred(self, selector="#rules .frame img"):
        """For each picture, whether it is blurred."""
        script = "pictures => pictures.map(picture => getComputedStyle(picture).filter.includes('blur'))"
        return self.page.eval_on_selector_all(selector, script)


@pytest.fixture
def look(browser, address):
    contexts = []

    def opened(**options):
        context = browser.new_context(offline=True, viewport={"width": 1280, "height": 900}, **options)
        contexts.append(context)
        return Look(context, address)

    yield opened
    for context in contexts:
        context.close()


def test_it_opens_offline_without_a_complaint_or_a_request(look, address):
    seen = look()
    for button in seen.page.query_selector_all("summary")[:30]:
        button.click()
    assert seen.said == []
    assert seen.page.evaluate("window.violations") == []
    assert [url for url in seen.asked if not url.startswith("data:image/webp;base64,")] == [address]


def test_the_policy_stops_what_should_not_have_come_in(look):
    seen = look()
    seen.page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "window.owned = true";
            document.body.append(script);
            const picture = document.createElement("img");
            picture.src = "https://example.org/pixel.png";
            document.body.append(picture);
            document.body.setAttribute("style", "display: none");
        }"""
    )
    seen.page.wait_for_function("window.violations.length >= 3")
    assert seen.page.evaluate("window.owned") is None
    assert set(seen.page.evaluate("window.violations")) == {"script-src-elem", "img-src", "style-src-attr"}


def test_the_numbers_of_the_funnel_are_on_screen(look, dataset):
    totals = json.loads(Path(dataset, "MANIFEST.json").read_text())["totals"]
    page = look().page
    shown = {name: page.inner_text(f"#total-{name}") for name in ("in", "kept", "dropped", "dead")}
    assert shown == {
        "in": str(totals["in"]),
        "kept": str(totals["kept"]),
        "dropped": str(sum(totals["dropped"].values())),
        "dead": str(sum(totals["dead"].values())),
    }
    assert page.is_visible("#conservation")
    assert page.locator("table.funnel tbody tr").count() >= 12


def test_pictures_are_blurred_until_clicked_where_nobody_judged_them(look):
    seen = look()
    assert len(seen.blurred()) > 50
    assert all(seen.blurred())
    seen.page.locator(".frame .peek").first.click()
    assert seen.blurred()[:2] == [False, True]
    seen.page.locator("label.switch").click()
    assert not any(seen.blurred())
    seen.page.locator("label.switch").click()
    assert seen.blurred()[:2] == [False, True]


def test_what_a_scorer_found_sensitive_stays_blurred_until_clicked(browser, judged, tmp_path):
    write_report(judged, tmp_path / "report.html")
    context = browser.new_context(offline=True)
    seen = Look(context, (tmp_path / "report.html").as_uri())
    assert not seen.page.is_checked("#blur")
    assert seen.blurred(".tile.veiled img")
    assert all(seen.blurred(".tile.veiled img"))
    assert not any(seen.blurred(".tile:not(.veiled) img"))
    widths = seen.page.eval_on_selector_all(".tile.veiled .line .soft", "all => all.map(e => parseInt(e.textContent))")
    assert min(widths) > 400
    seen.page.locator(".tile.veiled .peek").first.click()
    assert seen.blurred(".tile.veiled img")[:2] == [False, True]
    context.close()


def test_a_picture_is_uncovered_by_keyboard_alone(look):
    seen = look()
    seen.page.locator(".frame .peek").first.focus()
    seen.page.keyboard.press("Space")
    assert seen.blurred()[:2] == [False, True]


def test_every_picture_that_is_shown_has_loaded(look):
    seen = look()
    sizes = seen.page.eval_on_selector_all(".frame img", "all => all.map(i => i.naturalWidth * i.naturalHeight)")
    assert min(sizes) > 0


def test_it_reads_without_script(look):
    seen = look(java_script_enabled=False)
    page = seen.page
    assert page.is_visible("#conservation")
    assert page.is_visible("#rules svg.histogram >> nth=0")
    assert not page.is_visible("#theme")
    page.locator("label.switch").click()
    page.locator("summary", has_text="The numbers").first.click()
    assert page.is_visible("#rules figcaption table >> nth=0")


def test_the_theme_follows_the_system_and_the_button(look):
    seen = look(color_scheme="dark")
    paper = "() => getComputedStyle(document.body).backgroundColor"
    dark = seen.page.evaluate(paper)
    light = look(color_scheme="light").page.evaluate(paper)
    assert light != dark
    seen.page.click("#theme")
    assert seen.page.evaluate(paper) == light
    assert seen.page.inner_text("#theme") == "Theme: light"
    seen.page.click("#theme")
    assert seen.page.evaluate(paper) == dark


def test_a_bar_says_its_numbers_when_pointed_at(look):
    page = look().page
    column = page.locator("#rules .column").first
    column.hover()
    assert page.locator(".said-here").first.inner_text() == column.get_attribute("data-say")


def test_hostile_captions_stay_words(look):
    seen = look()
    page = seen.page
    page.wait_for_timeout(100)
    assert page.title() == "farm · Winnow report"
    captions = page.eval_on_selector_all(".caption", "all => all.map(c => c.textContent)")
    assert any("<script>document.title='owned'</script>" in caption for caption in captions)
    assert any("⟨U+202E⟩gpj.exe" in caption for caption in captions)
    assert any("{{ 7 * 7 }}" in caption for caption in captions)
    assert page.locator("main script, main iframe, main object, main a[href^='javascript']").count() == 0
    assert page.evaluate("document.querySelectorAll('main *').length") < 20_000
    assert max(map(len, captions)) < 400
    assert page.evaluate("getComputedStyle(document.querySelector('.caption')).unicodeBidi") == "isolate"
    assert seen.said == []


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_runs_out_of_the_page(browser, address, width):
    context = browser.new_context(offline=True, viewport={"width": width, "height": 800})
    page = Look(context, address).page
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()


def test_what_a_reader_hears_has_names(look):
    page = look().page
    unnamed = (
        "all => all.filter(e => !(e.getAttribute('aria-label') || e.textContent.trim() || e.labels?.length)).length"
    )
    assert page.eval_on_selector_all("button, a, summary, input, [role=button], [role=region]", unnamed) == 0
    assert page.eval_on_selector_all("svg[role=img]", "all => all.filter(s => !s.querySelector('title')).length") == 0
    assert page.eval_on_selector_all("img", "all => all.filter(i => !i.alt).length") == 0
    assert page.locator("h1").count() == 1
