"""Look-alikes: a patient's number with Latin letters for the Greek and Cyrillic ones that look so, and without accents.

Who types А1234 with a Cyrillic А, or ıd-1234 on a Turkish keyboard, sees A1234 and id-1234. Capitals and small letters
of one letter may look like two (Ν like N, ν like v): a text that is in small letters already is folded both ways.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import lru_cache

_CAPITALS = str.maketrans("аверсмткнохіјѕуүһԛԝԁӏαβεζηικμνορτυχϲϳıȷ", "abepcmtkhoxijsyyhqwdiabezhikmnoptyxcjij")
_SMALL = str.maketrans("вмткнрусхеоаіјѕүһԛԝԁӏαηικνορτυχγωıȷ", "bmtkhpycxeoaijsyhqwdlanikvoptuxywij")


def folded(plain: str) -> Iterable[str]:
    """Return what a plain text may look like, where that is another text: two at most."""
    if plain.isascii():
        return ()
    bare = "".join(map(_without_marks, plain))
    several = dict.fromkeys((bare.translate(_CAPITALS), bare.translate(_SMALL)))
    return [one for one in several if one != plain]


@lru_cache(2**14)
def _without_marks(sign: str) -> str:
    apart = unicodedata.normalize("NFKD", sign)
    return unicodedata.normalize("NFC", "".join(one for one in apart if not unicodedata.category(one).startswith("M")))
