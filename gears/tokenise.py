"""Tokenise the paragraphs of a shard: those that are there now, and each article as it arrives or changes.

Of `sentence:<article>:{tag}`, a hash of numbered texts, each text becomes a tensor INT32 [3, word pieces + 1]
at `tokenized:bert:qa:<article>:{tag}:<number>`: a row of ids, one of the pieces' first characters, one of
their ends. The last column seals it: another text is not taken for the one that was tokenised.
"""

from typing import Any

from redisgears import GB, execute, hashtag

from keymiss.keys import Paragraph, parse_sentences_key, processed_key
from keymiss.qa import Seal
from keymiss.qa.deployed import deployed_encoder, text_of

MAX_SEALED = 1 << 14

sealed: dict[str, Seal] = {}  # of the texts that were tokenised last, by the key of their tokens


def tokenise(record: dict[str, Any]) -> None:
    """Tokenise what has no tokens yet of the article of `record` and, where its hash was written, what may
    have changed: whoever writes one sentence after the other has it written as often."""
    if not record["value"]:
        return  # gone since the event
    article, tag = parse_sentences_key(record["key"])
    texts = {Paragraph(article, tag, number).tokens_key: text for number, text in record["value"].items()}
    done = execute("SMISMEMBER", processed_key(tag), *texts)
    encoder = deployed_encoder(execute, tag)
    for (key, value), is_done in zip(texts.items(), done, strict=True):
        text = text_of(value)
        seal = encoder.seal(text)
        if is_done and (record["event"] is None or sealed.get(key) == seal):
            continue
        pieces = encoder.pieces(text)
        execute("AI.TENSORSET", key, "INT32", *pieces.shape, "BLOB", pieces.to_blob(seal))
        execute("SADD", processed_key(tag), key)
        remember(key, seal)


def remember(key: str, seal: Seal) -> None:
    if len(sealed) >= MAX_SEALED:
        sealed.clear()
    sealed[key] = seal


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
