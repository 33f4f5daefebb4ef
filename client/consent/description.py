"""What a study will do with this site's data, in plain words: what a person reads before approving it."""

from __future__ import annotations

from collections.abc import Iterator

from client.consent.exact import exact_sums
from client.data.labels import cases_of
from client.data.sources import sources_here
from client.data.targets import sources_of, target_here
from client.ledger.accounts import judged_at
from client.ledger.forecast import said_of
from client.misspelt import misspelt
from client.site import ColumnSource, ImageSource, SiteFolder
from client.terms import allowed
from client.training.hooks import GIVEN_UP
from common.models.network import build_network
from common.parameters import Parameters
from common.privacy.plan import PrivacyPlan, evaluations, plan_privacy, test_is_apart
from common.secure_sum.packing import packed_size
from common.statistics import ranges
from common.study import Study
from common.tasks.part import TARGET

_PARTS = {"train": "training", "validation": "validation", "test": "test"}


def describe(folder: SiteFolder, study: Study) -> list[str]:
    """Lines of text. Of patients it reads only how many have a target; raises what is wrong with study or site."""
    return [
        *_head(folder, study),
        *_data(folder, study),
        *_work(folder, study),
        *_protection(folder, study),
        *_leaves(folder, study),
    ]


def _head(folder: SiteFolder, study: Study) -> Iterator[str]:
    sources = target_here(folder, study)
    yield f"Study {study.study}, digest {study.digest}"
    if TARGET in sources:
        yield f"  It {study.task.described}: {_where(sources[TARGET])}."
        return
    yield f"  It {study.task.described}:"
    for part in study.task.parts:
        here = part.name in sources
        yield f"    {part.name}: {_where(sources[part.name]) if here else 'NOT AT THIS SITE, which adds nothing of it'}"


def _where(source: ColumnSource | ImageSource) -> str:
    if isinstance(source, ImageSource):
        return f"masks beside the images, from {source.folder}"
    return f"column {source.column!r} of {source.file}"


def _data(folder: SiteFolder, study: Study) -> Iterator[str]:
    yield f"Data of {folder.file.site} that it uses"
    here, may = sources_here(folder, study), allowed(folder.file, study)
    near = misspelt(folder.file, study.names)
    for name, modality in study.modalities.items():
        if name in here:
            source = here[name]
            where = source.folder if isinstance(source, ImageSource) else source.file
            yield f"  {name}: {modality.described}, from {where}"
        elif name not in may:
            yield f"  {name}: NOT used, policy.modalities does not have it"
        else:
            hint = f". {folder.name} has {near[name]}: is that it? Then write {name} there" if name in near else ""
            yield f"  {name}: not at this site{hint}"
    few = folder.file.policy.without_privacy.smallest(simulated=False)
    if ranges(study) and not study.private and few > 1:
        yield "  Before the first round: number, mean and spread of each column's values in the training patients; of a"
        yield f"  column with fewer than {few} values here, none (policy.without_privacy.smallest_part)."
    if study.secure_sum.enabled:
        least = study.secure_sum.colluding + 2
        yield f"  A modality that fewer than {least} sites have is not used in a run: it is absent in the model, and"
        yield "  who has nothing else is left out. The run's report names it."
    if folder.file.exclusions is None:
        yield "  Nobody opted out: site.yaml names no list of exclusions."
    else:
        yield f"  Who is listed in {folder.file.exclusions} is left out, in each round as the file then is."


def _work(folder: SiteFolder, study: Study) -> Iterator[str]:
    policy = folder.file.policy
    yield "What it does with them"
    yield f"  A run has {study.rounds} rounds; in each, {study.training.local_steps} steps of training on this machine."
    if not study.private:
        patients = study.training.local_steps * study.training.batch_size
        yield f"  So an update of this site is of {patients} training patients at the most, and of fewer where it has"
        yield "  fewer or a modality is rare. Who they are is drawn from the study's seed, which is no secret."
    for name, inquiry in study.inquiries.items():
        whom = " and ".join(_PARTS[part] for part in inquiry.parts)
        yield f"  Then {name}, in {inquiry.sums} sums over {whom} patients: it {inquiry.described}."
    yield from _split(folder, study)
    if policy.round_seconds is not None:
        yield f"  Training stops after {policy.round_seconds:g} seconds of a round (policy.round_seconds)."
        if study.private:
            yield "  How far it came by then hangs on the patients and shows in what is sent, which no epsilon covers."
            yield "  Without round_seconds every round does all of its steps."
    if policy.hours is not None:
        yield f"  Work begins only at {policy.hours}, local time (policy.hours)."


def _split(folder: SiteFolder, study: Study) -> Iterator[str]:
    """Who is a training, a validation, a test patient: it can be chosen so that one patient stands alone."""
    split = study.split
    if split.column is not None:
        test, validation = _listed(split.test_values) or "no value", _listed(split.validation_values) or "no value"
        yield f"  Split by the column {split.column!r}: test patients have {test}, validation patients {validation}."
    else:
        test, validation = _percent(split.test), _percent(split.validation)
        yield f"  Split by a hash of the patient's number with the key {split.key!r}: about {test} of the"
        yield f"  patients test, {validation} validate, the others are trained on."
    if not study.private:
        least = folder.file.policy.without_privacy.smallest(simulated=False)
        yield f"  A part, or the training patients of a modality, of fewer than {least} patients is left out here, and"
        yield "  so is a study that cuts the same patients otherwise than an earlier one, or leaves out whom that one"
        yield "  has, by fewer, in all or of one modality (policy.without_privacy.smallest_part). By more, a person"
        yield "  here is asked."


def _percent(part: float) -> str:
    """With the digits that it has: a part that was chosen for one patient is an odd one."""
    return f"{100 * part:g} %"


def _protection(folder: SiteFolder, study: Study) -> Iterator[str]:
    plan = plan_privacy(study)
    yield "How patients are protected"
    yield from _privacy(study, plan)
    if plan is not None and folder.file.clipping == "opacus":
        yield f"  WEAKER HERE, by `clipping: opacus` in site.yaml. {GIVEN_UP}"
    if plan is None and study.secure_sum.enabled:
        yield from _lost_site(folder)
    yield from _spent(folder, study, plan)
    if study.secure_sum.enabled:
        least = max(study.secure_sum.colluding + 2, folder.file.policy.minimum_sites)
        yield f"  Secure sum: ON. The coordinator sees sums over at least {least} sites, and not what this site adds."
    else:
        yield "  Secure sum: OFF. The coordinator sees this site's own numbers in every round."


def _spent(folder: SiteFolder, study: Study, plan: PrivacyPlan | None) -> Iterator[str]:
    """What is gone of the budget, and what no budget covers."""
    state = folder.path(folder.file.state)
    if plan is not None and (said := said_of(state, study, plan, judged_at(folder.file.policy, plan))):
        yield f"  BUDGET: {said}."
    if exact := exact_sums(state):
        yield f"  {exact}"
    if plan is not None and (cases := cases_of(folder, study)) and plan.delta * cases > 1:
        yield (
            f"  DELTA: {plan.delta:g} is above one over the {cases:,} patients of {_files(folder, study)}. Delta is "
            "the chance that nothing is promised: with such a one, a patient may be shown whole within the promise."
        )


def _files(folder: SiteFolder, study: Study) -> str:
    sources = sources_of(folder.file, study).values()
    return " and ".join(dict.fromkeys(str(one.folder if isinstance(one, ImageSource) else one.file) for one in sources))


def _privacy(study: Study, plan: PrivacyPlan | None) -> Iterator[str]:
    if plan is None:
        yield "  Differential privacy: NONE. The model may remember single patients; nothing limits how often it runs."
        yield "  FROM UPDATES THE COORDINATOR CAN COMPUTE SINGLE PATIENTS, also from sums over all sites: by who is"
        yield "  drawn in which round, or by a value that one patient alone has. Only differential privacy prevents it."
        return
    yield (
        f"  Differential privacy: epsilon {plan.epsilon:g}, delta {plan.delta:g} for each patient over the whole study"
        " (who is a patient of two of its hospitals spends at both);"
    )
    yield f"  noise {plan.noise_multiplier:.3f} in training, {plan.evaluation_noise_multiplier:.3f} in an evaluation."
    if plan.test_noise_multiplier is not None:
        yield f"  Test patients have a budget of their own; noise {plan.test_noise_multiplier:.3f} in their one score."


def _lost_site(folder: SiteFolder) -> Iterator[str]:
    """Approval is of deployed sites: in a simulation nobody asks."""
    if folder.file.policy.without_privacy.waits(simulated=False):
        yield "  LOST SITES: waited for. This site gives no sum over other sites than before that would show a hospital"
        yield "  by the difference; a run that cannot wait any longer ends with the model that it has."
    else:
        yield "  LOST SITES: SHOWN (policy.without_privacy.lost_site). A run goes on without a hospital that drops out,"
        yield "  and what that hospital added can be computed from two sums, unless a site of the run says `wait`."
    yield "  Were the other sites summed before without this one, then what this site adds can be computed: ask the"
    yield "  coordinator before you approve."


def _leaves(folder: SiteFolder, study: Study) -> Iterator[str]:
    count = Parameters.of(build_network(study, models=folder.path(folder.file.models))).length
    size = packed_size(count, study.secure_sum.bits)
    hidden = "masked; only their sum over the sites is opened" if study.secure_sum.enabled else "IN THE OPEN"
    yield "What leaves this site"
    yield f"  In each round {count:,} changes of the model's parameters, at least {size:,} bytes, {hidden}."
    times = evaluations(study) + (1 + study.privacy.spare_rounds if test_is_apart(study) else 0)
    yield f"  Up to {times} times counts of cases by score, and once counts and means, in the same way."
    bound = float(study.secure_sum.max_cases)
    for name, inquiry in study.inquiries.items():
        numbers = sum(segment.length for segment in inquiry.segments(study.modalities, bound))
        many = inquiry.sums + study.privacy.spare_rounds
        yield f"  Up to {many} times {numbers:,} numbers for {name}, in the same way."
    said = "and the epsilon spent" if study.private else "and the steps done"
    yield f"  This site's name, its modalities, {said}."
    yield "  No image, no record, no note, no patient's number."


def _listed(words: list[str]) -> str:
    return ", ".join(words)
