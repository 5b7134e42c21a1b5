"""What a model can be exported as: a runtime's format, in a precision.

A form has one name, which is that of its folder in the cache, and goes to `AI.MODELSTORE` under one backend.
Its precision is in the file: nothing else has to be told to the worker.
"""

from __future__ import annotations

from dataclasses import dataclass

AUTO = "auto"


@dataclass(frozen=True)
class Form:
    """A runtime's format, in a precision."""

    name: str
    runtime: str  # as `keymiss model --backend` calls it
    precision: str
    file: str  # its name in the folder of an export
    tolerance: float  # of a logit: how far it may be from the eager model's, of the range of its row's logits

    @property
    def backend(self) -> str:
        """As AI.MODELSTORE calls it."""
        return self.runtime.upper()


# Rounding alone stays far below: these tell a graph that is wrong. How good answers are is for a check set.
_TOLERANCES = {"fp32": 2e-5, "fp16": 0.02, "bf16": 0.15, "int8": 0.5}
_FILES = {"torch": "model.pt", "onnx": "model.onnx", "openvino": "model.zip"}
_NAMES = {"torch": "torchscript", "onnx": "onnx", "openvino": "openvino"}
_PRECISIONS = {
    "torch": ("fp32", "bf16", "fp16"),
    "onnx": ("fp32", "fp16", "int8"),
    "openvino": ("fp32", "bf16", "fp16"),
}

RUNTIMES = tuple(_PRECISIONS)
PRECISIONS = tuple(_TOLERANCES)


def _form(runtime: str, precision: str) -> Form:
    name = _NAMES[runtime] if precision == "fp32" else f"{_NAMES[runtime]}-{precision}"
    return Form(name, runtime, precision, _FILES[runtime], _TOLERANCES[precision])


FORMS = {
    form.name: form for runtime, some in _PRECISIONS.items() for form in (_form(runtime, p) for p in some)
}
REFERENCE = FORMS["torchscript"]  # what the others are held against


def matching(runtime: str, precision: str) -> list[Form]:
    """The forms of a runtime and a precision, either of which may be AUTO, the reference first. ValueError,
    with what there is, where there is none."""
    found = [
        form
        for form in FORMS.values()
        if runtime in (AUTO, form.runtime) and precision in (AUTO, form.precision)
    ]
    if not found:
        raise ValueError(f"{runtime} has no {precision}, but {', '.join(_PRECISIONS[runtime])}")
    return found
