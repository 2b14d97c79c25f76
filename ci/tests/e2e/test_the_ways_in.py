"""Signing in and out, new passwords, and secrets that are shown once, on real services."""

import base64
import hmac
import re
import secrets
import time

from people import OWNER, PASSWORD

WEAK = {  # five: the service slows down whoever fails more often
    "short": "fourteen chars",
    "long": "x" * 200 + "yz" * 29,
    "repeated": "abcabcabcabcabcabc",
    "alphabet": "zyxwvutsrqponmlk",
    "product": "cloudopshub-2026",
}
GOOD = ("tuesday coffee orbit", "пароль длинный и свой", "🦊🦊🦊 jumps over 12 dogs")


def test_a_link_leads_there_after_signing_in(sign_in):
    """Seen signed out it asks for the password, says a wrong one in words, and then opens."""
    sign_in()
    page = sign_in.page("#/explore?q=up")
    page.get_by_label("Email").fill(OWNER)
    page.get_by_label("Password").fill("wrong otters swim here")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("alert").filter(has_text=re.compile("password is wrong")).wait_for()
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.locator("coh-legend tbody tr").first.wait_for()
    assert (
        page.evaluate("document.activeElement.id") == "view"
    )  # the form that had the focus is gone
    assert page.get_by_role("textbox", name="Query").input_value() == "up"


def test_tabs_follow_one_another_in_and_out(sign_in):
    """What one tab does to the session is seen in the others without a touch."""
    page = sign_in("#/settings/members")
    other = sign_in.opened(page.context, "#/overview")
    other.locator("coh-stat-tile").first.wait_for()
    page.locator(".account").click()
    page.get_by_role("button", name="Sign out").click()
    other.get_by_label("Password").wait_for()
    page.get_by_label("Email").fill(OWNER)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    other.locator("coh-stat-tile").first.wait_for()


def test_the_page_and_the_service_agree_on_weak_passwords(sign_in):
    """What is called weak as it is typed, the service refuses in words; a good one is taken."""
    link = sign_in.invite(f"{secrets.token_hex(4)}@example.com")
    page = sign_in.page(link[link.index("#") :])
    field, note = page.get_by_label("Password"), page.locator(".field-note")
    rule = note.inner_text()
    for name, password in WEAK.items():
        field.fill(password)
        assert note.inner_text() != rule, name
        page.get_by_role("button", name="Join").click()
        trouble = page.get_by_role("alert").filter(has_text="This password cannot be used: ")
        trouble.wait_for()
        assert "=" not in trouble.inner_text(), name
        page.get_by_role("alert").evaluate("(node) => { node.textContent = ''; }")
    for password in GOOD:
        field.fill(password)
        assert note.inner_text() == rule, password
    page.get_by_role("button", name="Join").click()
    page.locator("coh-shell").wait_for()


def test_a_weak_password_is_not_sent(sign_in):
    """Setting up says what is wrong beside the field, and the limit, before anything is sent."""
    page = sign_in.page("#/setup/token")
    page.get_by_label("Organisation").fill("Margarethe Works")
    page.get_by_label("Email").fill("margarethe@example.com")
    page.get_by_label("Password").fill("short")
    page.get_by_text("5 of at least 15 characters").wait_for()
    page.get_by_role("button", name="Create the hub").click()
    assert page.evaluate("document.querySelector('form').checkValidity()") is False
    page.get_by_label("Password").fill("margarethe 1234")
    page.get_by_text("Mostly “margarethe”").wait_for()
    page.get_by_label("Email").fill("m@example.com")
    page.get_by_label("Organisation").fill("Otters")
    page.get_by_text("at least 15 characters; a few words are fine").wait_for()
    assert sign_in.refused == [entry for entry in sign_in.refused if "/session" in entry]


def test_a_key_stays_until_it_is_confirmed(sign_in):
    """Esc does not take it away, leaving the page asks first, and afterwards nobody is asked."""
    page = sign_in("#/overview")
    page.evaluate("location.hash = '#/settings/keys'")
    page.get_by_label("Name").fill("agent")
    page.get_by_role("button", name="Make the key").click()
    dialog = page.get_by_role("dialog")
    key = dialog.locator("code").inner_text()
    assert key.startswith("coh_live_")
    for _ in range(3):
        page.keyboard.press("Escape")
    page.go_back()
    assert dialog.locator("code").inner_text() == key
    questions = []
    page.on("dialog", lambda question: (questions.append(question.type), question.dismiss()))
    page.close(run_before_unload=True)
    page.wait_for_timeout(200)
    assert questions == ["beforeunload"]
    dialog.get_by_role("button", name="I have it").click()
    page.go_forward()
    page.reload()
    page.get_by_text(key[:12]).wait_for()
    assert key not in page.content()
    assert questions == ["beforeunload"]


def test_the_key_of_add_data_stays_until_its_maker_signs_out(sign_in):
    """It is there again after another view and another organisation; copied, nobody is asked."""
    page = sign_in("#/add")
    questions = []
    page.on("dialog", lambda question: (questions.append(question.type), question.dismiss()))
    page.get_by_role("button", name="Make a key").click()
    key = page.locator(".key-box code").inner_text()
    page.evaluate("location.hash = '#/settings/members'")
    page.get_by_role("heading", name="Members").wait_for()
    page.evaluate("location.hash = '#/add'")
    assert page.locator(".key-box code").inner_text() == key
    page.close(run_before_unload=True)
    page.wait_for_timeout(200)
    assert questions == ["beforeunload"]
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator(".paste").get_by_role("button", name="Copy").click()
    page.get_by_role("button", name="Copied").wait_for()
    assert key in page.evaluate("navigator.clipboard.readText()")
    page.reload()
    page.get_by_role("button", name="Make a key").wait_for()
    assert questions == ["beforeunload"]


def test_revoking_a_key_asks_first(sign_in):
    """Keep keeps it; Revoke ends it, and it goes to the revoked ones."""
    page = sign_in("#/settings/keys")
    name = secrets.token_hex(4)
    page.get_by_label("Name").fill(name)
    page.get_by_role("button", name="Make the key").click()
    page.get_by_role("button", name="I have it").click()
    row = page.get_by_role("row").filter(has_text=name)
    for answer in ("Keep", "Revoke"):
        row.get_by_role("button", name="Revoke").click()
        page.get_by_role("dialog").get_by_role("button", name=answer).click()
        page.get_by_role("dialog").wait_for(state="detached")
    row.get_by_role("button", name="Revoke").wait_for(state="detached")
    page.get_by_text(re.compile(r"^\d+ revoked$")).click()
    row.get_by_text("revoked").wait_for()


def test_a_role_one_gives_oneself_is_in_force_at_once(sign_in):
    """The page offers what is left, and what it asks next is not refused for an old session."""
    name = secrets.token_hex(4)
    page = sign_in.join(f"{name}@example.com", role="owner")
    sign_in.refused.clear()
    with page.expect_response("**/invitations"):  # nothing of the session of before is on its way
        page.evaluate("location.hash = '#/settings/members'")
    page.get_by_label(f"Role of {name}@example.com").select_option("admin")
    page.locator("td").get_by_text("owner", exact=True).first.wait_for()  # fixed for an admin
    page.get_by_label("Email").fill(f"guest-of-{name}@example.com")
    page.get_by_role("button", name="Invite").click()
    page.get_by_role("button", name="I have it").click()
    page.get_by_text(f"guest-of-{name}@example.com", exact=True).wait_for()
    assert sign_in.refused == []


def authenticator_code(secret, ahead=0):
    """The code of the present 30 seconds, or of `ahead` later ones: RFC 6238."""
    key = base64.b32decode(secret + "=" * (-len(secret) % 8))
    mac = hmac.digest(key, (int(time.time()) // 30 + ahead).to_bytes(8), "sha1")
    at = mac[-1] & 15
    return f"{(int.from_bytes(mac[at : at + 4]) & 0x7FFFFFFF) % 1_000_000:06}"


def test_a_second_factor_is_asked_for_from_then_on(sign_in):
    """Added on the page, its code is the second step of the door; turned off, the password does."""
    email = f"{secrets.token_hex(4)}@example.com"
    page = sign_in.join(email)
    page.evaluate("location.hash = '#/settings/signin'")
    page.get_by_role("button", name="Add a second factor").click()
    page.get_by_role("img", name="QR code of the secret below").wait_for()
    secret = page.get_by_role("region", name="Secret").inner_text()
    page.get_by_label("Code", exact=True).fill(authenticator_code(secret))
    page.get_by_role("button", name="Confirm").click()
    codes = page.get_by_role("region", name="Recovery codes").inner_text().split()
    page.get_by_role("button", name="I have it").click()
    page.get_by_text(f"{len(codes)} recovery codes left").wait_for()
    door = sign_in.page("#/settings/signin")
    door.get_by_label("Email").fill(email)
    door.get_by_label("Password").fill(PASSWORD)
    door.get_by_role("button", name="Sign in").click()
    code = door.get_by_label("Code from your authenticator, or a recovery code")
    code.fill(authenticator_code(secret, ahead=1))
    door.get_by_role("button", name="Sign in").click()
    door.get_by_label("To do").select_option("disable")
    door.get_by_label("Code", exact=True).fill(codes[0])
    door.get_by_role("button", name="Do it").click()
    door.get_by_role("button", name="Add a second factor").wait_for()
