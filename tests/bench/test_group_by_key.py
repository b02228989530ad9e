"""The measurement of group_by_key runs the real phase and finds the right losers."""

import json

import numpy as np

from bench import group_by_key


def test_it_measures_what_it_says(capsys):
    arguments = ["--engines", "local", "--sizes", "2000", "4000", "--runs", "1", "--workers", "1", "--json"]
    assert group_by_key.main([*arguments, "--rows-a-part", "500"]) == 0, "it checks the number of losers itself"
    found = json.loads(capsys.readouterr().out)
    assert found["bytes_a_row"] <= group_by_key.MOST_BYTES_A_ROW
    assert set(found["engines"][0]["cpu"]["seconds"]) == {"2000", "4000"}


def test_rows_share_contents_as_stated():
    clusters = group_by_key.clusters_of(10_000, seed=1)
    sizes = np.bincount(clusters)
    assert len(sizes) == 7_000, "30% of the rows repeat another row's content"
    assert sizes.max() > 100, "few contents are repeated often, as on the web"
    keys = group_by_key.mixed(np.arange(10_000), 2)
    assert len(np.unique(keys, axis=0)) == 10_000, "a key stands for one content"
