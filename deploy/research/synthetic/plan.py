"""Which hospitals there are: how large, who falls ill there, what they lack, and with what they take their films."""

from __future__ import annotations

from dataclasses import dataclass

from common.errors import StudyError
from deploy.research.synthetic.dialect import DIALECTS, Dialect
from deploy.research.synthetic.strength import KINDS, Kind

NAMES = (
    *("saint_brigid", "lindenhof", "northfield", "santa_clara", "kestrel_bay", "mariental", "eastgate", "vallverde"),
    *("harrow_hill", "falkensee", "lakeside", "rio_alto"),
)
LARGEST = 50  # times the patients; record numbers have room for more
SMALLEST = 24  # patients of a hospital, however small the scale
FEWEST, MOST = 3, 50  # a secure sum needs three; DESIGN's protocol is made for up to fifty


@dataclass(frozen=True)
class Scanner:
    """An X-ray system: its matrix, and how it turns brightness in [0, 1] into 12-bit values."""

    maker: str
    model: str
    sop_class: str  # its UID
    rows: int
    columns: int
    gamma: float  # contrast
    black: int  # stored value of air
    white: int  # stored value of bone
    noise: float  # standard deviation, film white = 1
    inverted: float  # share of MONOCHROME1 films


COMPUTED_RADIOGRAPHY = "1.2.840.10008.5.1.4.1.1.1"  # the SOP classes of PS3.4 B.5
DIGITAL_XRAY = "1.2.840.10008.5.1.4.1.1.1.1"  # for presentation
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"  # here a scanned film
SCANNERS = (
    Scanner("Aurora Imaging", "Lumen 200", DIGITAL_XRAY, 96, 96, 1.00, 180, 3600, 0.020, 0.00),
    Scanner("Helios Medical", "CR-7", COMPUTED_RADIOGRAPHY, 128, 104, 0.80, 60, 2900, 0.035, 0.45),
    Scanner("Borealis Health", "FlatPanel X", DIGITAL_XRAY, 112, 112, 1.25, 420, 4000, 0.015, 0.20),
    Scanner("Tecnomed", "Digitiza 64", SECONDARY_CAPTURE, 72, 64, 0.90, 0, 2400, 0.045, 0.00),
)


@dataclass(frozen=True)
class SitePlan:
    """One hospital. `present` is the share of its patients that have a modality."""

    name: str
    patients: int
    prevalence: float
    present: dict[Kind, float]
    dialect: Dialect
    scanner: Scanner
    style: int  # which wording its doctors prefer


_USUAL: dict[Kind, float] = {"image": 0.95, "record": 0.98, "note": 0.95, "genes": 0.95}
_ROLES: tuple[tuple[int, float, dict[Kind, float]], ...] = (
    (110, 0.42, {}),  # complete, and small
    (600, 0.40, {"note": 0.0}),  # large, without notes
    (760, 0.52, {"genes": 0.0}),  # large, without genes
    (380, 0.46, {"image": 0.15}),  # few images
)


def plans(sites: int, scale: float = 1.0) -> list[SitePlan]:
    """`sites` hospitals, the roles taken in turn; every modality at three hospitals or more.

    scale: multiplies the number of patients; a tenth is enough to try things out
    """
    if not FEWEST <= sites <= MOST:
        raise StudyError(f"sites: {sites} hospitals cannot be made; choose a number from {FEWEST} to {MOST}.")
    if not 0 < scale <= LARGEST:
        raise StudyError(f"scale: {scale:g} times the patients cannot be made; choose more than 0, at most {LARGEST}.")
    return [_plan(index, sites, scale) for index in range(sites)]


def _plan(index: int, sites: int, scale: float) -> SitePlan:
    turn = index % len(_ROLES)
    patients, prevalence, lacks = _ROLES[turn]
    if sites == FEWEST:  # a modality that one of three lacks altogether would have two owners only
        lacks = {kind: max(share, 0.15) for kind, share in lacks.items()}
    again = index // len(NAMES)
    return SitePlan(
        name=NAMES[index % len(NAMES)] + (f"_{again + 1}" if again else ""),
        patients=max(SMALLEST, round(patients * scale)),
        prevalence=prevalence,
        present={kind: lacks.get(kind, _USUAL[kind]) for kind in KINDS},
        dialect=DIALECTS[index % len(DIALECTS)],
        scanner=SCANNERS[index % len(SCANNERS)],
        style=index,
    )
