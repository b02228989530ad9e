"""Caption length and language in many scripts."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from stages.guard import guarded
from stages.text.caption_language import CaptionLanguage, Identifier, identifier
from stages.text.caption_length import CaptionLength, alphabetic_share, characters, words
from tests.stages.toys import batch_of

WORDS = [
    ("", 0),
    ("   \n ", 0),
    ("a red boat", 3),
    ("a  red\n\tboat ", 3),
    ("A red boat, by the sea.", 6),
    ("don't e-mail me@example.org", 3),
    ("3.5 million / 20% off!", 4),
    ("— … → ©", 0),
    ("snake_case boat—house", 3),
    ("Füße naïve cafe\u0301", 3),
    ("кошка на окне", 3),
    ("قطة على النافذة", 3),
    ("खिड़की पर बिल्ली", 3),
    ("고양이가 창문에", 2),
    ("窓の猫", 3),
    ("窗上的猫", 4),
    ("iPhone手机", 3),
    ("แมวบนหน้าต่าง", 4),
    ("👩‍🚀 in space", 2),
    ("IMG_20231104", 1),
    ("一只白猫，两只狗。", 7),
]


@pytest.mark.parametrize(("text", "count"), WORDS)
def test_words_are_counted_in_every_script(text: str, count: int):
    assert words(text) == count


def test_characters_are_code_points_in_nfc_without_spare_white_space():
    assert characters("  a\n\n red\tboat ") == 10
    assert characters("cafe\u0301") == characters("café") == 4
    assert characters("") == 0


@given(st.text(max_size=80))
def test_lengths_do_not_change_with_the_form_or_the_spaces(text: str):
    for other in (f"  {text}\n", unicodedata.normalize("NFD", text)):
        assert characters(other) == characters(text)
        assert words(other) == words(text)
    assert 0 <= words(text) <= max(1, characters(text))


@given(st.text("abcXYZ 019", max_size=60))
def test_plain_words_are_those_between_spaces(text: str):
    assert words(text) == len(text.split()) == words(f"“{text}”")


def test_a_word_without_end_takes_no_time():
    assert words("a" * 1_000_000) == 1
    assert words("a-" * 500_000) == 1
    assert words("ก" * 1_000_000) == 250_000


def test_the_share_of_letters():
    assert alphabetic_share("abc 123") == 0.5
    assert alphabetic_share("बिल्ली") == 1
    assert alphabetic_share("--- 12") == 0
    assert alphabetic_share(" ") is None


def test_a_document_without_text_has_no_length_and_no_language():
    length, _ = guarded(CaptionLength(), batch_of([None, ""]))
    assert length == {
        "caption.characters": [0, 0],
        "caption.words": [0, 0],
        "caption.alphabetic_share": [None, None],
    }
    language, _ = guarded(CaptionLanguage(), batch_of([None, "", "2024-11-05", "→"]))
    assert language == {"caption.language": [None] * 4, "caption.language_probability": [None] * 4}


LANGUAGES = {
    "en": "A white cat sleeps on the wooden window sill while it is raining outside",
    "de": "Eine weiße Katze schläft auf der hölzernen Fensterbank, während es draußen regnet",
    "fr": "Un chat blanc dort sur le rebord de la fenêtre pendant qu'il pleut dehors",
    "es": "Un gato blanco duerme en el alféizar de la ventana mientras llueve afuera",
    "ru": "Белая кошка спит на деревянном подоконнике, пока на улице идёт дождь",
    "zh": "一只白猫睡在木制窗台上，外面正在下雨",
    "ja": "白い猫が木の窓辺で眠っていて、外は雨が降っています",
    "ar": "قطة بيضاء تنام على حافة النافذة الخشبية بينما تمطر في الخارج",
}


def test_languages_are_told_with_a_probability():
    values, dead = guarded(CaptionLanguage(), batch_of(list(LANGUAGES.values())))
    assert dead == []
    assert values["caption.language"] == list(LANGUAGES)
    assert all(0.5 < probability <= 1 for probability in values["caption.language_probability"])


@given(st.one_of(st.text(max_size=200), st.sampled_from([*LANGUAGES.values()])))
def test_the_sum_in_one_order_says_what_the_package_says(text: str):
    assert hasattr(LanguageIdentifier, "_sparse_score")
    theirs = LanguageIdentifier.rank(THEIRS, text)
    ours = dict(identifier().rank(text))
    assert all(abs(ours[language] - probability) < 1e-4 for language, probability in theirs)


THEIRS = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def test_the_model_is_loaded_once():
    CaptionLanguage().setup()
    assert isinstance(identifier(), Identifier)
    assert identifier() is identifier()


def test_only_the_beginning_of_a_long_text_is_looked_at():
    text = LANGUAGES["en"] + LANGUAGES["ru"] * 50
    values, _ = guarded(CaptionLanguage(characters=70), batch_of([text]))
    assert values["caption.language"] == ["en"]
    values, _ = guarded(CaptionLanguage(), batch_of([text]))
    assert values["caption.language"] == ["ru"]
