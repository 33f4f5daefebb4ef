"""What the gate knows of a patient, in every form that notes write it in: found by the first look, and by the second
alone; and how much of a text that says nothing of the patient is taken away.
"""

from __future__ import annotations

import random
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from client.data.case import Identifier, Kind, RawCase
from client.data.charsets import readings
from client.data.deidentify import deidentify
from client.data.kinds import note as gate
from client.data.kinds.note import LEFT_OUT
from client.data.pseudonym import SiteSecret
from client.data.scrub import scrub
from client.data.second_look import residue
from client.data.sources import Reader, sources_here
from tests.support.hospital import study_of, write_csv, write_dicom, write_site
from tests.support.notes import FILLER, patient_of, survives, untouched, written

SOAK = pytest.mark.soak
RECALL = 0.999


def known(text: str, kind: Kind = "NAME") -> set[Identifier]:
    return {Identifier(kind, one) for one in text.split("=")}


# --------------------------------------------------------------------------------------------------- the forms by name

NAMES = [
    ("刘^彬", "患者刘彬主诉腹痛", "刘彬"),
    ("刘^彬", "患者 刘 彬 主诉腹痛", "彬"),
    ("刘^彬", "患者刘\n彬主诉腹痛", "彬"),
    ("刘^彬", "彬诉腹痛，刘先生", "刘"),
    ("刘彬", "刘某某，男，小刘", "刘"),
    ("刘^彬", "患者劉彬主诉腹痛", "劉"),
    ("劉^彬", "患者刘彬主诉腹痛", "刘"),
    ("Ng^Amy", "Mrs NG; amy ng", "ng"),
    ("欧阳^建国", "欧阳女士及建国", "欧阳"),
    ("Wang^XiaoDong=王^小东", "患者王小东", "小东"),
    ("Wang^XiaoDong=王^小东", "患者Xiao Dong Wang入院", "Dong"),
    ("Wang^XiaoDong=王^小东", "wang xiaodong reported pain", "xiaodong"),
    ("Wang^XiaoDong=王^小东", "Mr. WANG, Xiao-Dong", "Xiao"),
    ("Das^Ram", "Das reported pain", "Das"),
    ("Das^Ram", "ram das reported pain", "das"),
    ("Das^Ram", "DAS reported pain", "DAS"),
    ("Das^Ram", "mr das reported pain, CRP 12", "das"),
    ("Le^Minh", "Le reported pain", "Le"),
    ("Le^Minh", "Minh Le's pain", "Le"),
    ("Müller^Anna", "Müllers Befund", "Müller"),
    ("Müller^Anna", "die Müllersche Familie", "Müller"),
    ("Müller^Anna", "Muellers Befund", "Mueller"),
    ("Mueller^Anna", "Müllers Befund", "Müller"),
    ("Müller^Anna", "Mül-\nlers Befund", "lers"),
    ("Müller^Anna", "Mül\nler kam", "Mül"),
    ("Müller^Anna", "Anna\nMüller kam", "Müller"),
    ("Müller^Anna", "A. Müller kam", "A."),
    ("Müller^Anna", "Müller, A. kam", "A."),
    ("Müller^Anna", "Mu\u0308ller kam", "ller"),
    ("Müller^Anna", "M?ller kam", "ller"),
    ("Müller^Anna", "MÃ¼ller kam", "ller"),
    ("Müller^Anna", "M Ü L L E R kam", "L L"),
    ("Großkopf^Uwe", "Herr GROSSKOPF", "GROSS"),
    ("Grosskopf^Uwe", "Herr Großkopf", "kopf"),
    ("d'Aubigné^Zoé", "M. D’Aubigne a mal", "Aubigne"),
    ("d'Aubigné^Zoé", "l’Aubigné", "Aubigné"),
    ("Béranger^Luc", "BERANGER Luc", "BERANGER"),
    ("Smith-Jones^Pat", "Smith\nJones, and SmithJones", "Jones"),
    ("van der Heyden^Jo", "V. D. Heyden, vanderHeyden", "Heyden"),
    ("Mai^Anna", "Frau Mai kam im Mai", "Frau Mai"),
    ("O'Neill^Sean", "Oneill and O’NEILL", "neill"),
    ("Lee^Ann", "Lee's pain; ann lee", "lee"),
    ("Иванова^Анна", "пациентка ИВАНОВА", "ИВАНОВА"),
]


@pytest.mark.parametrize(("name", "note", "secret"), NAMES)
def test_a_known_name_goes_in_every_form(name: str, note: str, secret: str) -> None:
    got, found = scrub(note, known(name))
    assert secret.casefold() not in got.casefold() and found["NAME"], got
    assert not residue(got, known(name)), got


@pytest.mark.parametrize(("name", "note"), [(name, note) for name, note, _ in NAMES])
def test_the_second_look_alone_sees_a_known_name_in_every_form(name: str, note: str) -> None:
    assert residue(note, known(name)) == {"NAME"}


DAYS = [
    ("19670316", "出生1967年3月16日", "16"),
    ("19670316", "一九六七年三月十六日出生", "十六"),
    ("19670316", "生日3月16号", "16"),
    ("19340502", "born 02MAY1934.", "02"),
    ("19530903", "born on the third of September", "third"),
    ("19530903", "le 3 septembre 1953", "3 sept"),
    ("19530903", "le trois septembre", "trois"),
    ("19530903", "geboren am 3. September 1953", "3. S"),
    ("19530903", "am dritten September", "dritten"),
    ("19530903", "3. IX. 1953", "IX"),
    ("19670316", "DOB 16/3/67", "16"),
    ("19670316", "seen 3/16/67", "16"),
    ("19670316", "geb. 16.3.", "16.3"),
    ("19670316", "le 16/03", "16"),
    ("19670316", "PNR 160367-1234", "160367"),
    ("19670316", "id 670316", "670316"),
    ("19670316", "16.03.\n1967", "16"),
    ("19670316", "１９６７年３月１６日", "16"),
    ("19670316", "the sixteenth March of 1967", "sixteenth"),
    ("19670316", "16th day of March 1967", "16"),
    ("19670316", "16 de marzo de 1967", "marzo"),
    ("19670316", "16·3·1967", "16"),
    ("19670316", "67-03-16", "16"),
    ("19670321", "the twenty-first of March", "first"),
    ("19670316", "Mar-\nch 16, 1967", "16"),
]


@pytest.mark.parametrize(("day", "note", "secret"), DAYS)
def test_a_known_day_of_birth_goes_in_every_form(day: str, note: str, secret: str) -> None:
    got, _ = scrub(note, known(day, "DATE"))
    assert secret not in got, got
    assert not residue(got, known(day, "DATE")), got


@pytest.mark.parametrize(("day", "note"), [(day, note) for day, note, _ in DAYS])
def test_the_second_look_alone_sees_a_known_day_in_every_form(day: str, note: str) -> None:
    assert residue(note, known(day, "DATE")) == {"DATE"}


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("Mai^Anna", "Im Mai kam sie, bis Ende Mai."),
        ("May^Ann", "In May he may leave."),
        ("Das^Ram", "Sie sah, dass das Kind das Bett verliess."),
        ("Le^Minh", "Pour le patient, le bilan est normal."),
        ("高^明", "高血压，体温增高，明显异常"),
        ("石^静", "胆囊结石，静脉输液"),
        ("Bauch^Ilse", "unterbauchschmerz"),
        ("An^Do", "We do an MRI and go on"),
    ],
)
def test_ordinary_words_stay_where_they_are_no_name(name: str, note: str) -> None:
    assert scrub(note, known(name))[0] == unicodedata.normalize("NFKC", note)
    assert not residue(note, known(name))


def test_the_second_look_reads_around_a_word_where_it_stands_behind_turkish_letters() -> None:
    """İ is two signs in small letters: a name was taken for a month by what stood elsewhere, and a month for a name."""
    assert residue("İİİ 12 xy Mai kam, Herr X", known("Mai^Anna")) == {"NAME"}
    assert not residue("İİİİİİİİ im Mai kam Herr X", known("Mai^Anna"))


def test_a_visit_on_the_day_of_the_year_keeps_its_year() -> None:
    got, _ = scrub("Seen on 16 March 2021, CRP 16.3 mg/l.", known("19670316", "DATE"))
    assert got == "Seen on [DATE] 2021, CRP 16.3 mg/l." and not residue(got, known("19670316", "DATE"))


@pytest.mark.parametrize(
    ("text", "kind", "note", "secret"),
    [
        ("+49 551 394012", "ID", "Tel 0551/394012", "394012"),
        ("Goethestraße 12a, 37073 Göttingen", "PLACE", "wohnt Goethestr. 12a in Göttingen", "Goethe"),
        ("12 Oak Street, Springfield", "PLACE", "of 12 Oak St, SPRINGFIELD", "SPRINGFIELD"),
        ("北京市海淀区中关村大街27号", "PLACE", "住海淀区中关村大街27号", "海淀"),
        ("00704013", "ID", "no 7040\n13", "7040"),
    ],
)
def test_numbers_and_addresses_go(text: str, kind: Kind, note: str, secret: str) -> None:
    got, _ = scrub(note, known(text, kind))
    assert secret not in got and not residue(got, known(text, kind))


# ------------------------------------------------------------------------------------------------------ generated notes


@pytest.mark.parametrize(
    ("seed", "number"), [(1, 400), pytest.param(2, 2000, marks=SOAK), pytest.param(3, 2000, marks=SOAK)]
)
def test_999_of_1000_mentions_go_from_notes_in_four_languages(seed: int, number: int) -> None:
    lost, planted, left_out = Counter[str](), 0, 0
    for note in written(seed, number):
        clean, _ = scrub(note.text, note.patient.identifiers)
        planted += len(note.planted)
        lost.update(form for form, text in note.planted if survives(note, form, text, clean))
        left_out += bool(residue(clean, note.patient.identifiers))
    assert planted > 5 * number
    assert sum(lost.values()) <= (1 - RECALL) * planted, lost
    assert left_out <= 0.005 * number  # refusing everything is no de-identification


@pytest.mark.parametrize(("seed", "number"), [(4, 300), pytest.param(5, 2000, marks=SOAK)])
def test_the_second_look_alone_sees_999_of_1000_mentions(seed: int, number: int) -> None:
    """Each mention by itself, so that no other one of the note is what was seen."""
    missed, planted = Counter[str](), 0
    for note in written(seed, number):
        for form, text in note.planted:
            planted += 1
            sentence = FILLER[note.patient.language][0]
            missed[form] += not residue(f"{text} {sentence}", note.patient.identifiers)
    assert sum(missed.values()) <= (1 - RECALL) * planted, missed


def test_a_gate_without_its_first_look_lets_no_note_of_a_known_patient_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "scrub", lambda text, known: (text, Counter()))
    counts = Counter[str]()
    for note in written(6, 40):
        raw = RawCase("P1", note.patient.identifiers, {"report": note.text})
        case = deidentify(raw, study_of(), SiteSecret(b"k" * 32))
        assert not case.parts
        counts += case.counts
    assert sum(counts.values()) == 40 and all(LEFT_OUT in reason for reason in counts)


def units(text: str) -> Counter[str]:
    """Words, and ideographs one by one."""
    return Counter(re.findall(r"[\u3400-\u9fff]|[^\W\u3400-\u9fff]+", unicodedata.normalize("NFKC", text)))


def taken_away(texts: Iterable[tuple[str, frozenset[Identifier]]]) -> tuple[float, int]:
    """The share of words that go from texts that say nothing of their patient, and how many would be left out."""
    gone, words, left_out = 0, 0, 0
    for text, who in texts:
        clean, _ = scrub(text, who)
        words += sum(units(text).values())
        gone += sum((units(text) - units(clean)).values())
        left_out += bool(residue(clean, who))
    return gone / words, left_out


def test_of_notes_that_say_nothing_of_the_patient_next_to_nothing_goes() -> None:
    share, left_out = taken_away((note.text, note.patient.identifiers) for note in untouched(7, 100))
    assert share <= 0.02 and left_out <= 1


def test_of_real_notes_next_to_nothing_goes() -> None:
    cases = Path("../shared/data/covid/cases.csv")
    if not cases.exists():
        pytest.skip("the public COVID-19 notes are not here (../shared/data/covid)")
    import csv

    with cases.open(encoding="utf-8", newline="") as file:
        texts = [row["notes"] for row in csv.DictReader(file) if len(row["notes"]) > 100]
    draw = random.Random(8)
    patients = [patient_of(draw, draw.choice(["en", "de", "fr", "zh"])).identifiers for _ in texts]
    share, left_out = taken_away(zip(texts, patients, strict=True))
    assert share <= 0.02 and left_out <= 1


# -------------------------------------------------------------------------------------------------- names from a header

SURNAMES = {
    "UTF-8, none declared": ("Grünwälder^Ökan".encode(), None, "Grünwälder hat Schmerzen."),
    "UTF-8, Latin-1 declared": ("Grünwälder^Ökan".encode(), "ISO_IR 100", "Grünwälder hat Schmerzen."),
    "Latin-1, none declared": ("Grünwälder^Ökan".encode("latin-1"), None, "Grünwälder hat Schmerzen."),
    "GBK, none declared": ("欧阳^建国".encode("gbk"), None, "患者欧阳建国主诉腹痛。"),
    "GBK, two signs, none declared": ("刘^彬".encode("gbk"), None, "患者刘彬主诉腹痛。"),
    "GBK, Latin-1 declared": ("欧阳^建国".encode("gbk"), "ISO_IR 100", "患者欧阳建国主诉腹痛。"),
    "GBK, UTF-8 declared": ("欧阳^建国".encode("gbk"), "ISO_IR 192", "患者欧阳建国主诉腹痛。"),
    "GB18030, declared": ("欧阳^建国".encode("gb18030"), "GB18030", "患者欧阳建国主诉腹痛。"),
    "UTF-8 Chinese, none declared": ("Wang^XiaoDong=王^小东".encode(), None, "患者王小东主诉腹痛。"),
    "UTF-8 Chinese, GB18030 declared": ("王^小东".encode(), "GB18030", "患者王小东主诉腹痛。"),
    "Cyrillic, none declared": ("Иванова^Анна".encode("cp1251"), None, "Иванова жалуется."),
}


@pytest.mark.parametrize(("content", "charset", "note"), SURNAMES.values(), ids=list(SURNAMES))
def test_a_name_from_a_header_is_known_whatever_its_character_set(
    tmp_path: Path, content: bytes, charset: str | None, note: str
) -> None:
    import numpy as np

    space = "X" * len(content)
    for number in range(2):
        attributes = {"SpecificCharacterSet": charset} if charset else {}
        path = tmp_path / "images" / f"{number}.dcm"
        write_dicom(path, np.full((8, 8), number, np.uint16), PatientID=f"P{number}", PatientName=space, **attributes)
        path.write_bytes(path.read_bytes().replace(space.encode(), content))
    write_csv(tmp_path / "records.csv", [{"patient_id": f"P{number}", "outcome": "alive"} for number in range(2)])
    write_csv(tmp_path / "notes.csv", [{"patient_id": f"P{number}", "text": note} for number in range(2)])
    site = write_site(tmp_path, {"records": None, "sequences": None, "identity": None})
    study = study_of(modalities=["xray", "report"])
    raw = Reader(site, study, sources_here(site, study), lambda *_: None).case("P0", ["report"])
    clean, _ = scrub(raw.parts["report"], raw.identifiers)
    assert clean.startswith("[NAME]" if note[0] != "患" else "患者[NAME]主诉"), clean
    assert not residue(clean, raw.identifiers)


def test_a_plain_name_has_one_reading() -> None:
    assert readings(b"Smith^John", "Smith^John") == ["Smith^John"]
