"""The history of the manifest repository as a book of deliveries: written and read here, PURE.

A delivery is one commit. Its last paragraph are trailers, which is all that is ever read back:

    staging: das 117-0a1b2c3d → 118-1a2b3c4d, dis 117-… → 118-…
                                                              subject: environment: what moved
    - das 117-0a1b2c3d → 118-1a2b3c4d                         body: each of them

    Environment: staging                                      trailers, for the next run
    Kind: bump | promote | rollback | release
    Ci-Run-Id: cloudopshub-main-118-1a2b3c4d
    Source-Commit: 1a2b3c4d…
    Image-das: <host>/cloudopshub-das:118-1a2b3c4d@sha256:…
    Hold-das: the reason                                      until a Release-das

Commits of others are stepped over. Nothing that could end a line is ever written, so no reason,
address or tag can forge a trailer.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from ci.errors import Refused
from ci.model import COMMIT, Deployment, Hold, ImageRef, Ledger, ManifestCommit, Release

KINDS = ("bump", "promote", "rollback", "release")
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
SUBJECT_MAX = 100


@dataclass(frozen=True)
class Delivered:
    """One service of a delivery: its image, where that came from, and what stood there before."""

    code: str
    image: ImageRef
    source_commit: str
    was: str = ""


@dataclass(frozen=True)
class Entry:
    """One delivery, before it is a commit. holds, releases: service code → reason.

    origin: the build that all images come from; None: from several, or no image moves.
    """

    environment: str
    kind: str
    run_id: str
    delivered: Sequence[Delivered] = ()
    origin: Release | Deployment | None = None
    holds: Mapping[str, str] = field(default_factory=dict)
    releases: Mapping[str, str] = field(default_factory=dict)


def message(entry: Entry) -> str:
    """The whole commit message of a delivery."""
    moves = [f"- {_move(change)}" for change in entry.delivered]
    lines = [f"{key}: {value}" for key, value in trailers(entry)]
    paragraphs = ["\n".join(paragraph) for paragraph in (moves, lines) if paragraph]
    return "\n\n".join([_subject(entry), *paragraphs]) + "\n"


def trailers(entry: Entry) -> list[tuple[str, str]]:
    """(key, value) in the order of the message; `Refused` for a value that is not one line."""
    assert entry.kind in KINDS
    usual = Counter(change.source_commit for change in entry.delivered).most_common(1)
    common = usual[0][0] if usual else None
    origin, tags = entry.origin, {change.image.tag for change in entry.delivered}
    committed_at = origin.committed_at if origin else None
    trailers: list[tuple[str, str | None]] = [
        ("Environment", entry.environment),
        ("Kind", entry.kind),
        ("Ci-Run-Id", entry.run_id),
        ("Release-Tag", tags.pop() if len(tags) == 1 else None),
        ("Build-Number", origin.build if origin else None),
        ("Build-URL", origin.build_url if origin else None),
        ("Source-Repo", origin.source_repo if isinstance(origin, Release) else None),
        ("Source-Commit", common),
        ("Source-Committed-At", committed_at.isoformat() if committed_at else None),
    ]
    for change in sorted(entry.delivered, key=lambda change: change.code):
        trailers.append((f"Image-{change.code}", str(change.image)))
        if change.source_commit != common:
            trailers.append((f"Source-Commit-{change.code}", change.source_commit))
    trailers += [(f"Hold-{code}", reason) for code, reason in sorted(entry.holds.items())]
    trailers += [(f"Release-{code}", reason) for code, reason in sorted(entry.releases.items())]
    return [(key, one_line(key, value)) for key, value in trailers if value]


def one_line(what: str, value: str) -> str:
    """`value`, when it is one line that a trailer can hold."""
    if UNPRINTABLE.search(value) or value != value.strip() or not value:
        raise Refused(f"{what}: {value!r} is not one plain line of text", status="trailer")
    return value


def read(commits: Iterable[ManifestCommit]) -> Ledger:
    """What the history tells; `commits` newest first, as git has them."""
    deployments: dict[tuple[str, str], list[Deployment]] = {}
    holds: dict[tuple[str, str], Hold] = {}
    origins: dict[str, Deployment] = {}  # image → who first delivered it
    for commit in reversed(list(commits)):
        first = dict(reversed(commit.trailers))  # of a key that comes twice, the first
        environment, kind = first.get("Environment"), first.get("Kind")
        if not environment or kind not in KINDS:
            continue
        for deployment in _deployments(commit, first, environment, kind, origins):
            origins.setdefault(str(deployment.image), deployment)
            deployments.setdefault((environment, deployment.code), []).insert(0, deployment)
        for key, value in first.items():
            word, _, code = key.partition("-")
            if word == "Hold" and code and value:
                hold = Hold(environment, code, commit.at, value, commit.sha)
                holds[environment, code] = hold
            elif word == "Release":  # Release-Tag ends the hold of nobody
                holds.pop((environment, code), None)
    return Ledger(deployments, holds)


def _deployments(
    commit: ManifestCommit,
    first: Mapping[str, str],
    environment: str,
    kind: str,
    origins: Mapping[str, Deployment],
) -> Iterable[Deployment]:
    for key, value in first.items():
        word, _, code = key.partition("-")
        if word != "Image" or not code:
            continue
        try:
            image = ImageRef.parse(value)
        except ValueError:
            continue
        origin = origins.get(str(image))
        source = first.get(f"Source-Commit-{code}") or first.get("Source-Commit", "")
        if origin and (image.digest or not COMMIT.fullmatch(source)):
            source = origin.source_commit  # one digest has one source, whatever a later commit says
        if not COMMIT.fullmatch(source):
            continue
        builder = origin if origin and kind != "bump" else None  # says more than who moved it
        said = first.get
        yield Deployment(
            environment=environment,
            code=code,
            image=image,
            source_commit=source,
            committed_at=builder.committed_at
            if builder
            else _time(said("Source-Committed-At", "")),
            build=builder.build if builder else said("Build-Number"),
            build_url=builder.build_url if builder else said("Build-URL"),
            run_id=said("Ci-Run-Id", ""),
            manifest_commit=commit.sha,
            at=commit.at,
            kind=kind,
        )


def _time(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError):  # the year 1, east of Greenwich
        return None


def _subject(entry: Entry) -> str:
    """`staging: das 117-0a1b → 118-1a2b, …`; short of what was where that would be too long."""
    moves = [_move(change) for change in entry.delivered]
    if entry.kind == "release":
        moves = [f"{code} is no longer held" for code in sorted(entry.releases)]
    word = {"promote": "promote ", "rollback": "roll back "}.get(entry.kind, "")
    subject = f"{entry.environment}: {word}{', '.join(moves)}"
    if len(subject) > SUBJECT_MAX:
        codes = ", ".join(change.code for change in entry.delivered)
        tags = ", ".join(sorted({change.image.tag for change in entry.delivered}))
        subject = f"{entry.environment}: {word}{codes} → {tags}"
    return subject if len(subject) <= SUBJECT_MAX else subject[: SUBJECT_MAX - 1] + "…"


def _move(change: Delivered) -> str:
    """`das 117-0a1b → 118-1a2b`: tags, without repository and digest."""
    rest = UNPRINTABLE.sub("?", change.was).partition("@")[0]
    before = f"{rest.rsplit('/', 1)[-1].rpartition(':')[2] or '?'} → " if change.was else ""
    return f"{change.code} {before}{change.image.tag}"
