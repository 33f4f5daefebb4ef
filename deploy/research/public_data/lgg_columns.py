"""Which columns of the public glioma table a study of death within 36 months may see, and which never, and why.

A column that is in neither list is not read: what is allowed is said, not what is forbidden. `FORBIDDEN` is for the
tests, which look for these names, and the prefixes, in everything that is written.
"""

from __future__ import annotations

# Known when the patient first came, before operation and treatment. Gaps have no column of their own: in a table
# filled in afterwards, what is missing may depend on what became of the patient.
NUMERIC = {"age": (0.0, 120.0)}
_YES_NO = ["NO", "YES"]
CATEGORICAL: dict[str, list[str]] = {
    "sex": ["Female", "Male"],
    "seizure_history": _YES_NO,
    "headache_history": _YES_NO,
    "first_symptom": [
        *("Headaches", "Mental Status Changes", "Motor/Movement Changes", "Seizures", "Sensory Changes"),
        "Visual Changes",
    ],
    "first_symptom_duration": ["0 - 30 Days", "31 - 90 Days", "91 - 180 Days", "> 181 Days"],
    "mental_status_changes": _YES_NO,
    "motor_changes": _YES_NO,
    "sensory_changes": _YES_NO,
    "visual_changes": _YES_NO,
    "preop_corticosteroids": _YES_NO,
    "family_history_cancer": _YES_NO,
    "family_history_brain_tumour": _YES_NO,
    "asthma_history": _YES_NO,
    "eczema_history": _YES_NO,
    "laterality": ["Left", "Midline", "Right"],
    "tumour_site": [
        *("Supratentorial, Frontal Lobe", "Supratentorial, Temporal Lobe", "Supratentorial, Parietal Lobe"),
        *("Supratentorial, Occipital Lobe", "Supratentorial, Not Otherwise Specified"),
        *("Posterior Fossa, Cerebellum", "Posterior Fossa, Brain Stem"),
    ],
}
CLINICAL = (*NUMERIC, *CATEGORICAL)

# Of the removed tumour, so before what follows it.
MUTATIONS = (
    *("IDH1", "TP53", "ATRX", "PTEN", "EGFR", "CIC", "MUC16", "PIK3CA", "NF1", "PIK3R1"),
    *("FUBP1", "RB1", "NOTCH1", "BCOR", "CSMD3", "SMARCA4", "GRIN2A", "IDH2", "FAT4", "PDGFRA"),
)
ARMS = (
    *("1p", "1q", "2p", "2q", "3p", "3q", "4p", "4q", "5p", "5q", "6p", "6q", "7p", "7q", "8p", "8q", "9p", "9q"),
    *("10p", "10q", "11p", "11q", "12p", "12q", "13", "14", "15", "16p", "16q", "17p", "17q", "18p", "18q"),
    *("19p", "19q", "20p", "20q", "21", "22"),
)

FORBIDDEN = {
    "os_months": "the outcome",
    "os_event": "the outcome",
    "pfs_months": "progression, which is followed by death",
    "pfs_event": "progression, which is followed by death",
    "buda_death01": "the outcome, from another source",
    "radiation_therapy": "given after the operation, to those with a bad prognosis",
    "year_of_diagnosis": "how long a patient could be followed: of the late ones only the dead have a label",
    "mri_date": "as the year of diagnosis",
    "mri_case": "carries the date in its name",
    "karnofsky": "the table does not say whether it was taken before or after treatment",
    "histology": "contains the grade, and was read again with knowledge of the course",
    "tumour_px_total": "drawn by hand in the data set, not part of the examination",
    "note_rendered": "rendered from the table's fields, karnofsky among them; not a note",
}
FORBIDDEN_PREFIXES = ("label_", "cluster_", "gen_")  # other studies' labels, groups and scores of these patients
