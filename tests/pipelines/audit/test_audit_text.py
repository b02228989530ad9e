import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from pipelines.audit.text import JOINERS, harmless, locator_line, number, share, size, whole


@given(st.text(st.characters(codec=None), max_size=400), st.integers(1, 60))
def test_harmless_text_is_short_visible_and_on_one_line(text, limit):
    shown = harmless(text, limit)
    assert len(shown) <= 9 * limit + 1  # each hidden character is spelled in at most nine
    for letter in shown:
        assert letter in JOINERS or unicodedata.category(letter) not in {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert shown == shown.strip()
    shown.encode("utf-8")


@given(st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), max_size=60))
def test_harmless_text_leaves_plain_words_of_every_script_alone(text):
    assert harmless(text, 100) == text


def test_marks_that_turn_the_direction_are_spelled():
    assert harmless("invoice \u202egpj.exe") == "invoice ⟨U+202E⟩gpj.exe"
    assert harmless("a\u2067b\u2069c\u061cd") == "a⟨U+2067⟩b⟨U+2069⟩c⟨U+061C⟩d"


def test_zero_bytes_and_terminal_escapes_are_spelled():
    assert harmless("a\0b\x1b[31mc\x9bd") == "a⟨U+0000⟩b⟨U+001B⟩[31mc⟨U+009B⟩d"


def test_lines_become_one():
    assert harmless(" two\r\n\tlines \u2028 here ") == "two lines ⟨U+2028⟩ here"


def test_joiners_of_emoji_and_persian_stay():
    family, persian = "👩\u200d👧", "می\u200cخواهم"
    assert (harmless(family), harmless(persian)) == (family, persian)


def test_a_letter_carries_few_marks():
    assert harmless("o" + "\u0301" * 500 + "k") == "o" + "\u0301" * 4 + "k"


def test_a_megabyte_is_cut_and_says_so():
    shown = harmless("word " * 200_000, 50)
    assert len(shown) <= 51
    assert shown.endswith("…")
    assert harmless("\u0301" * 1_000_000, 50).endswith("…")


def test_lone_surrogates_become_replacement_characters():
    assert whole("a\ud800b\udfffc") == "a\ufffdb\ufffdc"
    assert whole("\ud83d\ude00") == "😀"


def test_a_locator_is_shown_by_its_parts():
    assert locator_line('{"page":"a/b.html","use":2}') == "page: a/b.html · use: 2"
    assert locator_line("no json \u202e") == "no json ⟨U+202E⟩"


def test_numbers_as_people_read_them():
    assert [number(v) for v in (12480, 0.03125, 1e-7, 2.0, None)] == ["12,480", "0.03125", "1e-07", "2", "–"]
    assert [size(v) for v in (999, 1500, 4_800_000)] == ["999 B", "1.5 kB", "4.8 MB"]


@given(st.integers(0, 10**9), st.integers(1, 10**9))
def test_a_share_is_nothing_or_all_only_when_it_is(part, of):
    part = min(part, of)
    shown = share(part, of)
    assert (shown == "0 %") == (part == 0)
    assert (shown == "100 %") == (part == of)
