from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.core.errors import ConfigurationError
from resources.models import Models
from tests.core.support import market

MODEL = """
from pathlib import Path

import pyarrow as pa


class Model:
    def __init__(self, folder):
        self.folder = folder

    def score(self, inputs):
        return pa.table({"score": [int((self.folder / "score.txt").read_text())] * len(inputs)})


def load(folder: Path) -> Model:
    (folder / "loads.txt").open("a").write("x")
    return Model(folder)


def nothing(folder):
    return None
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, score in (("fit", 7), ("smb", 9)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.py").write_text(MODEL)
        (tmp_path / name / "score.txt").write_text(str(score))
    return tmp_path


def test_a_model_scores_from_its_own_folder(folder: Path) -> None:
    """docs/markets.md: two markets with files of one name do not meet."""
    models = Models(folder)
    inputs = pa.table({"company": ["a", "b"]})

    assert models.get(market()).score(inputs).column("score").to_pylist() == [7, 7]
    assert models.get(market(name="smb")).score(inputs).column("score").to_pylist() == [9, 9]
    assert models.get(market()).score(inputs).column("score").to_pylist() == [7, 7]


def test_a_model_is_loaded_once_for_each_version(folder: Path) -> None:
    """R17: another version is another model."""
    models = Models(folder)
    first = models.get(market())

    assert models.get(market()) is first
    assert models.get(market(version="2")) is not first
    assert (folder / "fit" / "loads.txt").read_text() == "xx"


def test_nothing_is_loaded_before_it_is_asked_for(folder: Path) -> None:
    """D15."""
    Models(folder)

    assert not (folder / "fit" / "loads.txt").exists()


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("other.py:load", "other.py does not exist"),
        ("model.py:lode", "has no function 'lode'"),
        ("model.py:nothing", r"nothing\(\) returned nothing with score\(\)"),
    ],
)
def test_a_model_that_cannot_be_had_is_a_problem_of_the_configuration(
    folder: Path, model: str, says: str
) -> None:
    """docs/markets.md: with the market and what its file says."""
    with pytest.raises(ConfigurationError, match=f"market fit: model: {model}: .*{says}"):
        Models(folder).get(market(model=model))
