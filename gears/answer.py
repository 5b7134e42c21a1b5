"""Answer a question that is a key: GET bertqa{tag}_<article>:{tag}:<number>_<question>. Or one question about
many paragraphs of a shard: RG.TRIGGER ask <question> <article>[:<number>]...
In a cluster, RG.TRIGGERONKEY ask_on_key <key> <question> ... goes to the shard of the key.

The answer is the best span of the paragraph, word for word, or an empty string where the model finds none.
It is cached for `keymiss.answer-ttl-ms` milliseconds, where neither the text nor the model changed meanwhile;
0 caches nothing, which is what one measures with.

`ask` gives a row for each paragraph, [<article>:<number>, answer, score, margin] (see keymiss.qa.Answer), or
[<article>:<number>, error]; [<article>, error] for an article that is not there. The answers are the same as
one by one, and are cached under the same keys.
"""

import asyncio
from array import array
from collections import deque
from collections.abc import Awaitable, Sequence
from typing import Any, NamedTuple

import redisAI
from redisgears import GB, configGet, database, execute, executeAsync, hashtag, log, override_reply, stage

from keymiss.keys import (
    Paragraph,
    model_key,
    parse_paragraph_name,
    parse_question_key,
    score_key,
    sentences_key,
    tokenizer_key,
)
from keymiss.qa import NO_ANSWER, Answer, Pieces, Seal, Window, answer_of
from keymiss.qa.deployed import Known, NoTokenizer, Paragraphs, deployed, text_of

MAX_ASKED = 512  # paragraphs in one `ask`
INPUTS, OUTPUTS = ("input_ids", "attention_mask", "token_type_ids"), ("start_logits", "end_logits")
AT_ONCE = 32  # windows of a paragraph that run or wait at a time: others' questions come between

# Nobody would forget an answer of the old text, or of the old model, that is cached after `keymiss load`, or
# `keymiss model store`, has forgotten them.
CACHE = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 'the text has changed' end
if (redis.call('HGET', KEYS[2], 'stored') or '') ~= ARGV[3] then return 'another model is stored' end
for n = 3, #KEYS do redis.call('SET', KEYS[n], ARGV[n + 2], 'PX', ARGV[4]) end
"""


class Found(NamedTuple):
    """An answer, and what it is of: the text, as the shard gave it, and the model (see Deployed)."""

    answer: Answer
    text: str | bytearray
    stored: str


paragraphs = Paragraphs()
in_flight: dict[tuple[int, str], asyncio.Future[Found]] = {}  # by database and question key


class Unanswerable(Exception):
    """Why there is no answer, for the client."""


class NoModel(Unanswerable):
    def __init__(self, tag: str) -> None:
        super().__init__(f"no model {model_key(tag)}: store one with `keymiss model store`")


async def answer(record: dict[str, Any]) -> None:
    """Answer the client that waits for the missing key, with an error where there is no answering it."""
    try:
        key = text_of(record["key"])
        paragraph, question = parse_question_key(key)
        found = await find_once(key, paragraph, question)
        shown = found.answer.shown.encode()
        with stage("cache"):
            cache(paragraph, found, (record["key"], shown))
        override_reply(shown)  # bytes: a str that begins with a minus sign would be an error
    except Exception as error:
        override_reply(error_reply(error))


async def ask(words: list[str | bytearray]) -> list[list[Any]]:
    """Ask one question of many paragraphs at once, so that the model can run them in batches."""
    _, question, *names = [text_of(word) for word in words] if len(words) > 1 else ["", ""]
    try:
        asked = await paragraphs_named(names)
    except ValueError as error:
        raise Unanswerable(f"ERR {error}") from None
    keys = [paragraph.question_key(question) for paragraph in asked]
    kept = await executeAsync("MGET", *keys, *map(score_key, keys))
    texts, scores = kept[: len(keys)], kept[len(keys) :]
    rows = map(row, asked, keys, [question] * len(keys), texts, scores)
    return list(await asyncio.gather(*rows))


async def ask_on_key(words: list[str | bytearray]) -> list[list[Any]]:
    """As `ask`; the key has told a cluster where to."""
    return await ask(words[1:])


async def paragraphs_named(names: Sequence[str]) -> list[Paragraph]:
    """Each once. An article without a number stands for all of its paragraphs."""
    found: dict[Paragraph, None] = {}
    for name in names:
        article, number = parse_paragraph_name(name)
        numbers = [number] if number else await executeAsync("HKEYS", sentences_key(article, hashtag()))
        for number in sorted(map(text_of, numbers), key=lambda text: (len(text), text)) or [""]:
            found[Paragraph(article, hashtag(), number)] = None
    if not found:
        raise ValueError("name what to ask about: <question> <article>[:<number>]...")
    if len(found) > MAX_ASKED:
        raise ValueError(f"{len(found)} paragraphs are too many for one question: ask {MAX_ASKED} at once")
    return list(found)


async def row(paragraph: Paragraph, key: str, question: str, text: Any, score: Any) -> list[Any]:
    """The row of a paragraph, whose answer may have been kept."""
    name = f"{paragraph.article}:{paragraph.number}" if paragraph.number else paragraph.article
    if text is not None and score is not None:
        return [name, text_of(text).encode(), *map(float, text_of(score).split())]
    try:
        found = await find_once(key, paragraph, question)
    except Exception as error:
        return [name, error_reply(error)]
    best = found.answer
    shown, scores = best.shown.encode(), f"{best.score!r} {best.margin!r}".encode()
    cache(paragraph, found, (key, shown), (score_key(key), scores))
    return [name, shown, best.score, best.margin]


def error_reply(error: Exception) -> str:
    """What the client is told."""
    if isinstance(error, (ValueError, NoTokenizer, Unanswerable)):
        return f"-ERR {error}"
    if "non local key" in str(error):
        return "-ERR a replica of a cluster lets functions read nothing: ask its master"
    return f"-{error}"  # of a command or of the model: it starts with a code of its own


async def find_once(key: str, paragraph: Paragraph, question: str) -> Found:
    """As `find`; who asks the same meanwhile gets the same answer, be it by a GET or among others."""
    if not question.strip():
        raise Unanswerable("the question is empty")
    flights = in_flight  # a function that is loaded meanwhile brings another dict
    flight = database(), key
    while flight in flights:
        other = flights[flight]
        with stage("joined"):
            await asyncio.wait((other,))
        if not other.cancelled():
            return other.result()
    mine = flights[flight] = asyncio.get_running_loop().create_future()
    try:
        found = await find(paragraph, question)
        mine.set_result(found)
        return found
    except Exception as error:
        mine.set_exception(error)
        mine.exception()  # it is raised here as well: nobody need join
        raise
    finally:
        del flights[flight]
        mine.cancel()  # where it is not done: the next one asks for itself


async def find(paragraph: Paragraph, question: str) -> Found:
    """The best answer of the paragraph.

    One that was asked before is taken to be as it was: the shard is asked for its text while the model works,
    and the model once more where that is another one."""
    with stage("tokenise"):
        encoder, model = deployed(execute, paragraph.tag)
        ids = encoder.question(question)
    text_asked = executeAsync("HGET", paragraph.hash_key, paragraph.number)
    known = paragraphs.get(paragraph, encoder)
    if known is None:
        tokens_asked = redisAI.getTensorFromKeyAsync(paragraph.tokens_key)
        with stage("read"):
            stored = await read_text(paragraph, text_asked)
            text = text_of(stored)
            pieces = await read_pieces(tokens_asked, encoder.seal(text)) or encoder.pieces(text)
    else:
        best = await ask_model(paragraph.tag, ids, known)
        with stage("read"):
            stored = await read_text(paragraph, text_asked)
        text = text_of(stored)
        if text == known.text:
            return Found(best, stored, model)
        pieces = encoder.pieces(text)
    known = Known(encoder, text, pieces)
    paragraphs.put(paragraph, known)
    return Found(await ask_model(paragraph.tag, ids, known), stored, model)


async def read_text(paragraph: Paragraph, asked: Awaitable[Any]) -> str | bytearray:
    text: str | bytearray | None = await asked
    if text is not None:
        return text
    count = await executeAsync("HLEN", paragraph.hash_key)
    if count == 0:
        raise Unanswerable(f"no article {paragraph.hash_key}: load it with `keymiss load`")
    raise Unanswerable(f"no paragraph {paragraph.number} in {paragraph.hash_key}, which has {count}")


async def read_pieces(asked: Awaitable[Any], seal: Seal) -> Pieces | None:
    """The paragraph's tokens; None where gears/tokenise.py has not come to it, or to its new text, yet."""
    try:
        return Pieces.from_blob(redisAI.tensorGetDataAsBlob(await asked), seal)
    except Exception:
        return None


async def ask_model(tag: str, question: Sequence[int], known: Known) -> Answer:
    """Ask once, or where the paragraph is too long for that, about each window of it."""
    if not known.pieces:
        return NO_ANSWER
    outputs = []
    started: deque[tuple[Window, Awaitable[Any]]] = deque()
    with stage("forward"):
        for window in known.encoder.windows(question, known.pieces):
            if len(started) == AT_ONCE:
                outputs.append(await logits_of(tag, *started.popleft()))
            started.append((window, start_model(tag, window)))
        while started:
            outputs.append(await logits_of(tag, *started.popleft()))
    with stage("span"):
        return answer_of(known.text, known.pieces, outputs)


async def logits_of(
    tag: str, window: Window, run: Awaitable[Any]
) -> tuple[Window, array[float], array[float]]:
    """The window with the start and end logits of its tokens."""
    try:
        starts, ends = await run
    except Exception as error:
        if "model key is empty" in str(error):  # it was deleted a moment ago
            raise NoModel(tag) from None
        raise
    return window, logits(starts), logits(ends)


def start_model(tag: str, window: Window) -> Awaitable[Any]:
    """Have the model work; to be awaited for the start and end logits of the window's tokens."""
    shape = (1, len(window.input_ids))
    inputs = {
        name: redisAI.createTensorFromBlob("INT64", shape, blob)
        for name, blob in zip(INPUTS, window.blobs(), strict=True)
    }
    try:
        run: Awaitable[Any] = redisAI.runModelAsync(model_key(tag), inputs, OUTPUTS)
    except Exception:
        raise NoModel(tag) from None
    return run


def logits(tensor: Any) -> array[float]:
    return array("f", redisAI.tensorGetDataAsBlob(tensor))


def cache(paragraph: Paragraph, found: Found, *entries: tuple[str | bytearray, bytes]) -> None:
    """Keep these keys and values of what was found, while the paragraph and the model are as they were:
    before it is given, but without waiting. Where that cannot be, on a replica or where memory is full, it is
    still given."""
    ttl_ms = int(configGet("keymiss.answer-ttl-ms"))
    if ttl_ms:
        names, values = zip(*entries, strict=True)
        keys = paragraph.hash_key, tokenizer_key(paragraph.tag), *names
        of = paragraph.number, found.text, found.stored
        kept = executeAsync("EVAL", CACHE, len(keys), *keys, *of, ttl_ms, *values)
        kept.if_failed(lambda error: log(f"{names[0]!r} is not cached: {error}", level="verbose"))


GB(desc="answer questions").foreach(answer).register(
    prefix="bertqa*", commands=["get"], eventTypes=["keymiss"], mode="async_local", singleFlight=True
)
GB("CommandReader", desc="ask one question of many paragraphs").map(ask).register(
    trigger="ask", mode="async_local", convertToStr=False
)
GB("CommandReader", desc="ask one question on the shard of a key").map(ask_on_key).register(
    trigger="ask_on_key", mode="async_local", convertToStr=False
)
