"""notes.csv: what doctors wrote. Each symptom is told as bad or not, in words that hospitals like differently.

The latent moves every symptom's probability: P(told as bad) = 1 / (1 + exp(-slope·(x - tⱼ))), with thresholds tⱼ
spread over the range, so that the count of bad symptoms tells x. Between the symptoms stand sentences that say nothing
about the outcome, and sentences that say who the patient is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deploy.research.synthetic.dialect import Dialect
from deploy.research.synthetic.people import Person


@dataclass(frozen=True)
class Symptom:
    """What a doctor looks at, in two wordings, and how it is told without a grade when it is bad and when it is not."""

    topics: tuple[str, str]
    ill: tuple[str, str]
    well: tuple[str, str]


SYMPTOMS = (
    Symptom(("cough", "sputum"), ("purulent sputum", "thick green phlegm"), ("hardly any cough", "clear phlegm")),
    Symptom(
        ("breathing", "work of breathing"), ("struggles for breath", "laboured"), ("talks in full sentences", "at ease")
    ),
    Symptom(("orientation", "alertness"), ("drowsy and muddled", "disoriented overnight"), ("lucid", "fully awake")),
    Symptom(("appetite", "drinking"), ("refuses meals", "barely drinks"), ("eating well", "finished breakfast")),
    Symptom(("mobility", "walking"), ("bedbound", "too weak to stand"), ("walks unaided", "up and about")),
    Symptom(("fever", "temperature curve"), ("shaking rigors", "drenching sweats"), ("afebrile", "skin dry")),
    Symptom(("auscultation", "chest sounds"), ("coarse crackles", "bronchial sounds"), ("chest clear", "vesicular")),
    Symptom(("pain", "chest pain"), ("winces when coughing", "stabbing pain"), ("pain free", "breathes deeply")),
    Symptom(("circulation", "perfusion"), ("mottled and cool", "thready pulse"), ("warm hands", "steady pulse")),
    Symptom(("oxygen need", "oxygenation"), ("desaturates", "escalated to mask"), ("room air", "weaned off oxygen")),
    Symptom(("urine output", "diuresis"), ("oliguric", "dark urine"), ("passing urine freely", "fluid balance even")),
    Symptom(("sleep", "general state"), ("exhausted and restless", "agitated"), ("slept soundly", "rested, cheerful")),
)
ILL, WELL = ("worse", "poor", "bad"), ("better", "good", "fine")
GRADED = 0.8  # share of symptoms that are told by a topic and a grade: "appetite poor"
THRESHOLDS = np.linspace(-1.6, 1.6, len(SYMPTOMS))[np.array([5, 0, 7, 2, 9, 4, 11, 6, 1, 8, 3, 10])]
UNTOLD = 0.06  # a symptom that the note does not mention
OTHER_WORDING = 0.3  # share of symptoms told in the wording that a hospital likes less
TOLD_OF_FAMILY = 0.7  # share of notes with a relative in them
LIKING = np.array([0.6, 0.25, 0.15])  # how much a hospital prefers one grade over its synonyms

FILLERS = (
    "Seen on the morning round.",
    "Plan unchanged, bloods tomorrow.",
    "Lives with family, retired.",
    "Discussed at the board.",
    "Radiology to follow.",
    "Drug chart reviewed.",
    "Physiotherapy informed.",
    "Allergies checked.",
)
OPENINGS = (
    "{title} {last}, {first}, born {birth}, record {number}.",
    "{title} {last} ({number}) seen {day}.",
    "Admitted {day}: {first} {last}, DOB {birth}.",
    "Re: {last}, {first} / {number} / {birth}.",
)
FAMILY = (
    "{relation} {relative} telephoned from {phone}.",
    "{relation} {relative_first} at the bedside, wants a report to {email}.",
    "Contact {phone}, {relation} {relative}.",
    "Letter to {email}, copy for {relative_first} ({relation}).",
)
CLOSINGS = ("Will review {first} again.", "Explained to {title} {last}.", "Next visit after {day}.", "")


@dataclass(frozen=True)
class Writer:
    """How notes are written at one hospital. `style` is which wording its doctors prefer."""

    rng: np.random.Generator
    slope: float
    dialect: Dialect
    style: int

    def note(self, person: Person, x: float) -> str:
        """One patient's note: who, family and fillers around the symptoms, in no fixed order."""
        rng = self.rng
        told = [self._symptom(index, x) for index in rng.permutation(len(SYMPTOMS))]
        middle = [*_sentences([text for text in told if text]), _pick(rng, FILLERS)]
        if rng.random() < TOLD_OF_FAMILY:
            middle.append(_pick(rng, FAMILY))
        middle = [middle[index] for index in rng.permutation(len(middle))]
        text = " ".join([_pick(rng, OPENINGS), *middle, _pick(rng, CLOSINGS)]).strip()
        return text.format_map(_words(person, self.dialect))

    def _symptom(self, index: int, x: float) -> str:
        rng, symptom = self.rng, SYMPTOMS[index]
        ill = rng.random() < 1 / (1 + np.exp(-self.slope * (x - THRESHOLDS[index])))
        graded, untold = rng.random() < GRADED, rng.random() < UNTOLD
        wording = int(rng.random() < OTHER_WORDING) ^ ((self.style + index) % 2)
        grade = (ILL if ill else WELL)[int(rng.choice(3, p=np.roll(LIKING, self.style)))]
        if untold:
            return ""
        return f"{symptom.topics[wording]} {grade}" if graded else (symptom.ill if ill else symptom.well)[wording]


def _sentences(findings: list[str]) -> list[str]:
    """Findings three to a sentence."""
    groups = [findings[start : start + 3] for start in range(0, len(findings), 3)]
    return [", ".join(group).capitalize() + "." for group in groups]


def _pick(rng: np.random.Generator, choices: tuple[str, ...]) -> str:
    return choices[int(rng.integers(len(choices)))]


def _words(person: Person, dialect: Dialect) -> dict[str, str]:
    return {
        "title": "Mrs" if person.female else "Mr",
        "first": person.first,
        "last": person.last,
        "birth": f"{person.born:{dialect.date}}",
        "day": f"{person.admitted:{dialect.date}}",
        "number": person.number,
        "phone": person.phone,
        "email": person.email,
        "relation": person.relation.capitalize(),
        "relative": person.relative,
        "relative_first": person.relative_first,
    }
