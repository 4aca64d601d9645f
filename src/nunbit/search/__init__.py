"""Search recordings by a sentence: the windows whose face, voice or words are nearest to it."""

from nunbit.search.index import WindowIndex, load_index
from nunbit.search.story import Hit, SearchSettings, hits_text, search, search_notices

__all__ = [
    "Hit",
    "SearchSettings",
    "WindowIndex",
    "hits_text",
    "load_index",
    "search",
    "search_notices",
]
