"""Every number of the page of findings is that of the row that it names."""

import re
from pathlib import Path

import pandas as pd
import pytest

from search_spaces import shipped_studies

DOCS = Path(__file__).parent.parent / "docs"
NUMBER = r"(-?[\d.]+)"
CLAIM = re.compile(rf"{NUMBER}\s+\({NUMBER}\s+to\s+{NUMBER}\)(?:\s%|\spoints)?\s+\[(\w+)\]")
TEXT = (DOCS / "findings.md").read_text("utf-8")
ROWS = pd.read_csv(DOCS / "findings.csv").set_index("id")


@pytest.mark.parametrize("claim", CLAIM.findall(TEXT), ids=lambda claim: claim[3])
def test_a_claim_has_the_numbers_of_its_row(claim):
    *told, name = claim
    row = ROWS.loc[name]
    factor = 100 if row["unit"] == "%" else 1
    for text, value in zip(told, row[["estimate", "low", "high"]], strict=True):
        digits = len(text.partition(".")[2])
        assert float(text) == pytest.approx(float(value) * factor, abs=0.501 * 10**-digits)


def test_every_interval_names_a_row_and_every_row_is_named():
    assert len(re.findall(r"\([\d.-]+\s+to\s+[\d.-]+\)", TEXT)) == len(CLAIM.findall(TEXT))
    assert sorted(set(re.findall(r"\[(\w+)\](?!\()", TEXT))) == sorted(ROWS.index)
    assert ROWS.index.is_unique


def test_findings_are_of_studies_that_ship():
    assert set(ROWS["study"]) <= set(shipped_studies())
