"""Measured numbers stand in docs/results.md; a sentence elsewhere that has one says where it comes from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RESULTS = "docs/results.md"
PAGES = {
    str(path.relative_to(ROOT)): path.read_text() for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md")))
}

NUMBER = r"(?<![\w.^])[−-]?\d+(?:,\d{3})*(?:\.\d+)?"
#: A number with a unit, a number of seeds, a return out of what is possible, a standard error.
UNIT = r"\s?(?:%|(?:K|s|ms|[kMG]B|GFLOP|minutes?|seconds?|hours?|times)\b)"
MEASURED = re.compile(
    rf"{NUMBER}{UNIT}|± {NUMBER}|\bof \d,?\d\d\d\b(?! env| episodes)|\b(?:two|three|five|ten|\d+) seeds\b|\bseeds? \d"
)
#: Code, addresses, the level of intervals, and bounds, which are settings: these are no measurements.
ASIDE = re.compile(
    r"`[^`]*`|\]\([^)]*\)|95 % (?:bootstrap )?`?interval"
    rf"|\b(?:at least|fewer than|more than|over|up to|within) {NUMBER}{UNIT}"
)
#: Where a number may come from: a section of the results, a benchmark or a stored result.
SOURCE = re.compile(r"\]\([^)]*results\.md|[`(/](?:benchmarks|results)/")
CODE = re.compile(r"^```.*?^```$|^ {4}[^\n]*$|<!--.*?-->", re.MULTILINE | re.DOTALL)
#: Sentences that begin so have numbers that are no measurements.
KNOWN = (
    "- *below 5% from κ*",  # what a line of the certificate is called
    "It may be below 0 or above 100 %",  # the whole
    "- *beyond κ*: 100 %",
    "Before the folder appears, the written files",  # settings: which observations an export is compared on
    "| graph files | 32 MB",  # a bound
    "A change shows `env.yellow`",  # settings of the environment
    "**Observation.** Its phase",
    "Interquartile mean of the last test",  # the README's table, which is written with the results and links there
)


def sentences(text: str) -> Iterator[str]:
    """Sentences of a page and rows of its tables, each on one line; no code."""
    for paragraph in re.split(r"\n\s*\n", CODE.sub("", text)):
        running = []
        for line in paragraph.splitlines():
            if line.startswith("|"):
                yield line
            else:
                running.append(line.strip())
        yield from re.split(r"(?<=[.;!?])\s+(?=[^a-z])", " ".join(running))


def unsupervised(text: str) -> list[str]:
    """Sentences with a number that looks measured and no source."""
    return [one for one in sentences(text) if MEASURED.search(ASIDE.sub("", one)) and not SOURCE.search(one)]


def test_a_sentence_with_a_number_that_looks_measured_is_found() -> None:
    text = (
        "It takes 3 s. It takes\n3 s ([how](results.md#x)). κ = 1 of 2 blocks.\n\n    it takes 3 s\n\n| VDN | 40 K |\n"
    )
    assert unsupervised(text) == ["It takes 3 s.", "| VDN | 40 K |"]


@pytest.mark.parametrize("page", [page for page in PAGES if page != RESULTS])
def test_a_measured_number_of_a_page_has_its_source_beside_it(page) -> None:
    found = [one for one in unsupervised(PAGES[page]) if not one.startswith(KNOWN)]
    assert found == []


def cited(page: str) -> list[tuple[str, str, str]]:
    """Numbers in texts of links to a section of the results, with the section and the link's text."""
    found = re.findall(r"(?<!!)\[([^\]\[]*)\]\([^)\s]*results\.md#([\w]+)\)", PAGES[page])
    return [(number, section, text) for text, section in found for number in re.findall(NUMBER, text)]


def section_of(name: str) -> str:
    """The section of the results with this anchor."""
    return PAGES[RESULTS].partition(f'<a id="{name}"></a>')[2].partition("<a id=")[0]


@pytest.mark.parametrize("page", [page for page in PAGES if page != RESULTS])
def test_a_link_to_the_results_names_a_section_and_its_numbers_stand_there(page) -> None:
    for section in re.findall(r"results\.md#(\w+)\)", PAGES[page]):
        assert section_of(section), section
    for number, section, text in cited(page):
        assert number in re.findall(NUMBER, section_of(section)), (text, section)
