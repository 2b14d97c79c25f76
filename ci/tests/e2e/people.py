"""People with browsers: the owner, and a viewer whom the owner invited."""

import secrets
from dataclasses import dataclass, field
from typing import Any

import httpx
from native_platform import NativePlatform

PASSWORD = "four quiet otters swim"
OWNER = "owner@example.com"
VIEWER = f"viewer-{secrets.token_hex(3)}@example.com"
WAIT_MS = 600_000
SESSIONS: dict[str, Any] = {}  # by whom: signing in takes a while


@dataclass
class SignIn:
    """Signs people in to the platform. `refused`: what was answered with an error since."""

    browser: Any
    platform: NativePlatform
    contexts: list[Any] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def page(self, hash_: str = "", **how: Any) -> Any:
        """A page in a new browser, at `hash_`."""
        context = self.browser.new_context(**how)
        context.set_default_timeout(WAIT_MS)
        self.contexts.append(context)
        return self.opened(context, hash_)

    def opened(self, context: Any, hash_: str) -> Any:
        """A page in that browser, at `hash_`."""
        page = context.new_page()
        page.on("pageerror", lambda error: self.errors.append(error.stack))
        page.on("response", self._note)
        page.goto(f"{self.platform.url}/{hash_}")
        return page

    def _note(self, answer: Any) -> None:
        if answer.status >= 400:
            self.refused.append(f"{answer.status} {answer.request.method} {answer.url}")

    def __call__(self, hash_: str = "", email: str = OWNER, **how: Any) -> Any:
        """Their page at `hash_`, signed in: with the session of before, if that goes on."""
        if email == OWNER:
            self._set_up()
        page = self.page(hash_, storage_state=SESSIONS.get(email), **how)
        page.locator("coh-shell, coh-view-login").wait_for()
        if page.get_by_label("Password").count() > 0:
            page.get_by_label("Email").fill(email)
            page.get_by_label("Password").fill(PASSWORD)
            page.get_by_role("button", name="Sign in").click()
            page.locator("coh-shell").wait_for()
            SESSIONS[email] = page.context.storage_state()
            self.refused.clear()  # nobody was signed in at first
        return page

    def _set_up(self) -> None:
        url = f"{self.platform.url}/api/ubs/api/v1"
        if httpx.get(f"{url}/setup", timeout=600).json()["needed"]:
            answer = httpx.post(
                f"{url}/setup",
                json={
                    "token": self.platform.state["setup_link"].rpartition("/")[2],
                    "organisation": "Otter Works",
                    "email": OWNER,
                    "password": PASSWORD,
                },
                headers={"Origin": self.platform.url},
                timeout=600,
            )
            assert answer.status_code == 201, answer.text

    def invite(self, email: str, role: str = "viewer") -> str:
        """The link of an invitation by the owner."""
        page = self("#/settings/members")
        page.get_by_label("Email").fill(email)
        page.locator("[name=role]").select_option(role)
        page.get_by_role("button", name="Invite").click()
        dialog = page.get_by_role("dialog")
        link = dialog.locator("code").inner_text()
        dialog.get_by_role("button", name="I have it").click()
        return str(link)

    def join(self, email: str, role: str = "viewer") -> Any:
        """The page of somebody whom the owner invited as that, just signed in."""
        link = self.invite(email, role)
        page = self.page(link[link.index("#") :])
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Join").click()
        page.locator("coh-shell").wait_for()
        SESSIONS[email] = page.context.storage_state()
        self.refused.clear()  # nobody was signed in at first
        return page

    def viewer(self, hash_: str = "", **how: Any) -> Any:
        """A page of somebody who may only look, at `hash_`."""
        if VIEWER not in SESSIONS:
            self.join(VIEWER)
        return self(hash_, email=VIEWER, **how)

    def close(self) -> None:
        """Every browser is gone."""
        for context in self.contexts:
            context.close()
