"""Names that try to leave their folder: artifacts, topics, data."""

import json
import re

import pytest

from polinb.data.loading import load_data
from polinb.errors import ArtifactError, DataError, ParameterError
from polinb.runs.artifacts import Store
from polinb.runs.params import Params

ESCAPES = ["../../x", "..", "/etc/passwd", "a/../../b", "a\0b", "x" * 5000, "..\\..\\x", "~/x", "", " ", "%2e%2e/x"]


@pytest.mark.parametrize("name", ESCAPES)
def test_an_artifact_stays_in_the_store_and_a_topic_is_a_plain_name(name, tmp_path):
    store = Store(tmp_path / "a" / "store")
    for start in (
        lambda: store.path(name, "key"),
        lambda: store.path("kind", name),
        lambda: store.get(name, {"a": 1}, lambda folder: {}),
    ):
        with pytest.raises(ArtifactError, match="artifact name"):
            start()
    assert not (tmp_path / "a").exists()
    for given in ({"topics": ["crime", name]}, {"ablation_topics": [name]}, {"baseline_topics": [name]}):
        with pytest.raises(ParameterError, match=r"topics'"):
            Params.from_profile("tiny", **given)
    path = tmp_path / "set.json"
    path.write_text(json.dumps([{"topic": name, "prompt": "Why?", "left": "Yes", "right": "No"}]))
    try:
        assert re.fullmatch(r"\w[\w-]{0,59}", load_data(str(path)).topics[0])
    except DataError as error:
        assert "row 1, column 'topic'" in str(error)
