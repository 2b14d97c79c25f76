"""The handshake: a delivery becomes one commit of the manifest repository, or is told why not.

    ledger + files ─▶ propose ─▶ edit by span ─▶ render gate ─▶ commit ─▶ push ─▶ landed
          ▲                                                                │
          └────────── refetch, reset, decide again ◀── somebody was first ─┘   bounded, never forced

A lost race is not rebased: two builds that bump one line would conflict there, and what was right
to write may no longer be. A push whose answer was lost is known by its own commit. Build numbers
begin again when a job is made anew; only the history of the source knows which commit is newer.
"""

import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from ci.bump import ledger
from ci.bump.ledger import Entry
from ci.bump.rendering import Gate, Renderer
from ci.config import Delivery
from ci.context import Context
from ci.errors import OutsideFault, Refused
from ci.manifests import Reading, current_image, set_image
from ci.model import Catalogue, Deployment, Hold, ImageRef, Ledger, Release
from ci.outcome import Outcome
from ci.tools import git, helm
from ci.tools.git import PrivateClone
from ci.tools.source_repo import SourceRepo

FAULTS_MAX = 3  # of the network, before it is somebody else's turn to try again
BACKOFF_S, BACKOFF_MAX_S = 0.15, 2.5
MOVES = {"bump": "bumped", "promote": "promoted", "rollback": "rolled_back", "release": "released"}


@dataclass(frozen=True)
class Means:
    """What the handshake works with beside git. at: told of each step once it is done."""

    render: Renderer
    at: Callable[[str], None] = lambda _: None
    sleep: Callable[[float], None] = time.sleep


def real(context: Context, delivery: Delivery) -> Means:
    """What a command gives it: the renderer that `ci.toml` names."""
    config = delivery.manifests.render
    if config.tool == "none":
        return Means(render=lambda *_: ())
    program = helm.find(context.settings.cache_dir, context.environ)
    return Means(lambda folder, *about: program.render(folder, config, *about))


@dataclass(frozen=True)
class Verdict:
    """What happens to one service. status: write, already, superseded, held, diverged, nothing."""

    code: str
    status: str
    text: str

    @property
    def writes(self) -> bool:
        """Whether the manifest gets the new image."""
        return self.status == "write"


@dataclass(frozen=True)
class Standing:
    """The manifests at one commit, as a rule may ask about them."""

    ledger: Ledger
    images: Callable[[str, str], Reading]  # environment, service code → what the file says

    def running(self, environment: str, code: str) -> Deployment | None:
        """The delivery that the file still shows; else the last one, whatever the file says."""
        image = self.images(environment, code)
        for deployment in self.ledger.deployments.get((environment, code), ()):
            if shows(image, deployment.image):
                return deployment
        return self.ledger.running(environment, code)

    def verdict(
        self,
        environment: str,
        code: str,
        origin: Release | Deployment,
        history: SourceRepo,
        *,
        diverged_too: bool,
    ) -> Verdict:
        """Whether the service is to run what `origin` brings, by the order of source commits."""
        return decide(
            code,
            origin.source_commit,
            origin.committed_at,
            running=self.running(environment, code),
            hold=self.ledger.holds.get((environment, code)),
            history=history,
            diverged_too=diverged_too,
        )


# A rule: what happens to each service, and the delivery; None when there is nothing to write.
Propose = Callable[[Standing], tuple[Sequence[Verdict], Entry | None]]


@dataclass(frozen=True)
class Prepared:
    """All but the commit: the files are written. entry: None when there is nothing to commit."""

    verdicts: Sequence[Verdict]
    entry: Entry | None = None
    paths: Sequence[str] = ()
    diff: str = ""
    message: str = ""


def hand_over(
    context: Context,
    delivery: Delivery,
    environment: str,
    propose: Propose,
    *,
    means: Means,
    author: tuple[str, str] | None = None,
) -> Outcome:
    """What `propose` says is in the manifest repository, decided anew after each lost race.

    author: of the commit; None: the one of `ci.toml`.
    """
    if delivery.manifests.require_signature and not context.environ.get("COMMIT_SIGNING_KEY"):
        text = "commits must be signed ([manifests] require_signature); set COMMIT_SIGNING_KEY"
        raise Refused(text, status="unsigned")
    attempts = delivery.manifests.attempts
    own_branch = delivery.environment(environment).own_branch
    races: list[str] = []
    faults = 0
    with git.checkout(delivery.manifests, context.environ, author, means.sleep, own_branch) as repo:
        means.at("cloned")
        gate = Gate(repo, context.catalogue, delivery, means.render, means.at)
        for attempt in range(1, attempts + 1):
            verdicts, entry = propose(standing(repo, context.catalogue, delivery))
            means.at("decided")
            ready = Prepared(verdicts) if entry is None else _prepare(gate, verdicts, entry)
            facts = {"attempts": attempt, "races": races, "branch": own_branch, "link": None}
            if context.dry_run or ready.entry is None:
                return _outcome(environment, ready, facts, None)
            sha = repo.commit(ready.message, ready.paths)
            means.at("committed")
            pushed = repo.push()
            means.at("pushed")
            if pushed.landed:
                link = pushed.link if own_branch else None
                return _outcome(environment, ready, facts | {"link": link}, sha)
            if pushed.error:
                faults += 1
                if faults >= FAULTS_MAX or not isinstance(pushed.error, OutsideFault):
                    raise pushed.error
            races.append(pushed.reason)
            # longer with each attempt, and by chance, so that the same ones do not meet again
            most_s = min(BACKOFF_MAX_S, BACKOFF_S * 2**attempt)
            means.sleep(random.uniform(0, most_s))  # noqa: S311 (no secret)
            repo.refresh()
            means.at("fetched")
            if repo.contains(sha):  # it had arrived; only the answer was lost
                return _outcome(environment, ready, facts, sha)
    text = f"somebody else was first {attempts} times; again later finishes it"
    raise OutsideFault(text, status="race_lost", attempts=attempts, races=races)


def standing(repo: PrivateClone, catalogue: Catalogue, delivery: Delivery) -> Standing:
    """The manifests as they are at the head of `repo`."""

    def image(environment: str, code: str) -> Reading:
        target = delivery.target(catalogue.service(code), environment)
        return current_image(repo.read(target.file), target.key, target.document, file=target.file)

    return Standing(ledger.read(repo.history()), image)


def decide(
    code: str,
    ours: str,
    our_time: datetime | None,
    *,
    running: Deployment | None,
    hold: Hold | None,
    history: SourceRepo,
    diverged_too: bool = False,
) -> Verdict:
    """The verdict on a service that is to run an image built from `ours`, committed at `our_time`.

    diverged_too: a person said that the histories need not meet (the source was rewritten).
    """
    if hold:
        text = f"held since {hold.since:%Y-%m-%d %H:%M} UTC ({hold.reason}); `ci release {code}`"
        return Verdict(code, "held", text)
    if running is None:
        return Verdict(code, "write", "its first delivery")
    theirs = running.source_commit
    there = f"{running.image.tag}, built from {theirs[:12]}"
    if ours == theirs:
        return Verdict(code, "already", f"already {there}")
    if history.is_ancestor(theirs, ours):
        return Verdict(code, "write", f"newer than {there}")
    is_older = history.is_ancestor(ours, theirs)
    if history.is_shallow and not is_older:
        text = f"this clone is shallow and cannot tell whether {ours[:12]} follows {theirs[:12]};"
        text += " fetch the full history (`git fetch --unshallow`; in Jenkins: no shallow clone)"
        raise Refused(text, status="shallow", older=theirs, newer=ours)
    is_here = history.knows(theirs)
    # who was overtaken may not have fetched by what: not writing is the safe side
    if not is_here and our_time and running.committed_at and running.committed_at > our_time:
        is_older = True
    if is_older:
        return Verdict(code, "superseded", f"{ours[:12]} is older than {there}")
    where = "" if is_here else ", which is not in this clone"
    text = f"{ours} is neither older nor newer than {theirs}{where} ({there})"
    return Verdict(code, "write" if diverged_too else "diverged", text)


def shows(read: Reading, image: ImageRef) -> bool:
    """Whether a file that reads as `read` shows `image`; a file may leave a part of it unsaid."""
    parts = ("repository", "tag", "digest")
    said = [part for part in parts if getattr(read, part) is not None]
    return bool(said) and all(getattr(read, part) == getattr(image, part) for part in said)


def refuse_diverged(verdicts: Sequence[Verdict], kind: str) -> None:
    """`Refused` when a history does not meet the one that is deployed; nothing is then written."""
    if diverged := [verdict for verdict in verdicts if verdict.status == "diverged"]:
        text = "".join(f"{verdict.code}: {verdict.text}\n" for verdict in diverged)
        text += "was the history rewritten, or is this clone behind? After a look at both,"
        text += f" `{kind} --diverged` writes it all the same"
        raise Refused(text, status="diverged", services=[verdict.code for verdict in diverged])


def _prepare(gate: Gate, verdicts: Sequence[Verdict], entry: Entry) -> Prepared:
    """The files that change are written, through the gate; the entry knows what was."""
    before: dict[str, bytes] = {}
    after: dict[str, bytes] = {}
    delivered = []
    for change in entry.delivered:
        service = gate.catalogue.service(change.code)
        target = gate.delivery.target(service, entry.environment)
        if change.image.name != service.image:
            text = f"{change.image} is not an image of {service.folder} ({service.image})"
            raise Refused(text, status="other_image", service=change.code)
        if target.file not in before:
            before[target.file] = after[target.file] = gate.repo.read(target.file)
        edited = set_image(
            after[target.file], target.key, change.image, document=target.document,
            pin=target.pin or "digest", same_image=True, file=target.file,
        )  # fmt: skip
        after[target.file] = edited.content
        delivered.append(replace(change, was=str(edited.before)))
    edits = {path: content for path, content in after.items() if content != before[path]}
    is_there = entry.kind in {"bump", "promote"} and not edits
    status = "already" if is_there else MOVES[entry.kind]
    verdicts = [replace(v, status=status) if v.writes else v for v in verdicts]
    if is_there:
        return Prepared(verdicts)
    entry = replace(entry, delivered=delivered)
    gate.write(entry, edits)
    return Prepared(verdicts, entry, sorted(edits), gate.repo.diff(), ledger.message(entry))


def _outcome(
    environment: str, ready: Prepared, facts: Mapping[str, object], commit: str | None
) -> Outcome:
    """The end of a handshake: a headline, a line for each service, what a dry run would write."""
    entry, verdicts = ready.entry, ready.verdicts
    lines = [f"  {verdict.code:4} {verdict.status:12} {verdict.text}" for verdict in verdicts]
    if entry is None:
        counts = Counter(verdict.status for verdict in verdicts)
        only = next(iter(counts), "nothing")
        status = only if len(counts) == 1 and only != "write" else "nothing"
        what = ", ".join(f"{count} {word}" for word, count in counts.items())
        lines.insert(0, f"nothing to write in {environment}" + (f": {what}" if what else ""))
    else:
        status = MOVES[entry.kind]
        end = f", commit {commit[:7]}" if commit else "; a dry run, nothing is written"
        lines.insert(0, _headline(entry) + end)
        if commit is None:
            shown = (ready.diff.rstrip(), ready.message.rstrip())
            lines += [line for text in shown if text for line in ("", text)]
    if commit and facts["branch"]:
        lines.append(f"  waits on the branch {facts['branch']} for a pull request to be merged")
    if facts["link"]:
        lines.append(f"  {facts['link']}")
    details = {
        "environment": environment,
        "services": {v.code: {"status": v.status, "text": v.text} for v in verdicts},
        "diff": ready.diff,
        "commit_message": ready.message,
        "commit": commit,
    }
    return Outcome(status, "\n".join(lines), details | dict(facts))


def _headline(entry: Entry) -> str:
    """`5 services → staging 1-e44d63c4`, the one line that a summary shows of a delivery."""
    codes = [change.code for change in entry.delivered] or [*entry.releases]
    what = codes[0] if len(codes) == 1 else f"{len(codes)} services"
    if entry.kind == "release":
        return f"{what} follows again in {entry.environment}"
    tags = ", ".join(sorted({change.image.tag for change in entry.delivered}))
    return f"{what} → {entry.environment} {tags}{', held' if entry.holds else ''}"
