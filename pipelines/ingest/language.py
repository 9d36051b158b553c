"""Tells what language a text is in. Feeds lie: what they declare only breaks ties."""

import threading

import py3langid

# The languages of business news. Left to choose among all its 140, the model takes short English headlines for
# Nigerian Pidgin or Latin.
LANGUAGES = frozenset(
    {"ar", "cs", "da", "de", "el", "en", "es", "fa", "fi", "fr", "he", "hi", "hu", "id", "it", "ja"}
    | {"ko", "nl", "no", "pl", "pt", "ro", "ru", "sk", "sv", "th", "tr", "uk", "vi", "zh"}
)
UNKNOWN = "und"

# A declared language is taken if it is at most this much less likely than the best one (natural logarithm): enough to
# keep "REG - Osmosis Fd Climate" English, far too little to make a Polish headline so.
_TIE_NATS = 8.0
# Where nothing is declared: a headline of three words could be in any language.
_USUAL = "en"
_MAX_CHARS = 400
_lock = threading.Lock()
_restricted = False


def detect(text: str, declared: str | None) -> str:
    """ISO 639-1 code of the language, or "und" where the text has no letters.

    Source: langid.py (Lui and Baldwin 2012), in the package py3langid.
    """
    global _restricted  # the library keeps one model per process, set up on first use
    sample = text[:_MAX_CHARS]
    if not any(character.isalpha() for character in sample):
        return UNKNOWN
    with _lock:
        if not _restricted:
            py3langid.set_languages(sorted(LANGUAGES))
            _restricted = True
        # The model was made from running text: capitals throughout would be read as abbreviations.
        ranking = py3langid.rank(sample.lower() if sample.isupper() else sample)
    best, best_score = ranking[0]
    prior = (declared or _USUAL).lower().replace("_", "-").split("-")[0]
    for language, score in ranking:
        if language == prior and best_score - score <= _TIE_NATS:
            return str(language)
    return str(best)
