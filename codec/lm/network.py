"""The transformer: built from settings, or read from a folder that transformers reads too."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from codec.config.lm import LMModelConfig
from codec.devices import pick_device
from codec.errors import CodecError, how_to_install
from codec.files import read_json
from codec.lm.corpus import Vocabulary
from codec.lm.loss import token_losses
from codec.lm.packing import Sequences
from codec.pretrained import CONFIG_FILE, WEIGHTS_FILE, check_sums, read_weights, replacing_model
from codec.tokenstore import Model

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM


class LanguageModel(nn.Module):
    """A causal model of one codec's tokens.

    >>> lm = LanguageModel.from_pretrained("exp/lm/mini/simvq/best")
    >>> lm.codec.fingerprint, lm.vocabulary.begin, lm.context

    Args:
        llama: whose vocabulary is K + 2 and whose ``config.codec`` names the codec.
        loss_chunk: positions whose logits exist at a time.
    """

    def __init__(self, llama: LlamaForCausalLM, loss_chunk: int = 1024) -> None:
        super().__init__()
        self.llama, self.loss_chunk = llama, loss_chunk
        self.codec = Model(**llama.config.codec)
        self.vocabulary = Vocabulary(self.codec.codebook_size)

    @property
    def context(self) -> int:
        """Positions that it was trained on: the begin mark and ``context - 1`` tokens."""
        return int(self.llama.config.max_position_embeddings)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.llama.device

    def forward(self, sequences: Sequences) -> Tensor:
        """-ln p of every target, (B, T) float32; 0 where it is IGNORED."""
        inputs, targets, positions = sequences
        # No mask is given: from positions that start anew, transformers sees where another recording begins.
        hidden = self.llama.model(input_ids=inputs, position_ids=positions, use_cache=False).last_hidden_state
        table = self.llama.get_output_embeddings().weight
        return token_losses(hidden.flatten(0, 1), table, targets.flatten(), self.loss_chunk).view_as(targets)

    def save_pretrained(self, directory: str | Path) -> None:
        """Write a folder that ``transformers.AutoModelForCausalLM`` reads, too.

        A model that is there stays until this one is whole; a mix of both is refused when it is loaded.

        Raises:
            CodecError: it cannot be written.
        """
        directory = Path(directory)
        temporary = directory.with_name(f".{directory.name}.part")
        try:
            self.llama.save_pretrained(temporary, max_shard_size="1TB")  # one file
            files = list(temporary.iterdir())
            with replacing_model(directory, [file.name for file in files]) as paths:
                for file in files:
                    file.replace(paths[file.name])
        except (OSError, SafetensorError) as error:
            raise CodecError(f"{directory}: writing failed ({error}); make room or choose a writable folder") from None
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    @classmethod
    def from_pretrained(cls, directory: str | Path, device: str | torch.device = "auto") -> LanguageModel:
        """Load a folder of :meth:`save_pretrained`, in eval mode.

        Raises:
            CodecError: not such a folder, damaged, or ``transformers`` is not installed.
        """
        directory = Path(directory)
        facts = read_json(directory / CONFIG_FILE, "recipes/train_lm.py makes language models")
        if facts.get("model_type") != "llama" or "codec" not in facts:
            raise CodecError(f"{directory}: not a language model of speech tokens; recipes/train_lm.py makes one")
        check_sums(directory)
        read_weights(directory / WEIGHTS_FILE)  # its errors are one line
        llama = _transformers().LlamaForCausalLM.from_pretrained(directory, local_files_only=True)
        return cls(llama).to(pick_device(device)).eval()


def build_language_model(config: LMModelConfig, codec: Model) -> LanguageModel:
    """A network with random weights, from torch's generator.

    Raises:
        CodecError: ``transformers`` is not installed.
    """
    library, vocabulary = _transformers(), Vocabulary(codec.codebook_size)
    settings: Any = library.LlamaConfig(
        vocab_size=vocabulary.size,
        hidden_size=config.dim,
        intermediate_size=config.mlp_dim,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.heads,
        head_dim=config.dim // config.heads,
        max_position_embeddings=config.context,
        rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
        attention_dropout=config.attention_dropout,
        tie_word_embeddings=config.tie_embeddings,
        bos_token_id=vocabulary.begin,
        eos_token_id=vocabulary.end,
        pad_token_id=None,
        codec=asdict(codec),
    )
    return LanguageModel(library.LlamaForCausalLM(settings), config.loss_chunk)


def start_from(lm: LanguageModel, directory: str | Path) -> None:
    """Put the weights of another language model in the place of this one's. Contexts may differ.

    Raises:
        CodecError: no such model, one of another codec's tokens, or of other sizes, which are named.
    """
    where, other = f"init_from={directory}", LanguageModel.from_pretrained(directory, "cpu")
    if other.codec.fingerprint != lm.codec.fingerprint:
        raise CodecError(
            f"{where}: speaks the tokens of codec {other.codec.fingerprint} ({other.codec.name}), but data.train has "
            f"those of {lm.codec.fingerprint} ({lm.codec.name}); tokenise with the codec of the language model"
        )
    was, now = _sizes(other), _sizes(lm)
    if differing := [f"model.{name}={was[name]}, here {now[name]}" for name in was if was[name] != now[name]]:
        raise CodecError(f"{where}: has other sizes ({'; '.join(differing)}); set model as it has them")
    lm.llama.load_state_dict(other.llama.state_dict())


def _sizes(lm: LanguageModel) -> dict[str, object]:
    """Settings without which weights mean something else, by their names in :class:`LMModelConfig`."""
    config: Any = lm.llama.config
    return {
        "layers": config.num_hidden_layers,
        "dim": config.hidden_size,
        "heads": config.num_attention_heads,
        "mlp_dim": config.intermediate_size,
        "tie_embeddings": config.tie_word_embeddings,
        "rope_theta": config.rope_parameters["rope_theta"],
    }


def _transformers() -> ModuleType:
    try:
        import transformers as library
    except ImportError:
        raise CodecError(
            "the package transformers is not installed; language models need it: "
            + how_to_install("transformers", "lm")
        ) from None
    library.utils.logging.disable_progress_bar()
    library.utils.logging.set_verbosity_error()
    return library
