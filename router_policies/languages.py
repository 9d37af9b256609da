"""Languages: which language a text is in, by its letters or by the small words that every sentence has."""

import re
from collections.abc import Mapping
from typing import Final

TEXT_CHARS: Final = 200
"""Of a text that are looked at."""
LEAST_WORDS: Final = 2
"""Small words of a language without which a text is in none."""

_SMALL_WORDS: Final[Mapping[str, str]] = {
    "cs": "a se na je že to v s z do jako pro si tak ale jsem jsou aby nebo který která které co jak už ve není jeho",
    "da": "og i at det er en til på de den som af for ikke der var med et jeg har vi hvad hvor kan skal eller også fra",
    "de": "der die das und ist nicht ein eine einen zu mit den dem von für auf es im sich ich sie wir auch als wie was "
    "bei oder aus wird sind wurde bitte warum mein meine kann",
    "en": "the of and to is in that it for you with on this are be was not have my your i what how can we from by "
    "please why do does",
    "es": "el la los las de y que en un una es por con para del se no lo al como más pero su sus está qué mi cómo por "
    "favor este esta",
    "fi": "ja on ei se että en ole hän mutta kun minä mitä myös niin sen joka ovat oli voi mikä miksi kuinka tämä",
    "fr": "le la les des et est que en un une du dans pour pas qui sur avec ce il elle je vous nous au plus ne se "
    "mon ma quel comment pourquoi cette sont",
    "it": "il lo la gli le di e che è in un una per con non del della si sono come ma più questo mi al dei delle "
    "perché cosa anche nel",
    "nl": "de het een en van is dat in te op niet zijn voor met die ik er aan ook maar om als wat hoe bij uit wordt "
    "mijn waarom deze kan",
    "no": "og i det er en til på som at ikke av for med har jeg vi den de et hva hvor kan skal eller også fra "
    "ble hvorfor",
    "pl": "i w na z się nie to jest do że jak o co ale za po czy tak od dla przez jego są oraz który moja mój dlaczego",
    "pt": "o os as de e que em um uma é por com para do da não se na no mais como mas seu sua está qual meu minha isso "
    "você porque",
    "sv": "och i att det är en på som för av med inte den till har jag vi de ett om vad hur kan ska eller också från "
    "var varför",
    "tr": "ve bir bu da de için ne çok ile mi var ben gibi daha ama o değil olarak en kadar sonra nasıl neden",
}
_LETTERS: Final[Mapping[str, re.Pattern[str]]] = {
    "ja": re.compile(r"[\u3040-\u30ff]"),
    "ko": re.compile(r"[\uac00-\ud7af]"),
    "zh": re.compile(r"[\u4e00-\u9fff]"),
    "ru": re.compile(r"[\u0400-\u04ff]"),
    "el": re.compile(r"[\u0370-\u03ff]"),
    "ar": re.compile(r"[\u0600-\u06ff]"),
    "he": re.compile(r"[\u0590-\u05ff]"),
    "hi": re.compile(r"[\u0900-\u097f]"),
    "th": re.compile(r"[\u0e00-\u0e7f]"),
}
"""Kana before the characters that Japanese shares with Chinese."""
LANGUAGES: Final = tuple(sorted({*_SMALL_WORDS, *_LETTERS}))
"""ISO 639-1. Letters tell scripts, not languages: `ru` is any text in Cyrillic, `ar` any in Arabic letters."""

_BY_WORDS: Final = tuple(_SMALL_WORDS)
_VOTES: Final[dict[str, int]] = {}
"""By word a number with a byte for each language, so that votes are added and compared without a loop."""
for _place, _words in enumerate(_SMALL_WORDS.values()):
    for _word in set(_words.split()):
        _VOTES[_word] = _VOTES.get(_word, 0) + (1 << 8 * _place)
_SMALL: Final = frozenset(_VOTES)


def language_of(text: str) -> str:
    """The language of the beginning of a text; empty where it cannot be told: too short, code, or two alike."""
    beginning = text[:TEXT_CHARS]
    if not beginning.isascii() and (found := _by_letters(beginning)):
        return found
    return _by_words(beginning)


def _by_letters(text: str) -> str:
    """The first script of which there are more than a few letters among the others."""
    few = len(text) // 10
    return next((name for name, letters in _LETTERS.items() if len(letters.findall(text)) > few), "")


def _by_words(text: str) -> str:
    small = _SMALL.intersection(text.lower().split())  # a word with a mark behind it is missed, others are not
    votes = sum(map(_VOTES.__getitem__, small)).to_bytes(len(_BY_WORDS), "little")
    most = max(votes)
    return _BY_WORDS[votes.index(most)] if most >= LEAST_WORDS and votes.count(most) == 1 else ""
