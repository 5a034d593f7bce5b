"""Text models: token numbers in, one hidden state per token out."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import nn
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import BertModel
from transformers.models.longformer.configuration_longformer import LongformerConfig
from transformers.models.longformer.modeling_longformer import LongformerModel
from transformers.models.nystromformer.configuration_nystromformer import NystromformerConfig
from transformers.models.nystromformer.modeling_nystromformer import NystromformerModel, NystromformerSelfAttention

from pyprof.errors import UsageError
from pyprof.models.architecture import Architecture, Inputs, random_tokens
from pyprof.models.blueprint import Blueprint
from pyprof.models.work import padded

_TINY = {
    "vocab_size": 128,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}


class Text(Architecture):
    """Any encoder over token numbers with a table of learned positions, BERT among them."""

    def __init__(self, module: nn.Module, config: Any) -> None:
        super().__init__(module, config)
        self._published = self._positions()
        self._extended: int | None = None

    def extend(self, longest: int) -> None:
        """Lengthen the table of positions to `longest` tokens by repeating its rows.

        Longformer's authors lengthen RoBERTa's table in the same way (Beltagy et al. 2020, section 5).
        """
        positions = self._positions()
        if positions is None or longest <= positions:
            return
        embeddings = getattr(self.base, "embeddings", None)
        table = getattr(embeddings, "position_embeddings", None)
        if not isinstance(table, nn.Embedding) or not isinstance(embeddings, nn.Module):
            raise UsageError(
                f"the model has positions for {positions} tokens and no table of them that can be lengthened: "
                "ask for shorter lengths"
            )
        reserved = table.num_embeddings - positions
        rows = torch.cat((torch.arange(reserved), reserved + torch.arange(longest) % positions))
        with torch.no_grad():
            table.weight = nn.Parameter(table.weight[rows.to(table.weight.device)])
        table.num_embeddings = len(rows)
        self.config.max_position_embeddings += longest - positions
        _lengthen_buffers(embeddings, longest)
        self._extended = longest

    def inputs(self, length: int, batch: int, generator: torch.Generator) -> Inputs:
        return (), {"input_ids": random_tokens((batch, length), self.config, generator)}

    def notes(self, length: int, mode: str) -> tuple[str, ...]:
        if self._extended is None:
            return ()
        return (f"the table of positions was lengthened from {self._published} to {self._extended} tokens",)

    def _positions(self) -> int | None:
        """How many tokens the table of positions holds, None where there is no such limit.

        A table with a row of padding starts its positions after that row, as in RoBERTa.
        """
        table = getattr(getattr(self.base, "embeddings", None), "position_embeddings", None)
        if isinstance(table, nn.Embedding):
            return table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1)
        return getattr(self.config, "max_position_embeddings", None)


def _lengthen_buffers(embeddings: nn.Module, longest: int) -> None:
    position_ids = getattr(embeddings, "position_ids", None)
    if isinstance(position_ids, torch.Tensor):
        first = int(position_ids[0, 0])
        row = torch.arange(first, first + longest, device=position_ids.device)
        embeddings.position_ids = row.unsqueeze(0)
    token_type_ids = getattr(embeddings, "token_type_ids", None)
    if isinstance(token_type_ids, torch.Tensor):
        embeddings.token_type_ids = token_type_ids.new_zeros((1, longest))


class Longformer(Text):
    """Longformer, which pads every input to a multiple of its window by itself."""

    def __init__(self, module: nn.Module, config: Any) -> None:
        super().__init__(module, config)
        # The model says once that it pads; a record says so for every length instead.
        logging.getLogger("transformers.models.longformer.modeling_longformer").setLevel(logging.ERROR)

    def notes(self, length: int, mode: str) -> tuple[str, ...]:
        window = max(self.config.attention_window)
        tokens = padded(length, window)
        own = (f"padded to {tokens} tokens, a multiple of the attention window {window}",) if tokens > length else ()
        return (*super().notes(length, mode), *own)


class Nystromformer(Text):
    """Nyströmformer, always on the Nyström path.

    transformers computes dense attention where the number of tokens equals the number of landmarks, and needs a
    multiple of the landmarks everywhere else. An input is therefore padded to such a multiple, and to at least two of
    them.
    """

    def check_dtype(self, dtype: torch.dtype) -> None:
        """Refuse 16 bits: transformers makes the identity matrix of the iterative inverse in float32 always."""
        if dtype in (torch.bfloat16, torch.float16):
            name = str(dtype).removeprefix("torch.")
            raise UsageError(
                f"Nyströmformer cannot run in {name}, since transformers makes a matrix inside of it in float32: "
                "choose autocast-bfloat16 or float32"
            )

    def extend(self, longest: int) -> None:
        super().extend(self._padded(longest))

    def fit(self, length: int) -> None:
        tokens = self._padded(length)
        self.config.segment_means_seq_len = tokens
        for layer in self.module.modules():
            if isinstance(layer, NystromformerSelfAttention):
                layer.seq_len = tokens

    def inputs(self, length: int, batch: int, generator: torch.Generator) -> Inputs:
        tokens = random_tokens((batch, length), self.config, generator)
        padding = self._padded(length) - length
        if not padding:
            return (), {"input_ids": tokens}
        tokens = nn.functional.pad(tokens, (0, padding), value=self.config.pad_token_id)
        # A mask of two dimensions would be expanded to (batch, 1, tokens, tokens), which fits none of the landmarks'
        # scores; one of four dimensions is taken as it is and is added to the scores of the landmarks over the keys.
        mask = torch.zeros(batch, 1, 1, length + padding)
        mask[..., length:] = torch.finfo(torch.float16).min
        return (), {"input_ids": tokens, "attention_mask": mask}

    def notes(self, length: int, mode: str) -> tuple[str, ...]:
        tokens, landmarks = self._padded(length), self.config.num_landmarks
        if tokens == length:
            return super().notes(length, mode)
        reason = f"a multiple of the {landmarks} landmarks"
        if length <= landmarks:
            reason = f"twice the {landmarks} landmarks, because attention over as many tokens as landmarks is dense"
        return (*super().notes(length, mode), f"padded to {tokens} tokens, {reason}")

    def _padded(self, length: int) -> int:
        landmarks = int(self.config.num_landmarks)
        return max(padded(length, landmarks), 2 * landmarks)

    def _positions(self) -> int | None:
        # The first two rows of the table are reserved, as in RoBERTa, though no index of padding says so.
        table = getattr(getattr(self.base, "embeddings", None), "position_embeddings", None)
        return table.num_embeddings - 2 if isinstance(table, nn.Embedding) else None


def bert(size: str) -> Blueprint:
    """bert-base-uncased."""
    published: dict[str, Any] = {
        "vocab_size": 30522,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
    }
    tiny = {**_TINY, "max_position_embeddings": 64}
    return Blueprint(BertModel, BertConfig(**(published | tiny if size == "tiny" else published)))


def longformer(size: str) -> Blueprint:
    """longformer-base-4096."""
    published: dict[str, Any] = {
        "vocab_size": 50265,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "attention_window": [512] * 12,
        "max_position_embeddings": 4098,
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-5,
        "pad_token_id": 1,
    }
    tiny = {**_TINY, "attention_window": [32] * 2, "max_position_embeddings": 66}
    return Blueprint(LongformerModel, LongformerConfig(**(published | tiny if size == "tiny" else published)))


def nystromformer(size: str) -> Blueprint:
    """nystromformer-512."""
    published: dict[str, Any] = {
        "vocab_size": 30000,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "hidden_act": "gelu_new",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "num_landmarks": 64,
        "segment_means_seq_len": 128,
        "conv_kernel_size": 65,
        "inv_coeff_init_option": False,
        "max_position_embeddings": 510,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-5,
        "pad_token_id": 1,
    }
    tiny = {**_TINY, "num_landmarks": 16, "segment_means_seq_len": 32, "max_position_embeddings": 64}
    return Blueprint(NystromformerModel, NystromformerConfig(**(published | tiny if size == "tiny" else published)))
