import pytest

from manifests.errors import RunError
from manifests.rules import Bounds, Choose
from pipelines import recipe


def rule(made, name):
    return next(rule for rule in made.rules if rule.name == name)


def test_a_shipped_recipe_has_a_source_for_every_active_rule():
    for name in recipe.recipe_names():
        made = recipe.load(name)
        assert made.about
        for each in made.rules:
            assert each.source or not each.active, each.name


def test_set_changes_a_bound_and_the_fingerprint():
    plain, changed = recipe.load("image-text-light"), recipe.load("image-text-light", ["image.short_side.min=128"])
    assert rule(changed, "image.short_side").min == 128
    assert plain.fingerprint() != changed.fingerprint()
    assert recipe.load("image-text-light", ["image.short_side.min=200"]).fingerprint() == plain.fingerprint()


def test_set_switches_a_bound_on_and_off():
    made = recipe.load("image-text-light", ["caption.language.in=[en, de]", "caption.words.min=null"])
    assert rule(made, "caption.language").allowed == ("en", "de")
    assert rule(made, "caption.words").min is None


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("image.shortside.min=1", "did you mean 'image.short_side.min'"),
        ("image.short_side.min=wide", r"image.short_side.min is 'wide'; expected a number"),
        ("image.short_side.min=true", "expected a number"),
        ("image.short_side", "expected KEY=VALUE"),
        ("duplicate.image.keep=0.5", "expected a whole number"),
        ("image.short_side.drop=page", "allowed: document, segment"),
        ("shards.samples=many", "expected a whole number"),
        ("shards.samples=0", "shards.samples is 0; expected 1 or more"),
        ("image.decode.memory_megabytes=-4", "expected 64 or more"),
        ("image.decode.max_pixels=0", "expected 1 or more"),
        ("image.short_side.min=", "say off"),
        ("image.short_side.min=[", "is not a value"),
        ("caption.language.min=3", "is no number; bound it with caption.language.in|not a number; bound it"),
        ("image.format.in=[]", "expected one or more values of type string"),
        ("image.format.in=[1]", "expected one or more values of type string"),
        ("image.short_side.drop=segment", "a pair needs its picture"),
        ("duplicate.pair.choose=[-nope]", "nope is no numeric score"),
        ("shards.sample=3", "did you mean 'shards.samples'"),
        ("caption.words.min=400", "above its max"),
    ],
)
def test_a_wrong_setting_names_key_value_and_what_is_allowed(setting, message):
    with pytest.raises(RunError, match=message):
        recipe.load("image-text-light", [setting])


def test_off_a_power_of_ten_and_a_single_value_are_what_people_write():
    sets = ["caption.words.min=off", "image.long_side.max=1e4", "caption.language.in=en"]
    made = recipe.load("image-text-light", sets)
    assert rule(made, "caption.words").min is None
    assert rule(made, "image.long_side").max == 10_000
    assert rule(made, "caption.language").allowed == ("en",)


def test_the_listed_keys_fit_their_scores():
    keys = {key.key for key in recipe.keys(recipe.load("image-text-light"))}
    assert {"caption.language.in", "image.format.in", "image.short_side.min"} <= keys
    assert not {"caption.language.min", "image.format.max"} & keys


def test_an_unknown_recipe_names_the_nearest():
    with pytest.raises(RunError, match="did you mean 'image-text-light'"):
        recipe.load("image-text-lite")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "expected a mapping"),
        ("a: [", "is not YAML"),
        ("family: image_txt", "did you mean 'image_text'"),
        ("family: image_text\nrulez: {}", "did you mean 'rules'"),
        ("family: image_text\nrules: {image.shortside: {min: 1}}", "did you mean 'image.short_side'"),
        ("family: image_text\nrules: {image.short_side: {minimum: 1}}", "unknown key 'minimum'"),
        ("family: image_text\nrules: {image.short_side: 3}", "expected a mapping such as"),
        ("family: image_text\nscorers: ['nowhere:Blur']", "expected package.module:Class"),
        ("base: image-text-light\nrules: {image.short_side: 5}", "expected a mapping"),
        ("base: image-text-light\nrules: {image.short_side: null}", "expected a mapping"),
        ("base: image-text-light\nscorers: ['stages.image.size:Size']", "is made by both Size and Size"),
        ("base: image-text-lite", "did you mean 'image-text-light'"),
        ("!!python/object/apply:os.system [ls]", "is not YAML"),
    ],
)
def test_a_wrong_file_names_itself_and_the_mistake(tmp_path, text, message):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(RunError, match=message) as caught:
        recipe.load(str(path))
    assert "mine.yaml" in str(caught.value)


def test_a_recipe_of_ones_own_starts_from_a_shipped_one_and_keeps_its_order(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nbase: image-text-light\nrules:\n  image.short_side: {min: 64}\n")
    made, base = recipe.load(str(path)), recipe.load("image-text-light")
    assert [r.name for r in made.rules] == [r.name for r in base.rules]
    assert rule(made, "image.short_side").min == 64
    assert rule(made, "image.short_side").source == ""  # the shipped default's source no longer holds


def test_a_stored_recipe_is_the_same_recipe():
    import json

    made = recipe.load("image-text-light", ["image.short_side.min=128", "shards.samples=7", "duplicate.image.keep=2"])
    again = recipe.build(json.loads(json.dumps(recipe.spec(made), sort_keys=True)), "stored")
    assert again.fingerprint() == made.fingerprint()
    assert again.rules == made.rules
    assert again.shards == made.shards


def test_every_listed_key_can_be_set_to_its_own_default():
    import yaml

    made = recipe.load("image-text-light")
    sets = [
        f"{key.key}={yaml.safe_dump(key.default, default_flow_style=True).splitlines()[0]}" for key in recipe.keys(made)
    ]
    assert recipe.load("image-text-light", sets).fingerprint() == made.fingerprint()


def test_reasons_are_named_as_they_are_set():
    assert Bounds("image.short_side", min=1).reasons == ("image.short_side.min", "image.short_side.missing")
    assert Choose("duplicate.image").reasons == ("duplicate.image.choose",)
