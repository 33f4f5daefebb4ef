"""Note encoders: padding says nothing, a pretrained folder is taken as it is, and nothing is downloaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from common.errors import SiteFileError, StudyError
from common.layers.clippable import unhookable
from common.modalities.note import NoteEncoder, NoteModality
from common.modalities.note_encoder import NoteTokens
from common.modalities.tokenizers import ByteTokenizer, HashTokenizer
from common.models.network import build_network
from common.parameters import Parameters
from tests.support.gradients import by_autograd, by_hooks, difference
from tests.support.tiny import study_of

LENGTH = 8


def encoder(models: Path | None = None, *, length: int = LENGTH, **asked) -> NoteTokens:
    torch.manual_seed(0)
    small = {"width": 8, "heads": 2, "vocabulary": 40} if "folder" not in asked else {"source": "folder"}
    return NoteTokens(NoteModality(kind="note", max_tokens=length, encoder=NoteEncoder(**(small | asked))), 4, models)


def notes(*lengths: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(2)
    ids = torch.randint(1, 40, (len(lengths), LENGTH), generator=random)
    return torch.where(torch.arange(LENGTH) < torch.tensor(lengths)[:, None], ids, 0)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny models as transformers saves them, with dropout in their configuration; one of another family than BERT."""
    from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel, GPT2Config, GPT2Model

    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(3)
    size = {"vocab_size": 40, "max_position_embeddings": LENGTH}
    bert = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(**size, **bert)).save_pretrained(folder / "bert")
    distilled = {"dim": 8, "n_layers": 1, "n_heads": 2, "hidden_dim": 16}
    DistilBertModel(DistilBertConfig(**size, **distilled)).save_pretrained(folder / "distilled")
    causal = {"n_embd": 8, "n_layer": 1, "n_head": 2, "attn_pdrop": 0.5}  # dropout, by another name
    GPT2Model(GPT2Config(vocab_size=40, n_positions=LENGTH, **causal)).save_pretrained(folder / "gpt2")
    return folder


@pytest.mark.parametrize(("quantised", "jitter"), [(True, 0.0), (False, 0.0), (None, 0.5)])
def test_a_model_that_remembers_or_draws_is_refused(tmp_path: Path, quantised: bool | None, jitter: float) -> None:
    """I-BERT keeps the range of what it read: one patient moved a clipped sum by 16 bounds, and the scores of others.
    A mixture of experts draws its experts at random while it trains.
    """
    from transformers import IBertConfig, IBertModel, MixtralConfig, MixtralModel

    size = {"vocab_size": 40, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    if quantised is None:
        experts = {"num_key_value_heads": 2, "intermediate_size": 16, "num_local_experts": 4}
        config = MixtralConfig(**size, **experts, router_jitter_noise=jitter, max_position_embeddings=LENGTH)
        MixtralModel(config).save_pretrained(tmp_path / "odd")
    else:
        positions = {"max_position_embeddings": LENGTH + 2, "intermediate_size": 16, "type_vocab_size": 1}
        IBertModel(IBertConfig(**size, **positions, quant_mode=quantised)).save_pretrained(tmp_path / "odd")
    with pytest.raises(StudyError, match="odd: a text's numbers hang on"):
        encoder(tmp_path, folder="odd")


def test_a_model_that_names_no_limit_of_its_own_has_none(tmp_path: Path) -> None:
    """XLNet writes -1, and "set -1 or less" was the way out."""
    from transformers import XLNetConfig, XLNetModel

    XLNetModel(XLNetConfig(vocab_size=40, d_model=8, n_layer=1, n_head=2, d_inner=16)).save_pretrained(tmp_path / "xl")
    assert encoder(tmp_path, folder="xl")(notes(3)).shape == (1, 1, 4)


def test_a_dropout_of_another_name_is_none_either(models: Path) -> None:
    network, ids = encoder(models, folder="gpt2").train(), notes(3, 8)
    assert torch.equal(network(ids), network(ids))


@pytest.mark.parametrize("family", ["T5", "CLIP", "ViT"])
def test_a_model_that_reads_no_text_in_this_way_is_said_in_words(tmp_path: Path, family: str) -> None:
    """Each failed with an error of its own, which a person was told is a fault of the program."""
    import transformers

    text = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    image = text | {"image_size": 8, "patch_size": 4}
    words = {"vocab_size": 40, "max_position_embeddings": LENGTH}
    sizes = {
        "T5": {"vocab_size": 40, "d_model": 8, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2},
        "CLIP": {"text_config": text | words, "vision_config": image, "projection_dim": 8},
        "ViT": image,
    }
    config = getattr(transformers, f"{family}Config")(**sizes[family])
    getattr(transformers, f"{family}Model")(config).save_pretrained(tmp_path / "odd")
    with pytest.raises(SiteFileError, match=f"odd: {family}Model cannot read a text of 8 tokens"):
        encoder(tmp_path, folder="odd")


def test_the_files_of_a_pretrained_model_are_in_what_both_sides_derive(tmp_path: Path) -> None:
    """Frozen weights and tokenizers were in no digest: two revisions of a model added up as one."""
    from transformers import BertConfig, BertModel

    config = BertConfig(vocab_size=40, max_position_embeddings=LENGTH, hidden_size=8, num_hidden_layers=1,
                        num_attention_heads=2, intermediate_size=16)  # fmt: skip
    asked = {"kind": "note", "max_tokens": LENGTH, "encoder": {"source": "folder", "folder": "m", "train": "none"}}
    study, found = study_of(modalities={"letter": asked}), {}
    made = {"one": {}, "again": {"config": {"architectures": ["BertForMaskedLM"], "transformers_version": "1"}}}
    made |= {"weights": {"seed": 2}, "words": {"words": "b"}, "case": {"tokenizer_config": {"do_lower_case": False}}}
    made |= {name: {"config": {name: value}} for name, value in (("hidden_act", "relu"), ("num_attention_heads", 4))}
    for name, changes in made.items():
        torch.manual_seed(changes.get("seed", 1))
        folder = tmp_path / name / "m"
        BertModel(config).save_pretrained(folder)
        (folder / "vocab.txt").write_text(changes.get("words", "a"))
        (folder / "tokenizer_config.json").write_text("{}")
        for file in changes.keys() & {"config", "tokenizer_config"}:
            told = json.loads((folder / f"{file}.json").read_text())
            (folder / f"{file}.json").write_text(json.dumps(told | changes[file]))
        found[name] = Parameters.of(build_network(study, models=tmp_path / name))
    assert found["one"] == found["again"] and found["one"].pretrained[0][0] == "letter"
    assert len({each.pretrained for each in found.values()}) == 6
    assert len({each.shape_digest for each in found.values()}) == 1
    assert Parameters.of(build_network(study_of("chart"))).pretrained == ()


ASKED = [{"layers": 0}, {"layers": 2}, {"tokenizer": "byte"}, {"folder": "bert"}, {"folder": "distilled"}]


@pytest.mark.parametrize("asked", ASKED, ids=str)
def test_padding_says_nothing_and_no_row_is_random(asked: dict, models: Path) -> None:
    network = encoder(models, **asked).train()
    ids = notes(3, 8, 1, 0)
    tokens = network(ids)
    assert tokens.shape == (4, 1, 4)
    assert torch.isfinite(tokens).all()
    assert torch.equal(tokens, network(ids)), "no dropout, in training either"
    assert torch.allclose(tokens[[0, 3]], network(ids[[0, 3]]), atol=1e-5), "rows do not see each other"
    assert torch.allclose(tokens[3, 0], network.project.bias), "a note of padding alone has mean zero"
    assert network(ids[:0]).shape == (0, 1, 4)
    longer = ids.clone()
    longer[0, 3] = 7
    assert not torch.allclose(tokens[0], network(longer)[0]), "a word more is a difference"


@pytest.mark.parametrize("asked", ASKED, ids=str)
def test_each_notes_own_gradient(asked: dict, models: Path) -> None:
    network = encoder(models, **asked).train()
    ids = notes(3, 8, 1)
    assert unhookable(network) == []

    def loss(net, rows):
        return net(ids[rows]).square().sum()

    assert difference(by_autograd(network, loss, 3), by_hooks(network, loss, 3)) < 1e-4


@pytest.mark.parametrize("asked", [{"tokenizer": "byte"}, {"layers": 0}, {"layers": 0, "tokenizer": "byte"}])
def test_every_id_of_the_tokenizer_has_an_embedding(asked: dict) -> None:
    size = ByteTokenizer.size if asked.get("tokenizer") == "byte" else HashTokenizer(40).size
    last = torch.full((1, LENGTH), size - 1)
    assert encoder(**asked)(last).shape == (1, 1, 4)
    with pytest.raises(IndexError):
        encoder(**asked)(last + 1)


def test_a_folders_weights_are_taken_as_they_are(models: Path) -> None:
    from transformers import BertModel

    published = BertModel.from_pretrained(str(models / "bert")).eval()
    ids = notes(8, 8)
    mean = published(ids).last_hidden_state.mean(dim=1)
    network = encoder(models, folder="bert")
    assert torch.allclose(network(ids)[:, 0], network.project(mean), atol=1e-5)


def test_a_frozen_model_does_not_train_and_is_not_sent(models: Path) -> None:
    letter = {"kind": "note", "max_tokens": LENGTH, "encoder": {"source": "folder", "folder": "bert", "train": "none"}}
    network = build_network(study_of(modalities={"letter": letter}), models=models).train()
    parameters = Parameters.of(network)
    own = [name for name, group in zip(parameters.names, parameters.group, strict=True) if group == "letter"]
    assert own == ["encoders.letter.project.weight", "encoders.letter.project.bias"]
    before = {key: value.clone() for key, value in network.encoders["letter"].language.state_dict().items()}
    network({"letter": notes(3, 5)}, torch.ones(2, 1, dtype=torch.bool)).sum().backward()
    torch.optim.SGD(network.parameters(), lr=1.0, weight_decay=0.1).step()
    assert all(
        torch.equal(value, before[key]) for key, value in network.encoders["letter"].language.state_dict().items()
    )

    def loss(net, rows):
        return net({"letter": notes(3, 5)[rows]}, torch.ones(2, 1, dtype=torch.bool)[rows]).square().sum()

    assert difference(by_autograd(network, loss, 2), by_hooks(network, loss, 2)) < 1e-4


def test_a_note_longer_than_the_model_takes_is_refused(models: Path) -> None:
    with pytest.raises(StudyError, match=r"max_tokens: 9, but bert takes at most 8"):
        encoder(models, folder="bert", length=9)


def test_a_folder_that_is_no_model_is_refused_in_words(models: Path) -> None:
    (models / "empty").mkdir()
    (models / "code").mkdir()
    remote = {"model_type": "new", "auto_map": {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}}
    (models / "code" / "config.json").write_text(json.dumps(remote))
    (models / "code" / "evil.py").write_text(f"open({str(models / 'boom')!r}, 'w')")
    for folder in ("empty", "code", "absent", "..", "../" + models.name):
        with pytest.raises(SiteFileError) as caught:
            encoder(models, folder=folder)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__ or caught.value.__context__ is None
        assert str(models) in str(caught.value)
    assert not (models / "boom").exists()
    with pytest.raises(SiteFileError, match="models: "):
        encoder(None, folder="bert")
