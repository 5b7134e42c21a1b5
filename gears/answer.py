"""Answer a question that is a key: GET bertqa{tag}_<article>:{tag}:<number>_<question>.

The answer is the best span of the paragraph, word for word, or an empty string where the model finds none.
It is cached for `keymiss.answer-ttl-ms` milliseconds; 0 caches nothing, which is what one measures with.
"""

import asyncio
from array import array
from collections.abc import Awaitable, Sequence
from typing import Any

import redisAI
from redisgears import GB, configGet, execute, executeAsync, log, override_reply

from keymiss.keys import Paragraph, model_key, parse_question_key
from keymiss.qa import Pieces, QuestionTooLong, Window, answer_of
from keymiss.qa.deployed import NoTokenizer, deployed_encoder, text_of


class Unanswerable(Exception):
    """Why there is no answer, for the client."""


async def answer(record: dict[str, Any]) -> None:
    """Answer the client that waits for the missing key, with an error where there is no answering it."""
    try:
        paragraph, question = parse_question_key(text_of(record["key"]))
        if not question.strip():
            raise Unanswerable("the question is empty")
        found = await find(paragraph, question)
        cache(record["key"], found)
        override_reply(found)
    except (ValueError, QuestionTooLong, NoTokenizer, Unanswerable) as error:
        override_reply(f"-ERR {error}")
    except Exception as error:  # of a command or of the model: it starts with a code of its own
        if "non local key" in str(error):
            error = Exception("ERR a replica of a cluster lets functions read nothing: ask its master")
        override_reply(f"-{error}")


async def find(paragraph: Paragraph, question: str) -> str:
    """Ask the model: once, or where the paragraph is too long for that, about each window of it."""
    encoder = deployed_encoder(execute, paragraph.tag)
    text_asked = executeAsync("HGET", paragraph.hash_key, paragraph.number)
    tokens_asked = redisAI.getTensorFromKeyAsync(paragraph.tokens_key)
    await asyncio.sleep(0)  # both are on their way while the question is encoded
    ids = encoder.question(question)
    text = await read_text(paragraph, text_asked)
    pieces = await read_pieces(tokens_asked) or encoder.pieces(text)
    if not pieces:
        return ""
    windows = list(encoder.windows(ids, pieces))
    outputs = await asyncio.gather(*(run_model(paragraph.tag, window) for window in windows))
    best = answer_of(
        text, pieces, [(window, *logits) for window, logits in zip(windows, outputs, strict=True)]
    )
    return best.text if best.margin > 0 else ""


async def read_text(paragraph: Paragraph, asked: Awaitable[Any]) -> str:
    text = await asked
    if text is not None:
        return text_of(text)
    count = await executeAsync("HLEN", paragraph.hash_key)
    if count == 0:
        raise Unanswerable(f"no article {paragraph.hash_key}: load it with `keymiss load`")
    raise Unanswerable(f"no paragraph {paragraph.number} in {paragraph.hash_key}, which has {count}")


async def read_pieces(asked: Awaitable[Any]) -> Pieces | None:
    """The paragraph's tokens; None where gears/tokenise.py has not come to it yet."""
    try:
        return Pieces.from_blob(redisAI.tensorGetDataAsBlob(await asked))
    except Exception:
        return None


async def run_model(tag: str, window: Window) -> tuple[Sequence[float], Sequence[float]]:
    """The start and end logits of the window's tokens."""
    try:
        runner = redisAI.createModelRunner(model_key(tag))
    except Exception:
        raise Unanswerable(f"no model {model_key(tag)}: store one with `keymiss model store`") from None
    shape = (1, len(window.input_ids))
    for name, blob in zip(("input_ids", "attention_mask", "token_type_ids"), window.blobs(), strict=True):
        redisAI.modelRunnerAddInput(runner, name, redisAI.createTensorFromBlob("INT64", shape, blob))
    for name in ("start_logits", "end_logits"):
        redisAI.modelRunnerAddOutput(runner, name)
    start, end = await redisAI.modelRunnerRunAsync(runner)
    return array("f", redisAI.tensorGetDataAsBlob(start)), array("f", redisAI.tensorGetDataAsBlob(end))


def cache(key: str, found: str) -> None:
    """Keep the answer. Where that cannot be, on a replica or where memory is full, it is still given."""
    ttl_ms = int(configGet("keymiss.answer-ttl-ms"))
    if ttl_ms == 0:
        return
    try:
        execute("SET", key, found, "PX", ttl_ms)
    except Exception as error:
        log(f"{key!r} is not cached: {error}", level="verbose")


GB(desc="answer questions").foreach(answer).register(
    prefix="bertqa*", commands=["get"], eventTypes=["keymiss"], mode="async_local", singleFlight=True
)
