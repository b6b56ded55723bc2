"""`speechft convert`: an encoder in another format, or with its head as a class of transformers."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

from torch import Tensor

from speechft.core.artifact import Artifact, dependencies
from speechft.core.errors import SettingsError
from speechft.core.files import atomic_dir
from speechft.core.heard import write_heard
from speechft.encoders import convert as bare
from speechft.encoders.checkpoint import Checkpoint, fill_model
from speechft.encoders.hf_folder import encoder_files, write_hf_folder
from speechft.encoders.identity import heard_of
from speechft.encoders.load import encoder_class, read_checkpoint
from speechft.encoders.settings import ConvertSettings
from speechft.heads.linear import FrameHead, PooledLinear, Probe
from speechft.tasks.ctc import BLANK, UNKNOWN, CTCTask
from speechft.tasks.kept_head import HEAD, KeptHead, choose_head, heads_of, read_head
from speechft.tasks.utterance_classes import ClassTask

WITH_HEAD = "hf-head"


def convert(settings: ConvertSettings) -> Path:
    """Write an encoder in another format, as `encoders.convert` does; `hf-head` takes its head too.

    A linear head is written as `…ForCTC` with tokenizer and vocabulary, or as
    `…ForSequenceClassification`, whose logits are the same; `transformers.pipeline` runs both.

    Returns:
        The file or folder that was written.

    Raises:
        CheckpointError: the source is no complete encoder, has no head, or the format has no place
            for it.
        SettingsError: transformers has no class for the head, or the target cannot be.
    """
    if settings.to != WITH_HEAD:
        return bare.convert(settings)
    bare.refuse_target(settings)
    files = heads_of(settings.source, settings.head)
    checkpoint = read_checkpoint(settings.source, base=settings.base)
    model = fill_model(checkpoint, None)
    encoder = encoder_class(model, checkpoint.where)(model, checkpoint.preprocessor)
    head = read_head(choose_head(files, settings.task, encoder.fingerprint()))
    head.check(encoder, settings.source, same=settings.head is not None)
    depends = dependencies(settings)
    name, tensors, config = _with_head(checkpoint, head)
    whole = Checkpoint("hf", config, tensors, checkpoint.preprocessor, checkpoint.side, head.where)

    def beside(folder: Path) -> None:
        shutil.copyfile(head.where, folder / HEAD)
        if isinstance(head.task, CTCTask):
            _write_tokenizer(folder, head.task.vocabulary)

    with (
        bare.said_target(settings.target),
        atomic_dir(settings.target, encoder_files(settings.target)) as folder,
    ):
        write_hf_folder(whole, folder, name, beside)
        write_heard(folder, heard_of(settings.source))
        names = [path.name for path in folder.iterdir()]
        said = settings.model_dump(mode="json", exclude={"overwrite", "target"})
        Artifact(folder, "convert", depends).end(names, settings=said, head=head.record.task)
    return settings.target


def _with_head(checkpoint: Checkpoint, head: KeptHead) -> tuple[str, dict[str, Tensor], Any]:
    """Give the class, all tensors and the configuration of an encoder with its head.

    Raises:
        SettingsError: transformers has no class for it.
    """
    from transformers.models.auto import modeling_auto as known

    config, task = copy.deepcopy(checkpoint.config), head.task
    module, states = head.module, head.record.states
    if isinstance(module, Probe):
        weights = module.weighted_sum.weights
        module = module.head
    classes = next(iter(task.groups.values())) if isinstance(task, ClassTask) else []
    # Of pre-norm encoders transformers sums a last state without the final norm.
    other_sum = states is not None and getattr(config, "do_stable_layer_norm", False)
    name, own, said = None, dict[str, Tensor](), dict[str, Any]()
    if isinstance(task, CTCTask) and isinstance(module, FrameHead) and states is None:
        name = known.MODEL_FOR_CTC_MAPPING_NAMES.get(checkpoint.family)
        own["lm_head.weight"], own["lm_head.bias"] = module.as_one()
        said = {"vocab_size": task.output_size, "pad_token_id": 0}
    elif isinstance(module, PooledLinear) and len(classes) == task.output_size and not other_sum:
        name = known.MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES.get(checkpoint.family)
        parts = {"projector": module.projection, "classifier": module.output}
        own = {f"{n}.{k}": t for n, part in parts.items() for k, t in part.state_dict().items()}
        own |= {} if states is None else {"layer_weights": weights}
        said = {
            "id2label": dict(enumerate(classes)),
            "label2id": {label: i for i, label in enumerate(classes)},
            "classifier_proj_size": module.projection.out_features,
            "use_weighted_layer_sum": states is not None,
        }
    if name is None or name.startswith("Whisper"):
        raise _no_class(checkpoint, head, type(module).__name__)
    for key, value in said.items():
        setattr(config, key, value)
    prefix = str(getattr(known_class(name), "base_model_prefix", ""))
    tensors = {f"{prefix}.{n}": tensor for n, tensor in checkpoint.tensors.items()}
    dtype = next(t.dtype for t in tensors.values() if t.is_floating_point())
    return name, tensors | {n: tensor.detach().to(dtype) for n, tensor in own.items()}, config


def known_class(name: str) -> Any:
    """Give a class of transformers by its name."""
    import transformers

    return getattr(transformers, name)


def _no_class(checkpoint: Checkpoint, head: KeptHead, found: str) -> SettingsError:
    summed = head.record.states is not None
    return SettingsError(
        "transformers has no class for this head",
        where=head.where,
        expected="of CTC one linear layer on the last hidden state; of one class per utterance two "
        "around the mean, on a weighted sum only where layers end with a norm",
        found=f"{found} for {head.task.title}{' on a weighted sum' * summed}, {checkpoint.family}",
        hint="fine-tune with --head-size linear, or use it with speechft predict",
    )


def _write_tokenizer(folder: Path, vocabulary: list[str]) -> None:
    """Write a CTC tokenizer's files; symbols of several signs are put apart by spaces."""
    ids = {symbol: i for i, symbol in enumerate(vocabulary)}
    symbols = vocabulary[2:]
    space = next((sign for sign in ("|", " ") if sign in ids), None)
    special = {"unk_token": UNKNOWN, "pad_token": BLANK, "bos_token": None, "eos_token": None}
    settings: dict[str, Any] = {**special, "tokenizer_class": "Wav2Vec2CTCTokenizer"}
    settings |= {"word_delimiter_token": space or "|", "do_lower_case": False}
    if space is None and any(len(symbol) > 1 for symbol in symbols):
        settings |= {"tokenizer_class": "Wav2Vec2PhonemeCTCTokenizer", "do_phonemize": False}
        settings |= {"word_delimiter_token": None, "phone_delimiter_token": " "}
    files = {"vocab.json": ids, "tokenizer_config.json": settings}
    files["special_tokens_map.json"] = {key: value for key, value in special.items() if value}
    for name, values in files.items():
        text = json.dumps(values, indent=2, ensure_ascii=False)
        (folder / name).write_text(text + "\n", encoding="utf-8")
