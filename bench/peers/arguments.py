"""What each server beside this file is told."""

from __future__ import annotations

import argparse


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--model", required=True, help="Folder of a Hugging Face model, or file of an ONNX one."
    )
    parser.add_argument(
        "--tokenizer", required=True, help="tokenizer.json, cutting where the model wants it."
    )
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--dtype", default="float32", help="Of the weights, as torch names it.")
    parser.add_argument("--scratch", required=True, help="An empty folder.")
    return parser.parse_args()
