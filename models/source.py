"""A model by name: the default that needs no hub, a folder, or an id on the Hugging Face hub."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import delta

DEFAULT = "default"
MAX_TOKENS = 512  # of a question with a paragraph, for a model that does not say
_MAKERS = ("source.py", "forms.py", "tracing.py", "deriving.py", "zips.py")  # what makes an export
DEFAULT_MAX_TOKENS = 256  # what the default model was trained on: on longer windows it is right less often


class ModelUnavailable(Exception):
    """The model cannot be had here; the text says what to do."""


class ExportError(Exception):
    """What was exported does not do what the model does."""


def cache_folder() -> Path:
    """Where made and exported models are kept: $KEYMISS_CACHE, else keymiss/ in the user's cache folder."""
    told = os.environ.get("KEYMISS_CACHE")
    return Path(told) if told else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "keymiss")


def slug_of(name: str) -> str:
    """A folder name for what is made of the model `name`: another one when the model is another, or when the
    code here, which makes it, has changed."""
    maker = b"".join(Path(__file__).with_name(file).read_bytes() for file in _MAKERS)
    digest = hashlib.sha256(maker)
    if name == DEFAULT:
        digest.update(delta.DELTA.read_bytes())
    elif Path(name).is_dir():  # may be trained further under the same name
        files = sorted(path for path in Path(name).rglob("*") if path.is_file())
        stats = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
        digest.update(repr((str(Path(name).resolve()), stats)).encode())
    else:
        digest.update(name.encode())
    readable = re.sub(r"[^A-Za-z0-9.-]+", "-", name).strip("-.")[-60:]
    return f"{readable}-{digest.hexdigest()[:12]}"


def default_model(folder: Path, delta_file: Path = delta.DELTA) -> Path:
    """Write the default model, or another delta's, as a Hugging Face folder (config.json, tokenizer.json,
    model.safetensors float32) where it is not yet; `folder` itself is returned. ModelUnavailable where the
    base package is not installed."""
    if not folder.is_dir():
        write_folder(folder, lambda unfinished: _write_default(unfinished, delta_file))
    return folder


def write_folder(folder: Path, write: Callable[[Path], object]) -> None:
    """Have `write` fill a folder beside `folder`, then move it there: it is never seen half written."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        write(unfinished)
        try:
            unfinished.rename(folder)
        except OSError:  # another process was faster
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _write_default(folder: Path, delta_file: Path) -> None:
    try:
        from safetensors.numpy import save_file

        save_file(delta.apply(delta_file), folder / "model.safetensors", {"format": "pt"})
    except ImportError as error:
        raise ModelUnavailable(
            f"the default model needs {error.name}: pip install 'keymiss[export]'"
        ) from None
    config = json.loads((delta.base_folder() / "config.json").read_text())
    config.pop("_name_or_path", None)
    config.update(architectures=["BertForQuestionAnswering"], qa_max_tokens=DEFAULT_MAX_TOKENS)
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    tokenizer = json.loads((delta.base_folder() / "tokenizer.json").read_text())
    tokenizer.update(truncation=None, padding=None)  # the base cuts at 128 and pads to it
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False))


def load_eager(name: str, cache: Path, attention: str = "eager") -> tuple[Any, Any]:
    """The model `name` as transformers runs it, in evaluation mode and float32, and its tokenizer (of the
    library `tokenizers`), whose truncation is set to the tokens that the model takes. `attention` is what
    transformers calls its implementation: by default spelled out, whose graph has no branch on the values of
    the mask, which tracing would freeze. ModelUnavailable where the model cannot be had or is not one for
    extractive question answering."""
    try:
        from transformers import AutoModelForQuestionAnswering, AutoTokenizer, logging
    except ImportError as error:
        raise ModelUnavailable(f"exporting needs {error.name}: pip install 'keymiss[export]'") from None
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    place = str(default_model(cache / slug_of(DEFAULT) / "huggingface")) if name == DEFAULT else name
    try:
        model, loading = AutoModelForQuestionAnswering.from_pretrained(
            place, attn_implementation=attention, dtype="float32", output_loading_info=True
        )
        tokenizer = AutoTokenizer.from_pretrained(place, use_fast=True).backend_tokenizer
    except (OSError, ValueError, AttributeError) as error:
        raise ModelUnavailable(
            f"the model {name!r} cannot be loaded: {str(error).splitlines()[0]} Name the folder of an "
            "extractive question-answering model, or the id of one on the Hugging Face hub where this "
            "machine reaches it (HF_HUB_OFFLINE not set), or no model: the default one needs no hub"
        ) from None
    if missing := sorted(loading["missing_keys"]):  # they are random now
        raise ModelUnavailable(
            f"the model {name!r} was not trained for extractive question answering: it has no {missing[0]}"
        )
    tokenizer.enable_truncation(
        min(getattr(model.config, "qa_max_tokens", MAX_TOKENS), model.config.max_position_embeddings)
    )
    tokenizer.no_padding()
    return model.eval(), tokenizer
