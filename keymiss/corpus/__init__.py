"""Reading articles from files, numbering their sentences, and loading them into the shards."""

from .articles import Article, CorpusError, Question
from .loading import Loaded, load_articles
from .readers import find_files, read_articles
from .splitting import UNITS, Numbered, number_paragraphs

__all__ = [
    "UNITS",
    "Article",
    "CorpusError",
    "Loaded",
    "Numbered",
    "Question",
    "find_files",
    "load_articles",
    "number_paragraphs",
    "read_articles",
]
