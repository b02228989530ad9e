"""Which text of a page becomes a picture's caption, where a picture's address leads, and what is said of its place."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.document import uid_of
from manifests.errors import RunError
from stages.readers import html
from stages.readers.html import HtmlReader, locate
from stages.readers.html_captions import choose, says_something
from stages.readers.html_page import decode, page_from_json, parse_page, parse_to_json


def page(body: str, head: str = "") -> str:
    return (
        f"<!DOCTYPE html><html lang=en><head><meta charset=utf-8><title>A page</title>{head}</head><body>{body}</body>"
    )


DOCBOOK = "<div class=figure-contents><div class=mediaobject><img src=a.png alt=''>"


@pytest.fixture
def read(files, read_all, picture):
    """read(body, head): what the reader makes of one page beside the picture `a.png`."""

    def run(body: str, head: str = ""):
        return read_all(HtmlReader("pages"), files({"page.html": page(body, head), "a.png": picture(1)}))

    return run


@pytest.mark.parametrize(
    ("body", "chosen", "caption"),
    [
        ('<img src=a.png alt="Two cats on a sofa">', "alt", "Two cats on a sofa"),
        ('<img src=a.png title="Two cats on a sofa">', "title", "Two cats on a sofa"),
        (
            '<figure><a><img src=a.png alt="cats"></a><figcaption>Two  <b>ca</b>ts\n</figcaption></figure>',
            "figcaption",
            "Two cats",
        ),
        (
            '<div class=image><img src=a.png alt=""><div class="caption">\nA noisy photo</div></div>',
            "caption",
            "A noisy photo",
        ),
        ('<p class="caption">Above it</p><img src=a.png>', "caption", "Above it"),
        ('<div class=thumb><a><img src=a.png></a><div class="thumbcaption">Wiki</div></div>', "caption", "Wiki"),
        ("<table><caption>Old tools</caption><tr><td><img src=a.png></table>", "table_caption", "Old tools"),
        (
            "<div class=dynheader> Inheritance of Mat:</div><div class=dyncontent><p><img src=a.png></p></div>",
            "diagram_header",
            "Inheritance of Mat",
        ),
        (
            f"<div class=figure><p class=title>Figure 3.1. The tool box</p>{DOCBOOK}</div></div></div>",
            "figure_title",
            "The tool box",
        ),
        (
            "<div class=figure><p class=title><b>Figure&nbsp;3.1.&nbsp;Blur</b></p>"
            + DOCBOOK
            + "<div class=caption><p>Original image</p></div></div></div></div>",
            "figure_title+caption",
            "Blur: Original image",
        ),
        ('<div class=image><img src=a.png alt="A line"><div class=caption>image</div></div>', "alt", "A line"),
        ('<img src=a.png alt="a.png" title="A line">', "title", "A line"),
        ('<img src=a.png alt="a" title="A line">', "title", "A line"),
        ('<img src=a.png alt="IMG_2041" title="A line">', "title", "A line"),
        ('<img src=a.png alt="Screenshot 3" title="A line">', "title", "A line"),
        ('<img src=a.png alt="[Note]">', "alt", "[Note]"),
        ("<picture><source srcset=b.webp><img src=a.png alt='A line'></picture>", "alt", "A line"),
        ("<p>A<p>B</p><img src=a.png alt='x &lt;b&gt; &amp; y'>", "alt", "x <b> & y"),
    ],
)
def test_the_caption_is_the_text_nearest_to_the_picture_that_says_something(read, body, chosen, caption):
    found = read(body)
    assert found.captions == [caption]
    assert found.documents[0].facts["caption"]["chosen"] == chosen


def test_every_other_text_is_kept_as_an_alternative(read):
    found = read('<figure><img src=a.png alt="Cats" title="Felines"><figcaption>Two cats</figcaption></figure>')
    assert found.documents[0].facts["caption"] == {
        "chosen": "figcaption",
        "alternatives": {"alt": "Cats", "title": "Felines"},
    }


@pytest.mark.parametrize("attributes", ["", 'alt=""', 'alt=" - "', 'alt="…" title="*"'])
def test_a_picture_without_a_letter_of_caption_is_dead(read, attributes):
    found = read(f"<p>Look at this:</p><img src=a.png {attributes}>")
    assert found.reasons == ["NoCaption"]
    assert found.dead[0].locator == {"page": "page.html", "image": "a.png", "use": 1}


def test_a_caption_belongs_to_the_picture_beside_it(files, read_all, picture):
    body = "".join(f'<img src={name}.png><p class="caption">This is {name}</p>' for name in "abc")
    store = files({"page.html": page(body)} | {f"{name}.png": picture(i) for i, name in enumerate("abc")})
    assert read_all(HtmlReader("pages"), store).captions == ["This is a", "This is b", "This is c"]


def test_a_caption_of_another_picture_is_not_taken(read):
    found = read("<div><img src=a.png></div><div><img src=a.png><p class=caption>The second</p></div>")
    assert found.captions == ["The second"]
    assert found.documents[0].source.locator["use"] == 2


@pytest.mark.parametrize(
    ("text", "source", "expected"),
    [
        ("doxygen", "x/doxygen.png", False),
        ("Taj Mahal", "Taj%20Mahal.jpg", True),
        ("photo-1.jpg", "z.jpg", False),
        ("图", "a.png", True),
        ("Figure 3.2", "a.png", False),
        ("Next", "next.png", False),
        ("12", "a.png", False),
        ("A 12 inch pipe", "a.png", True),
    ],
)
def test_generic_words_numbers_and_file_names_say_nothing(text, source, expected):
    assert says_something(text, source) is expected


def test_a_title_that_only_repeats_the_caption_is_not_joined_to_it():
    texts = {"caption": "The line after a click", "figure_title": "The line after a click"}
    assert choose(texts, "a.png") == ("caption", "The line after a click")


@pytest.mark.parametrize(
    ("base", "source", "expected"),
    [
        ("", "a.png", "d/a.png"),
        ("", "./x/../a.png", "d/a.png"),
        ("", "../a.png", "a.png"),
        ("", "../../a.png", "../a.png"),
        ("", "/img/a.png", "img/a.png"),
        ("", "/../a.png", "a.png"),
        ("", "a%20b.png", "d/a b.png"),
        ("", "a%23b.png", "d/a#b.png"),
        ("", "%2e%2e/%2e%2e/etc/passwd", "../passwd"),
        ("", "a.png?v=3#x", "d/a.png"),
        ("", "a+b.png", "d/a+b.png"),
        ("", "img\\a.png", "d/img/a.png"),
        ("", " a\n.png\t", "d/a.png"),
        ("", "\u00e9.png", "d/\u00e9.png"),
        ("", "caf%E9.png", "d/caf\udce9.png"),
        ("../img/", "a.png", "img/a.png"),
        ("/img/index.html", "a.png", "img/a.png"),
        ("", "https://example.org/a.png", None),
        ("", "//example.org/a.png", None),
        ("", "file:///home/somebody/a.png", None),
        ("", "C:\\a.png", None),
        ("", "blob:abc", None),
        ("", "#", None),
        ("", "?a", None),
        ("", ".", "d"),
        ("https://example.org/", "a.png", None),
    ],
)
def test_an_address_leads_to_a_file_of_the_input_or_nowhere(base, source, expected):
    assert locate("d/page.html", base, source) == expected


def test_pictures_on_the_web_are_no_documents_and_missing_or_outside_ones_are_dead(read):
    found = read(
        '<img src="https://example.org/a.png" alt="On the web"><img alt="Without src"><svg><text>hi</text></svg>'
        '<img src="no.png" alt="Not there"><img src="../../secret.png" alt="Outside"><img src="." alt="A folder">'
        '<img src="a.png" alt="It is there">'
    )
    assert found.captions == ["It is there"]
    assert [item.reason for item in found.dead] == ["MissingFile", "OutsideInput"]


def test_a_link_that_leads_out_of_the_input_is_not_followed(read, tmp_path, picture):
    (tmp_path / "secret.png").write_bytes(picture(9))
    (tmp_path / "input").mkdir()
    (tmp_path / "input" / "out.png").symlink_to(tmp_path / "secret.png")
    found = read('<img src="out.png" alt="A secret">')
    assert found.reasons == ["LinkOutside"]


def test_odd_file_names_are_found(files, read_all, picture):
    names = {
        "a b.png": "a b.png",
        "a%20b.png": "a%2520b.png",
        "a#b.png": "a%23b.png",
        "\u00e9\u4e2d.png": "\u00e9\u4e2d.png",
    }
    names |= {"new\nline.png": "new%0Aline.png", "q?.png": "q%3F.png", "caf\udce9.png": "caf%E9.png"}
    body = "".join(f'<img src="{link}" alt="Picture of number {i}">' for i, link in enumerate(names.values()))
    store = files({"page.html": page(body)} | {name: picture(i) for i, name in enumerate(names)})
    found = read_all(HtmlReader("pages"), store)
    assert [document.source.locator["image"] for document in found.documents] == list(names)
    assert len(set(found.uids())) == len(names)


def test_each_use_of_a_picture_is_a_document_of_its_own(files, read_all, picture):
    body = '<img src=a.png alt="First use"><img src="./a.png" alt="Second use">'
    found = read_all(HtmlReader("pages"), files({"1.html": page(body), "2.html": page(body), "a.png": picture()}))
    assert [(d.source.locator["page"], d.source.locator["use"]) for d in found.documents] == [
        ("1.html", 1), ("1.html", 2), ("2.html", 1), ("2.html", 2),
    ]  # fmt: skip
    assert found.uids()[1] == uid_of("pages", "1.html\0a.png\x002")
    assert len(set(found.uids())) == 4
    assert {candidate.payloads for candidate in found.candidates} == {(picture(),)}


def test_a_picture_inside_the_page_is_read_and_a_broken_one_is_dead(read, picture):
    data = base64.b64encode(picture(3)).decode()
    found = read(
        f'<img src="data:image/jpeg;base64,{data}" alt="Inside"><img src="data:image/png;base64,A" alt="Broken">'
        '<img src="data:image/svg+xml,%3Csvg/%3E" alt="A drawing"><img src="data:text/plain,x" alt="No picture">'
    )
    assert found.captions == ["Inside", "A drawing"]
    assert [document.segments[0].media.extension for document in found.documents] == ["jpg", "svg"]
    assert [candidate.payloads[0] for candidate in found.candidates] == [picture(3), b"<svg/>"]
    assert found.reasons == ["BadAddress"]
    assert len(found.documents[0].source.locator["image"]) < 40


def test_facts_say_where_on_the_page_a_picture_stands(read):
    before, after = "before " * 100, "after " * 100
    found = read(
        f"<h1>Tools</h1><p>Intro</p><img src=a.png alt='The first one'><script>var x = 'hidden'</script>"
        f"<h2>Blur <i>it</i></h2><p>{before}</p><img src=a.png alt='The second one'><p>{after}</p>"
    )
    first, second = (document.facts["page"] for document in found.documents)
    assert first["title"] == "A page"
    assert first["language"] == "en"
    assert (first["heading"], first["position"], first["pictures"], first["before"]) == ("Tools", 1, 2, "Tools Intro")
    assert (second["heading"], second["position"]) == ("Blur it", 2)
    assert 280 < len(second["before"]) <= 300
    assert set(second["before"].split()) == {"before"}
    assert set(second["after"].split()) == {"after"}
    assert "hidden" not in first["after"]


def test_the_page_gives_public_address_and_licence(read):
    head = '<link rel="canonical" href="https://example.org/p"><link rel="license" href="https://example.org/by">'
    source = read('<img src=a.png alt="Some words">', head).documents[0].source
    assert (source.uri, source.licence) == ("https://example.org/p", "https://example.org/by")


def test_the_licence_of_a_link_or_else_the_given_one_counts(files, read_all, picture):
    body = '<img src=a.png alt="Some words">'
    link = '<a rel="license" href="https://example.org/sa">CC</a>'
    store = files({"1.html": page(body), "2.html": page(body + link), "a.png": picture()})
    found = read_all(HtmlReader("pages", licence="MIT"), store)
    assert [document.source.licence for document in found.documents] == ["MIT", "https://example.org/sa"]


@pytest.mark.parametrize(
    ("start", "encoding"),
    [
        ("\ufeff", "utf-8"),
        ("\ufeff", "utf-16-le"),
        ("\ufeff", "utf-16-be"),
        ("<meta charset=windows-1251>", "cp1251"),
        ("<meta http-equiv=Content-Type content='text/html; charset=Shift_JIS'>", "cp932"),
        ('<?xml version="1.0" encoding="iso-8859-2"?>', "iso8859-2"),
        ("", "utf-8"),
        ("", "cp1252"),
        ("<meta charset=unicode_escape>", "utf-8"),
        ("<meta charset=utf-7>", "utf-8"),
        ("<meta charset=utf-16le>", "utf-8"),
        ("<meta charset=x-sjis>", "cp932"),
    ],
)
def test_a_page_is_read_in_the_encoding_that_it_has(files, read_all, picture, start, encoding):
    text = {"cp1251": "Два кота", "cp932": "二匹の猫", "iso8859-2": "Dvě kočky", "cp1252": "Été à Évian"}.get(
        encoding, "Žluťoučký kůň"
    )
    content = f"{start}<p><img src=a.png alt='{text}'>".encode(encoding)
    assert read_all(HtmlReader("pages"), files({"a.htm": content, "a.png": picture()})).captions == [text]


def test_xhtml_with_self_closed_elements_keeps_what_comes_after(files, read_all, picture):
    content = (
        '<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml" xml:lang="de"><head><title/>'
        '<script src="x.js"/></head><body><a id="top"/><img src="a.png" alt="Two cats"/></body></html>'
    )
    found = read_all(HtmlReader("pages"), files({"a.xhtml": content, "a.png": picture()}))
    assert found.captions == ["Two cats"]
    assert found.documents[0].facts["page"]["language"] == "de"


def test_nothing_of_this_machine_is_in_a_document(files, read_all, picture, tmp_path):
    store = files({"d/p.html": page('<img src="a.png" alt="Some words">'), "d/a.png": picture()})
    document = read_all(HtmlReader("pages"), store).documents[0]
    assert str(tmp_path) not in json.dumps(document.to_json())
    assert document.segments[1].loss
    assert not document.segments[0].loss


def test_an_input_without_pages_is_refused_with_what_was_looked_for(files):
    with pytest.raises(RunError, match=r"no web pages found .*\.html, \.htm"):
        list(HtmlReader("pages").plan(files({"a.txt": "x"})))


def test_the_plan_is_stable_and_its_tasks_are_bounded(files):
    store = files({f"{i:04}.html": "x" for i in range(700)})
    tasks = list(HtmlReader("pages").plan(store))
    assert tasks == list(HtmlReader("pages").plan(store))
    assert [len(task["pages"]) for task in tasks] == [300, 300, 100]
    assert [path for task in tasks for path in task["pages"]] == sorted(f"{i:04}.html" for i in range(700))


MARKUP = """
    <img&src=a.png &alt=x> > <figure> </figure> <table> <caption> <h1> <div&class=figure> <p&class=title>
    <div&class=caption> <template> \ufdd0 &#xfdd0; <body> <frameset> </html> \0 <!-- <base&href=//[x> <svg> <math>
    <plaintext> <select> <noscript> <img&src='data:image/x;base64,=='> <?xml& <a/> é %
"""
PIECES = [piece.replace("&", " ") if piece != "&#xfdd0;" else piece for piece in MARKUP.split()]


@given(
    st.one_of(
        st.binary(max_size=300), st.lists(st.sampled_from(PIECES), max_size=30).map(lambda p: "".join(p).encode())
    )
)
def test_whatever_bytes_a_page_has_it_is_parsed(data):
    found = page_from_json(parse_to_json(decode(data + b"<img src='x' alt='y'>").encode()))
    base, pictures = ("", ()) if found is None else (found.base, found.pictures)
    for item in pictures:
        locate("d/p.html", base, item.source)
        choose(item.captions, item.source)
        json.dumps(item.facts.to_json()).encode()


@given(st.text(max_size=60), st.text(max_size=20))
def test_no_address_leads_out_of_the_input(source, base):
    found = locate("a/b/p.html", base, source)
    if found is not None and not found.startswith(("../", "data:")):
        assert not any(part in ("", ".", "..") for part in found.split("/"))


def test_what_a_page_says_comes_through_the_sandbox_unchanged():
    text = page("<h1>\U0001f600 \u0000 x</h1><img src='a\u00e9.png' alt='Two \u732b'>")
    found = parse_page(text)
    assert found is not None
    assert page_from_json(parse_to_json(text.encode())) == found
    assert page_from_json(parse_to_json(b"<p>None</p>")) is None


def test_a_page_that_would_take_hours_is_dead_and_the_others_are_read(files, read_all, picture):
    deep = "<ul><li>" * 60_000 + "<img src=a.png alt='Down here'>"
    pages = {
        "1.html": page("<img src=a.png alt='First page'>"),
        "2.html": deep,
        "3.html": page("<img src=a.png alt=Last>"),
    }
    found = read_all(HtmlReader("pages", page_seconds=0.5), files({**pages, "a.png": picture()}))
    assert found.captions == ["First page", "Last"]
    assert [(item.reason, item.key) for item in found.dead] == [("DecoderTimeout", "2.html")]


def test_a_page_with_very_many_pictures_is_read():
    found = parse_page("<p class=caption>x" + "<img src=a.png alt='y'>" * 5_000)
    assert found is not None
    assert found.pictures[-1].facts.position == 5_000


def test_a_page_that_is_too_large_is_dead(files, read_all, monkeypatch):
    monkeypatch.setattr(html, "MAX_PAGE_BYTES", 1000)
    found = read_all(HtmlReader("pages"), files({"a.html": "<img src=a.png alt=x>" + " " * 1000}))
    assert [(item.reason, item.key) for item in found.dead] == [("TooLarge", "a.html")]
