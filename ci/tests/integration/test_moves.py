"""What people decide: promotions, rollbacks that hold, and the end of a hold."""

import delivery_lab
import direct_call
import pytest

from ci import catalogue
from ci import promote as moves
from ci.errors import Refused, UsageError
from ci.plan import facts
from ci.tools.source_repo import SourceRepo


@pytest.fixture
def lab(tmp_path):
    with delivery_lab.running(tmp_path) as lab:
        yield lab


def promote(lab, *codes, dry_run=False):
    context = lab.context(dry_run=dry_run)
    services = [catalogue.find(context.catalogue, code) for code in codes]
    propose = moves.promoting(
        "staging", "production", services or context.catalogue.services,
        SourceRepo(context.root), context.now(),
    )  # fmt: skip
    return moves.hand_over(
        context, lab.delivery(context), "production", propose, delivery_lab.MEANS
    )


def roll_back(lab, code="das", tag=None, *, environment="staging", why_not=lambda _: None):
    context = lab.context()
    propose = moves.rolling_back(
        catalogue.find(context.catalogue, code), environment, context.now(),
        tag=tag, reason="it leaks", why_not=why_not,
    )  # fmt: skip
    return moves.hand_over(context, lab.delivery(context), environment, propose, delivery_lab.MEANS)


def release(lab, code="das"):
    context = lab.context()
    service = catalogue.find(context.catalogue, code)
    propose = moves.releasing(service, "staging", context.now(), "fixed")
    return moves.hand_over(context, lab.delivery(context), "staging", propose, delivery_lab.MEANS)


def status(outcome, code="das"):
    return outcome.facts["services"][code]["status"]


def test_a_promotion_brings_the_very_images_that_ran_before(lab):
    """Production gets tag and digest of staging, with the commits they were built from."""
    lab.bump(1)
    lab.bump(2, codes=["das"])
    outcome = promote(lab)
    assert outcome.status == "promoted"
    assert lab.release(2).images["das"].pin in lab.file("das", "production")
    assert lab.release(1).images["dis"].pin in lab.file("dis", "production")
    message = delivery_lab.git(lab.bare, "log", "-1", "--format=%B", "main")
    assert f"Source-Commit: {lab.commits[1]}" in message
    assert f"Source-Commit-das: {lab.commits[2]}" in message
    assert promote(lab).status == "already"


def test_a_promotion_never_goes_back(lab):
    """Where the next environment is newer, the service is superseded."""
    lab.bump(1)
    lab.bump(2)
    promote(lab)
    roll_back(lab)
    assert status(promote(lab, "das")) == "superseded"


def test_nothing_is_promoted_that_somebody_wrote_by_hand(lab):
    """A file that shows what was never delivered has no known source."""
    lab.bump(1)

    def by_hand(folder):
        path = folder / "environments/staging/das-service.yaml"
        path.write_text(path.read_text().replace(lab.release(1).tag, "999-x"))

    lab.change(by_hand)
    with pytest.raises(Refused, match="by hand") as refused:
        promote(lab)
    assert refused.value.status == "drift"


def test_a_promotion_restores_what_somebody_changed_in_the_next_environment(lab):
    """The delivery is old, the file is not as it left it."""
    lab.bump(1)
    promote(lab)
    pin = lab.release(1).images["das"].pin

    def by_hand(folder):
        path = folder / "environments/production/das-service.yaml"
        path.write_text(path.read_text().replace(pin, "999-x"))

    lab.change(by_hand)
    assert status(promote(lab)) == "promoted"
    assert pin in lab.file("das", "production")


@pytest.mark.parametrize(("source", "target"), [("production", "staging"), ("staging", "staging")])
def test_only_what_follows_is_promoted(lab, source, target):
    """Which environment follows which is configured."""
    with pytest.raises(Refused, match="written by `bump`"):
        moves.check_pair(lab.delivery(lab.context()), source, target)


def test_a_rollback_stays_until_it_is_released(lab):
    """Neither the same nor a newer build moves a held service; the others go on."""
    lab.bump(1)
    lab.bump(2)
    assert roll_back(lab).status == "rolled_back"
    assert lab.release(1).images["das"].pin in lab.file("das")
    outcome = lab.bump(3)
    assert status(outcome) == "held"
    assert "it leaks" in outcome.text
    assert status(outcome, "dis") == "bumped"
    files = lab.file("das")
    outcome = release(lab)
    assert outcome.status == "released"
    assert lab.file("das") == files
    assert status(lab.bump(4)) == "bumped"


def test_a_second_rollback_goes_further_back(lab):
    """What was rolled back from is not what came before."""
    for number in (1, 2, 3):
        lab.bump(number)
    roll_back(lab)
    roll_back(lab)
    assert lab.release(1).images["das"].pin in lab.file("das")
    with pytest.raises(Refused, match="nothing else") as refused:
        roll_back(lab)
    assert refused.value.status == "nothing_before"


def test_a_rollback_may_name_its_tag(lab):
    """Any delivery of that environment will do; what never ran there will not."""
    for number in (1, 2, 3):
        lab.bump(number)
    roll_back(lab, tag=lab.release(1).tag)
    assert lab.release(1).images["das"].pin in lab.file("das")
    assert roll_back(lab, tag=lab.release(1).tag).status == "already"
    with pytest.raises(UsageError, match="never had 'x'"):
        roll_back(lab, tag="x")


def test_a_rollback_to_what_runs_is_a_hold(lab):
    """The service stays as it is; the commit has no files."""
    lab.bump(1)
    outcome = roll_back(lab, tag=lab.release(1).tag)
    assert outcome.status == "rolled_back"
    assert delivery_lab.git(lab.bare, "diff", "main~1", "main") == ""
    assert status(lab.bump(2)) == "held"


def test_an_image_that_is_gone_is_no_way_back(lab):
    """The registry is asked first."""
    lab.bump(1)
    lab.bump(2)
    with pytest.raises(Refused, match="swept away") as refused:
        roll_back(lab, why_not=lambda _: "swept away")
    assert refused.value.status == "image_gone"
    assert len(lab.log()) == 3


def test_a_reason_of_two_lines_forges_nothing(lab):
    """A reason with a line end is refused before anything is asked."""
    with pytest.raises(Refused, match="one plain line"):
        moves.rolling_back(
            catalogue.find(lab.context().catalogue, "das"), "staging", delivery_lab.BEGAN,
            tag=None, reason="x\n\nImage-das: evil", why_not=lambda _: None,
        )  # fmt: skip


def test_what_is_not_held_is_released_already(lab):
    """Nothing to do, and said."""
    lab.bump(1)
    assert release(lab).status == "already"
    assert len(lab.log()) == 2


def test_the_build_of_a_pull_request_decides_nothing(lab):
    """A laptop may, a pull request may not."""
    laptop, request = lab.context(BRANCH_NAME=""), lab.context(CHANGE_ID="7")
    facts.refuse_elsewhere(laptop, lab.delivery(laptop))
    with pytest.raises(Refused, match="pull request 7"):
        facts.refuse_elsewhere(request, lab.delivery(request))


def test_status_tells_what_runs_where_since_when_and_from_what(lab):
    """Image, age, commit, subject, lead time, how far behind, holds and hands."""
    lab.bump(1)
    lab.bump(2)
    roll_back(lab)
    context = lab.context(at=5)
    outcome = direct_call.call("status", [], context)
    staging = outcome.facts["environments"]["staging"]["services"]
    assert staging["das"]["image"] == str(lab.release(1).images["das"])
    assert staging["das"]["held"]["reason"] == "it leaks"
    assert staging["das"]["kind"] == "rollback"
    assert staging["das"]["behind"] == 4
    assert staging["das"]["subject"] == "commit 01"
    assert staging["dis"]["behind"] == 3
    assert staging["dis"]["build"] == "102"
    assert not staging["dis"]["drifted"]
    assert staging["dis"]["lead_time_s"] > 0
    assert outcome.facts["environments"]["production"]["services"]["ui"]["delivered"] is None
    assert "held: it leaks" in outcome.text
    assert "never delivered" in outcome.text
