"""Made-up people: who the patients are, and by which strings a privacy test would know them again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from deploy.research.synthetic.dialect import Dialect

# No name here is also a word of the notes, or a common English word: else taking it out would take signal out.
WOMEN = (
    *("Adelheid", "Beatriz", "Carlotta", "Deirdre", "Elspeth", "Fatima", "Greta", "Henrike", "Imelda", "Jolanda"),
    *("Katarzyna", "Leonor", "Maeve", "Nuria", "Ottilie", "Paloma", "Roswitha", "Siobhan", "Tamsin", "Ulrike"),
    *("Verónica", "Wilhelmina", "Xenia", "Yasmin", "Zuzana", "Aoife", "Brunhild", "Consuelo", "Dagmar", "Estefanía"),
)
MEN = (
    *("Alasdair", "Bertram", "Cosimo", "Dietmar", "Eamon", "Fergus", "Gonzalo", "Hartmut", "Ignacio", "Jürgen"),
    *("Konrad", "Leopold", "Matthias", "Niall", "Oswaldo", "Pascual", "Quentin", "Ramón", "Siegfried", "Torsten"),
    *("Umberto", "Valentin", "Wolfgang", "Xavier", "Yannick", "Zoltan", "Anselm", "Benedikt", "Cathal", "Domingo"),
)
LAST = (
    *("Abernathy", "Brückner", "Castellanos", "Drummond", "Eichendorff", "Fitzwilliam", "Gallardo", "Hohenstein"),
    *("Iglesias", "Jankowski", "Kowalczyk", "Lindqvist", "MacAllister", "Niedermeyer", "O'Shaughnessy", "Pfeiffer"),
    *("Quintanilla", "Rosenthal", "Schwarzkopf", "Tannahill", "Urquhart", "Villanueva", "Wojciechowski", "Ybarra"),
    *("Zimmermann", "Achterberg", "Bielefeld", "Carmichael", "Delacroix", "Echeverría", "Featherstone", "Grabowski"),
    *("Hernández-Ruiz", "Ingersoll", "Jellinek", "Kirkpatrick", "Lautenbach", "Montgomery", "Nakamura", "Oyelaran"),
    *("Papadopoulos", "Rasmussen", "Szymański", "Thistlewood", "Uzcátegui", "Vandenberg", "Weatherby", "Zubizarreta"),
)
RELATIONS = (("daughter", "son"), ("wife", "husband"), ("sister", "brother"), ("niece", "nephew"))


@dataclass(frozen=True)
class Person:
    """A patient as the hospital's office knows them. All of it is made up, and all of it is to be removed."""

    number: str
    first: str
    last: str
    female: bool
    born: date
    admitted: date
    phone: str
    email: str
    relation: str
    relative_first: str
    relative_last: str

    def __repr__(self) -> str:
        return "Person(...)"

    @property
    def name(self) -> str:
        return f"{self.first} {self.last}"

    @property
    def relative(self) -> str:
        return f"{self.relative_first} {self.relative_last}"

    @property
    def age(self) -> int:
        """Whole years at admission."""
        had_birthday = (self.admitted.month, self.admitted.day) >= (self.born.month, self.born.day)
        return self.admitted.year - self.born.year - (not had_birthday)

    def identifiers(self, dialect: Dialect) -> list[str]:
        """Every string planted in this patient's files that says who they are."""
        names = [self.first, self.last, self.name, f"{self.last}^{self.first}", f"{self.last}, {self.first}"]
        relatives = [self.relative_first, self.relative_last, self.relative]
        dates = [f"{day:{form}}" for day in (self.born, self.admitted) for form in (dialect.date, "%Y%m%d")]
        return [self.number, *names, *relatives, *dates, self.phone, self.email]


def people(rng: np.random.Generator, count: int, dialect: Dialect) -> list[Person]:
    """`count` different patients of one hospital."""
    numbers = rng.choice(900_000, size=count, replace=False) + 100_000
    phones = rng.choice(8_000_000, size=count, replace=False) + 2_000_000
    return [_person(rng, int(n), int(phone), dialect) for n, phone in zip(numbers, phones, strict=True)]


def _person(rng: np.random.Generator, number: int, phone: int, dialect: Dialect) -> Person:
    female, relative_female = bool(rng.random() < 0.5), bool(rng.random() < 0.5)
    first, last = _one(rng, WOMEN if female else MEN), _one(rng, LAST)
    admitted = date(2021, 1, 4) + timedelta(days=int(rng.integers(0, 1400)))
    years = float(np.clip(rng.normal(63, 14), 19, 96))
    relations = RELATIONS[int(rng.integers(len(RELATIONS)))]
    return Person(
        number=dialect.number.format(n=number),
        first=first,
        last=last,
        female=female,
        born=admitted - timedelta(days=round(years * 365.25)),
        admitted=admitted,
        phone=dialect.telephone.format(a=phone // 10_000, b=f"{phone % 10_000:04d}", n=phone),
        email=f"{_ascii(first)}.{_ascii(last)}{number % 97}@{dialect.domain}",
        relation=relations[0] if relative_female else relations[1],
        relative_first=_one(rng, WOMEN if relative_female else MEN),
        relative_last=last if rng.random() < 0.6 else _one(rng, LAST),
    )


def _one(rng: np.random.Generator, names: Sequence[str]) -> str:
    return names[int(rng.integers(len(names)))]


def _ascii(name: str) -> str:
    plain = name.lower().translate(str.maketrans("áéíóúüńè", "aeiouune"))
    return "".join(letter for letter in plain if letter.isascii() and letter.isalpha())
