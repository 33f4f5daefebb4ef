"""Notes in English, German, French and Chinese that say who their patient is, in every form that we know of; seeded.

`written(seed, number)` gives notes with what was planted in each, so that a test can count what survived. Nothing in
the filler is a name or a date. Names, numbers and sentences are made up.
"""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from client.data.case import Identifier

FILLER = {
    "en": [
        "reported pain in the left flank for three days, CRP 12.5 mg/l, BP 120/80.",
        "No focal deficit, gait is normal, grade 3/6 systolic murmur.",
        "CT thorax without contrast shows a nodule of 2.3 x 4.5 cm in segment 6.",
        "Started on aspirin 100 mg 1-0-1 for 14 days; follow up as needed.",
        "He may be discharged if the fever settles; she was seen on ward 7.",
    ],
    "de": [
        "klagt seit drei Tagen über Schmerzen in der linken Flanke, CRP 12,5 mg/l, RR 120/80.",
        "Kein fokales Defizit, das Gangbild ist normal, die Reflexe sind seitengleich.",
        "Im CT Thorax zeigt sich ein Rundherd von 2,3 x 4,5 cm in Segment 6.",
        "Beginn mit ASS 100 mg 1-0-1 für 14 Tage, Kontrolle bei Bedarf.",
        "Die Entlassung ist geplant, der Befund wurde mit den Angehörigen besprochen.",
    ],
    "fr": [
        "se plaint de douleurs du flanc gauche depuis trois jours, CRP 12,5 mg/l, TA 120/80.",
        "Pas de déficit focal, la marche est normale, les réflexes sont symétriques.",
        "Le scanner thoracique montre un nodule de 2,3 x 4,5 cm du segment 6.",
        "Mise en route d'aspirine 100 mg pendant 14 jours, contrôle si besoin.",
        "La sortie est prévue, le dossier est remis au médecin traitant.",
    ],
    "zh": [
        "左侧腰痛三天，C反应蛋白12.5mg/L，血压120/80。",
        "神经系统检查未见明显异常，步态正常，过敏史无。",
        "胸部增强CT示右肺下叶结节，大小约2.3cm，静脉显影良好。",
        "予阿司匹林100mg口服，两周后复查，必要时超声检查。",
        "既往高血压病史十年，白细胞正常，肝胆未见结石。",
    ],
}

FAMILIES = {
    "en": ["Harrington", "O'Shaughnessy", "Das", "Le", "Smith-Jones", "Featherstone", "Okonkwo", "McAllister", "Patel",
           "Lee", "van Houten", "Abernathy"],
    "de": ["Müller", "Großkopf", "Weißhaupt", "Müller-Lüdenscheidt", "Grünwälder", "Mai", "von der Heydte", "Jäger",
           "Schröder", "Krüß", "Böhm", "Straßburger"],
    "fr": ["d'Aubigné", "Lefèvre", "de La Tour", "Béranger", "L'Hermitte", "Le Goff", "François", "Du Bois",
           "Châtelain", "Noël", "Désormeaux", "Müntz"],
}  # fmt: skip
GIVEN = {
    "en": ["Ram", "Minh", "Rosalind", "Anna Maria", "Percival", "Chidiebere"],
    "de": ["Anna", "Änne Zofia", "Jürgen", "Björn", "Annegret", "Heinz-Günther"],
    "fr": ["Aurélie", "Jean-François", "Zoé", "Geneviève", "Anaïs", "Théo"],
}
CHINESE = [
    ("刘", "彬", "Liu", "Bin"), ("王", "小东", "Wang", "XiaoDong"), ("欧阳", "建国", "OuYang", "JianGuo"),
    ("高", "明", "Gao", "Ming"), ("张", "伟", "Zhang", "Wei"), ("陈", "静怡", "Chen", "JingYi"),
    ("白", "雪梅", "Bai", "XueMei"), ("石", "磊", "Shi", "Lei"), ("诸葛", "亮", "ZhuGe", "Liang"),
    ("黄", "丽华", "Huang", "LiHua"), ("常", "敏", "Chang", "Min"), ("李", "强", "Li", "Qiang"),
]  # fmt: skip

EN_DAYS = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth "
    "sixteenth seventeenth eighteenth nineteenth twentieth twenty-first twenty-second twenty-third twenty-fourth "
    "twenty-fifth twenty-sixth twenty-seventh twenty-eighth twenty-ninth thirtieth thirty-first"
).split()
EN_MONTHS = ("January February March April May June July August September October November December").split()
DE_MONTHS = ("Januar Februar März April Mai Juni Juli August September Oktober November Dezember").split()
FR_MONTHS = ("janvier février mars avril mai juin juillet août septembre octobre novembre décembre").split()
ZH = "〇一二三四五六七八九"


@dataclass(frozen=True)
class Patient:
    """What the hospital knows: a family and a given name, in Latin letters or (with `written`) in ideographs too."""

    language: str
    family: str
    given: str
    birth: tuple[int, int, int]
    number: str
    phone: str
    address: str
    ideographs: tuple[str, str] | None = None

    @property
    def identifiers(self) -> frozenset[Identifier]:
        name = f"{self.family}^{self.given}"
        if self.ideographs:
            name = f"{name}={self.ideographs[0]}^{self.ideographs[1]}"
        year, month, day = self.birth
        return frozenset(
            {Identifier("NAME", one) for one in name.split("=")}
            | {Identifier("DATE", f"{year}{month:02}{day:02}"), Identifier("ID", self.number)}
            | {Identifier("ID", self.phone), Identifier("PLACE", self.address)}
        )


@dataclass
class Note:
    """A note, its patient, and what of the patient was written into it, form by form."""

    patient: Patient
    text: str = ""
    planted: list[tuple[str, str]] = field(default_factory=list)  # name of the form, text of the mention


def written(seed: int, number: int) -> Iterator[Note]:
    """That many notes, a quarter in each language, each with four to six mentions of its patient."""
    draw = random.Random(seed)
    for place in range(number):
        yield _note(draw, ("en", "de", "fr", "zh")[place % 4])


def untouched(seed: int, number: int) -> Iterator[Note]:
    """The same kinds of notes and patients, but nothing of the patient stands in the note."""
    draw = random.Random(seed)
    for place in range(number):
        language = ("en", "de", "fr", "zh")[place % 4]
        note = Note(patient_of(draw, language))
        note.text = " ".join(draw.sample(FILLER[language], 5))
        yield note


def patient_of(draw: random.Random, language: str) -> Patient:
    birth = (draw.randint(1920, 2012), draw.randint(1, 12), draw.randint(1, 28))
    number, phone = f"{draw.randint(10**6, 10**8):08}", f"+49 551 {draw.randint(10**5, 10**7)}"
    street = draw.choice(
        ["Goethestraße 12a, 37073 Göttingen", "12 Oak Street, Springfield", "3 rue du Bac, 75007 Paris"]
    )
    if language == "zh":
        family, given, pinyin, syllables = draw.choice(CHINESE)
        return Patient(language, pinyin, syllables, birth, number, phone, "海淀区中关村大街27号", (family, given))
    return Patient(
        language, draw.choice(FAMILIES[language]), draw.choice(GIVEN[language]), birth, number, phone, street
    )


def _note(draw: random.Random, language: str) -> Note:
    note = Note(patient_of(draw, language))
    mentions = [*draw.sample(_NAMES[language], 3), draw.choice(_DATES[language]), draw.choice(_NUMBERS)]
    if draw.random() < 0.3:
        mentions.append(draw.choice(_DATES[language]))
    pieces = []
    for form in mentions:
        text = form(note.patient, draw)
        note.planted.append((form.__name__, text))
        before, after = draw.choice(_AROUND[language])
        pieces.append(f"{before}{text}{after}{draw.choice(FILLER[language])}")
    note.text = (" " if language != "zh" else "").join(pieces)
    return note


_AROUND = {
    "en": [("Patient ", " "), ("", " "), ("Seen today: ", ". "), ("(", ") "), ("Then ", ", "), ("re ", "; ")],
    "de": [("Patientin ", " "), ("", " "), ("Heute gesehen: ", ". "), ("(", ") "), ("Dann ", ", "), ("Betr. ", "; ")],
    "fr": [("Patient ", " "), ("", " "), ("Vu ce jour : ", ". "), ("(", ") "), ("Puis ", ", "), ("Concerne ", "; ")],
    "zh": [("患者", ""), ("", "，"), ("姓名：", "。"), ("（", "）"), ("今见", "主诉"), ("病人 ", " ")],
}

Form = Callable[[Patient, random.Random], str]


# ------------------------------------------------------------------------------------------------- names, Latin letters


def as_written(one: Patient, draw: random.Random) -> str:
    return f"{one.given} {one.family}"


def family_first(one: Patient, draw: random.Random) -> str:
    return f"{one.family}, {one.given}"


def family_alone(one: Patient, draw: random.Random) -> str:
    return one.family


def given_alone(one: Patient, draw: random.Random) -> str:
    return one.given


def upper_case(one: Patient, draw: random.Random) -> str:
    return f"{one.family} {one.given}".upper()


def lower_case(one: Patient, draw: random.Random) -> str:
    return f"{one.given} {one.family}".lower()


def initials(one: Patient, draw: random.Random) -> str:
    return f"{one.given[0]}. {one.family}"


def initials_after(one: Patient, draw: random.Random) -> str:
    return f"{one.family}, {one.given[0]}."


def titled(one: Patient, draw: random.Random) -> str:
    title = {"en": ["Mr", "Mrs.", "Ms"], "de": ["Herr", "Frau", "Fr."], "fr": ["M.", "Mme", "Madame"], "zh": ["Mr"]}
    return f"{draw.choice(title[one.language])} {one.family}"


def no_accents(one: Patient, draw: random.Random) -> str:
    plain = unicodedata.normalize("NFD", f"{one.given} {one.family}".replace("ß", "ss"))
    return "".join(sign for sign in plain if not unicodedata.combining(sign))


def digraphs(one: Patient, draw: random.Random) -> str:
    text = f"{one.given} {one.family}"
    for sign, two in {"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss"}.items():
        text = text.replace(sign, two)
    return text


def decomposed(one: Patient, draw: random.Random) -> str:
    return unicodedata.normalize("NFD", f"{one.given} {one.family}")


def genitive(one: Patient, draw: random.Random) -> str:
    return one.family + ("'" if one.family[-1] in "sxzß" else "s")


def possessive(one: Patient, draw: random.Random) -> str:
    return one.family + draw.choice(["'", "’"]) + "s"


def over_a_line(one: Patient, draw: random.Random) -> str:
    return f"{one.given}\n{one.family}"


def hyphen_at_line_end(one: Patient, draw: random.Random) -> str:
    name = max([one.family, one.given], key=len)
    place = draw.randint(2, max(2, len(name) - 2))
    return name[:place] + draw.choice(["-", "-", "\u00ad", "‐"]) + "\n" + name[place:]


def cut_at_line_end(one: Patient, draw: random.Random) -> str:
    name = max([one.family, one.given], key=len)
    place = draw.randint(2, max(2, len(name) - 2))
    return f"{name[:place]}\n{name[place:]}"


def one_word(one: Patient, draw: random.Random) -> str:
    return f"{one.given}{one.family}".replace(" ", "").replace("'", "")


def spaced_out(one: Patient, draw: random.Random) -> str:
    return " ".join(one.family.upper().replace(" ", ""))


def invisible_signs(one: Patient, draw: random.Random) -> str:
    return "\u200b".join(one.family) + draw.choice(["", "\u2060", "\ufeff"])


def typed_as_dicom(one: Patient, draw: random.Random) -> str:
    return f"{one.family}^{one.given}"


def curly_apostrophe(one: Patient, draw: random.Random) -> str:
    return f"{one.given} {one.family}".replace("'", "’").replace("-", "‑")


def hyphened_on(one: Patient, draw: random.Random) -> str:
    return f"{one.family}-" + {"en": "Parker", "de": "Befund", "fr": "Moreau", "zh": "Ho"}[one.language]


def compound(one: Patient, draw: random.Random) -> str:
    last = one.family.split()[-1]
    return f"{last}sche Familie" if len(last) > 3 else f"{last}-Familie"


def elided(one: Patient, draw: random.Random) -> str:
    name = one.family.split("'")[-1].split()[-1]
    return f"d’{name}" if name[0] in "AEÉIOUHLN" else f"de {one.family}"


def accents_lost_to_marks(one: Patient, draw: random.Random) -> str:
    mark = draw.choice(["?", "\ufffd"])
    return "".join(mark if ord(sign) > 127 else sign for sign in one.family)


def twice_encoded(one: Patient, draw: random.Random) -> str:
    return one.family.encode().decode("latin-1") if not one.family.isascii() else one.family


# ----------------------------------------------------------------------------------------------------- names, Chinese


def zh_full(one: Patient, draw: random.Random) -> str:
    return "".join(one.ideographs or ())


def zh_apart(one: Patient, draw: random.Random) -> str:
    return draw.choice([" ", "\u3000", "·", "\n", "^"]).join(one.ideographs or ())


def zh_letters_apart(one: Patient, draw: random.Random) -> str:
    return " ".join("".join(one.ideographs or ()))


def zh_family_title(one: Patient, draw: random.Random) -> str:
    assert one.ideographs
    return one.ideographs[0] + draw.choice(["先生", "女士", "某", "某某", "老师", "氏", "阿姨", "XX"])


def zh_given(one: Patient, draw: random.Random) -> str:
    assert one.ideographs
    return one.ideographs[1]


def zh_familiar(one: Patient, draw: random.Random) -> str:
    assert one.ideographs
    return draw.choice(["小", "老"]) + one.ideographs[0]


def zh_given_first(one: Patient, draw: random.Random) -> str:
    assert one.ideographs
    return one.ideographs[1] + draw.choice(["", " "]) + one.ideographs[0]


def pinyin(one: Patient, draw: random.Random) -> str:
    return draw.choice([f"{one.family} {one.given}", f"{one.given} {one.family}", f"{one.family.upper()} {one.given}"])


def pinyin_syllables(one: Patient, draw: random.Random) -> str:
    given = re.findall("[A-Z][a-z]+", one.given)
    return f"{one.family} " + draw.choice([" ", "-", "'"]).join(given)


def pinyin_lower(one: Patient, draw: random.Random) -> str:
    return f"{one.family}{draw.choice([' ', ''])}{one.given}".lower()


# ------------------------------------------------------------------------------------------------------------- dates


def d_iso(one: Patient, draw: random.Random) -> str:
    y, m, d = one.birth
    return draw.choice([f"{y}-{m:02}-{d:02}", f"{y}/{m}/{d}", f"{y}.{m:02}.{d:02}", f"{y}{m:02}{d:02}"])


def d_dots(one: Patient, draw: random.Random) -> str:
    y, m, d = one.birth
    return draw.choice([f"{d:02}.{m:02}.{y}", f"{d}.{m}.{y}", f"{d}. {m}. {y}", f"{d}/{m}/{y}", f"{d:02}-{m:02}-{y}"])


def d_short_year(one: Patient, draw: random.Random) -> str:
    y, m, d = one.birth
    return draw.choice(
        [f"{d}/{m}/{y % 100:02}", f"{d:02}.{m:02}.{y % 100:02}", f"{m}/{d}/{y % 100:02}", f"{d}.{m}.'{y % 100:02}"]
    )


def d_compact(one: Patient, draw: random.Random) -> str:
    y, m, d = one.birth
    return draw.choice([f"{d:02}{m:02}{y}", f"{y % 100:02}{m:02}{d:02}", f"{d:02}{m:02}{y % 100:02}-0017"])


def d_named(one: Patient, draw: random.Random) -> str:
    y, m, d = one.birth
    name = {"en": EN_MONTHS, "de": DE_MONTHS, "fr": FR_MONTHS, "zh": EN_MONTHS}[one.language][m - 1]
    forms = {
        "en": [f"{d} {name} {y}", f"{name} {d}, {y}", f"the {d}th of {name} {y}", f"{name[:3]} {d} {y}",
               f"{d:02}{name[:3].upper()}{y}", f"{d:02}-{name[:3]}-{y % 100:02}", f"{d}{name[:3].upper()}{y % 100:02}"],
        "de": [f"{d}. {name} {y}", f"{d}. {name[:3]}. {y}", f"{d}.{name}{y}", f"den {d}. {name.lower()} {y}"],
        "fr": [f"le {d} {name} {y}", f"{d} {name.upper()} {y}", f"{d if d > 1 else '1er'} {name} {y}"],
    }  # fmt: skip
    return draw.choice(forms.get(one.language, forms["en"]))


def d_without_year(one: Patient, draw: random.Random) -> str:
    _, m, d = one.birth
    forms = {
        "en": [f"{d} {EN_MONTHS[m - 1]}", f"{EN_MONTHS[m - 1]} {d}", f"the {EN_DAYS[d - 1]} of {EN_MONTHS[m - 1]}"],
        "de": [f"{d}. {DE_MONTHS[m - 1]}", f"{d:02}.{m:02}."],
        "fr": [f"le {d} {FR_MONTHS[m - 1]}"],
        "zh": [f"{m}月{d}日", f"{m}月{d}号", f"{zh_number(m)}月{zh_number(d)}日"],
    }
    return draw.choice(forms[one.language])


def d_spelled(one: Patient, draw: random.Random) -> str:
    y, m, d = one.birth
    return f"the {EN_DAYS[d - 1].replace('-', draw.choice(['-', ' ']))} of {EN_MONTHS[m - 1]} {y}"


def d_roman(one: Patient, draw: random.Random) -> str:
    y, m, d = one.birth
    return f"{d}. {'I II III IV V VI VII VIII IX X XI XII'.split()[m - 1]}. {y}"


def d_broken(one: Patient, draw: random.Random) -> str:
    y, m, d = one.birth
    return f"{d:02}.{m:02}.\n{y}"


def zh_number(number: int) -> str:
    tens, units = divmod(number, 10)
    return ("" if tens == 0 else "十" if tens == 1 else f"{ZH[tens]}十") + (ZH[units] if units else "")


def d_zh(one: Patient, draw: random.Random) -> str:
    y, m, d = one.birth
    return draw.choice(
        [f"{y}年{m}月{d}日", f"{y} 年 {m:02} 月 {d:02} 日", f"{y}年{m}月{d}号", f"{y % 100:02}年{m}月{d}日"]
    )


def d_zh_numerals(one: Patient, draw: random.Random) -> str:
    y, m, d = one.birth
    year = "".join(ZH[int(sign)] for sign in str(y))
    return f"{year}年{zh_number(m)}月{zh_number(d)}{draw.choice('日号')}"


def d_full_width(one: Patient, draw: random.Random) -> str:
    y, m, d = one.birth
    return "".join(chr(ord(sign) + 0xFEE0) if sign.isdigit() else sign for sign in f"{y}-{m:02}-{d:02}")


# ----------------------------------------------------------------------------------------- numbers, telephone, address


def n_number(one: Patient, draw: random.Random) -> str:
    n = one.number
    return draw.choice([n, n.lstrip("0"), f"{n[:4]} {n[4:]}", f"{n[:3]}-{n[3:]}", f"MRN{n}", f"{n[:5]}\n{n[5:]}"])


def n_phone(one: Patient, draw: random.Random) -> str:
    return draw.choice([one.phone, one.phone.replace("+49 ", "0"), one.phone.replace(" ", "").replace("+", "00")])


def n_address(one: Patient, draw: random.Random) -> str:
    first = one.address.split(",")[0]
    return draw.choice([one.address, first, first.upper(), one.address.replace(", ", "\n")])


_LATIN: list[Form] = [
    as_written, family_first, family_alone, given_alone, upper_case, lower_case, initials, initials_after, titled,
    no_accents, digraphs, decomposed, genitive, possessive, over_a_line, hyphen_at_line_end, cut_at_line_end, one_word,
    spaced_out, invisible_signs, typed_as_dicom, curly_apostrophe, hyphened_on, compound, accents_lost_to_marks,
    twice_encoded,
]  # fmt: skip
_NAMES: dict[str, list[Form]] = {
    "en": _LATIN,
    "de": _LATIN,
    "fr": [*_LATIN, elided],
    "zh": [
        zh_full, zh_full, zh_full, zh_apart, zh_letters_apart, zh_family_title, zh_given, zh_familiar, zh_given_first,
        pinyin, pinyin_syllables, pinyin_lower,
    ],
}  # fmt: skip
_EVERYWHERE: list[Form] = [d_iso, d_dots, d_short_year, d_compact, d_named, d_without_year, d_broken, d_full_width]
_DATES: dict[str, list[Form]] = {
    "en": [*_EVERYWHERE, d_spelled, d_spelled],
    "de": [*_EVERYWHERE, d_roman],
    "fr": _EVERYWHERE,
    "zh": [*_EVERYWHERE, d_zh, d_zh, d_zh_numerals, d_zh_numerals],
}
_NUMBERS: list[Form] = [n_number, n_phone, n_address]


# ----------------------------------------------------------------------------------------------------- what is left


def survives(note: Note, form: str, text: str, clean: str) -> bool:
    """Whether a mention, or a word of a name in it, still stands in the text; the filler says nothing of anybody."""
    for sentence in FILLER[note.patient.language]:
        clean = clean.replace(unicodedata.normalize("NFKC", sentence), "|")
    if text in clean:
        return True
    if form.startswith(("d_", "n_")):
        return False
    words = re.findall(r"[^\W\d_]{3,}", f"{note.patient.family} {note.patient.given}")
    names = [word for word in words if word.lower() not in {"von", "der", "van", "tour", "du", "de", "la", "maria"}]
    left = set(re.findall(r"[^\W\d_]+", clean))
    return not left.isdisjoint(names) or any(one in clean for one in note.patient.ideographs or ())
