"""Files as people write them, before and after: one folder for each way to write an image.

`edit.json` says what was asked, and what came of it: the style and the changes, or the status word
and the message of a refusal.
"""

import difflib
import json
from pathlib import Path

import pytest

from ci.errors import Refused
from ci.manifests import current_image, set_image
from ci.model import ImageRef

FOLDER = Path(__file__).parents[2] / "golden" / "manifests"
EDITS = sorted(file.parent for file in FOLDER.glob("*/edit.json"))
REFUSALS = sorted(file.parent for file in FOLDER.glob("refusals/*/edit.json"))


def edited(folder, before):
    """The edit that the folder asks for, and what it asks."""
    asked = json.loads((folder / "edit.json").read_text())
    image = ImageRef(asked["image"], asked["tag"], asked["digest"])
    same_image = asked.get("same_image", False)
    return (
        asked,
        image,
        lambda content=before: set_image(
            content, asked["key"], image, document=asked.get("document"), same_image=same_image
        ),
    )


@pytest.mark.parametrize("folder", EDITS, ids=lambda folder: folder.name)
def test_a_file_becomes_what_people_would_have_made_of_it(folder):
    """The bytes, the style and the changes are the ones in the folder; again, there is nothing."""
    before, after = ((folder / name).read_bytes() for name in ("before.yaml", "after.yaml"))
    asked, image, edit = edited(folder, before)
    done = edit()
    assert done.content == after
    assert done.before.style == asked["style"]
    assert [list(change) for change in done.changes] == asked["changes"]
    assert edit(after).changes == ()
    reading = current_image(after, asked["key"], asked.get("document"))
    assert (reading.repository or image.repository) == image.repository
    assert (reading.tag or image.tag) == image.tag
    assert reading.digest == image.digest


@pytest.mark.parametrize("folder", EDITS, ids=lambda folder: folder.name)
def test_the_diff_has_one_line_for_each_scalar_at_most(folder):
    """A line goes and a line comes where a scalar changed, and nowhere else."""
    before, after = (
        (folder / name).read_bytes().decode().splitlines() for name in ("before.yaml", "after.yaml")
    )
    changes = json.loads((folder / "edit.json").read_text())["changes"]
    lines = list(difflib.unified_diff(before, after))[2:]
    gone, come = (sum(line.startswith(sign) for line in lines) for sign in "-+")
    assert gone == come
    assert 1 <= gone <= len(changes)


@pytest.mark.parametrize("folder", REFUSALS, ids=lambda folder: folder.name)
def test_what_cannot_be_edited_alone_is_refused_by_name(folder):
    """The status word and the message, with the place in the file, are the ones in the folder."""
    asked, _, edit = edited(folder, (folder / "before.yaml").read_bytes())
    with pytest.raises(Refused) as refusal:
        edit()
    assert refusal.value.status == asked["status"]
    assert str(refusal.value) == asked["message"]
