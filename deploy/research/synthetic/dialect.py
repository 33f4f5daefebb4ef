"""What a hospital calls its columns and categories: made-up exports, as four different systems would write them."""

from __future__ import annotations

from dataclasses import dataclass, field

CLASSES = ["stable", "deteriorated"]
CATEGORIES = {
    "sex": ["female", "male"],
    "breathlessness": ["none", "exertion", "rest"],
    "smoking": ["never", "former", "current"],
}


@dataclass(frozen=True)
class Dialect:
    """One system's words. `columns` and `words` go from the study's names to this hospital's."""

    patient: str
    name: str
    birth: str
    phone: str
    email: str
    relative: str
    outcome: str
    outcomes: tuple[str, str]  # stable, deteriorated
    columns: dict[str, str]
    words: dict[str, list[str]]  # in the order of CATEGORIES
    date: str  # strftime
    number: str  # a record number, {n} counts
    telephone: str  # {n} is a number of seven digits, {a} its first three, {b} its last four
    domain: str
    gap: str = ""  # what stands in an empty cell
    gene: str = "{gene}"  # what a gene's column is called
    tables: dict[str, str] = field(default_factory=dict)  # the patient's column in notes.csv and genes.csv

    @property
    def identity(self) -> list[str]:
        """The columns of records.csv that say who a patient is."""
        return [self.name, self.birth, self.phone, self.email, self.relative]


ENGLISH = Dialect(
    patient="mrn",
    name="patient_name",
    birth="date_of_birth",
    phone="phone",
    email="email",
    relative="next_of_kin",
    outcome="deteriorated_30d",
    outcomes=("no", "yes"),
    columns={"temperature": "temp_celsius", "respiratory_rate": "resp_rate", "saturation": "spo2", "leukocytes": "wbc"},
    words={
        "sex": ["F", "M"],
        "breathlessness": ["not breathless", "on exertion", "at rest"],
        "smoking": ["never smoked", "ex-smoker", "smoker"],
    },
    date="%d/%m/%Y",
    number="MRN-{n:07d}",
    telephone="020 7{a} {b}",
    domain="mail.example",
    tables={"notes": "mrn", "genes": "mrn"},
)

GERMAN = Dialect(
    patient="PatNr",
    name="Name",
    birth="Geburtsdatum",
    phone="Telefon",
    email="EMail",
    relative="Angehoerige",
    outcome="Verschlechterung",
    outcomes=("nein", "ja"),
    columns={
        "age": "Alter",
        "sex": "Geschlecht",
        "temperature": "Temperatur",
        "respiratory_rate": "Atemfrequenz",
        "saturation": "SpO2",
        "leukocytes": "Leukozyten",
        "breathlessness": "Atemnot",
        "smoking": "Rauchen",
    },
    words={
        "sex": ["w", "m"],
        "breathlessness": ["keine", "bei Belastung", "in Ruhe"],
        "smoking": ["nie", "früher", "aktuell"],
    },
    date="%d.%m.%Y",
    number="LH{n:08d}",
    telephone="+49 30 {a}{b}",
    domain="post.example",
    gap="k.A.",
    gene="expr_{gene}",
    tables={"notes": "Patient", "genes": "PatNr"},
)

CODED = Dialect(
    patient="PAT_ID",
    name="PAT_NM",
    birth="DOB",
    phone="TEL_NO",
    email="EMAIL_ADDR",
    relative="NOK_NM",
    outcome="OUTCOME_CD",
    outcomes=("0", "1"),
    columns={
        "age": "AGE_Y",
        "sex": "SEX_CD",
        "temperature": "TEMP_C",
        "respiratory_rate": "RR_MIN",
        "saturation": "O2_SAT",
        "leukocytes": "WBC_CNT",
        "breathlessness": "DYSP_CD",
        "smoking": "SMK_CD",
    },
    words={"sex": ["2", "1"], "breathlessness": ["0", "1", "2"], "smoking": ["N", "E", "C"]},
    date="%Y-%m-%d",
    number="{n:09d}",
    telephone="({a}) 555-{b}",
    domain="inbox.example",
    gap="NULL",
    tables={"notes": "PAT_ID", "genes": "SUBJECT"},
)

SPANISH = Dialect(
    patient="nhc",
    name="nombre",
    birth="fecha_nacimiento",
    phone="telefono",
    email="correo",
    relative="familiar",
    outcome="empeora",
    outcomes=("no", "si"),
    columns={
        "age": "edad",
        "sex": "sexo",
        "temperature": "temperatura",
        "respiratory_rate": "frec_resp",
        "saturation": "sat_o2",
        "leukocytes": "leucocitos",
        "breathlessness": "disnea",
        "smoking": "tabaco",
    },
    words={
        "sex": ["mujer", "hombre"],
        "breathlessness": ["sin disnea", "con esfuerzo", "en reposo"],
        "smoking": ["nunca", "exfumador", "fumador"],
    },
    date="%d-%m-%Y",
    number="SC/{n:06d}",
    telephone="+34 91 {a} {b}",
    domain="correo.example",
    gene="{gene}_log2",
    tables={"notes": "nhc", "genes": "nhc"},
)

DIALECTS = (ENGLISH, GERMAN, CODED, SPANISH)
