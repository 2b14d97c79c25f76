"""What becomes of each image of a set, and what a registry must be like for it: PURE.

A local image has no digest in the registry's sense before it is pushed, so the stored one is pulled
and its identity compared, as the engine tells it: of its configuration, which holds every layer's
digest and all labels, or, with Docker's containerd store, of its manifest.

    the registry has no such tag             push it
    the engine has them as one image         already there
    there is no local image, and the stored  already there: an earlier run of this build pushed it,
      one says it is this commit and tag       and `build` did not build it again
    anything else                            refused: tags do not change
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

PUSH, ALREADY, REFUSED = "push", "already", "refused"
AGAIN, TAKEN, DENIED = "again", "taken", "denied"
VERSION, REVISION = "org.opencontainers.image.version", "org.opencontainers.image.revision"


@dataclass(frozen=True)
class Stored:
    """An image as the registry has it, pulled. id: what the engine calls it."""

    digest: str
    id: str
    labels: Mapping[str, str]


@dataclass(frozen=True)
class Decision:
    """What to do with one image, and why. digest: the one in the registry, when there is one."""

    do: str
    why: str
    digest: str | None = None


def decide(local_id: str | None, stored: Stored | None, tag: str, commit: str) -> Decision:
    """What to do with an image that should be in the registry as `tag`, built from `commit`."""
    if stored is None:
        if local_id is None:
            return Decision(REFUSED, "neither here nor in the registry: `build` comes first")
        return Decision(PUSH, "not in the registry yet")
    if local_id == stored.id:
        return Decision(ALREADY, "the very same image", stored.digest)
    says = (stored.labels.get(VERSION), stored.labels.get(REVISION))
    if local_id is None and says == (tag, commit):
        return Decision(ALREADY, "pushed by an earlier run of this build", stored.digest)
    return Decision(
        REFUSED,
        f"the registry has another image with that tag:\n"
        f"    there {stored.digest}, image {stored.id}, of commit {says[1]}\n"
        f"    here  {local_id or 'none'}, of commit {commit}",
        stored.digest,
    )


def differs(said: str | None, read: str | None) -> str | None:
    """Why a push that docker says went well is not to be believed; None when it is."""
    if read is None:
        return f"pushed as {said}, but the registry has no such tag"
    if said is not None and said != read:
        return f"docker pushed {said}, the registry has {read}"
    return None


def fault(output: str) -> str:
    """What a failed `docker push` means: `taken` (the tag), `denied` (for good) or `again`."""
    text = output.lower()
    if "immutable" in text or "tag invalid" in text:
        return TAKEN
    if "token has expired" in text:  # ECR says "denied" of that too, and a new login helps
        return AGAIN
    hopeless = ("denied", "forbidden", "name unknown", "does not exist")
    return DENIED if any(words in text for words in hopeless) else AGAIN


def keeps_tag(mutability: str, exempt: Sequence[str], tag: str) -> bool:
    """Whether nobody can overwrite `tag` in such a repository; exempt: patterns of its tags."""
    immutable = mutability.startswith("IMMUTABLE")
    if not mutability.endswith("_WITH_EXCLUSION"):
        return immutable
    return immutable != any(fnmatchcase(tag, pattern) for pattern in exempt)
