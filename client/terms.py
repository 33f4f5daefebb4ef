"""Terms: what of a study this site's policy does not allow, known from the two files alone."""

from __future__ import annotations

from client.site import Policy, SiteFile
from common.errors import PolicyError
from common.study import Study


def objections(file: SiteFile, study: Study, *, simulated: bool = False) -> list[str]:
    """A sentence for each term that the study breaks. `simulated`: nothing leaves this machine, masked or not."""
    found = objections_of(file.policy, study, simulated=simulated)
    here = file.modalities & set(study.names)
    if here and not here & set(allowed(file, study)):
        found.append("policy.modalities allows none of the study's modalities that this site has.")
    return found


def objections_of(policy: Policy, study: Study, *, simulated: bool = False) -> list[str]:
    """Return a sentence for each term that the study breaks, whatever modalities the site has."""
    found = list[str]()
    if not study.private:
        if policy.asks_for_privacy(simulated=simulated):
            found.append(
                "The study has no differential privacy, and policy.require_privacy asks for it (the default of a "
                "deployed site; `require_privacy: false` allows such studies)."
            )
        elif policy.largest_epsilon is not None:
            found.append("The study has no differential privacy, and policy.largest_epsilon sets a limit to epsilon.")
        found += _of_few(policy, study, simulated=simulated)
    elif policy.largest_epsilon is not None and study.privacy.epsilon > policy.largest_epsilon:
        found.append(
            f"The study spends epsilon {study.privacy.epsilon:g}; policy.largest_epsilon is {policy.largest_epsilon:g}."
        )
    if study.private and study.privacy.delta > policy.delta:
        found.append(
            f"The study's delta is {study.privacy.delta:g}; policy.delta is {policy.delta:g}, and the ledger judges "
            "all studies together at one number. Raised to the study's, it holds for every study from then on, "
            "and is to stay well below one over the number of patients here."
        )
    if policy.require_secure_sum and not study.secure_sum.enabled and not simulated:
        found.append("The study has no secure sum, and policy.require_secure_sum asks for it.")
    return found


def _of_few(policy: Policy, study: Study, *, simulated: bool) -> list[str]:
    """Whether a round's update would be of fewer patients than this site shows the sum of; of its exact sums."""
    training, least = study.training, policy.without_privacy.smallest(simulated=simulated)
    patients = training.local_steps * training.batch_size
    if patients >= least:
        return []
    return [
        f"An update of this study is of {patients} patients at each site (training.local_steps x training.batch_size), "
        f"who can be computed from it where there is no differential privacy. Fewer than {least} are not shown "
        "(policy.without_privacy.smallest_part)."
    ]


def require_terms(file: SiteFile, study: Study, *, simulated: bool = False) -> None:
    """PolicyError with every objection."""
    found = objections(file, study, simulated=simulated)
    if found:
        raise PolicyError(
            f"Site {file.site}: its policy does not allow study {study.study}.\n"
            + "\n".join(f"  {sentence}" for sentence in found)
            + "\nAsk the coordinator for another study, or change `policy` in site.yaml: that is this site's to decide."
        )


def allowed(file: SiteFile, study: Study) -> tuple[str, ...]:
    """The study's modalities that this site's policy allows, in the study's order. Others are not read at all."""
    wanted = file.policy.modalities
    return tuple(name for name in study.names if wanted is None or name in wanted)
