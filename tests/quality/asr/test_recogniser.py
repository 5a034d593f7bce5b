from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import HubertForCTC, HubertModel

from pyprof.errors import UsageError
from pyprof.models.l_hubert import LHubertForCTC
from pyprof.models.speech import hubert_config
from pyprof.quality.asr.alphabet import Alphabet, alphabet_of
from pyprof.quality.asr.decoding import Decoding
from pyprof.quality.asr.recogniser import Recogniser, build, code_points
from pyprof.quality.asr.tones import tones

ALPHABET = alphabet_of([])
SAID = ("SEA STAR", "REST", "TEN RATS EAT", "IT'S")


def batch(*said: str) -> dict[str, torch.Tensor]:
    pad = torch.nn.utils.rnn.pad_sequence
    sounds = [torch.from_numpy(tones(text)) for text in said]
    return {
        "input_values": pad(sounds, True),
        "attention_mask": pad([torch.ones(len(sound), dtype=torch.long) for sound in sounds], True),
        "characters": pad([code_points(text) for text in said], True),
    }


def tiny(source: str = "hubert", **options: Any) -> Recogniser:
    return build(source, ALPHABET, seed=0, **{"size": "tiny", "noise": False} | options)


def learn(recogniser: Recogniser, steps: int) -> list[float]:
    """A few steps of an optimizer that decays weights and is given every parameter, those that do not learn too."""
    optimizer = torch.optim.AdamW(recogniser.parameters(), lr=1e-2, weight_decay=0.1)
    recogniser.train()
    losses = []
    for _ in range(steps):
        loss = recogniser(**batch(*SAID))["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize("source", ["hubert", "l-hubert"])
@pytest.mark.parametrize("noise", [False, True])
def test_frozen_the_projection_alone_learns(source: str, noise: bool) -> None:
    recogniser = tiny(source, frozen=True, noise=noise)
    before = weights(recogniser)
    losses = learn(recogniser, 15)
    assert losses[-1] < 0.5 * losses[0]
    changed = {name for name, tensor in weights(recogniser).items() if not torch.equal(tensor, before[name])}
    assert changed == {"model.lm_head.weight", "model.lm_head.bias"}
    # Its features have neither dropout nor masks, and the same bits each time.
    logits = [recogniser.train()(**batch(*SAID))["logits"] for _ in range(2)]
    assert torch.equal(*logits)


def test_finetuned_from_a_checkpoint_all_but_the_convolutions_learns(tmp_path: Path) -> None:
    HubertModel(hubert_config("tiny")).save_pretrained(tmp_path)
    recogniser = tiny(str(tmp_path))
    before = weights(recogniser)
    learn(recogniser, 2)
    kept = {name for name, tensor in weights(recogniser).items() if torch.equal(tensor, before[name])}
    assert kept == {name for name in before if ".feature_extractor." in name} | {"model.hubert.masked_spec_embed"}
    assert any(tensor.requires_grad for tensor in tiny().model.hubert.feature_extractor.parameters())


def test_a_window_that_covers_the_utterance_gives_huberts_own_logits(tmp_path: Path) -> None:
    HubertModel(hubert_config("tiny")).save_pretrained(tmp_path)
    dense = tiny(weights=str(tmp_path)).eval()
    for frozen in (False, True):
        wide, narrow = (
            tiny("l-hubert", weights=str(tmp_path), context=context, frozen=frozen).eval() for context in (200, 2)
        )
        assert type(wide.model) is LHubertForCTC
        with torch.no_grad():
            expected, same, other = (each(**batch(*SAID)) for each in (dense, wide, narrow))
        torch.testing.assert_close(same["logits"], expected["logits"], atol=1e-5, rtol=0)
        torch.testing.assert_close(same["loss"], expected["loss"], atol=1e-4, rtol=0)
        assert (other["logits"] - expected["logits"]).abs().max() > 1e-4


def test_contexts_are_those_of_the_names_unless_one_is_given() -> None:
    windows = [tiny(*each).model.config.window for each in (("l-hubert",), ("l-hubert-100",))]
    assert windows == [(16, 16), (50, 50)]
    assert tiny("l-hubert", context=64).model.config.window == (32, 32)
    assert tiny("l-hubert", attention="then").model.config._attn_implementation == "chunks"
    assert [tiny(each).model.config._attn_implementation for each in ("hubert", "l-hubert")] == ["sdpa", "fused"]


def test_nothing_depends_on_what_an_utterance_is_judged_with() -> None:
    recogniser = tiny().eval()
    with torch.no_grad():
        together, alone = recogniser(**batch(*SAID)), [recogniser(**batch(text)) for text in SAID]
    for index, single in enumerate(alone):
        assert torch.equal(together["logits"][index, : single["logits"].shape[1]], single["logits"][0])
    assert float(together["loss"]) == pytest.approx(np.mean([float(each["loss"]) for each in alone]))


def test_the_loss_of_a_batch_without_padding_is_the_same_in_both_modes() -> None:
    recogniser = tiny()
    losses = []
    for training in (True, False):
        with torch.no_grad():
            losses.append(float(recogniser.train(training)(**batch("REST", "STAR"))["loss"]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_random_weights_are_fixed_by_the_seed() -> None:
    first, again = (weights(tiny("l-hubert")) for _ in range(2))
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.items())
    other = weights(build("l-hubert", ALPHABET, seed=1, size="tiny"))
    assert any(not torch.equal(tensor, other[name]) for name, tensor in first.items())


def test_the_head_of_a_checkpoint_is_kept_with_its_alphabet(tmp_path: Path) -> None:
    theirs = Alphabet(("<s>", "<pad>", "</s>", "<unk>", "|", "E", "A", "R", "S", "T"), blank=1)
    dense = HubertForCTC(hubert_config("tiny", vocab_size=len(theirs), pad_token_id=1))
    dense.save_pretrained(tmp_path)
    fresh = tiny(str(tmp_path))
    assert fresh.alphabet == ALPHABET
    theirs.save(tmp_path)
    recogniser = tiny(str(tmp_path), context=400, decoding=Decoding(4)).eval()
    assert recogniser.alphabet == theirs
    sound = torch.from_numpy(tones("STAR EATS"))
    with torch.no_grad():
        expected = dense.eval()(recogniser.prepared(sound)[None]).logits[0]
        found = recogniser.model(recogniser.prepared(sound)[None]).logits[0]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert recogniser.transcribe(sound) == recogniser.transcribe(sound.numpy()) == recogniser.decoded(expected)
    (tmp_path / "vocab.json").write_text(json.dumps({"<pad>": 0, "|": 1}))
    with pytest.raises(UsageError, match=r"vocab\.json in .* has 2 symbols and its model's head 10"):
        tiny(str(tmp_path))


@pytest.mark.parametrize("source", ["hubert", "l-hubert"])
def test_what_was_trained_is_saved_as_transformers_reads_it(tmp_path: Path, source: str) -> None:
    from transformers import AutoModelForCTC, Wav2Vec2FeatureExtractor

    recogniser = tiny(source, context=None if source == "hubert" else 8)
    learn(recogniser, 2)
    recogniser.eval().save(tmp_path)
    again = tiny(str(tmp_path)).eval()
    assert type(again.model) is type(recogniser.model)
    assert getattr(again.model.config, "window", None) == getattr(recogniser.model.config, "window", None)
    sound = tones("STAR")
    theirs = Wav2Vec2FeatureExtractor.from_pretrained(tmp_path)(sound, sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        expected = recogniser(**batch("STAR"))["logits"]
        assert torch.equal(again(**batch("STAR"))["logits"], expected)
        model = AutoModelForCTC.from_pretrained(tmp_path).eval()
        torch.testing.assert_close(model(**theirs).logits, expected, atol=1e-5, rtol=1e-5)
    # Another window takes the place of the saved one.
    assert tiny(str(tmp_path), context=64).model.config.window == (32, 32)


def test_a_checkpoint_says_whether_waveforms_are_normalised(tmp_path: Path) -> None:
    HubertModel(hubert_config("tiny")).save_pretrained(tmp_path)
    sound = torch.from_numpy(tones("STAR"))
    prepared = tiny(str(tmp_path)).prepared(sound)
    assert (float(prepared.mean()), float(prepared.std())) == (pytest.approx(0, abs=1e-4), pytest.approx(1, abs=1e-3))
    (tmp_path / "preprocessor_config.json").write_text('{"do_normalize": false}')
    assert torch.equal(tiny(str(tmp_path)).prepared(sound), sound)
    (tmp_path / "preprocessor_config.json").write_text("{")
    with pytest.raises(UsageError, match=r"preprocessor_config\.json cannot be read"):
        tiny(str(tmp_path))


def test_a_checkpoint_without_masks_is_trained_with_them(tmp_path: Path) -> None:
    config = hubert_config("tiny", mask_time_prob=0.0, mask_feature_prob=0.0, vocab_size=len(ALPHABET))
    dense = HubertForCTC(config)
    dense.save_pretrained(tmp_path)
    for alphabet in (None, ALPHABET):
        if alphabet is not None:
            alphabet.save(tmp_path)
        recogniser = tiny(str(tmp_path), noise=True)
        assert len(learn(recogniser, 2)) == 2
        kept = recogniser.model.hubert.feature_extractor.state_dict()
        assert all(torch.equal(kept[name], each) for name, each in dense.hubert.feature_extractor.state_dict().items())


def test_what_takes_no_speech_is_refused(tmp_path: Path) -> None:
    for source, options, message in (
        ("bert", {}, "bert takes no speech: choose hubert, l-hubert"),
        ("os.path:join", {}, "os.path:join takes no speech"),
        ("hubret", {}, "did you mean 'hubert'"),
        (str(tmp_path), {}, "is no local transformers checkpoint"),
        ("hubert", {"weights": str(tmp_path)}, "is no local transformers checkpoint"),
        ("l-hubert", {"context": 33}, "a context is an even number"),
        ("l-hubert", {"attention": "flex"}, "cannot be trained with flex"),
        ("l-hubert", {"attention": "eager"}, "no attention implementation 'eager'"),
    ):
        with pytest.raises(UsageError, match=message):
            tiny(source, **options)
