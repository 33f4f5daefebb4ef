"""How many sites a secure sum needs, from |R| sites that hold shares and c that may collude.

A site deals shares of two secrets. Who collects t shares of one has that secret; who has both sees its vector. Honest
sites give a share of only one of the two; the c colluding ones give both.

    2t > |R| + c    no two sets of t holders fit without more than c sites in both: the two secrets of a site are never
                    both rebuilt, and no two different U2 both find t confirmations
    t >= c + 2      a sum holds at least two sites that do not collude: none of them is the sum minus what c sites know
    t <= |R|        otherwise no sum ever opens
"""

from __future__ import annotations

from common.errors import SecureSumError, TooFewSitesError


def smallest_threshold(sites: int, colluding: int) -> int:
    """The smallest t that `require_threshold` takes, or TooFewSitesError when there are too few sites for any."""
    threshold = max((sites + colluding) // 2 + 1, colluding + 2)
    if threshold > sites:
        raise TooFewSitesError(
            f"{sites} sites hold shares; with {colluding} that may collude a secure sum needs {colluding + 2}."
        )
    return threshold


def require_threshold(sites: int, threshold: int, colluding: int) -> None:
    """SecureSumError unless the three inequalities hold, with c at least 1."""
    if colluding < 1:
        raise SecureSumError("The number of sites that may collude is at least 1.")
    if threshold > sites:
        raise SecureSumError(f"A threshold of {threshold} is more than the {sites} sites that hold shares.")
    smallest = smallest_threshold(sites, colluding)
    if threshold < smallest:
        raise SecureSumError(
            f"A threshold of {threshold} is unsafe for {sites} sites of which {colluding} may collude: "
            f"it must be {smallest} or more."
        )
