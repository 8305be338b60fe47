"""Before money moves, ask Supabase itself about the token: bans and sign-outs show at once."""

from evpower.foundation.clock import Clock
from evpower.foundation.errors import Forbidden, Unauthenticated
from evpower.identity.model import Claims
from evpower.identity.supabase_admin import SupabaseAdmin


async def introspect(admin: SupabaseAdmin, token: str, claims: Claims, clock: Clock) -> None:
    """Pass when Supabase knows the token and its user is not banned. Never in a transaction.

    Raises Unauthenticated("invalid_token"), Forbidden("client_blocked"),
    Unavailable("auth_unavailable").
    """
    user = await admin.user_of(token)
    if user is None or user.id != claims.sub:
        raise Unauthenticated("invalid_token", "the session has ended")
    if user.banned_until is not None and user.banned_until > clock():
        raise Forbidden("client_blocked", "the user is banned")
