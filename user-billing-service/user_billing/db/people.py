"""Tables of organisations and people, which each other's queries join."""

from user_billing.db.tables import table

user_account = table(
    "user_account", "id:uuid",
    "email:text created_at:instant disabled_at:instant? email_verified_at:instant?",
)  # fmt: skip
mailed_token = table(
    "mailed_token", "token_hash:bytes",
    "purpose:text user_id:uuid? email:text? created_at:instant expires_at:instant",
)  # fmt: skip
credential = table("credential", "user_id:uuid kind:text", "secret:text updated_at:instant")
membership = table(
    "membership", "org_id:uuid user_id:uuid",
    "role:text joined_at:instant mapped_by:text?",
)  # fmt: skip
invitation = table(
    "invitation", "org_id:uuid id:uuid",
    """email:text role:text token_hash:bytes invited_by:text created_at:instant
    expires_at:instant accepted_at:instant? revoked_at:instant?""",
)  # fmt: skip
plan = table(
    "plan", "code:text",
    """name:text samples_per_s:big? burst_samples:big? active_series:big? retention_days:int?
    query_samples:big? query_concurrency:int?""",
)  # fmt: skip
organisation = table(
    "organisation", "id:uuid",
    """name:text slug:text plan:text created_at:instant requires_second_factor:flag
    suspended_at:instant? suspended_reason:text?""",
)  # fmt: skip
session = table(
    "session", "id:uuid",
    """token_hash:bytes user_id:uuid org_id:uuid created_at:instant fresh_at:instant
    last_seen_at:instant expires_at:instant revoked_at:instant? network:text? browser:text?""",
)  # fmt: skip
challenge = table("challenge", "token_hash:bytes", "user_id:uuid? detail:json expires_at:instant")
second_factor = table(
    "second_factor", "user_id:uuid",
    "secret_sealed:bytes last_step:big created_at:instant confirmed_at:instant?",
)  # fmt: skip
recovery_code = table("recovery_code", "user_id:uuid hash:bytes", "")
identity = table(
    "identity", "id:uuid",
    """issuer:text subject:text provider:text user_id:uuid linked_at:instant
    last_login_at:instant?""",
)  # fmt: skip
api_key = table(
    "api_key", "org_id:uuid id:uuid",
    """name:text start:text hash:bytes pepper_version:small scopes:texts created_at:instant
    created_by:text last_used_at:instant? expires_at:instant? revoked_at:instant?
    networks:texts requests_per_s:int? replaced_by:uuid?""",
)  # fmt: skip
service_account = table(
    "service_account", "org_id:uuid id:uuid",
    "name:text scopes:texts created_at:instant created_by:text disabled_at:instant?",
)  # fmt: skip
signing_key = table(
    "signing_key", "kid:text",
    """state:text public_key:bytes private_key_sealed:bytes created_at:instant
    activated_at:instant? retired_at:instant?""",
)  # fmt: skip
revocation = table("revocation", "seq:big", "kind:text ref:uuid at:instant")
setup = table(
    "setup", "only:flag",
    "nonce:bytes home_org:uuid? announced_at:instant? completed_at:instant?",
)  # fmt: skip
throttle = table("throttle", "bucket:text", "failures:int last_at:instant blocked_until:instant?")
mail = table(
    "mail", "id:uuid",
    """address:text sealed:bytes? created_at:instant next_at:instant attempts:int
    ended_at:instant? error:text?""",
)  # fmt: skip
audit_head = table("audit_head", "org_id:uuid", "seq:big hash:bytes")
audit_event = table(
    "audit_event", "org_id:uuid seq:big",
    """at:instant actor:text action:text target:text detail:json request_id:text?
    prev_hash:bytes hash:bytes""",
)  # fmt: skip
