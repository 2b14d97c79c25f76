"""The edit of an image in a manifest, by source span: every other byte stays. PURE.

    edit = set_image(content, "image", ImageRef("registry.example/das", "41-1a2b3c4d", digest))
    edit.content, edit.changes

`layouts` has the table of the ways an image may be written, `key_path` how a place is named, `edit`
what is proved after each edit. What cannot be edited without touching something else is refused,
with a status word and the place in the file:

    no_match        nothing at that key             not_an_image    no image at that key
    documents       several, none was named         no_slot         no key to hold a part of it
    alias, anchor   the text stands for two places  digest_stays    a digest there would win
    merge           brought in by `<<`              other_image     another image stands there
    duplicate_key   the key stands twice            two_tags        a tag in two keys
    complex_key     written with `?`                tag             a YAML tag besides !!str
    block_scalar    `|` or `>`                      multi_line      a text over several lines
    unreadable      not YAML, or not to every reader
"""

from ci.manifests.edit import Edit, ScalarChange, current_image, set_image
from ci.manifests.layouts import Pin, Reading

__all__ = ["Edit", "Pin", "Reading", "ScalarChange", "current_image", "set_image"]
