"""The ways in, and what a person does about their own sign-in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from page import Open, until
from playwright.sync_api import Page, expect

if TYPE_CHECKING:
    from contract import State


def send_password(page: Page) -> None:
    """The form of the door is sent."""
    page.get_by_label("Email").fill("ada@example.org")
    page.get_by_label("Password").fill("four quiet otters swim")
    page.get_by_role("button", name="Sign in").click()


def test_a_second_factor_is_asked_for_and_leads_where_one_was_going(
    open_page: Open, state: State
) -> None:
    """Password, code, place; a wrong code says so and can be given anew."""
    state.signed_in, state.second_factor = False, True
    page = open_page("#/settings/keys")
    send_password(page)
    code = page.get_by_label("Code from your authenticator, or a recovery code")
    expect(code).to_be_focused()
    code.fill("000000")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("the code is wrong")
    code.fill("123456")
    page.keyboard.press("Enter")
    until(page, "location.hash === '#/settings/keys'")


def test_a_challenge_in_the_address_asks_for_its_code(open_page: Open, state: State) -> None:
    """As a provider's log-in leaves it; starting again is the door as it was."""
    state.signed_in = False
    page = open_page("#/login?challenge=c")
    expect(page.get_by_label("Code from your authenticator")).to_be_focused()
    page.get_by_role("button", name="Start again").click()
    expect(page.get_by_label("Email")).to_be_focused()
    page.goto(f"{page.url.split('#')[0]}#/login?challenge=c")
    page.get_by_label("Code from your authenticator").fill("123456")
    page.keyboard.press("Enter")
    until(page, "location.hash === '#/overview'")


def test_a_provider_has_a_button_and_its_refusal_has_words(open_page: Open, state: State) -> None:
    """The reason in the address is said as the hub words it; the button leads to the provider."""
    state.signed_in = False
    page = open_page("#/login?oidc_error=unknown")
    expect(page.get_by_text("There is no account for you here.")).to_be_visible()
    link = page.get_by_role("link", name="Sign in with Acme")
    expect(link).to_have_attribute("href", "/api/ubs/api/v1/oidc/acme/start")


def test_a_hub_without_mail_says_so(open_page: Open, state: State) -> None:
    """Nobody waits for a letter that is never sent."""
    state.signed_in = False
    page = open_page("#/login")
    page.get_by_role("link", name="Forgot your password?").click()
    page.get_by_label("Email").fill("ada@example.org")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("this hub sends no mail")


def test_a_new_password_leads_to_the_door(open_page: Open, state: State) -> None:
    """The old sessions are over, so one signs in with it."""
    page = open_page("#/reset/t0k")
    page.get_by_label("Password").fill("four quiet otters swim")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    sent = state.asked("ubs", "/api/v1/password/reset")[0].body
    assert sent == b'{"token":"t0k","password":"four quiet otters swim"}'


def test_an_address_is_confirmed_by_a_button(open_page: Open, state: State) -> None:
    """Opening the link alone confirms nothing."""
    page = open_page("#/verify/t0k")
    button = page.get_by_role("button", name="Confirm")
    expect(button).to_be_focused()
    assert state.asked("ubs", "/api/v1/email/verify") == []
    button.click()
    expect(page.get_by_role("heading", name="Confirmed")).to_be_visible()


def test_who_must_have_a_second_factor_gets_nowhere_else(open_page: Open, state: State) -> None:
    """Every place is Sign-in, until the recovery codes were seen; then all is open."""
    state.must_enrol = True
    page = open_page("#/overview")
    expect(page.get_by_text("requires a second factor")).to_be_visible()
    page.locator(".nav-link", has_text="Explore").click()
    until(page, "location.hash === '#/settings/signin'")
    page.get_by_role("button", name="Add a second factor").click()
    expect(page.get_by_role("img", name="QR code of the secret below")).to_be_visible()
    expect(page.get_by_label("Code", exact=True)).to_be_focused()
    assert state.tokens_made == 0
    page.get_by_label("Code", exact=True).fill("123456")
    page.keyboard.press("Enter")
    expect(page.get_by_role("region", name="Recovery codes")).to_contain_text("cccc-dddd")
    page.get_by_role("button", name="I have it").click()
    expect(page.get_by_text("requires a second factor")).to_have_count(0)
    page.locator(".nav-link", has_text="Explore").click()
    expect(page.get_by_role("heading", name="Explore", level=1)).to_be_visible()


def test_usage_tells_what_it_costs_and_where_it_goes(open_page: Open) -> None:
    """Amount, credit, forecast, teams by name, and a PDF of what is final only."""
    page = open_page("#/usage")
    expect(page.get_by_text("8.00 EUR so far")).to_be_visible()
    expect(page.get_by_text("Prepaid credit: 25.00 EUR")).to_be_visible()
    expect(page.get_by_text("Expected at the end of the month: 1200, between")).to_be_visible()
    for team in ("Otters", "unattributed"):
        expect(page.get_by_role("row").filter(has_text=team)).to_contain_text("400")
    links = page.get_by_role("link", name="PDF", exact=True)
    expect(links).to_have_attribute("href", "/api/ubs/api/v1/invoices/final/pdf")
    statement = page.get_by_role("link", name="Statement of the month").get_attribute("href")
    assert statement is not None
    assert statement.startswith("/api/ubs/api/v1/invoices/statement?start=")
