"""Names: patterns over folded text for every form of a patient's name that the first look seeks.

Case, accents and the signs between the parts of a name do not matter: `Müller-Brandt`, `MULLER BRANDT` and
`Mueller Brandt` are one name. A name of ideographs is sought whole, in either order, and by its parts.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby

from client.data.folding import DIGRAPHS, fold, plain_signs
from client.data.ideographs import COMPOUND_SURNAMES, SIMPLIFIED, is_ideograph
from client.data.ordinary import FUNCTION_WORDS, MONTHS, PARTICLES, TITLES

_LETTER = r"[^\W\d_]"
_NO_LETTER_BEFORE, _NO_LETTER_AFTER = rf"(?<!{_LETTER})", rf"(?!{_LETTER})"
_ENDINGS = r"(?:['’]?s|es|en|ens|n|ns|s?che[nmrs]?|in|ins)?"  # genitives, plurals, `die Müllersche Familie`
_INSIDE = r"['’ \-]?"  # between the letters of a long name: Xiao Dong, Xiao-Dong
BESIDE = r"[\s·‧・^_=\-]{0,3}"  # between the ideographs of a name; a comma ends a sentence before it: 增高，明显
LONG, MIDDLE = 7, 6  # letters from which a name is sought anywhere in a word, and at the beginning of one


@dataclass(frozen=True, repr=False)
class NameForms:
    """Patterns of one name: the `whole` of it, and its parts. Of the parts, `careful` are no more than everyday words
    and `signs` are single ideographs: taken for the name where they are written as one (`client.data.scrub`). The
    `initials` are letters, `everyday` the words of `careful` as they are folded, and
    `words` all of them.
    """

    whole: set[str] = field(default_factory=set)
    plain: set[str] = field(default_factory=set)
    careful: set[str] = field(default_factory=set)
    signs: set[str] = field(default_factory=set)
    initials: set[str] = field(default_factory=set)
    everyday: set[str] = field(default_factory=set)
    words: set[str] = field(default_factory=set)


@lru_cache(256)  # the staff's names stand in the headers of many patients
def forms_of(text: str) -> NameForms:
    """Patterns for a DICOM person name (one representation) or the cell of a name."""
    forms = NameForms()
    text = unicodedata.normalize("NFKC", text).translate(SIMPLIFIED)
    if any(map(is_ideograph, text)):
        _ideographic(text, forms)
    latin = "".join(" " if is_ideograph(sign) else sign for sign in text)
    for part in parts_of(latin):
        _part(part, forms)
    for whole in wholes(latin):
        _whole(whole, forms)
    forms.initials.update(words[0][0] for words in map(_words, components(latin)[1:]) if words)
    forms.initials.update(word[0] for word in _words(latin) if bounded(word))
    return forms


def components(text: str) -> list[str]:
    """Family name, given name and so on, of a person name (PS3.5 6.2.1.1) or of `Müller, Anna`; else its words."""
    pieces = [piece.strip() for piece in re.split(r"[\^,，]", text) if piece.strip()]
    return pieces if len(pieces) > 1 else text.split()


def _words(text: str) -> list[str]:
    return re.findall(rf"{_LETTER}+", fold(text))


def bounded(part: str) -> bool:
    """Whether a part stands as a word of its own: not so in scripts without upper case (Chinese, Arabic, Hebrew)."""
    return part.upper() != part


def parts_of(text: str) -> list[str]:
    """Words of a name as they are spelled, each that may stand for it alone: no titles, no initials, and a particle
    only where it is all of a component.
    """
    found = []
    for component in components(text):
        words = re.findall(rf"{_LETTER}[{'̀-ͯ'}]*(?:{_LETTER}[{'̀-ͯ'}]*)*", component)
        kept = [word for word in words if fold(word) not in PARTICLES | TITLES]
        alone = not kept and len(words) == 1 and fold(words[0]) not in TITLES
        found += words if alone else kept
        found += [piece for word in kept for piece in _syllables(word)]
        found += [joined for joined in [re.sub(r"[\W\d_]", "", component)] if _of_one_name(component, joined)]
    return [part for part in dict.fromkeys(found) if len(fold(part)) > 1]


def _of_one_name(component: str, joined: str) -> bool:
    """Whether a component is also written as one word: O'Neill as ONeill, Müller-Brandt as MüllerBrandt."""
    return bool(re.search(r"[-'’]", component)) and len(joined) > 4


def _syllables(word: str) -> list[str]:
    """Return the syllables of a name that capitals divide: Xiao and Dong of XiaoDong."""
    pieces = re.findall(r"[A-Z][a-z]+", word)
    return [piece for piece in pieces if len(piece) >= 4] if len(pieces) > 1 and "".join(pieces) == word else []


@lru_cache(512)
def spellings(part: str) -> frozenset[str]:
    """Folded forms of one word: Müller as muller and mueller, Mueller as muller; in each script only its own."""
    digraphs = part.casefold()
    for letter, two in DIGRAPHS.items():
        digraphs = digraphs.replace(letter, two)
    folded = fold(part)
    single = re.sub(r"(?<=[bcdfghjklmnpqrstvwxz])([aou])e(?=[bcdfghjklmnpqrstvwxz])", r"\1", folded)
    single = re.sub(r"^([aou])e(?=[bcdfghjklmnpqrstvwxz])", r"\1", single)
    return frozenset({folded, fold(digraphs), single if len(single) >= 3 else folded})


def damaged(part: str) -> set[str]:
    """Patterns for a word with accents that a bad export made marks or two signs of: M?ller, MÃ¼ller."""
    if part.isascii() or not bounded(fold(part)) or len(part) < 3:
        return set()
    rows = [(plain, "".join(row)) for plain, row in groupby(part, str.isascii)]
    marks = "".join(  # one repeat for all letters in a row: each its own would try every division of the marks
        re.escape(fold(row)) if plain else rf"[^\w\s]{{{len(row)},{2 * len(row)}}}" for plain, row in rows
    )
    enough = sum(map(str.isascii, part)) >= 2
    found = {_NO_LETTER_BEFORE + marks + _NO_LETTER_AFTER} if enough else set()
    for wrong in ("latin-1", "cp1252"):
        try:
            found.add(re.escape(fold(plain_signs(part.encode().decode(wrong)))))
        except UnicodeDecodeError:
            continue
    return found


def _part(part: str, forms: NameForms) -> None:
    forms.plain.update(damaged(part))
    for word in spellings(part):
        if not bounded(word):
            (forms.plain if len(word) > 1 else forms.signs).add(re.escape(word))
        elif len(word) <= 2 or word in FUNCTION_WORDS or word in PARTICLES or word in MONTHS:
            forms.everyday.add(word)
            forms.careful.add(rf"{_NO_LETTER_BEFORE}{re.escape(word)}(?:['’]?s)?{_NO_LETTER_AFTER}")
        else:
            forms.plain.add(_pattern(word))
        if bounded(word):
            forms.words.add(word)


def _pattern(word: str) -> str:
    letters = (_INSIDE if len(word) > 4 else "['’\\-]?" if len(word) > 3 else "").join(map(re.escape, word))
    if len(word) >= LONG:
        return rf"{letters}{_LETTER}*"
    if len(word) >= MIDDLE:
        return rf"{_NO_LETTER_BEFORE}{letters}{_LETTER}*"
    endings = _ENDINGS if len(word) > 3 else r"(?:['’]?s|sche[nmrs]?)?"
    return rf"{_NO_LETTER_BEFORE}{letters}{endings}{_NO_LETTER_AFTER}"


def wholes(text: str) -> list[list[str]]:
    """Words of the whole name in the orders in which it is written, and of each component with its particles."""
    pieces = [re.findall(rf"{_LETTER}+", piece) for piece in components(text)]
    pieces = [[word for word in words if fold(word) not in TITLES] for words in pieces]
    pieces = [words for words in pieces if words]
    runs = [*pieces]
    if len(pieces) > 1:
        runs += [pieces[0] + pieces[1], pieces[1] + pieces[0]]
        orders = (pieces, [*pieces[1:], pieces[0]], [pieces[-1], *pieces[:-1]])
        runs += [[word for words in order for word in words] for order in orders]
    return [words for words in runs if len(words) > 1]


def _whole(words: list[str], forms: NameForms) -> None:
    if sum(map(len, words)) < 4:
        return
    for kind in range(3):
        spelled = [sorted(spellings(word))[min(kind, len(spellings(word)) - 1)] for word in words]
        everyday = all(word in FUNCTION_WORDS or word in PARTICLES for word in spelled)
        run = _NO_LETTER_BEFORE + r"[\W_]{0,3}".join(map(re.escape, spelled)) + r"(?:['’]?s)?" + _NO_LETTER_AFTER
        (forms.careful if everyday else forms.whole).add(run)


def _ideographic(text: str, forms: NameForms) -> None:
    pieces = ideographs_of(text)
    for piece in pieces:
        (forms.plain if len(piece) > 1 else forms.signs).add(_apart(piece))
    if len(pieces) > 1:
        forms.whole.update({_apart("".join(pieces)), _apart("".join([*pieces[1:], pieces[0]]))})


def ideographs_of(text: str) -> list[str]:
    """Runs of ideographs, family name first; a name in one word is divided as Chinese names are."""
    pieces = re.findall(r"[^\W\d_]+", "".join(sign if is_ideograph(sign) else " " for sign in text))
    if len(pieces) == 1 and 2 <= len(pieces[0]) <= 4:
        cut = 2 if pieces[0][:2] in COMPOUND_SURNAMES and len(pieces[0]) > 2 else 1
        pieces = [pieces[0][:cut], pieces[0][cut:]]
    return pieces


def _apart(signs: str) -> str:
    return BESIDE.join(map(re.escape, signs))
