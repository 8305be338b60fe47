// auth.users as GoTrue returns and stores it: rows, rules on fields, JSON of a user.
import { randomBytes, randomUUID } from "node:crypto";
import bcrypt from "bcryptjs";

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const EMAIL = /^[^\s@]+@[^\s@]+\.[^\s@]+$/;
const PHONE = /^[1-9][0-9]{1,14}$/;
const BCRYPT = /^\$2[aby]\$\d\d\$[./A-Za-z0-9]{53}$/;
const UNIT_MS = { ns: 1e-6, us: 1e-3, "µs": 1e-3, ms: 1, s: 1000, m: 60_000, h: 3_600_000 };
const NIL = "00000000-0000-0000-0000-000000000000";
const BCRYPT_COST = Number(process.env.LITE_AUTH_BCRYPT_COST) || 10;

/** An answer in GoTrue's shape: {code, error_code, msg}. */
export class AuthError extends Error {
  constructor(status, code, message, extra = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.extra = extra;
  }

  response() {
    const { status, code, message, extra } = this;
    return Response.json(
      { code: status, error_code: code, msg: message, ...extra },
      { status, headers: { "X-Sb-Error-Code": code } },
    );
  }
}

const invalid = (message) => new AuthError(400, "validation_failed", message);

export const isUuid = (text) => UUID.test(text);

export function checkId(id) {
  if (typeof id !== "string" || !UUID.test(id)) {
    throw invalid("ID must conform to the uuid v4 format");
  }
  if (id === NIL) throw invalid("ID cannot be a nil uuid");
  return id.toLowerCase();
}

export function checkEmail(email) {
  if (typeof email !== "string" || email.length > 255 || !EMAIL.test(email)) {
    throw invalid("Unable to validate email address: invalid format");
  }
  return email.toLowerCase();
}

/** GoTrue stores the digits alone, without "+". */
export function checkPhone(phone) {
  const digits = String(phone).replace(/^\+/, "").replaceAll(" ", "");
  if (!PHONE.test(digits)) throw invalid("Invalid phone number format (E.164 required)");
  return digits;
}

/** A Go duration ("24h", "1h30m", "none") as an ISO time, or null to lift the ban. */
export function bannedUntil(duration) {
  if (duration === "none") return null;
  const parts = [...String(duration).matchAll(/(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)/g)];
  if (parts.length === 0 || parts.map((part) => part[0]).join("") !== duration) {
    throw invalid(`invalid format for ban duration: time: invalid duration "${duration}"`);
  }
  const total = parts.reduce((sum, [, amount, unit]) => sum + Number(amount) * UNIT_MS[unit], 0);
  return total > 0 ? new Date(Date.now() + total).toISOString() : null;
}

/** Returns the bcrypt hash to store for the caller's password, or for a random one if there is none. */
export async function passwordHash(params) {
  const { password, password_hash: given } = params;
  if (password && given) {
    throw invalid("Only a password or a password hash should be provided");
  }
  if (given) {
    if (!BCRYPT.test(given)) throw invalid("The local stack takes bcrypt password hashes only");
    return given;
  }
  const text = password || randomBytes(36).toString("base64url");
  if (text.length < 6) {
    const message = "Password should be at least 6 characters.";
    throw new AuthError(422, "weak_password", message, { weak_password: { reasons: ["length"] } });
  }
  if (Buffer.byteLength(text) > 72) throw invalid("Password cannot be longer than 72 characters");
  return bcrypt.hash(text, BCRYPT_COST);
}

export async function requireFree(sql, { email, phone }, id = NIL) {
  if (email) {
    const holders = await sql`select 1 from auth.users
      where email = ${email} and is_sso_user = false and id <> ${id}`;
    if (holders.length) {
      const message = "A user with this email address has already been registered";
      throw new AuthError(422, "email_exists", message);
    }
  }
  if (phone) {
    const holders = await sql`select 1 from auth.users where phone = ${phone} and id <> ${id}`;
    if (holders.length) {
      throw new AuthError(422, "phone_exists", "Phone number already registered by another user");
    }
  }
}

/** Makes or refreshes the identity that belongs to an address. */
export async function putIdentity(sql, userId, provider, field, value) {
  const data = { sub: userId, [field]: value, email_verified: false, phone_verified: false };
  await sql`
    insert into auth.identities (id, provider, provider_id, user_id, identity_data, last_sign_in_at)
    values (${randomUUID()}, ${provider}, ${userId}, ${userId}, ${sql.json(data)}, now())
    on conflict (provider, provider_id) do update
      set identity_data = auth.identities.identity_data || ${sql.json({ [field]: value })},
          updated_at = now()`;
}

const iso = (value) => (value ? new Date(value).toISOString() : undefined);

/** Returns a user as GoTrue answers it, or undefined. */
export async function userJson(sql, id) {
  const [user] = await sql`select * from auth.users where id = ${id}`;
  if (!user) return undefined;
  const identities = await sql`
    select * from auth.identities where user_id = ${id} order by created_at`;
  return render(user, identities);
}

export function render(user, identities) {
  return {
    id: user.id,
    aud: user.aud ?? "authenticated",
    role: user.role ?? "authenticated",
    email: user.email ?? "",
    email_confirmed_at: iso(user.email_confirmed_at),
    phone: user.phone ?? "",
    phone_confirmed_at: iso(user.phone_confirmed_at),
    confirmed_at: iso(user.confirmed_at),
    confirmation_sent_at: iso(user.confirmation_sent_at),
    recovery_sent_at: iso(user.recovery_sent_at),
    new_email: user.email_change || undefined,
    email_change_sent_at: iso(user.email_change_sent_at),
    last_sign_in_at: iso(user.last_sign_in_at),
    app_metadata: user.raw_app_meta_data ?? {},
    user_metadata: user.raw_user_meta_data ?? {},
    identities: identities.map((row) => ({
      identity_id: row.id,
      id: row.provider_id,
      user_id: row.user_id,
      identity_data: row.identity_data,
      provider: row.provider,
      last_sign_in_at: iso(row.last_sign_in_at),
      created_at: iso(row.created_at),
      updated_at: iso(row.updated_at),
      ...(row.email ? { email: row.email } : {}),
    })),
    created_at: iso(user.created_at),
    updated_at: iso(user.updated_at),
    banned_until: iso(user.banned_until),
    deleted_at: iso(user.deleted_at),
    is_anonymous: user.is_anonymous ?? false,
  };
}
