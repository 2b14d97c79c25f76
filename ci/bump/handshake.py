"""The handshake: a delivery becomes one commit of the manifest repository, or is told why not.

    ledger + files ─▶ propose ─▶ edit by span ─▶ render gate ─▶ commit ─▶ push ─▶ landed
          ▲                                                                │
          └────────── refetch, reset, decide again ◀── somebody was first ─┘   bounded, never forced

A lost race is not rebased: two builds that bump one line would conflict there, and what was right
to write may no longer be. Everything is decided again from what the server holds now. A push whose
answer was lost is recognised by its own commit; a run, by its `Ci-Run-Id`.
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ci.bump import ledger
from ci.bump.ledger import Entry
from ci.bump.manifest_repo import ManifestRepo
from ci.bump.order import Verdict
from ci.bump.rendering import Gate, Renderer
from ci.config import Delivery
from ci.errors import OutsideFault, Refused
from ci.manifests import Reading, ScalarChange, current_image, set_image
from ci.model import Catalogue, Deployment, ImageRef, Ledger
from ci.outcome import Outcome
from ci.tools.git_answers import Pushed

FAULTS_MAX = 3  # of the network, before it is somebody else's turn to try again
BACKOFF_S, BACKOFF_MAX_S = 0.15, 2.5
MOVES = {"bump": "bumped", "promote": "promoted", "rollback": "rolled_back", "release": "released"}


@dataclass(frozen=True)
class Means:
    """What the handshake works with beside git; the commands give the real ones.

    at: told of each step once it is done.
    """

    render: Renderer
    at: Callable[[str], None] = lambda _: None
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True)
class Standing:
    """The manifests at one commit, as a rule may ask about them."""

    ledger: Ledger
    images: Callable[[str, str], Reading]  # environment, service code → what the file says

    def running(self, environment: str, code: str) -> Deployment | None:
        """The delivery that the file still shows; else the last one, whatever the file says."""
        image = self.images(environment, code)
        for each in self.ledger.deployments.get((environment, code), ()):
            if shows(image, each.image):
                return each
        return self.ledger.running(environment, code)


# A rule: what happens to each service, and the delivery; None when there is nothing to write.
Propose = Callable[[Standing], tuple[Sequence[Verdict], Entry | None]]


@dataclass(frozen=True)
class Handed:
    """How a handshake ended. status: bumped, promoted, …, already, superseded, held or nothing.

    changes: by file, in the order of the services. branch: where it waits for a pull request, and
    link: the address the host told for it.
    """

    status: str
    environment: str
    verdicts: Sequence[Verdict]
    changes: Mapping[str, Sequence[ScalarChange]] = field(default_factory=dict)
    diff: str = ""
    message: str = ""
    commit: str | None = None
    attempts: int = 1
    races: Sequence[str] = ()
    branch: str | None = None
    link: str | None = None

    def facts(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "environment": self.environment,
            "services": {
                each.code: {"status": each.status, "text": each.text} for each in self.verdicts
            },
            "changes": [
                {"file": file} | change._asdict()
                for file, changes in self.changes.items()
                for change in changes
            ],
            "diff": self.diff,
            "commit_message": self.message,
            "commit": self.commit,
            "attempts": self.attempts,
            "races": list(self.races),
            "branch": self.branch,
            "link": self.link,
        }


@dataclass
class Handshake:
    """Everything that stays the same from one attempt to the next."""

    repo: ManifestRepo
    catalogue: Catalogue
    delivery: Delivery
    means: Means
    dry_run: bool = False
    races: list[str] = field(default_factory=list)

    def hand_over(self, environment: str, propose: Propose) -> Handed:
        """Do what `propose` says, deciding again as often as somebody else was first."""
        faults = 0
        attempts = self.delivery.manifests.attempts
        for attempt in range(1, attempts + 1):
            ready = self._prepare(environment, *propose(self.standing()))
            if self.dry_run or not ready.message:
                return replace(ready, attempts=attempt, races=self.races)
            sha = self.repo.commit(ready.message, sorted(ready.changes))
            self.means.at("committed")
            pushed = self._push()
            self.means.at("pushed")
            landed = replace(ready, commit=sha, attempts=attempt, races=self.races)
            if pushed.landed:
                return replace(landed, link=pushed.link if landed.branch else None)
            faults += pushed.error is not None
            if pushed.error and (
                faults >= FAULTS_MAX or not isinstance(pushed.error, OutsideFault)
            ):
                raise pushed.error
            self.races.append(_reason(pushed))
            self.means.sleep(_pause_s(attempt))
            self.repo.refresh()
            self.means.at("fetched")
            if self.repo.contains(sha):  # it had arrived; only the answer was lost
                return landed
        raise OutsideFault(
            f"somebody else was first {attempts} times; again later finishes it",
            status="race_lost",
            attempts=attempts,
            races=self.races,
        )

    def standing(self) -> Standing:
        """The manifests as they are at the head."""
        return standing(self.repo, self.catalogue, self.delivery)

    def _prepare(
        self, environment: str, verdicts: Sequence[Verdict], entry: Entry | None
    ) -> Handed:
        """All but the commit: the files are written. No message: there is nothing to commit."""
        self.means.at("decided")
        branch = self.repo.own
        if entry is None:
            return Handed(_without_writing(verdicts), environment, verdicts, branch=branch)
        edits, changes, entry = self._edit(entry)
        if not edits and entry.kind in {"bump", "promote"}:
            return Handed("already", environment, _with(verdicts, "already"), branch=branch)
        gate = Gate(self.repo, self.catalogue, self.delivery, self.means.render, self.means.at)
        gate.write(entry, edits)
        status = MOVES[entry.kind]
        diff, text = self.repo.diff(), ledger.message(entry)
        verdicts = _with(verdicts, status)
        return Handed(status, environment, verdicts, changes, diff, text, branch=branch)

    def _push(self) -> Pushed:
        try:
            return self.repo.push()
        except OutsideFault as fault:
            return Pushed(landed=False, error=fault, said=str(fault))

    def _edit(self, entry: Entry) -> tuple[dict[str, bytes], dict[str, list[ScalarChange]], Entry]:
        """The files as they are to be, what changes in them, and the entry that knows what was.

        All or nothing: a file or a key that is missing ends it before anything is written.
        """
        before: dict[str, bytes] = {}
        after: dict[str, bytes] = {}
        changes: dict[str, list[ScalarChange]] = {}
        delivered = []
        for each in entry.delivered:
            service = self.catalogue.service(each.code)
            target = self.delivery.target(service, entry.environment)
            if each.image.name != service.image:
                text = f"{each.image} is not an image of {service.folder} ({service.image})"
                raise Refused(text, status="other_image", service=each.code)
            if target.file not in before:
                before[target.file] = after[target.file] = self.repo.read(target.file)
            edited = set_image(
                after[target.file], target.key, each.image, document=target.document,
                pin=target.pin or "digest", same_image=True, file=target.file,
            )  # fmt: skip
            after[target.file] = edited.content
            if edited.changes:
                changes.setdefault(target.file, []).extend(edited.changes)
            delivered.append(replace(each, was=str(edited.before)))
        edits = {path: content for path, content in after.items() if content != before[path]}
        return edits, changes, replace(entry, delivered=delivered)


def standing(repo: ManifestRepo, catalogue: Catalogue, delivery: Delivery) -> Standing:
    """The manifests as they are at the head of `repo`."""

    def image(environment: str, code: str) -> Reading:
        target = delivery.target(catalogue.service(code), environment)
        return current_image(repo.read(target.file), target.key, target.document, file=target.file)

    return Standing(repo.ledger(), image)


def shows(read: Reading, image: ImageRef) -> bool:
    """Whether a file that reads as `read` shows `image`; a file may leave a part of it unsaid."""
    said = [
        (read.repository, image.repository),
        (read.tag, image.tag),
        (read.digest, image.digest),
    ]
    parts = [(theirs, ours) for theirs, ours in said if theirs is not None]
    return bool(parts) and all(theirs == ours for theirs, ours in parts)


def told(handed: Handed, *, dry_run: bool) -> Outcome:
    """The end of a handshake, for the command line."""
    lines = []
    if dry_run and handed.message:
        lines += [*([handed.diff.rstrip(), ""] if handed.diff else ()), handed.message.rstrip(), ""]
    lines += [f"  {each.code:4} {each.status:12} {each.text}" for each in handed.verdicts]
    if handed.commit:
        tries = f", at attempt {handed.attempts}" if handed.attempts > 1 else ""
        lines.append(f"{handed.environment}: {handed.status} by {handed.commit[:12]}{tries}")
    elif dry_run and handed.message:
        lines.append(f"{handed.environment}: would be {handed.status.replace('_', ' ')}")
    else:
        lines.append(f"{handed.environment}: nothing to do")
    if handed.branch:
        lines.append(f"  waits on the branch {handed.branch} for a pull request to be merged")
    if handed.link:
        lines.append(f"  {handed.link}")
    return Outcome(handed.status, "\n".join(lines), handed.facts())


def refuse_diverged(verdicts: Sequence[Verdict], kind: str) -> None:
    """`Refused` when a history does not meet the one that is deployed; nothing is then written."""
    if diverged := [each for each in verdicts if each.status == "diverged"]:
        lines = [f"{each.code}: {each.text}" for each in diverged]
        lines.append(
            "was the history rewritten, or is this clone behind? After a look at both,"
            f" `{kind} --diverged` writes it all the same"
        )
        raise Refused("\n".join(lines), status="diverged", services=[e.code for e in diverged])


def _with(verdicts: Sequence[Verdict], status: str) -> list[Verdict]:
    return [replace(each, status=status) if each.writes else each for each in verdicts]


def _without_writing(verdicts: Sequence[Verdict]) -> str:
    """One word for a handshake that had nothing to write."""
    statuses = {each.status for each in verdicts}
    for status in ("held", "superseded", "already"):
        if statuses == {status}:
            return status
    return "nothing"


def _pause_s(attempt: int) -> float:
    """Longer with each attempt, and by chance, so that the same ones do not meet again."""
    most = min(BACKOFF_MAX_S, BACKOFF_S * 2**attempt)
    return random.uniform(0, most)  # noqa: S311  no secret


def _reason(pushed: Pushed) -> str:
    """The one line in which a server says that somebody was first."""
    lines = [line for line in pushed.said.splitlines() if line.startswith("!")] or [pushed.said]
    return lines[-1].replace("\t", " ").strip()[:200]
