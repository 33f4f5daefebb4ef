"""Ordinary words that are also names, or begin with one: what a name that is no more than such a word is held against.

A patient may be called Das, Le, Mai or 高. The name must go, and the text must stay readable: so these words are taken
for the name only where they are written as one. The lists are short on purpose: what stands in none of them is always
taken for the name.
"""

from __future__ import annotations

import re

# Parts of names that are also everyday words or titles: sought together with the rest of the name, and alone only where
# they are all of a family or a given name, and then only where they are written as a name.
PARTICLES = frozenset(
    re.findall(
        r"\w+",
        "al bin da das de del della den der des di do dos du el ibn la las le les los of san st ten ter the van vom "
        "von y zu zum zur und et e",
    )
)
TITLES = frozenset("dr prof md phd mr mrs ms miss jr sr ii iii iv herr frau mme mlle monsieur madame sir med".split())
# Articles, pronouns, prepositions and verbs of English, German and French that people are called too.
FUNCTION_WORDS = frozenset(
    (
        "a i am an and are as at be but by can do for go has he her him his how in is it may me my no not of on or "
        "our she so the to up us was we who will you "
        "ab am an auf aus bei bin da das dem den der des die du ein er es hat ich ihr im in ist ja mit nur ob sie so "
        "um und war was wie wo zu "
        "a au aux ce ces de des du elle en es est et eu il je la le les leur lui ma me mes mi moi mon ne ni on ou par "
        "pas peu qui sa se ses si son sur ta te toi ton tu un une va vu y"
    ).split()
)
MONTHS = {
    word: number
    for number, words in enumerate(
        (
            "january januar janvier jan janv janner enero gennaio",
            "february februar fevrier feb fevr fev febrero febbraio",
            "march marz maerz mars mar mrz marzo", "april avril apr avr abril aprile", "may mai mayo maggio",
            "june juni juin jun junio giugno", "july juli juillet jul juil julio luglio",
            "august aout aug agosto", "september septembre sep sept septiembre settembre",
            "october oktober octobre oct okt octubre ottobre", "november novembre nov noviembre",
            "december dezember decembre dec dez diciembre dicembre",
        ),
        start=1,
    )
    for word in words.split()
}  # fmt: skip
_BEFORE_MONTH = re.compile(
    r"(?:(?<![\d/.,])\d\d?(?:st|nd|rd|th|er|\.)?|\b(?:im|in|ab|seit|bis|vom|anfang|mitte|ende|of|en|since|until|till|early|mid|late|last|"
    r"next|this|by|from|from the|du|de|fin|debut|monat|month|mois de|letzten|nachsten|diesen|jeden|every))[\s.-]*$"
)
_AFTER_MONTH = re.compile(r"[\s.,'-]*(?:\d{1,2}\b|(?:19|20)\d\d|bis\b|to\b|und (?:im )?juni\b)")


AROUND = 128  # signs before and behind a word that tell whether it is meant as a name: to read all would be quadratic


def is_month_here(before: str, word: str, after: str) -> bool:
    """Whether a folded word that names a month stands as the month: `im Mai`, `3 May`, `June 2019`."""
    return word in MONTHS and bool(_BEFORE_MONTH.search(before[-24:]) or _AFTER_MONTH.match(after))
