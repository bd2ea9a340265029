"""Files that decide what a run is: kept as they were first read, bounded, and compared with the originals."""

import base64
import zlib

import pytest

from lomaq.errors import InputError
from lomaq.graphs import AgentGraph, Partition
from lomaq.graphs.kept import MOST_BYTES, changed_files, is_there, keeping, kept_files, read_bytes, unpack


def test_kept_file_is_read_as_it_was_when_the_original_changes_moves_or_goes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    original, kept = tmp_path / "g.txt", {}
    original.write_text("0 1\n1 2\n")
    with keeping(kept):
        assert AgentGraph.from_file("g.txt").n_agents == 3
    assert changed_files(kept) == []
    original.write_text("0 1\n")
    assert changed_files(kept) == ["g.txt"]
    with keeping(kept):
        assert AgentGraph.from_file("g.txt").n_agents == 3
        assert AgentGraph.from_file(original).n_agents == 2  # another name means the file itself
    assert AgentGraph.from_file("g.txt").n_agents == 2
    original.unlink()
    assert changed_files({"g.txt": kept["g.txt"]}) == []
    with keeping(kept):
        assert is_there("g.txt")
        assert AgentGraph.from_file("g.txt").n_agents == 3
    assert not is_there("g.txt")


def test_partition_files_are_kept_too(tmp_path):
    blocks, kept = tmp_path / "blocks.json", {}
    blocks.write_text("[[0, 1], [2]]")
    for _ in range(2):
        with keeping(kept):
            assert Partition.from_spec(str(blocks), AgentGraph.line(3)).blocks == ((0, 1), (2,))
        blocks.unlink(missing_ok=True)
    assert unpack("blocks", kept[str(blocks)]) == b"[[0, 1], [2]]"


def test_kept_content_is_plain_text_that_no_configuration_interprets(tmp_path):
    (tmp_path / "a.csv").write_text("${oc.env:HOME},b\n")
    kept = {}
    with keeping(kept):
        read_bytes(tmp_path / "a.csv")
    (content,) = kept.values()
    assert isinstance(content, str)
    assert "$" not in content


BOMB = base64.b64encode(zlib.compress(b"0" * (MOST_BYTES + 1))).decode()


@pytest.mark.parametrize("content", [BOMB, "no base64!", base64.b64encode(b"no zlib").decode(), 3, None, ["x"]])
def test_damaged_or_swollen_kept_content_is_refused(content):
    with pytest.raises(InputError, match=r"stored file g\.csv: expected"), keeping({"g.csv": content}):
        AgentGraph.from_file("g.csv")


def test_kept_files_that_are_no_dictionary_are_refused():
    with pytest.raises(InputError, match="files: expected names of files and their contents, got list"):
        kept_files({"files": ["g.csv"]})


def test_what_is_no_readable_file_is_refused(tmp_path):
    for path in (tmp_path, "/dev/zero", "x" * 300, "a\0b"):
        with pytest.raises(InputError, match="map: expected an existing file"):
            read_bytes(path, "map")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    with pytest.raises(InputError, match=r"expected at most 33,554,432 bytes, got 33,554,433"):
        read_bytes(tmp_path / "large")
