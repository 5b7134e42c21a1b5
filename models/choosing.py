"""`auto`: the form of a model that is fastest here, of those whose answers are as good as the reference's.

What is found is kept beside the exports, for this processor, number of threads and versions of the libraries.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib import metadata, util
from math import sqrt
from pathlib import Path

from keymiss.backends import Device, backend_class

from .checkset import MOST_LOST, Verdict, check_set, judge
from .export import alone, export
from .forms import FORMS, REFERENCE, Form
from .neighbours import Neighbours, share_of_others
from .source import ExportError, cache_folder, slug_of
from .squad import Example
from .trying import FormFailed, Speed, Trial, trial

_ROUNDS = 4
_SECONDS = 0.2  # of each kind of pass in a round
# What others may have of the processors. Beyond it forms do not lose alike, and the slower one may win.
_MOST_OTHERS = 0.1
_LOOK_S = 0.5
_CPU_INFO = Path("/proc/cpuinfo")
_CPU_FIELDS = ("model name", "flags", "CPU part", "Features")  # on x86, and on Arm
_BF16 = frozenset(("avx512_bf16", "amx_bf16", "bf16"))  # without one of these it is slower than float32
# How much faster than the others 8 bits have to be: questions do not show all that they lose (checkset), and
# speeds are not exact where others want the processor.
_WORTH_IT = {"int8": 1.25}
_DECIDE = ("choosing.py", "trying.py", "neighbours.py", "checkset.py")


@dataclass(frozen=True)
class Tried:
    """What was found out about a form."""

    form: str
    speed: float = 0.0  # as a multiple of the reference's
    verdict: Verdict | None = (
        None  # on its answers; None where a faster form was chosen before they were asked
    )
    failed: str = ""  # why it does not run here


@dataclass(frozen=True)
class Choice:
    """The form that was chosen, among all that were tried, in the order of `in_order`."""

    form: str
    tried: tuple[Tried, ...]
    is_new: bool  # measured now
    others: float = 0.0  # the share of the processors that others had while it was measured

    @property
    def is_doubtful(self) -> bool:
        """It is to be made again when the processors are idle."""
        return self.others > _MOST_OTHERS


@dataclass(frozen=True)
class Place:
    """Which model is to run where."""

    name: str
    device: str
    threads: int
    cache: Path
    say: Callable[[str], object]  # is told what is being done

    @contextmanager
    def trial(self, form: Form) -> Iterator[Trial]:
        self.say(f"exporting {form.name}")
        exported = export(self.name, form.name, self.cache)
        self.say(f"trying {form.name}")
        with trial(form, exported, self.device, self.threads) as running:
            yield running


def choose(
    name: str,
    forms: Sequence[Form],
    device: str = "CPU",
    files: Sequence[Path] = (),
    say: Callable[[str], object] = lambda _: None,
    cache: Path | None = None,
) -> Choice:
    """The best of `forms` for the model `name` here. It is measured once, but again where others had the
    processors then, and have not now. `files`: more questions to check answers by, in SQuAD
    format. ModelUnavailable, ExportError; FormFailed where the reference does not run here, or none of the
    forms passes; OSError, ValueError where a file cannot be read."""
    place = Place(name, device, len(os.sched_getaffinity(0)), cache or cache_folder(), say)
    candidates = [form for form in forms if is_candidate(form, device)]
    if not candidates:
        raise FormFailed(_nothing_to_try(forms, device))
    asked = check_set(files)
    note = place.cache / slug_of(name) / "chosen" / f"{_conditions(place, candidates, asked)}.json"
    with alone(note.parent):  # two that measure at the same time would measure each other
        if note.exists():
            choice = _read(note)
            if not choice.is_doubtful or share_of_others(_LOOK_S) > _MOST_OTHERS:
                return choice
        choice = _measured(place, candidates, asked)
        _write(note, choice)
        return choice


def _measured(place: Place, candidates: Sequence[Form], asked: Sequence[Example]) -> Choice:
    neighbours = Neighbours()
    with place.trial(REFERENCE) as reference:
        tried = in_order([_timed(place, form, reference, neighbours) for form in candidates])
        right = reference.answers(asked)
    chosen = None
    by_name = {form.name: form for form in candidates}
    for n, one in enumerate(tried):
        if chosen is None and not one.failed:
            with place.trial(by_name[one.form]) as running:
                verdict = judge(asked, running.answers(asked), right)
            tried[n] = replace(one, verdict=verdict)
            chosen = one.form if verdict.passes else None
    if chosen is None:
        raise FormFailed(_none_passes(tried))
    return Choice(chosen, tuple(tried), is_new=True, others=neighbours.share)


def in_order(tried: Sequence[Tried]) -> list[Tried]:
    """The fastest first, but 8 bits behind what is nearly as fast."""

    def worth(one: Tried) -> float:
        return one.speed / _WORTH_IT.get(FORMS[one.form].precision, 1.0)

    return sorted(tried, key=worth, reverse=True)


def is_candidate(form: Form, device: str) -> bool:
    """Whether the form's library is installed, and the processor has its precision."""
    return util.find_spec(backend_class(form.backend).library) is not None and _has_precision(form, device)


def _has_precision(form: Form, device: str) -> bool:
    if Device.parse(device).kind != "CPU":
        return True
    flags = frozenset(" ".join(_cpu().values()).split())
    return form.precision != "fp16" and (form.precision != "bf16" or bool(flags & _BF16))


def _timed(place: Place, form: Form, reference: Trial, neighbours: Neighbours) -> Tried:
    """Beside the reference, in turns: the machine may be twice as fast a second later."""
    if form == REFERENCE:
        return Tried(form.name, speed=1.0)
    try:
        with place.trial(form) as running, neighbours.watching():
            pairs = [(reference.time(_SECONDS), running.time(_SECONDS)) for _ in range(_ROUNDS)]
    except (FormFailed, ExportError) as error:
        return Tried(form.name, failed=str(error))
    best, own = (Speed(*map(min, zip(*speeds, strict=True))) for speeds in zip(*pairs, strict=True))
    return Tried(form.name, sqrt(best.alone_ms / own.alone_ms * best.shared_ms / own.shared_ms))


def _nothing_to_try(forms: Sequence[Form], device: str) -> str:
    """Why none of the forms is a candidate."""
    missing = {form.runtime for form in forms if _has_precision(form, device)}
    if not missing:
        return f"this processor is not for {' and '.join(sorted({form.precision for form in forms}))}"
    extras = "export,openvino" if missing == {"openvino"} else "export"
    return f"no library for such a form is installed here: pip install 'keymiss[{extras}]' brings one"


def _none_passes(tried: Sequence[Tried]) -> str:
    said = [
        f"{one.form} does not run ({one.failed})"
        if one.verdict is None
        else f"{one.form} has F1 {one.verdict.f1:.1f} of {one.verdict.reference_f1:.1f}, and gives "
        f"{one.verdict.alike:.1f} % of the same answers"
        for one in tried
    ]
    return (
        f"no form keeps the answers within {MOST_LOST} points of F1 of {REFERENCE.name}'s: {'; '.join(said)}"
    )


def _conditions(place: Place, candidates: Sequence[Form], asked: Sequence[Example]) -> str:
    """What a choice depends on, as a name."""
    told = (
        _cpu(),
        [place.device, place.threads],
        [(form.name, metadata.version(backend_class(form.backend).library)) for form in candidates],
        asked,
        [hashlib.sha256(Path(__file__).with_name(name).read_bytes()).hexdigest() for name in _DECIDE],
    )
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]


def _cpu() -> dict[str, str]:
    """What the processor is called, and its instruction sets."""
    try:
        lines = [line.partition(":") for line in _CPU_INFO.read_text().splitlines()]
    except OSError:
        return {"model name": platform.processor()}
    return {name.strip(): value.strip() for name, _, value in lines if name.strip() in _CPU_FIELDS}


def _write(note: Path, choice: Choice) -> None:
    unfinished = note.with_suffix(f".{os.getpid()}")
    unfinished.write_text(json.dumps(asdict(choice)))
    unfinished.replace(note)


def _read(note: Path) -> Choice:
    told = json.loads(note.read_text())
    tried = tuple(
        Tried(**{**one, "verdict": Verdict(**one["verdict"]) if one["verdict"] else None})
        for one in told["tried"]
    )
    return Choice(told["form"], tried, is_new=False, others=told["others"])
