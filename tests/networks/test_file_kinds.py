"""What is told of a file that is no weights, whichever way it is read."""

import gzip
import io

import pytest
import torch
from safetensors.torch import save

from tlw.networks.file_kinds import told
from tlw.networks.imported import read_state
from tlw.networks.sr_net import load_network

POINTER = b"""version https://git-lfs.github.com/spec/v1
oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393
size 6102842
"""
OTHERS = [
    (b"", "this file is empty"),
    (POINTER, "pointer of Git LFS.*`git lfs pull`"),
    (b"<!DOCTYPE html>\n<html><head><title>Google Drive</title>", "a web page"),
    (b"\xef\xbb\xbf\n  <html lang='en'>", "a web page"),
    (gzip.compress(b"weights", mtime=0), "a gzip archive; unpack it"),
    (b'{"message": "Not Found", "status": "404"}', "JSON, the answer of a server.*Not Found"),
    (b"Just some words that somebody saved here.", "text, not weights.*Just some"),
]


@pytest.mark.parametrize(("content", "words"), OTHERS, ids=[words for _, words in OTHERS])
def test_the_true_reason_is_told_by_import_and_by_every_reader_of_weights(tmp_path, content, words):
    with pytest.raises(ValueError, match=words):
        read_state(content)
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(ValueError, match=rf"w\.pth: .*{words}"):
        load_network(tmp_path / "w.pth")


def test_weights_are_taken_for_nothing_else():
    state = {"a.weight": torch.ones(4, 4)}
    for new in (True, False):
        buffer = io.BytesIO()
        torch.save(state, buffer, _use_new_zipfile_serialization=new)
        assert told(buffer.getvalue()) is None
    assert told(save(state)) is None
