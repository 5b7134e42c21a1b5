"""What docs/redisai.md says of moving data from server to server moves it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from docs.examples import check_examples
from support import torch_models, torch_scripts
from support.paths import REPOSITORY
from support.server import Server

PAGE = REPOSITORY / "docs" / "redisai.md"
OPTIONS = ("TAG", "v1", "BATCHSIZE", 4, "MINBATCHSIZE", 2, "MINBATCHTIMEOUT", 10)


def test_tensors_models_and_scripts_arrive_whole(server: Server, make_server: Callable[..., Server]) -> None:
    other = make_server()
    with contextlib.closing(server.client()) as old, contextlib.closing(other.client()) as new:
        blob = torch_models.doubler()
        assert old.execute_command("AI.MODELSTORE", "m", "TORCH", "CPU", *OPTIONS, "BLOB", blob) == b"OK"
        torch_models.store(old, "plain", blob)
        text_of_s = torch_scripts.source("f", "return tensors[0]")
        old.execute_command("AI.SCRIPTSTORE", "s", "CPU", "ENTRY_POINTS", 1, "f", "SOURCE", text_of_s)
        old.execute_command(
            "AI.SCRIPTSET", "older", "CPU", "TAG", "v2", "SOURCE", "def f(a):\n    return a\n"
        )
        torch_models.set_tensor(old, "t", 1, 2)
        old.execute_command("AI.TENSORSET", "words", "STRING", 2, "VALUES", "a", "b")
        check_examples(PAGE, {6379: server.port, 6380: other.port}, least=6)
        for command in (
            "AI.MODELGET m META BLOB",
            "AI.MODELGET plain META BLOB",
            "AI.SCRIPTGET s",
            "AI.SCRIPTGET older",
            "AI.TENSORGET t META BLOB",
            "AI.TENSORGET words META VALUES",
        ):
            assert new.execute_command(*command.split()) == old.execute_command(*command.split())
