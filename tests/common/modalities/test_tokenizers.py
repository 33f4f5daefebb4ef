"""Tokenizers: the same ids at every site and in every process, of the promised length, and nothing from outside."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import SiteFileError
from common.modalities.note import NoteEncoder
from common.modalities.tokenizers import PADDING, ByteTokenizer, HashTokenizer, tokenizer_for

ANY_TEXT = st.text(st.characters(), max_size=200)  # lone surrogates too: exports are not always clean


@given(text=ANY_TEXT, length=st.integers(1, 64), vocabulary=st.integers(16, 5000))
def test_ids_fit_the_tensor_and_the_embedding(text: str, length: int, vocabulary: int) -> None:
    for tokenizer in (ByteTokenizer(), HashTokenizer(vocabulary)):
        ids = tokenizer.encode(text, length)
        assert len(ids) == length
        assert all(0 <= i < tokenizer.size for i in ids)
        assert ids[0] != PADDING  # a note that is present never looks empty
        first_padding = ids.index(PADDING) if PADDING in ids else length
        assert set(ids[first_padding:]) <= {PADDING}


def test_hash_is_the_same_in_another_process() -> None:
    code = (
        "from common.modalities.tokenizers import HashTokenizer; print(HashTokenizer(512).encode('Pain, left arm', 8))"
    )
    root = Path(__file__).resolve().parents[3]
    printed = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONPATH": str(root), "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert printed == {f"{HashTokenizer(512).encode('pain, LEFT arm', 8)}\n"}


def test_a_kind_token_of_the_gate_is_one_word() -> None:
    ids = HashTokenizer(4096).encode("[NAME] has pain", 6)
    assert ids[4:] == [PADDING, PADDING]
    assert ids[1] != HashTokenizer(4096).encode("name", 2)[1]


def test_bytes_tell_the_text() -> None:
    ids = ByteTokenizer().encode("Bö", 8)
    assert bytes(i - 2 for i in ids[1:] if i != PADDING).decode() == "Bö"


def pretrained(folder: Path, padding_first: bool = True) -> None:
    """A BERT tokenizer's folder, as a publisher would pack it."""
    from transformers import BertTokenizer

    special = ["[PAD]", "[UNK]"] if padding_first else ["[UNK]", "[PAD]"]
    folder.mkdir(parents=True)
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join([*special, "[CLS]", "[SEP]", "[MASK]", "pain", "left", "arm"]) + "\n")
    (folder / "config.json").write_text('{"model_type": "bert"}')
    words = {word: i for i, word in enumerate(vocabulary.read_text().split())}
    BertTokenizer(vocab=words).save_pretrained(str(folder))


def test_a_pretrained_folder_brings_its_own_tokenizer(tmp_path: Path) -> None:
    pretrained(tmp_path / "models" / "tiny")
    tokenizer = tokenizer_for(NoteEncoder(source="folder", folder="tiny"), tmp_path / "models")
    assert tokenizer.size == 8
    assert tokenizer.encode("Pain left", 6) == [2, 5, 6, 3, 0, 0]
    assert tokenizer.encode("pain left arm pain left", 4) == [2, 5, 6, 3]  # cut, and still closed by [SEP]


def test_a_tokenizer_that_pads_with_another_id_is_refused(tmp_path: Path) -> None:
    pretrained(tmp_path / "odd", padding_first=False)
    with pytest.raises(SiteFileError, match="pad"):
        tokenizer_for(NoteEncoder(source="folder", folder="odd"), tmp_path)


@pytest.mark.parametrize("name", ["../secret", "/etc", "a/../../secret", "."])
def test_a_study_cannot_point_out_of_the_models_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "models").mkdir()
    pretrained(tmp_path / "secret")
    with pytest.raises(SiteFileError):
        tokenizer_for(NoteEncoder(source="folder", folder=name), tmp_path / "models")


def test_a_missing_or_broken_folder_names_itself_and_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(SiteFileError, match=r"absent.*Put the pretrained model there"):
        tokenizer_for(NoteEncoder(source="folder", folder="absent"), tmp_path)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{not json")
    with pytest.raises(SiteFileError, match="broken"):
        tokenizer_for(NoteEncoder(source="folder", folder="broken"), tmp_path)
    with pytest.raises(SiteFileError, match="models"):
        tokenizer_for(NoteEncoder(source="folder", folder="x"), None)
