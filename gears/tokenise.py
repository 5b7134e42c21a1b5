"""Tokenise the paragraphs of a shard: those that are there now, and each article as it arrives or changes.

Of `sentence:<article>:{tag}`, a hash of numbered texts, each text becomes a tensor INT32 [3, word pieces + 1]
at `tokenized:bert:qa:<article>:{tag}:<number>`: a row of ids, one of the pieces' first characters, one of
their ends. The last column seals it: another text is not taken for the one that was tokenised.
"""

from typing import Any

from redisgears import GB, execute, hashtag

from keymiss.keys import Paragraph, parse_sentences_key, processed_key
from keymiss.qa.deployed import deployed_encoder, text_of


def tokenise(record: dict[str, Any]) -> None:
    """Tokenise the article of `record`: all of it where its hash was written, else what has no tokens yet."""
    if not record["value"]:
        return  # gone since the event
    article, tag = parse_sentences_key(record["key"])
    paragraphs = [(Paragraph(article, tag, number), text) for number, text in record["value"].items()]
    if record["event"] is None:
        keys = [paragraph.tokens_key for paragraph, _ in paragraphs]
        done = execute("SMISMEMBER", processed_key(tag), *keys)
        paragraphs = [paragraph for paragraph, is_done in zip(paragraphs, done, strict=True) if not is_done]
    encoder = deployed_encoder(execute, tag)
    for paragraph, text in paragraphs:
        pieces, seal = encoder.pieces(text_of(text)), encoder.seal(text_of(text))
        execute("AI.TENSORSET", paragraph.tokens_key, "INT32", *pieces.shape, "BLOB", pieces.to_blob(seal))
        execute("SADD", processed_key(tag), paragraph.tokens_key)


def warm() -> None:
    """Read the tokenizer before the first article comes."""
    deployed_encoder(execute, hashtag())


GB(desc="tokenise articles as they arrive").foreach(tokenise).register(
    prefix="sentence:*",
    eventTypes=["hset", "restore", "rename_to", "copy_to"],
    keyTypes=["hash"],
    mode="async_local",
    onRegistered=warm,
)
GB(desc="tokenise what is there").foreach(tokenise).count().run("sentence:*", keyTypes=["hash"])
