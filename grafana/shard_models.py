"""Shard, models: keys of models, scripts and tensors and how they were run, by AI.* commands."""

from __future__ import annotations

from collections.abc import Sequence

from .page import REDIS_TAG, Page, PanelBuilder, Row, shard_variable
from .redis_source import cli, figures, from_json, info, listing, rg
from .shard import REFRESH

# AI.INFO is of one key, and of keys of its own shard: a function asks each master for all of its own.
MODELS = """
import json

def rows(_):
    for key, tag in execute('AI._MODELSCAN'):
        told = execute('AI.INFO', key)
        of = dict(zip(told[::2], told[1::2]))
        yield json.dumps({'shard': hashtag(), 'key': key, 'tag': tag, 'backend': of['backend'],
                          'device': of['device'], 'calls': of['calls'], 'errors': of['errors'],
                          'samples': of['samples'], 'duration': of['duration']})

GB('ShardsIDReader').flatmap(lambda shard: list(rows(shard))).run()
""".strip()


def shard_models() -> Page:
    """As the shard and its models worker tell it."""
    return Page(
        uid="keymiss-shard-models",
        title="Keymiss / Shard: Models",
        description="Models, scripts and tensors of one shard; needs no Prometheus.",
        tag=REDIS_TAG,
        refresh=REFRESH,
        variables=[shard_variable()],
        rows=[Row("", _at_a_glance()), Row("Models of all masters", _models()), Row("Keys", _keys())],
    )


def _at_a_glance() -> Sequence[PanelBuilder]:
    keys = {"keymiss_models": "models", "keymiss_scripts": "scripts", "keymiss_tensors": "tensors"}
    sizes = {"keymiss_model_bytes": "files of models", "keymiss_tensor_bytes": "tensors"}
    runs = {
        "keymiss_runs_done": "done",
        "keymiss_runs_failed": "failed",
        "keymiss_runs_timed_out": "timed out",
    }
    return [
        figures("Keys", "Keys of this shard.", "short", info("keymiss"), *keys, names=keys, size=(8, 5)),
        figures(
            "Memory of keys",
            "A file that several keys hold counts once.",
            "bytes",
            info("keymiss"),
            *sizes,
            names=sizes,
            size=(8, 5),
        ),
        figures(
            "Runs", "Of models, scripts and DAGs.", "short", info("keymiss"), *runs, names=runs, size=(8, 5)
        ),
    ]


def _models() -> Sequence[PanelBuilder]:
    return [
        listing(
            "Models",
            "AI._MODELSCAN and AI.INFO of every master. Duration is of all calls together.",
            rg("PYEXECUTE", MODELS),
            from_json("results"),
            names={
                "shard": "Hash tag",
                "key": "Key",
                "tag": "Tag",
                "backend": "Backend",
                "device": "Device",
                "calls": "Calls",
                "errors": "Errors",
                "samples": "Samples",
                "duration": "Duration",
            },
            units={"calls": "short", "errors": "short", "samples": "short", "duration": "µs"},
        )
    ]


def _keys() -> Sequence[PanelBuilder]:
    return [
        listing("Models here", "AI._MODELSCAN: key and tag in turn.", cli("AI._MODELSCAN"), size=(8, 8)),
        listing("Scripts here", "AI._SCRIPTSCAN: key and tag in turn.", cli("AI._SCRIPTSCAN"), size=(8, 8)),
        listing("Versions", "AI.INFO: names and values in turn.", cli("AI.INFO"), size=(8, 8)),
    ]
