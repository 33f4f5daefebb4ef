"""The two YAML files: each hospital's site.yaml, and the study.yaml that all agree on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from client.site import SiteFile
from common.errors import SiteFileError, StudyError
from common.schema import WIDELY_READ, plain
from common.secure_sum.thresholds import smallest_threshold
from common.study import Study
from common.tasks import Task
from deploy.research.folders import write_yaml
from deploy.research.synthetic.dialect import CATEGORIES, Dialect
from deploy.research.synthetic.plan import SitePlan
from deploy.research.synthetic.tables import AGE, GENE_MEAN, GENE_SD, GENES, SIGNS
from deploy.research.synthetic.targets import USUAL, target_source

DELTA = 1e-4  # of the study, and the most that these small hospitals allow


def write_site(path: Path, plan: SitePlan, task: Task = USUAL) -> None:
    """site.yaml of one hospital. A modality that the hospital lacks altogether is not in it."""
    words, records = plan.dialect, "records.csv"
    content: dict[str, Any] = {
        "schema": WIDELY_READ,
        "site": plan.name,
        "patient": words.patient,
        "target": target_source(task, words, records, _gaps(words)),
        "records": {"record": _record_source(words)},
    }
    if plan.present["image"]:
        content["images"] = {"image": {"folder": "images"}}
    if plan.present["note"]:
        content["notes"] = {"note": {"file": "notes.csv", "text": "text", "patient": words.tables["notes"]}}
    if plan.present["genes"]:
        content["sequences"] = {"genes": _gene_source(words)}
    content["identity"] = [{"file": records, "columns": words.identity}]
    content["policy"] = {"delta": DELTA}
    write_yaml(
        path,
        "Where this hospital's data is, and what its columns are called. It never leaves the hospital.",
        content,
        SiteFile,
        SiteFileError,
    )


def _gaps(words: Dialect) -> list[str]:
    return [words.gap] if words.gap else []


def _record_source(words: Dialect) -> dict[str, Any]:
    return {
        "file": "records.csv",
        "columns": dict(words.columns),
        "values": {
            column: dict(zip(words.words[column], categories, strict=True)) for column, categories in CATEGORIES.items()
        },
        "missing": _gaps(words),
    }


def _gene_source(words: Dialect) -> dict[str, Any]:
    source: dict[str, Any] = {"file": "genes.csv", "patient": words.tables["genes"], "missing": _gaps(words)}
    if words.gene != "{gene}":
        source["columns"] = {gene: words.gene.format(gene=gene) for gene in GENES}
    return source


def write_study(path: Path, sites: int, task: Task = USUAL) -> None:
    """study.yaml for `sites` hospitals: ranges and means are published reference values, so nothing is charged."""
    content: dict[str, Any] = {
        "schema": WIDELY_READ,
        "study": "deterioration_30d",
        "task": plain(task),
        "modalities": _modalities(),
        "rounds": 36,
        "fusion": {"kind": "concat", "width": 16, "modality_dropout": 0.0},
        "training": {"local_steps": 5, "batch_size": 32, "optimiser": "sgd", "learning_rate": 1.5},
        "server": {"strategy": "FedAvg"},
        "privacy": {
            "mode": "local",
            "epsilon": 8.0,
            "delta": DELTA,
            "max_grad_norm": 1.0,
            "sample_rate": 0.4,
            "expected_batch_size": 160.0,
        },
        "secure_sum": {"enabled": True, "threshold": smallest_threshold(sites, 1)},
        "evaluation": {"every": 9, "bins": 10},  # with noise on every bin, a few coarse ones tell more
        "split": {"key": "deterioration_30d", "validation": 0.11, "test": 0.24},
    }
    write_yaml(
        path,
        "What all hospitals agree on: deterioration within 30 days, from four modalities.",
        content,
        Study,
        StudyError,
    )


def _modalities() -> dict[str, Any]:
    numbers = {"age": AGE, **SIGNS}
    return {
        "image": {"kind": "image", "size": 32, "encoder": {"backbone": "small_cnn", "channels": 8}},
        "record": {
            "kind": "record",
            "numeric": {
                name: {"low": sign.low, "high": sign.high, "mean": sign.mean, "sd": sign.sd}
                for name, sign in numbers.items()
            },
            "categorical": {name: list(categories) for name, categories in CATEGORIES.items()},
            "encoder": {"hidden": []},
        },
        "note": {
            "kind": "note",
            "max_tokens": 64,
            "encoder": {"tokenizer": "hash", "vocabulary": 256, "width": 16, "layers": 0},
        },
        "genes": {
            "kind": "sequence",
            "genes": list(GENES),
            "low": 0.0,
            "high": 20.0,
            "mean": [GENE_MEAN[gene] for gene in GENES],
            "sd": GENE_SD,
            "encoder": {"hidden": []},
        },
    }
