"""What the registry's scanner says of an image, asked page by page.

Source: Amazon ECR API reference, DescribeImageScanFindings, basic and enhanced.
"""

from collections.abc import Mapping
from typing import Any

from ci.scan import findings
from ci.scan.findings import Finding, ScanAnswer
from ci.tools.ecr import Registry


def ask(registry: Registry, name: str, digest: str) -> ScanAnswer:
    """The findings of an image, all pages; or one of the four no-answers."""
    collected: list[Finding] = []
    given: dict[str, Any] = {
        "repositoryName": name,
        "imageId": {"imageDigest": digest},
        "maxResults": 1000,
        **registry.account,
    }
    while True:
        with registry.calling("ecr:DescribeImageScanFindings", name):
            try:
                answer: Any = registry.client.describe_image_scan_findings(**given)
            except registry.client.exceptions.ScanNotFoundException as exc:
                return ScanAnswer(findings.NOT_FOUND, "ScanNotFoundException", str(exc))
        word = answer["imageScanStatus"].get("status", "")
        about = answer["imageScanStatus"].get("description", "")
        results = answer.get("imageScanFindings") or {}
        state = findings.state(word, has_results=bool(results))
        if state != findings.ANSWERED:
            return ScanAnswer(state, word, about)
        collected += [_basic(entry) for entry in results.get("findings", ())]
        for entry in results.get("enhancedFindings", ()):
            collected += _enhanced(entry)
        if not answer.get("nextToken"):
            return ScanAnswer(state, word, about, tuple(collected))
        given["nextToken"] = answer["nextToken"]


def _basic(entry: Mapping[str, Any]) -> Finding:
    attributes = {pair.get("key"): pair.get("value") for pair in entry.get("attributes", ())}
    return Finding(
        id=entry.get("name", ""),
        severity=entry.get("severity", ""),
        package=attributes.get("package_name") or "",
        version=attributes.get("package_version") or "",
        uri=entry.get("uri"),
    )


def _enhanced(entry: Mapping[str, Any]) -> list[Finding]:
    """One finding for each package that it names; none for one that is closed or suppressed."""
    if entry.get("status", "ACTIVE") != "ACTIVE":
        return []
    details = entry.get("packageVulnerabilityDetails") or {}
    packages = details.get("vulnerablePackages") or [{}]
    return [
        Finding(
            id=details.get("vulnerabilityId") or entry.get("title", ""),
            severity=entry.get("severity", ""),
            package=package.get("name", ""),
            version=package.get("version", ""),
            fixed_in=package.get("fixedInVersion"),
            uri=details.get("sourceUrl"),
        )
        for package in packages
    ]
