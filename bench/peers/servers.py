"""The peers: what each needs, which program serves it, and of which form of the model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

TORCH = "torch==2.13.0"  # as bootstrap.sh installs it; a range would bring another build, with CUDA
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Peer:
    """A server of a question-answering model. Those with the same `environment` share it."""

    name: str  # as --peers takes it
    what: str
    program: Path
    environment: str
    requirements: tuple[str, ...]
    path: str = "/"
    form: str = "huggingface"  # or onnx
    dtype: str = "float32"


_TRANSFORMERS = ("transformers", (TORCH, "transformers>=4.57,<5", "starlette>=0.40,<2", "uvicorn>=0.34,<1"))
_RAY = ("ray-serve", (TORCH, "transformers>=4.57,<6", "ray[serve]>=2.50,<3"))
_LITSERVE = ("litserve", (TORCH, "transformers>=4.57,<6", "litserve>=0.2.16,<0.3"))
_ONNX = (
    "onnx-fastapi",
    (
        "onnxruntime>=1.20,<2",
        "fastapi>=0.115,<1",
        "uvicorn>=0.34,<1",
        "tokenizers>=0.20,<1",
        "numpy>=1.26,<3",
    ),
)

PEERS = {
    peer.name: peer
    for peer in (
        Peer("transformers", "transformers pipeline", HERE / "with_transformers.py", *_TRANSFORMERS),
        Peer("ray-serve", "Ray Serve", HERE / "with_ray.py", *_RAY),
        Peer("litserve", "LitServe", HERE / "with_litserve.py", *_LITSERVE, path="/predict"),
        Peer("onnx-fastapi", "ONNX Runtime and FastAPI", HERE / "with_fastapi.py", *_ONNX, form="onnx"),
    )
}
