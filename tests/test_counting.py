"""An accuracy of the algorithmic tasks is of symbols or of sequences; figures say which."""

import pathlib
import re

import pytest

from tlstm_jax.scripts import train
from tlstm_jax.tasks.memorization import memorization
from tlstm_jax.zoo.presets import PRESETS

ROOT = pathlib.Path(__file__).parent.parent
OF_SYMBOLS = ("memorization", "addition", "copy", "duplication", "reversal")
ALGORITHMIC = [n for n, p in PRESETS.items() if p.task in OF_SYMBOLS]
UNKNOWN = "of symbols or of sequences: not known here"


@pytest.mark.parametrize("name", ALGORITHMIC)
def test_presets_say_of_what_their_percentages_are(name):
    preset = PRESETS[name]
    for text in (preset.measured, preset.published):
        if UNKNOWN not in text:  # else all that it says
            for rest in re.findall(r"\d %(.{0,13})", text):
                said = re.match(r" of (symbols|sequences)", rest)
                assert said, f"{text!r}: behind %, 'of symbols' or 'of sequences', or {UNKNOWN!r}"


def test_the_papers_figures_do_not_claim_to_be_of_symbols():
    for name in ALGORITHMIC:
        if PRESETS[name].model == "tlstm" and PRESETS[name].published != "none":
            assert UNKNOWN in PRESETS[name].published, name


@pytest.mark.parametrize("page", ["README.md", "docs/results.md"])
def test_pages_say_of_what_99_percent_are(page):
    text = (ROOT / page).read_text()
    found = re.findall(r"to 99 %(.{0,11})", text.replace("to 99 % as well; " + UNKNOWN, UNKNOWN))
    assert found and all(rest.startswith(" of symbols") for rest in found)
    assert UNKNOWN in text


def test_a_training_says_of_what_its_target_is():
    task = memorization(5, 8)
    results = {"units_to_target": 6000, "test": {"accuracy": 1.0, "sequence_accuracy": 1.0}}
    text = train.describe_target(task, results | {"best_metric": 1.0})
    assert text == "samples to 99 % accuracy of symbols in two evaluations in a row: 6,000"
    others = {"units_to_target": None, "best_metric": None, "test": {"accuracy": 0.5}}
    text = train.describe_target(task, others)  # a task that counts otherwise
    assert text == "samples to 99 % accuracy in two evaluations in a row: not reached"
