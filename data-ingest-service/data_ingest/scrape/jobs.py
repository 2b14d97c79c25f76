"""The file of scrape jobs (DIS_SCRAPE_CONFIG), in the words of Prometheus' scrape_config.

    text ── YAML, every scalar a text ──▶ models ──▶ JobsFile      BadJobs: file, path and why

A key that is not known here is refused, with those that are.
Source: prometheus.io/docs/prometheus/latest/configuration/configuration; ADR 16.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)

from data_ingest.chassis.kinds import Kind, ServiceError
from data_ingest.patterns import compiled
from data_ingest.scrape import relabel
from data_ingest.scrape.access import Access, Credential
from data_ingest.scrape.targets import checked_url

FAULTS_SHOWN: Final = 5
_DURATION: Final = re.compile(
    "".join(rf"(?:([0-9]{{1,9}}){unit})?" for unit in ("y", "w", "d", "h", "m", "s", "ms"))
)
_DURATION_S: Final = (31_536_000, 604_800, 86_400, 3_600, 60, 1, 0.001)
_SIZE: Final = re.compile(r"(\d+)([KMGT]?)i?B")
_NEED_TARGET: Final = {"replace", "hashmod", "lowercase", "uppercase", "keepequal", "dropequal"}
_USES: Final = {
    "labeldrop": {"regex"},
    "labelkeep": {"regex"},
    "keepequal": {"source_labels", "target_label"},
    "dropequal": {"source_labels", "target_label"},
}
_TEXT_ONLY: Final = {"tag:yaml.org,2002:null", "tag:yaml.org,2002:merge"}


class BadJobs(ServiceError):
    """The scrape jobs cannot be used"""

    kind = Kind.BAD_DATA


def duration_s(text: Any) -> float:
    """Seconds of `1m30s`; at least a millisecond, at most a year."""
    match = _DURATION.fullmatch(str(text))
    if not match or not text:
        raise ValueError("expected a duration like 15s or 1m30s")
    seconds = sum(
        int(count) * unit for count, unit in zip(match.groups("0"), _DURATION_S, strict=True)
    )
    if not 0 < seconds <= _DURATION_S[0]:
        raise ValueError("expected a duration over 0 and up to 1y")
    return float(seconds)


def size_bytes(text: Any) -> int:
    """Bytes of `10MB`, in powers of 1024 as in Prometheus; `0` is no limit."""
    match = _SIZE.fullmatch(str(text))
    if str(text) == "0":
        return 0
    if not match:
        raise ValueError("expected a size like 10MB")
    return int(match[1]) << {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}[match[2]]


Duration = Annotated[float, BeforeValidator(duration_s)]
Size = Annotated[int, BeforeValidator(size_bytes)]
Count = Annotated[int, Field(ge=0)]


class Strict(BaseModel):
    """A mapping with these keys and no others; a key without a value is as if it were not there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def only_known(cls, given: Any) -> Any:
        """What is given, without empty keys; ValueError names those that are not known."""
        if not isinstance(given, Mapping):
            raise ValueError("expected a mapping")  # noqa: TRY004 - pydantic reports ValueErrors
        allowed = sorted(field.alias or name for name, field in cls.model_fields.items())
        if unknown := sorted(map(str, given.keys() - set(allowed))):
            raise ValueError(f"{', '.join(unknown)}: not known here; allowed: {', '.join(allowed)}")
        return {name: value for name, value in given.items() if value is not None}


class RelabelRule(Strict):
    """One relabelling rule, as written."""

    source_labels: tuple[str, ...] = ()
    separator: str = ";"
    regex: str = relabel.DEFAULT_REGEX
    modulus: Count = 0
    target_label: str = ""
    replacement: str = "$1"
    action: Annotated[str, BeforeValidator(lambda text: str(text).lower())] = "replace"

    @model_validator(mode="after")
    def can_work(self) -> Self:
        """What the action needs is there."""
        if self.action not in relabel.ACTIONS:
            raise ValueError(f"action {self.action!r} is none of {', '.join(relabel.ACTIONS)}")
        compiled(self.regex)
        if self.action in _NEED_TARGET and not self.target_label:
            raise ValueError(f"{self.action} needs target_label")
        if self.action == "hashmod" and not self.modulus:
            raise ValueError("hashmod needs modulus")
        uses = _USES.get(self.action)
        if uses and (spare := self.model_fields_set - uses - {"action"}):
            raise ValueError(f"{self.action} does not use {', '.join(sorted(spare))}")
        return self

    def rule(self) -> relabel.Rule:
        """The same, to be run."""
        return relabel.Rule(**self.model_dump())


class StaticConfig(Strict):
    """Addresses, and labels that all of them get; one entry of a discovered list is the same."""

    targets: tuple[str, ...]
    labels: dict[str, str] = {}


class FileSd(Strict):
    """Files with such lists."""

    files: tuple[str, ...]
    refresh_interval: Duration = 300.0

    @model_validator(mode="after")
    def are_lists(self) -> Self:
        """The names end as Prometheus wants them."""
        for file in self.files:
            if not file.endswith((".json", ".yml", ".yaml")):
                raise ValueError(f"{file!r} does not end with .json, .yml or .yaml")
        return self


class BasicAuth(Strict):
    """User and password."""

    username: str = ""
    password: SecretStr | None = None
    password_file: str | None = None


class Authorization(Strict):
    """A token, or whatever else follows a type."""

    type: str = "Bearer"
    credentials: SecretStr | None = None
    credentials_file: str | None = None


class TlsConfig(Strict):
    """Whom the server must prove to be."""

    ca_file: str | None = None
    insecure_skip_verify: bool = False
    server_name: str | None = None


class Http(Strict):
    """How a server is asked: of the targets of a job, or of its list of targets."""

    basic_auth: BasicAuth | None = None
    authorization: Authorization | None = None
    tls_config: TlsConfig = TlsConfig()
    follow_redirects: bool = True

    @model_validator(mode="after")
    def one_credential(self) -> Self:
        """There is at most one, in one place."""
        basic, other = self.basic_auth, self.authorization
        if basic and other:
            raise ValueError("basic_auth and authorization are both given")
        if basic and basic.password and basic.password_file:
            raise ValueError("password and password_file are both given")
        if other and other.credentials and other.credentials_file:
            raise ValueError("credentials and credentials_file are both given")
        if other and not other.credentials and not other.credentials_file:
            raise ValueError("authorization needs credentials or credentials_file")
        if other and other.type.lower() == "basic":
            raise ValueError("authorization of type Basic is written as basic_auth")
        return self

    def access(self, folder: Path, *, is_guarded: bool) -> Access:
        """The same, with files relative to `folder`."""
        credential = None
        if self.basic_auth:
            basic = self.basic_auth
            credential = Credential(
                "Basic", basic.username, _plain(basic.password), _path(folder, basic.password_file)
            )
        elif self.authorization:
            other = self.authorization
            credential = Credential(
                other.type.strip(),
                "",
                _plain(other.credentials),
                _path(folder, other.credentials_file),
            )
        tls = self.tls_config
        return Access(
            credential,
            _path(folder, tls.ca_file),
            not tls.insecure_skip_verify,
            tls.server_name,
            self.follow_redirects,
            is_guarded,
        )


class HttpSd(Http):
    """A URL that answers with such a list."""

    url: str
    refresh_interval: Duration = 60.0

    @model_validator(mode="after")
    def can_be_asked(self) -> Self:
        """The URL is one, without a credential in it."""
        if checked_url(self.url)[1]:
            raise ValueError("a credential in url would be shown: give it in basic_auth")
        return self


class Job(Http):
    """One scrape_config; `tenant` is ours: the organisation that its samples belong to."""

    job_name: Annotated[str, Field(min_length=1)]
    tenant: UUID | None = None
    scrape_interval: Duration | None = None
    scrape_timeout: Duration | None = None
    metrics_path: str = "/metrics"
    scheme: Literal["http", "https"] = "http"
    params: dict[str, tuple[str, ...]] = {}
    static_configs: tuple[StaticConfig, ...] = ()
    file_sd_configs: tuple[FileSd, ...] = ()
    http_sd_configs: tuple[HttpSd, ...] = ()
    honor_labels: bool = False
    honor_timestamps: bool = True
    sample_limit: Count = 0
    label_limit: Count = 0
    body_size_limit: Size = 0
    relabel_configs: tuple[RelabelRule, ...] = ()
    metric_relabel_configs: tuple[RelabelRule, ...] = ()


class Global(Strict):
    """What holds where a job says nothing."""

    scrape_interval: Duration = 60.0
    scrape_timeout: Duration = 10.0


class JobsFile(Strict):
    """The whole file."""

    defaults: Annotated[Global, Field(alias="global")] = Global()
    scrape_configs: tuple[Job, ...] = ()

    @model_validator(mode="after")
    def complete(self) -> Self:
        """Job names are there once, and no scrape takes longer than its interval."""
        names = [job.job_name for job in self.scrape_configs]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"job_name {twice[0]!r} stands there twice")
        for job in self.scrape_configs:
            if self.timeout_s(job) > self.interval_s(job):
                raise ValueError(f"job {job.job_name!r}: scrape_timeout is over scrape_interval")
        return self

    def interval_s(self, job: Job) -> float:
        """How often the job's targets are scraped."""
        return job.scrape_interval or self.defaults.scrape_interval

    def timeout_s(self, job: Job) -> float:
        """How long a scrape may take."""
        return job.scrape_timeout or min(self.defaults.scrape_timeout, self.interval_s(job))


def read(text: str, file: str) -> JobsFile:
    """The jobs in the text of `file`; BadJobs names the place and what is wrong there."""
    try:
        return JobsFile.model_validate(parsed_yaml(text, file) or {})
    except ValidationError as exc:
        raise BadJobs(detail=f"{file}: {explained(exc)}") from None


def parsed_yaml(text: str, file: str) -> Any:
    """The YAML in the text of `file`, numbers and truth values as texts; or BadJobs."""
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - a safe loader with fewer types
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        why = getattr(exc, "problem", None) or "it is not YAML"
        raise BadJobs(detail=f"{file}{place}: {why}") from None


def explained(exc: ValidationError) -> str:
    """Where and what, for the first faults; values are not repeated: they may be secrets."""
    faults = []
    for error in exc.errors(include_input=False, include_url=False, include_context=False):
        path = "".join(
            f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"]
        )
        text = error["msg"].removeprefix("Value error, ")
        faults.append(f"{path.removeprefix('.')}: {text}" if path else text)
    return "; ".join(faults[:FAULTS_SHOWN])


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # ships no types
    """Texts stay texts, as where Go reads into a string; a key that stands twice is refused."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                why = f"{key.value} stands there twice"
                raise yaml.constructor.ConstructorError(None, None, why, key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag in _TEXT_ONLY]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _plain(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret else ""


def _path(folder: Path, name: str | None) -> Path | None:
    return None if name is None else folder / name
