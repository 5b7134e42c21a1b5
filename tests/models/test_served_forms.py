"""Every runtime in a precision of its own, stored on a server and run by several clients at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import redis
from keymiss_deploy.models.deriving import derive
from keymiss_deploy.models.export import Exported
from keymiss_deploy.models.forms import FORMS
from keymiss_deploy.models.load import store
from keymiss_deploy.models.logits import INPUTS, OUTPUTS, load_logits, pad
from keymiss_deploy.models.tracing import make
from support.server import Server
from support.tiny_models import BERT, tiny
from transformers import BertForQuestionAnswering

from keymiss.client import AI, read_shards
from keymiss.keys import model_key

CLIENTS = 4
ROUNDS = 8
LENGTHS = (3, 7, 20, 33)  # tokens, one for each client


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny model, its ONNX file, and a cache."""
    folder = tmp_path_factory.mktemp("tiny")
    tiny(folder / "model", BertForQuestionAnswering(BERT))
    make(str(folder / "model"), "onnx", folder, folder / "traced")
    return folder


@pytest.fixture(scope="module", params=["torchscript-bf16", "onnx-int8", "openvino-bf16"])
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def made(form: str, tiny_model: Path) -> Exported:
    folder = tiny_model / form
    if not folder.is_dir():
        if FORMS[form].runtime == "torch":
            make(str(tiny_model / "model"), form, tiny_model, folder)
        else:
            derive(tiny_model / "traced", FORMS[form], folder)
    return Exported(folder)


def test_clients_at_once_get_what_the_form_gives(
    server: Server, client: redis.Redis, made: Exported, form: str
) -> None:
    (stored,) = store(read_shards(client), made, form)
    assert stored.changed
    key = model_key(stored.shard.hash_tag)
    assert AI(client).modelget(key, meta_only=True)["backend"] == FORMS[form].backend
    logits = load_logits(made.model(form), form, threads=1)

    def run(n: int) -> None:
        ids = [int(x) for x in np.random.default_rng(n).integers(4, 4000, LENGTHS[n])]
        inputs = pad([(ids, [0] * len(ids))])
        expected = logits(inputs)
        with closing(server.client()) as connection:
            ai = AI(connection)
            names = [f"{name}:{n}" for name in INPUTS]
            results = [f"{name}:{n}" for name in OUTPUTS]
            for name, array in zip(names, inputs, strict=True):
                ai.tensorset(name, array)
            for _ in range(ROUNDS):
                ai.modelexecute(key, names, results)
                for name, want in zip(results, expected, strict=True):
                    np.testing.assert_allclose(ai.tensorget(name), want, atol=0.02)

    with ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(run, range(CLIENTS)))


def test_passes_on_several_threads_give_what_one_gives(made: Exported, form: str) -> None:
    """As the models worker has them run side by side, each with a share of the cores."""
    from keymiss.backends import Backends, Device

    model = Backends(2)[FORMS[form].backend].load(made.model(form), Device("CPU"), (), ())
    assert model.shares_device
    ids = list(range(5, 45))
    inputs = pad([(ids, [0] * len(ids)), (ids[:9], [1] * 9)])
    expected = model.run(inputs)

    def run(_: int) -> None:
        model.take_threads(1)
        for _ in range(ROUNDS):
            for have, want in zip(model.run([array.copy() for array in inputs]), expected, strict=True):
                np.testing.assert_allclose(have, want, atol=0.02)

    with ThreadPoolExecutor(CLIENTS) as callers:
        list(callers.map(run, range(CLIENTS)))
