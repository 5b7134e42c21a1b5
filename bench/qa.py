"""Questions a second: the deployed model asked by 1 to 64 clients, beside the original method.

The original ran TorchScript in float32, one question at a time. Here it is given every advantage: no server,
no network, in a Python process of its own with as many threads and the same allocator.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from typing import TypeAlias

from keymiss_deploy.models.export import export

from keymiss.inference.allocator import find_jemalloc
from keymiss.qa.metric import score

from . import workload
from .answered import Answered, Asking
from .answering import ORIGINAL, Called, Direct, answering
from .beside import KEYMISS, MANY, THE_ORIGINAL, Beside, Samples, measure_beside, measurements
from .deployment import StoredModel, deployed
from .effort import Effort
from .generator import generating
from .load import Key
from .peers.environments import PeerUnavailable
from .peers.hosting import huggingface_folder
from .peers.servers import Peer
from .progress import Progress
from .report import Promise, Report, conditions_of
from .roofline import PRECISIONS, multiplying, operations
from .rounds import interleave, median_ratio
from .servers import find_server

CLIENTS = (1, 4, 8, 16, 32, 64)
QUESTIONS, QUICK_QUESTIONS = 240, workload.LEAST

LEAST_S = 1.0  # of a slice: 16 clients wait a tenth of a second for their first answers

SPEEDUP_AT_LEAST = 4.0
F1_WITHIN = 0.5  # of a hundred
OVER_DIRECT_BELOW_MS = 0.3

DIRECT = "called directly"  # the same questions in a Python process: tokenised, put to the model, answered
ALONE = "its model alone"  # of that the forward pass
Ask: TypeAlias = Callable[[Asking], Answered]

COLUMNS = ["who answers", "clients", "questions/s", "of original", "p50 ms", "p95 ms", "p99 ms", "F1"]


def measure(
    server: str | None,
    effort: Effort,
    progress: Progress,
    files: Sequence[Path] = (),
    model: Sequence[str] = (),
    peers: Sequence[Peer] = (),
) -> Report:
    """`files` hold the questions, in SQuAD's format; `model` are options of `keymiss model store`; each of
    `peers` is measured beside Keymiss after that."""
    items = workload.items(files, QUICK_QUESTIONS if effort.quick else QUESTIONS)
    threads = len(os.sched_getaffinity(0))
    seconds = max(effort.seconds, LEAST_S)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="keymiss-bench-")))
        progress.say("deploying")
        deployment = stack.enter_context(deployed(find_server(server), items, folder, model))
        stored = deployment.stored_model(folder)
        workload.save(items, folder / "items.json")
        exported = export()
        common = str(exported.tokenizer), str(folder / "items.json"), threads
        calls = [
            Called(str(exported.model("torchscript")), ORIGINAL, [], [], *common),
            Called(str(stored.file), stored.backend, stored.inputs, stored.outputs, *common),
        ]
        original, direct = (stack.enter_context(answering(called, folder)) for called in calls)
        generator, target = stack.enter_context(generating()), deployment.target()
        progress.say("asking each question once")
        answers = {
            KEYMISS: generator.ask_once(target, MANY).answers,
            THE_ORIGINAL: original.ask_once().answers,
        }
        multiply = stack.enter_context(multiplying(threads))
        peaks = [multiply({"seconds": seconds / 4})]
        direct.forward(Asking(seconds))  # warm, as the others are
        asks = partial(generator.ask, target), original.ask
        variants = _variants(*asks, direct, seconds)
        progress.expect(len(variants) * effort.rounds + len(peers) * measurements(effort.rounds))
        samples = interleave(variants, effort.rounds, progress)
        peaks.append(multiply({"seconds": seconds / 4}))
        conditions = conditions_of(deployment.client, MANY, effort.rounds)
        beside: list[Beside] = []
        for peer in peers:
            try:
                beside.append(measure_beside(peer, items, threads, generator, *asks, effort, progress))
            except PeerUnavailable as error:
                progress.say(f"{peer.what} is left out: {error}")
                conditions[f"without {peer.what}"] = str(error)
    conditions |= _conditions(len(items), stored, threads, samples)
    report = _report(items, samples, answers, conditions)
    config = huggingface_folder() / "config.json"
    _add_roofline(report, samples, peaks, operations(items, exported.tokenizer, config))
    for one in beside:
        _add_peer(report, one, items)
    if beside:
        _add_half(report, f"{KEYMISS}, half load", [one.half[KEYMISS] for one in beside])
    return report


def _variants(
    ask: Ask, ask_original: Ask, direct: Direct, seconds: float
) -> dict[Key, Callable[[], Answered]]:
    """What is measured in turn, by who answers and how many ask."""
    return {
        **{Key(KEYMISS, clients): partial(ask, Asking(seconds, clients)) for clients in CLIENTS},
        Key(DIRECT, 1): partial(direct.ask, Asking(seconds)),
        Key(ALONE, 1): partial(direct.forward, Asking(seconds)),
        **{
            Key(THE_ORIGINAL, clients): partial(ask_original, Asking(seconds, clients))
            for clients in (1, MANY)
        },
    }


def _conditions(questions: int, stored: StoredModel, threads: int, samples: Samples) -> dict[str, str]:
    return {
        "clients": "as shown, each asks as soon as it is answered",
        "answers": "never cached",
        "questions": f"{questions} different ones",
        "model": f"{stored.tag} by {stored.backend}",
        "threads of a forward pass": str(threads),
        "allocator of models": "jemalloc" if find_jemalloc() else "the system's",
        "load generator": f"{100 * _generator_share(samples):.1f} % of the processors",
    }


def _report(
    items: Sequence[workload.Item],
    samples: Samples,
    answers: Mapping[str, Sequence[str]],
    conditions: dict[str, str],
) -> Report:
    golds = [item.golds for item in items]
    f1 = {name: score(given, golds)[1] for name, given in answers.items()}
    report = Report("qa", "Questions answered by a deployed model", COLUMNS, conditions)
    for key in samples:
        _add_row(report, key, samples, f1.get(key.name))
    speedup = _of_original(samples, Key(KEYMISS, MANY))
    f1_delta = f1[KEYMISS] - f1[THE_ORIGINAL]
    over_ms, over_alone_ms = (
        median(map(_over_ms, samples[Key(KEYMISS, 1)], samples[Key(name, 1)])) for name in (DIRECT, ALONE)
    )
    report.figures = {
        f"speedup_over_original_at_{MANY}_clients": speedup,
        "f1_delta": f1_delta,
        "p50_over_the_direct_call_ms_at_1_client": over_ms,
        "p50_over_the_model_alone_ms_at_1_client": over_alone_ms,
    }
    report.promises += [
        Promise(
            f"{MANY} clients get at least {SPEEDUP_AT_LEAST:g} times the questions a second of the original",
            speedup,
            speedup >= SPEEDUP_AT_LEAST,
        ),
        Promise(f"F1 is within {F1_WITHIN} of the original's", f1_delta, abs(f1_delta) <= F1_WITHIN),
        Promise(
            f"one client waits at most {OVER_DIRECT_BELOW_MS} ms longer than a direct call takes, at p50",
            over_ms,
            over_ms <= OVER_DIRECT_BELOW_MS,
        ),
    ]
    return report


def _add_roofline(
    report: Report, samples: Samples, peaks: Sequence[Mapping[str, float | None]], gop_of_a_question: float
) -> None:
    """What the matrix products of the answers come to a second at saturation, of the most there can be."""
    rates = {key: median(run.rate for run in runs) for key, runs in samples.items() if key.name == KEYMISS}
    reached = max(rates.values()) * gop_of_a_question
    report.figures["gop_a_second_at_saturation"] = reached
    shares = []
    for precision in PRECISIONS:
        measured = [peak[precision] for peak in peaks]
        most = max((value for value in measured if value is not None), default=None)
        if most is not None:
            report.figures[f"peak_gop_a_second_{precision}"] = most
            shares.append(f"{100 * reached / most:.0f} % of {most:.0f} in {precision}")
    report.conditions["matrix products"] = f"{reached:.0f} GOP/s at saturation: {', '.join(shares)}"


def _add_peer(report: Report, beside: Beside, items: Sequence[workload.Item]) -> None:
    """Its rows, and how Keymiss did beside it."""
    name = beside.peer.what
    f1 = score(beside.answers, [item.golds for item in items])[1]
    for key in beside.rows:
        _add_row(report, key, beside.closed, f1)
    _add_half(report, f"{name}, half load", [beside.half[name]])
    ratio = median_ratio(*([run.rate for run in beside.closed[Key(who, MANY)]] for who in (KEYMISS, name)))
    p99_ms, theirs_ms = (beside.half[who].latency_ms(99) for who in (KEYMISS, name))
    report.figures |= {
        f"questions_of_{beside.peer.name}_at_{MANY}_clients": ratio,
        f"p99_of_{beside.peer.name}_at_half_load": p99_ms / theirs_ms,
    }
    report.promises += [
        Promise(f"{MANY} clients get more answers than of {name}, times", ratio, ratio > 1),
        Promise(
            f"at half of its own most the p99 is below that of {name}, share",
            p99_ms / theirs_ms,
            p99_ms < theirs_ms,
        ),
    ]


def _add_half(report: Report, name: str, runs: Sequence[Answered]) -> None:
    latencies = [median(run.latency_ms(percent) for run in runs) for percent in (50, 95, 99)]
    report.add(name, None, median(run.rate for run in runs), None, *latencies, None)


def _add_row(report: Report, key: Key, samples: Samples, f1: float | None) -> None:
    runs = samples[key]
    latencies = [median(run.latency_ms(percent) for run in runs) for percent in (50, 95, 99)]
    report.add(*key, median(run.rate for run in runs), _of_original(samples, key), *latencies, f1)


def _of_original(samples: Samples, key: Key) -> float:
    """The rate beside the original's with one client or, where there are more, with many."""
    beside = samples[Key(THE_ORIGINAL, 1 if key.clients == 1 else MANY)]
    return median_ratio([run.rate for run in samples[key]], [run.rate for run in beside])


def _over_ms(asked: Answered, beside: Answered) -> float:
    """How much longer the same questions took, at the median. Both runs begin with the first question."""
    pairs = zip(asked.latencies_ms, beside.latencies_ms, strict=False)
    return median(asked_ms - beside_ms for asked_ms, beside_ms in pairs)


def _generator_share(samples: Samples) -> float:
    """What the load generator took of all processors while it loaded Keymiss."""
    runs = [run for key, runs in samples.items() if key.name == KEYMISS for run in runs]
    return sum(run.busy_s for run in runs) / sum(run.took_s for run in runs) / len(os.sched_getaffinity(0))
