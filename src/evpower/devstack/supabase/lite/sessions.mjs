// Sign-in by password and the claims of the access token, as hosted GoTrue has them.
import { createHmac, randomBytes, randomUUID, timingSafeEqual } from "node:crypto";
import bcrypt from "bcryptjs";
import { AuthError, checkPhone, userJson } from "./users.mjs";

const EXPIRES_S = 3600;
const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

function sign(claims, secret) {
  const text = `${encode({ alg: "HS256", typ: "JWT" })}.${encode(claims)}`;
  return `${text}.${createHmac("sha256", secret).update(text).digest("base64url")}`;
}

/** The claims of a token we signed, or undefined. */
export function verify(token, secret) {
  const [header, payload, signature] = token.split(".");
  if (!signature) return undefined;
  const expected = createHmac("sha256", secret).update(`${header}.${payload}`).digest();
  const given = Buffer.from(signature, "base64url");
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) return undefined;
  const claims = JSON.parse(Buffer.from(payload, "base64url").toString());
  return claims.exp > Date.now() / 1000 ? claims : undefined;
}

function accessToken(config, user, sessionId, method, issuedAt) {
  const claims = {
    iss: `${config.url}/auth/v1`,
    sub: user.id,
    aud: user.aud,
    exp: issuedAt + EXPIRES_S,
    iat: issuedAt,
    email: user.email,
    phone: user.phone,
    app_metadata: user.app_metadata,
    user_metadata: user.user_metadata,
    role: user.role,
    aal: "aal1",
    amr: [{ method, timestamp: issuedAt }],
    session_id: sessionId,
    is_anonymous: user.is_anonymous,
  };
  return sign(claims, config.jwtSecret);
}

/** Lite's session with the user and the claims of hosted GoTrue (lite signs no `iss`). */
export async function enrich(sql, config, session) {
  const claims = JSON.parse(Buffer.from(session.access_token.split(".")[1], "base64url"));
  const user = await userJson(sql, claims.sub);
  if (!user) return session;
  const token = accessToken(config, user, claims.session_id, "password", claims.iat);
  return { ...session, access_token: token, expires_at: claims.iat + EXPIRES_S, user };
}

/** POST /token?grant_type=password: by email or phone, refusing the banned (lite does not). */
export async function signIn(sql, config, { email, phone, password }) {
  if (!email && !phone) throw new AuthError(400, "validation_failed", "missing email or phone");
  const wrong = new AuthError(400, "invalid_credentials", "Invalid login credentials");
  const [row] = email
    ? await sql`select * from auth.users where email = ${String(email).toLowerCase()}`
    : await sql`select * from auth.users where phone = ${checkPhone(phone)}`;
  if (!row?.encrypted_password || row.deleted_at || !password) throw wrong;
  if (banned(row)) throw new AuthError(400, "user_banned", "User is banned");
  if (!(await bcrypt.compare(String(password), row.encrypted_password))) throw wrong;
  if (email && !row.email_confirmed_at) {
    throw new AuthError(400, "email_not_confirmed", "Email not confirmed");
  }
  if (!email && !row.phone_confirmed_at) {
    throw new AuthError(400, "phone_not_confirmed", "Phone not confirmed");
  }
  return Response.json(await openSession(sql, config, row.id));
}

async function openSession(sql, config, userId) {
  const sessionId = randomUUID();
  const refreshToken = randomBytes(9).toString("base64url");
  await sql.begin(async (tx) => {
    await tx`insert into auth.sessions (id, user_id, aal) values (${sessionId}, ${userId}, 'aal1')`;
    await tx`insert into auth.refresh_tokens (id, token, user_id, session_id)
             values (${randomUUID()}, ${refreshToken}, ${userId}, ${sessionId})`;
    await tx`update auth.users set last_sign_in_at = now(), updated_at = now() where id = ${userId}`;
  });
  const issuedAt = Math.floor(Date.now() / 1000);
  const user = await userJson(sql, userId);
  return {
    access_token: accessToken(config, user, sessionId, "password", issuedAt),
    token_type: "bearer",
    expires_in: EXPIRES_S,
    expires_at: issuedAt + EXPIRES_S,
    refresh_token: refreshToken,
    user,
    weak_password: null,
  };
}

/** A refresh of a user banned since is refused, as GoTrue does. */
export async function requireUnbanned(sql, refreshToken) {
  const [row] = await sql`
    select u.banned_until from auth.refresh_tokens t join auth.users u on u.id = t.user_id
    where t.token = ${String(refreshToken ?? "")}`;
  if (row && banned(row)) {
    throw new AuthError(400, "user_banned", "Invalid Refresh Token: User Banned");
  }
}

const banned = (row) => Boolean(row.banned_until) && new Date(row.banned_until) > new Date();
