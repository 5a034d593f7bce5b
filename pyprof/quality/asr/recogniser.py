"""HuBERT or L-HuBERT with a linear layer to characters, as it is trained by CTC and judged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import HubertForCTC, HubertModel
from transformers.models.hubert.configuration_hubert import HubertConfig

from pyprof.errors import UsageError
from pyprof.failures import sentence
from pyprof.models import registry
from pyprof.models.blueprint import blueprint, preserved_random
from pyprof.models.checkpoint import load_directory, load_hubert, then
from pyprof.models.l_hubert import from_hubert
from pyprof.models.windows import window_of_context
from pyprof.names import is_reference
from pyprof.quality.asr.alphabet import Alphabet, saved_alphabet
from pyprof.quality.asr.decoding import Decoding
from pyprof.quality.asr.librispeech import SAMPLE_RATE, Waveform

# How HuBERT base was fine-tuned (fairseq, examples/hubert/config/finetune/base_10h.yaml). A projection that learns
# alone sees features without any of it.
FINE_TUNING: dict[str, Any] = {
    "apply_spec_augment": True,
    "mask_time_prob": 0.75,
    "mask_time_length": 10,
    "mask_feature_prob": 0.5,
    "mask_feature_length": 64,
    "layerdrop": 0.1,
    "hidden_dropout": 0.0,
    "activation_dropout": 0.1,
    "attention_dropout": 0.0,
    "feat_proj_dropout": 0.0,
    "final_dropout": 0.0,
}
# For a model that is to learn a few utterances by heart.
WITHOUT_NOISE: dict[str, Any] = {
    **{name: 0.0 for name in FINE_TUNING if "dropout" in name or name == "layerdrop"},
    "apply_spec_augment": False,
}


class Recogniser(nn.Module):
    """A HubertForCTC or an LHubertForCTC (`model`), the alphabet that its head speaks, and what of it learns.

    Frozen, only the projection (`lm_head`) learns: the encoder stays in eval mode, without dropout and masks, while the
    rest is trained. A batch of training is padded, as in HuBERT's own fine-tuning, whose first normalisation sees the
    padding too; in eval mode every utterance runs by itself, so that nothing depends on what it is batched with.
    """

    def __init__(
        self,
        model: Any,
        alphabet: Alphabet,
        *,
        decoding: Decoding | None = None,
        frozen: bool = False,
        normalise: bool = True,
    ) -> None:
        super().__init__()
        self.model, self.alphabet = model, alphabet
        self.decoding = decoding or Decoding()
        self.frozen, self.normalise = frozen, normalise
        if frozen:
            for parameter in model.base_model.parameters():
                parameter.requires_grad_(False)

    def train(self, mode: bool = True) -> Recogniser:
        """As of any module, but that a frozen encoder stays in eval mode."""
        super().train(mode)
        if self.frozen:
            self.model.base_model.eval()
        return self

    def forward(self, input_values: Tensor, attention_mask: Tensor, characters: Tensor) -> dict[str, Tensor]:
        """The loss of a batch and, in eval mode, what was heard.

        `input_values` and `attention_mask` (batch, samples) are padded on the right, `characters` (batch, characters)
        are Unicode code points of the transcripts, 0 behind them. Gives `loss`, the mean over the batch of each
        utterance's CTC loss by its number of symbols, and `logits` (batch, frames, symbols); in eval mode `heard`
        (batch, characters) too, the code points of the transcripts found, 0 behind them.
        """
        labels = [self._labels(row) for row in characters]
        sounds = [
            self.prepared(row[:count])
            for row, count in zip(input_values, attention_mask.sum(dim=-1).tolist(), strict=True)
        ]
        if self.training:
            output = self.model(
                input_values=pad_sequence(sounds, batch_first=True),
                attention_mask=attention_mask,
                labels=pad_sequence(labels, batch_first=True, padding_value=-100),
            )
            return {"loss": output.loss, "logits": output.logits}
        pairs = zip(sounds, labels, strict=True)
        outputs = [self.model(input_values=sound[None], labels=label[None]) for sound, label in pairs]
        heard = [code_points(self.decoded(output.logits[0])) for output in outputs]
        return {
            "loss": torch.stack([output.loss for output in outputs]).mean(),
            "logits": pad_sequence([output.logits[0] for output in outputs], batch_first=True),
            "heard": pad_sequence(heard, batch_first=True),
        }

    def save(self, directory: Path) -> None:
        """Write a checkpoint that transformers reads: the model, its vocab.json and its preprocessor_config.json."""
        self.model.save_pretrained(directory)
        self.alphabet.save(directory)
        takes = {
            "feature_extractor_type": "Wav2Vec2FeatureExtractor",
            "feature_size": 1,
            "sampling_rate": SAMPLE_RATE,
            "padding_value": 0.0,
            "do_normalize": self.normalise,
            "return_attention_mask": False,
        }
        (directory / "preprocessor_config.json").write_text(json.dumps(takes, indent=1), encoding="utf-8")

    def frames(self, samples: int) -> int:
        """How many frames come of a number of samples."""
        return int(self.model._get_feat_extract_output_lengths(samples))

    @property
    def fewest_frames(self) -> int:
        """Shorter utterances cannot be trained on: where frames are masked, HuBERT needs a whole span of them."""
        config = self.model.config
        return int(config.mask_time_length) if config.apply_spec_augment and not self.frozen else 1

    def prepared(self, waveform: Tensor) -> Tensor:
        """A waveform (samples,) as the model takes it: of mean zero and variance one, if its checkpoint asks for it."""
        if not self.normalise:
            return waveform
        return (waveform - waveform.mean()) / (waveform.var(correction=0) + 1e-7).sqrt()

    def transcribe(self, waveform: Tensor | Waveform) -> str:
        """What is said in a waveform (samples,) of 16,000 samples a second from -1 to 1."""
        sound = torch.as_tensor(waveform, device=self.model.lm_head.weight.device)
        was = self.training
        self.eval()
        with torch.no_grad():
            logits: Tensor = self.model(input_values=self.prepared(sound)[None]).logits[0]
        self.train(was)
        return self.decoded(logits)

    def decoded(self, logits: Tensor) -> str:
        """The transcript of an utterance's logits (frames, symbols)."""
        frames = logits.detach().float().log_softmax(dim=-1).cpu().numpy()
        return self.alphabet.decode(self.decoding(frames, self.alphabet.blank))

    def _labels(self, characters: Tensor) -> Tensor:
        """The numbers of a transcript's symbols."""
        return torch.tensor(self.alphabet.encode(text_of(characters)), dtype=torch.long, device=characters.device)


def code_points(text: str) -> Tensor:
    """A transcript as Unicode code points (characters,)."""
    return torch.tensor([ord(character) for character in text], dtype=torch.long)


def text_of(row: Tensor) -> str:
    """The transcript of code points, up to the first 0."""
    return "".join(chr(point) for point in row.tolist() if point)


def build(
    source: str,
    alphabet: Alphabet,
    *,
    seed: int,
    size: str = "base",
    attention: str = "best",
    weights: str | None = None,
    context: int | None = None,
    decoding: Decoding | None = None,
    frozen: bool = False,
    noise: bool = True,
) -> Recogniser:
    """A recogniser that speaks an alphabet, on the CPU; its random weights are fixed by the seed.

    `source` is hubert, l-hubert or l-hubert-100, which start from random weights or from those of `weights`, or a
    local checkpoint of a HuBERT or an L-HuBERT. `context` takes the place of a window, and makes one where there is
    none. A checkpoint with a head and a vocab.json keeps both, in place of a new head that speaks `alphabet`. With
    `noise` it is trained with the masks and dropout of HuBERT's own fine-tuning. The convolutions learn only where
    everything begins at random. Raises UsageError for a model that is no HuBERT and for a checkpoint that cannot be
    read.
    """
    entry = registry.find(source)
    if is_reference(source) if entry is None else "hubert" not in (entry.name, entry.vanilla):
        raise UsageError(
            f"{source} takes no speech: choose hubert, l-hubert, l-hubert-100 or the checkpoint of a HuBERT"
        )
    checkpoint = weights if entry is not None else source
    settings = FINE_TUNING if noise and not frozen else WITHOUT_NOISE
    window = None
    if checkpoint is None:
        dense = _with_head(blueprint(registry.entry("hubert"), size).config, alphabet, settings, seed)
    else:
        loaded = _loaded(checkpoint)
        dense, alphabet = _started(loaded, checkpoint, alphabet, settings, seed)
        window = getattr(loaded.config, "window", None)
    if entry is not None:
        window = blueprint(entry, "tiny").config.window if entry.vanilla is not None else None
    if context is not None:
        window = window_of_context(context)
    model = dense if window is None else from_hubert(dense, window=window)
    runs = registry.entry("hubert" if window is None else "l-hubert")
    implementation = runs.resolve(attention)
    runs.check_attention(implementation, "train")
    model.set_attn_implementation(implementation)
    if checkpoint is not None:
        model.freeze_feature_encoder()
    return Recogniser(model, alphabet, decoding=decoding, frozen=frozen, normalise=_normalises(checkpoint))


def _with_head(config: Any, alphabet: Alphabet, settings: dict[str, Any], seed: int) -> Any:
    """A HuBERT of random weights, with a head that speaks the alphabet."""
    of_ctc = {
        "vocab_size": len(alphabet),
        "pad_token_id": alphabet.blank,
        "ctc_loss_reduction": "mean",
        "ctc_zero_infinity": True,
    }
    known = {name: value for name, value in config.to_dict().items() if name not in _NOT_CARRIED}
    made = HubertConfig(**known | settings | of_ctc)
    made.mask_feature_length = min(made.mask_feature_length, made.hidden_size)
    with preserved_random(seed):
        return HubertForCTC(made)


def _loaded(checkpoint: str) -> Any:
    """The HuBERT or L-HuBERT of a checkpoint, with a head or without."""
    if Path(checkpoint, "config.json").is_file() and then(checkpoint) == registry.entry("l-hubert").then:
        return load_directory(checkpoint, registry.entry("l-hubert").attentions[0])[0]
    return load_hubert(checkpoint)


def _started(
    source: Any, checkpoint: str, alphabet: Alphabet, settings: dict[str, Any], seed: int
) -> tuple[Any, Alphabet]:
    """A HuBERT with the weights of a checkpoint, and the alphabet of its head: the checkpoint's, if it has both."""
    saved = None if isinstance(source, HubertModel) else saved_alphabet(Path(checkpoint))
    if saved is not None and len(saved) != source.config.vocab_size:
        raise UsageError(
            f"vocab.json in {checkpoint} has {len(saved)} symbols and its model's head {source.config.vocab_size}: "
            "take it away for a new head"
        )
    made = _with_head(source.config, saved or alphabet, settings, seed)
    # A checkpoint that was never trained with masks has no vector that stands for a masked frame.
    theirs, own = (source, made) if saved is not None else (source.base_model, made.base_model)
    own.load_state_dict(own.state_dict() | theirs.state_dict())
    return made, saved or alphabet


def _normalises(checkpoint: str | None) -> bool:
    """Whether a checkpoint's model takes waveforms of mean zero and variance one, as it does where nothing is said."""
    file = None if checkpoint is None else Path(checkpoint) / "preprocessor_config.json"
    if file is None or not file.is_file():
        return True
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{file} cannot be read ({sentence(error)}): mend it, or take it away") from error
    return bool(said.get("do_normalize", True)) if isinstance(said, dict) else True


# Names of classes, and what transformers writes beside the settings.
_NOT_CARRIED = ("model_type", "architectures", "transformers_version", "_name_or_path", "window")
