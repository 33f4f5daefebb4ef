"""The federated run: plan, sum, step, save; round after round. What a coordinator does, said once."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from flwr.serverapp import Grid
from numpy.typing import NDArray

from common.derived import derive
from common.errors import AnsweredError, RunError, SecureSumError, TooFewSitesError
from common.identity.roster import Roster
from common.models.network import build_network
from common.parameters import Parameters, flatten
from common.plan import STATISTICS, UPDATE, Normaliser, RoundPlan, least_owners, scored_by
from common.privacy.plan import plan_privacy
from common.questions import Question, questions_of
from common.questions.inquired import Inquired
from common.questions.statistics import Statistics
from common.questions.update import Update
from common.schedule import Schedule, Stage
from common.scores import metrics, score_sensitivity
from common.study import Study
from server.lost import Lost
from server.report.evidence import RoundEvidence
from server.run.checkpoint import CHECKPOINT_FILE, RunState, read, save
from server.run.classes import require_two_classes
from server.run.history import history_in
from server.run.inquired import INQUIRED, opened_in
from server.run.invitation import Participant, nodes_of
from server.run.left_out import changed_in_words, left_out_in_words
from server.run.lost_sites import PAUSE_SECONDS, REFUSED, LostSiteError, LostSites, no_time_box
from server.run.observer import Observer, Unwatched
from server.run.outcome import Outcome, normaliser_in, outcome_in
from server.run.reasons import SAVED, news_of_lost, ways_out
from server.run.secure_sum import UNCERTIFIED, Summation, Total
from server.run.step import ServerStep, add_mean
from server.run.trained import (
    COUNTED,
    PARTS,
    USED,
    changed_in,
    uncounted_in,
    used_in,
    without_in,
)

ATTEMPTS, UNPAID_ATTEMPTS = 3, 5  # of a round: with privacy each of them is paid for
SUMMED = "sites"  # the array of a run's state that names the sites of its last sum
OF_OTHERS = (TooFewSitesError.code, AnsweredError.code)  # refused because others were gone
BACK_SECONDS = 45.0  # for lost sites, before a round is tried again with those that are left


@dataclass(frozen=True)
class _Planned:
    """Of the plan that was made last: its groups, the parts of the cohort that enough sites fill, what it asks."""

    groups: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    asks: tuple[str, ...] = ()


class Run:
    """One run of a study over a grid. `folder` keeps its checkpoint."""

    def __init__(
        self,
        study: Study,
        grid: Grid,
        folder: Path,
        *,
        sites: int,
        roster: Roster,
        models: Path | None = None,
        observer: Observer | None = None,
        resume: bool = False,
        seconds: float = 3600.0,
        nodes: Mapping[int, str] | None = None,
        time_box: float = 0.0,
        wait: float = 0.0,
        over: Sequence[str] = (),
    ) -> None:
        """`sites`: how many to wait for; or `nodes`, with their sites, exactly those that take part.
        `seconds`: deadline of a leg. `time_box`: seconds after which a site stops training and hands over what it has;
        0 for never, and with privacy it does not stop. `wait`: seconds, of a round, for lost sites without whom it
        cannot be tried again. `over`: other runs, that nobody plays any more.
        """
        self.study, self.grid, self.observer, self.schedule = study, grid, observer or Unwatched(), Schedule(study)
        self.path, self.time_box, self.wait = folder / CHECKPOINT_FILE, time_box, wait
        network = build_network(study, models=models)
        self.parameters = Parameters.of(network)
        self.privacy = plan_privacy(study)
        self.step = ServerStep(study.server)
        self.state = read(self.path, study.digest) if resume else self._fresh(flatten(network))
        self.step.restore({name[7:]: value for name, value in self.state.arrays.items() if name.startswith("server/")})
        self.state.attempt += 1
        self.nodes, self.names = sorted(nodes) if nodes else nodes_of(grid, sites, seconds), nodes or {}
        self.lost = LostSites(wait, tuple(self.state.arrays.get(SUMMED, ())))
        self._planned = _Planned()
        self._lost: Mapping[str, Lost] = {}  # whom the round before lost, and why
        self.summation = Summation(
            grid,
            study,
            self.state.run,
            roster,
            self.nodes,
            lambda plan: derive(plan, study, self.parameters, self.privacy),
            seconds,
            number=self.state.number,
            names=self.names,
            keep=self._keep,
            over=over,
            first=self.state.round + 1,
            patience=lambda: self.lost.left,
            certified=self.state.certified or UNCERTIFIED,
        )

    def _fresh(self, weights: NDArray[np.float32]) -> RunState:
        if self.path.exists():
            raise RunError(f"{self.path.parent}: holds a run already. Continue it with --resume, or name another run.")
        return RunState(self.study.digest, secrets.token_hex(8), arrays={"weights": weights, "best": weights})

    # ------------------------------------------------------------------------------------------------- the four steps

    def play(self) -> Outcome:
        """All stages that are left."""
        for stage in self.schedule.stages(self.state.round + 1):
            self._play(stage)
        return outcome_in(self.study, self.state)

    def _play(self, stage: Stage) -> None:
        began = time.monotonic()
        if UPDATE in stage.asks:
            require_two_classes(self.study, self.state.arrays["sum/classes"])
        total = self._sum(stage)
        asked = questions_of(self._planned.asks, self.study)
        scored = self._scored(total) if scored_by(self._planned.asks) else None
        if stage.judges:
            self._select(stage.number - 1, scored)
        for question in asked:
            if take := _TAKEN.get(type(question)):
                take(self, question, stage, total)
        self._save(stage.number, total, scored, time.monotonic() - began)
        if STATISTICS in stage.asks:
            for sentence in left_out_in_words(self.study, self.untrained, self.uncounted):
                self.observer.told(sentence)

    def _sum(self, stage: Stage) -> Total:
        """The round's secure sum; again, with the sites that are left, when it could not be opened.

        Once shares were asked for, only the same sites may be summed again, for the difference of two sums would show
        a site; with privacy each attempt is a release of its own, with its own noise, and others may take part.
        """
        what, attempts = self.schedule.title(stage.number), ATTEMPTS if self.study.private else UNPAID_ATTEMPTS
        lost, patience, attempt = dict[str, Lost](), self.wait, 0
        spent = np.zeros(3, dtype=np.int64)  # steps, bytes up and bytes down of the attempts that failed
        self.lost.begin()
        while self.lost.goes_on(attempt, attempts):
            if attempt:
                patience -= self._wait_for_nodes(what, patience)
                self.state.attempt += 1
            now = what + (f", attempt {attempt + 1}" if attempt else "")
            self.observer.doing(self._asking if self.summation.first >= 0 else now)
            try:
                total = self.summation.total(
                    lambda holders, working, now=now: self._plan(holders, working, stage, now),
                    only=self._only,
                    last=stage.number == self.schedule.last,
                )
                steps, up, down = (spent + self.summation.cost).tolist()
                return replace(total, dropped={**lost, **total.dropped}, steps=steps, bytes_up=up, bytes_down=down)
            except TooFewSitesError as error:
                last: SecureSumError = error
            spent += self.summation.cost
            self._heard(lost)
            attempt += 1
        kind, causes = RunError, list(lost.values())
        if self.lost.met:
            kind, causes = LostSiteError, [*causes, REFUSED]
        raise kind(
            f"{what[:1].upper()}{what[1:]}: failed {attempt} times. {self.summation.explain(last)}. "
            f"{SAVED} {ways_out(causes, self.path.parent.name)}"
        ) from None

    def _heard(self, lost: dict[str, Lost]) -> None:
        """Of a sum that failed: who was lost. Who refused only because others were gone is not."""
        dropped = self.summation.dropped
        if not self.study.private:
            if self.summation.bound:
                self.lost.keep_to(self.summation.bound)
            self.lost.heard(dropped)
            self.summation.kept_to = self.lost.only
        lost |= {site: why for site, why in dropped.items() if why.code not in OF_OTHERS}

    @property
    def _only(self) -> Sequence[str]:
        """The sites that alone may be summed in this round; empty for all."""
        return () if self.study.private else self.state.survivors or self.lost.only

    def _wait_for_nodes(self, what: str, patience: float) -> float:
        """A site that has just been lost may be back in a moment: an outage of the server loses all of them.

        Those without whom the round cannot be tried again are waited for with `patience` seconds. How many it took.
        """
        began, waited = time.monotonic(), 0.0
        while lost := set(self.nodes) - set(self.grid.get_node_ids()):
            if not waited:
                names = sorted(self.names.get(node, f"node {node}") for node in lost)
                self.observer.doing(f"{what}: waiting for lost sites ({', '.join(names)})")
            time.sleep(0.5)
            waited = time.monotonic() - began
            if waited > (BACK_SECONDS if self._suffice(set(self.nodes) - lost) else max(BACK_SECONDS, patience)):
                break
        if self.lost.met and not waited:
            time.sleep(min(PAUSE_SECONDS, max(0.0, patience)))
        return time.monotonic() - began

    def _suffice(self, nodes: Collection[int]) -> bool:
        """Whether the round can be tried with these alone."""
        there = {self.names.get(node) for node in nodes}
        if self._only:
            return set(self._only) <= there
        if self.lost.met:
            return set(self.names.values()) <= there  # nobody knows here over whom it was summed before
        return len(nodes) >= self.summation.least

    @property
    def _asking(self) -> str:
        """What the sites are asked before any of them works or pays for a run, or for the rest of one."""
        carried = " and whether their budgets carry the run" if self.study.private else ""
        return f"asking the sites whether they are ready{carried}"

    def _plan(self, holders: Sequence[Participant], working: Collection[str], stage: Stage, now: str) -> RoundPlan:
        """`now`: what is done from here on, for whoever watches."""
        self.observer.doing(now)
        owners, parts = self._owners(holders, working), self._counted(holders, working)
        asked = questions_of(stage.asks, self.study)
        asks = tuple(question.name for question in asked if set(question.parts(parts)) <= set(parts))
        if UPDATE in stage.asks and UPDATE not in asks:
            raise TooFewSitesError(
                f"Fewer than {self._least_owners} of the sites that are here can fill the training part"
            )
        self._planned = _Planned(tuple(owners), parts, asks)
        return RoundPlan(
            self.study.digest,
            self.state.run,
            stage.number,
            self.state.attempt,
            asks,
            tuple(item.site for item in holders),
            owners,
            self.state.arrays["best" if "test" in asks or stage.number > self.schedule.tests else "weights"],
            self.normaliser,
            self._seconds(holders) if UPDATE in asks else 0.0,
            self._opened(asked),
        )

    def _seconds(self, holders: Sequence[Participant]) -> float:
        """The time box of a site's training, where no site of the sum refuses one; else it is dropped for good."""
        if self.time_box and (why := no_time_box(self.study, [item.member for item in holders])):
            self.observer.told(why)
            self.time_box = 0.0
        return self.time_box

    def _owners(self, holders: Sequence[Participant], working: Collection[str]) -> dict[str, tuple[str, ...]]:
        """Return `shared` and the run's modalities, each with all of R that signed for it, if enough of these work for
        a sum to hide each of them; without a secure sum one is enough.

        Which are the run's is decided by round 0. A modality that is not here is absent in every case of this round.
        """
        least, owners = self._least_owners, {"shared": tuple(item.site for item in holders)}
        for name in self.used:
            owners[name] = tuple(item.site for item in holders if item.member.has(name))
        enough = {group: sites for group, sites in owners.items() if len(set(sites) & set(working)) >= least}
        if len(enough) == 1:
            raise TooFewSitesError(f"No modality of the study is at {least} of the sites that are here")
        return enough

    def _counted(self, holders: Sequence[Participant], working: Collection[str]) -> tuple[str, ...]:
        """Return the parts of the cohort that enough of the sites that work signed for; only these are in a sum."""
        there = [item.parts for item in holders if item.site in working]
        return tuple(part for part in PARTS if sum(part in parts for parts in there) >= self._least_owners)

    @property
    def _least_owners(self) -> int:
        return least_owners(self.study)

    @property
    def used(self) -> tuple[str, ...]:
        """The run's modalities: all of the study's until round 0 is over, and then those that it used."""
        return used_in(self.study, self.state)

    @property
    def untrained(self) -> tuple[str, ...]:
        """The study's modalities that are absent in this run."""
        return tuple(name for name in self.study.names if name not in self.used)

    @property
    def uncounted(self) -> tuple[str, ...]:
        """The parts of the cohort that too few sites could fill when they were counted."""
        return uncounted_in(self.study, self.state)

    def _opened(self, asked: Sequence[Question]) -> dict[str, NDArray[np.float64]]:
        """What the sums of an inquiry that is asked came to before, by which the next one is made."""
        called = {question.called for question in asked if isinstance(question, Inquired)}
        return {key: value for key, value in opened_in(self.state).items() if key.partition("/")[0] in called}

    def _take_inquired(self, question: Question, stage: Stage, total: Total) -> None:
        assert isinstance(question, Inquired)
        place = self.schedule.place_of(question.called, stage.number)
        taken = question.taken(total.values, place)
        self.state.arrays |= {f"{INQUIRED}{key}": value.copy() for key, value in taken.items()}

    def _take_statistics(self, question: Question, stage: Stage, total: Total) -> None:
        self.state.arrays |= {f"sum/{name}": value.copy() for name, value in total.values.items()}
        self.state.arrays[USED] = np.array([name in self._planned.groups for name in self.study.names])
        self.state.arrays[COUNTED] = np.array([part in self._planned.parts for part in PARTS])

    def _take_update(self, question: Question, stage: Stage, total: Total) -> None:
        proposed = self.state.arrays["weights"].copy()
        for group in self.parameters.groups:
            weight = float(total.values.get(f"weight/{group}", np.zeros(1))[0])
            if weight > 0:
                add_mean(proposed[self.parameters.slice(group)], total.values[f"update/{group}"], weight)
        self.state.arrays["weights"] = self.step.apply(stage.number, self.state.arrays["weights"], proposed, self.grid)

    def _without(self) -> tuple[str, ...]:
        """The run's modalities that are not in this round's sum; say which are in it no more, or are again."""
        without = without_in(self.study, self.state, self._planned.groups)
        for sentence in changed_in_words(self.study, *changed_in(self.state, without)):
            self.observer.told(sentence)
        return without

    def _scored(self, total: Total) -> dict[str, float]:
        """The measures of the summed scores, which know how much noise is in them, of all sites together."""
        sd = 0.0
        if self.privacy is not None:
            multiplier = self.privacy.evaluation_of(scored_by(self._planned.asks)).noise_multiplier
            sd = multiplier * score_sensitivity(self.study) * math.sqrt(len(total.sites))
        return metrics(self.study, total.values, sd)

    # ------------------------------------------------------------------------------------------- choosing and saving

    def _select(self, scored_round: int, scored: dict[str, float] | None) -> None:
        """Keep the model of the best validation score; with privacy (noisy scores) or no validation, the last."""
        score = float("-inf") if scored is None else self.study.task.measures[0].rank(scored)
        known = score > float("-inf")
        if self.study.private or not self.study.split.validates:
            better = True
        else:
            # No score at all yet (validation patients of one class, or at too few sites): rather the latest model.
            unknown = self.state.best_score == float("-inf") and not known
            better = unknown or score > self.state.best_score or (known and self._scored_of_others)
        if better:
            self.state.arrays["best"] = self.state.arrays["weights"]
            self.state.best_round, self.state.best_score = scored_round, score

    @property
    def _scored_of_others(self) -> bool:
        """Whether this sum is without other modalities than the one that scored the model which is kept so far: such
        scores are of other cases, and the later model is kept. Studies of schema 0 compare them.
        """
        before = history_in(self.state)[self.state.best_round + 1 :][:1]
        without = without_in(self.study, self.state, self._planned.groups)
        return self.study.schema >= 1 and any(set(entry.without) != set(without) for entry in before)

    def _save(self, number: int, total: Total, scored: dict[str, float] | None, seconds: float) -> None:
        reasons = list(map(str, total.dropped.values()))
        evidence = RoundEvidence(
            round=number,
            sites=len(total.sites),
            dropped=len(reasons),
            drop_reasons={reason: reasons.count(reason) for reason in sorted(set(reasons))},
            seconds=seconds,
            bytes_up=total.bytes_up,
            bytes_down=total.bytes_down,
            steps=total.steps,
            epsilon=total.epsilon,
            held_out_epsilon=total.held_out_epsilon,
            metrics=scored,
            threshold=total.threshold,
            run_sites=len(self.nodes),
            without=self._without(),
        )
        self.state.history.append(asdict(evidence))
        self.state.round, self.state.survivors, self.lost.before = number, [], total.sites
        self.state.saved_attempt, self.state.certified = self.state.attempt, self.summation.certified
        self.state.arrays[SUMMED] = np.array(total.sites)
        self.state.arrays |= {f"server/{name}": value for name, value in self.step.state().items()}
        save(self.state, self.path)
        self.observer.round_done(evidence, self.study.rounds)
        if news := news_of_lost(self._lost, total.dropped):
            self.observer.told(news)
        self._lost = total.dropped

    def _keep(self, number: int, survivors: Sequence[str]) -> None:
        """Before a sum is announced, or shares are asked for: neither is forgotten by a coordinator that is killed."""
        self.state.number, self.state.certified = number, self.summation.certified
        self.state.survivors = list(survivors) or self.state.survivors
        save(self.state, self.path)

    @property
    def normaliser(self) -> Normaliser:
        """From the summed statistics, the same for all sites; empty before they are known."""
        return normaliser_in(self.study, self.state)


# What a run does with an opened sum, by its question. Scores are taken before: they choose the model.
_TAKEN: dict[type[Question], Callable[[Run, Question, Stage, Total], None]] = {
    Statistics: Run._take_statistics,
    Update: Run._take_update,
    Inquired: Run._take_inquired,
}
