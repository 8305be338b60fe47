// GoTrue's admin API over users, which @supabase/lite lacks. For development only.
import { createHash, randomUUID } from "node:crypto";
import {
  AuthError,
  bannedUntil,
  checkEmail,
  checkId,
  checkPhone,
  isUuid,
  passwordHash,
  putIdentity,
  render,
  requireFree,
  userJson,
} from "./users.mjs";

const PREFIX = "/auth/v1/admin/users";

export function admin(sql, isAdmin) {
  return async (request, url) => {
    if (url.pathname !== PREFIX && !url.pathname.startsWith(`${PREFIX}/`)) return undefined;
    isAdmin(request, url);
    const id = url.pathname.slice(PREFIX.length + 1);
    const { method } = request;
    if (!id && method === "GET") return list(sql, url);
    if (!id && method === "POST") return create(sql, await body(request));
    if (!id) return new Response(null, { status: 405 });
    const user = await load(sql, id);
    if (method === "GET") return Response.json(user);
    if (method === "PUT") return update(sql, user, await body(request));
    if (method === "DELETE") return remove(sql, user, await body(request));
    return new Response(null, { status: 405 });
  };
}

async function body(request) {
  const text = await request.text();
  if (!text) return {};
  try {
    return JSON.parse(text) ?? {};
  } catch (error) {
    throw new AuthError(400, "bad_json", `Could not decode admin user params: ${error.message}`);
  }
}

async function load(sql, id) {
  if (!isUuid(id)) throw new AuthError(404, "validation_failed", "user_id must be an UUID");
  const user = await userJson(sql, id);
  if (!user) throw new AuthError(404, "user_not_found", "User not found");
  return user;
}

async function list(sql, url) {
  const number = (name, fallback) => {
    const text = url.searchParams.get(name);
    if (!text) return fallback;
    if (!/^\d+$/.test(text)) {
      throw new AuthError(400, "validation_failed", `Bad Pagination Parameters: ${name}`);
    }
    return Number(text);
  };
  const page = Math.max(1, number("page", 1));
  const perPage = Math.min(1000, Math.max(1, number("per_page", 50)));
  const [{ total }] = await sql`select count(*)::int as total from auth.users`;
  const rows = await sql`
    select u.*, coalesce(i.list, '[]') as identities
    from auth.users u
    left join lateral (
      select jsonb_agg(to_jsonb(d) order by d.created_at) as list
      from auth.identities d where d.user_id = u.id
    ) i on true
    order by u.created_at desc, u.id
    limit ${perPage} offset ${(page - 1) * perPage}`;
  const users = rows.map(({ identities, ...user }) => render(user, identities));
  const pages = Math.max(1, Math.ceil(total / perPage));
  const link = (at, rel) => `<${PREFIX}?page=${at}&per_page=${perPage}>; rel="${rel}"`;
  const links = [...(page < pages ? [link(page + 1, "next")] : []), link(pages, "last")];
  const headers = { "X-Total-Count": String(total), Link: links.join(", ") };
  return Response.json({ users, aud: "authenticated" }, { headers });
}

async function create(sql, params) {
  if (!params.email && !params.phone) {
    const message = "Cannot create a user without either an email or phone";
    throw new AuthError(400, "validation_failed", message);
  }
  const id = params.id ? checkId(params.id) : randomUUID();
  const email = params.email ? checkEmail(params.email) : null;
  const phone = params.phone ? checkPhone(params.phone) : null;
  await requireFree(sql, { email, phone });
  const hash = await passwordHash(params);
  const banned = params.ban_duration ? bannedUntil(params.ban_duration) : null;
  const providers = [...(email ? ["email"] : []), ...(phone ? ["phone"] : [])];
  const appData = { provider: providers[0], providers, ...params.app_metadata };
  const userData = {
    ...params.user_metadata,
    ...(email && params.email_confirm ? { email_verified: true } : {}),
    ...(phone && params.phone_confirm ? { phone_verified: true } : {}),
  };
  const now = new Date().toISOString();
  try {
    await sql.begin(async (tx) => {
      await tx`
        insert into auth.users (id, aud, role, email, phone, encrypted_password,
          email_confirmed_at, phone_confirmed_at, raw_app_meta_data, raw_user_meta_data,
          banned_until, created_at, updated_at)
        values (${id}, ${params.aud || "authenticated"}, ${params.role || "authenticated"},
          ${email}, ${phone}, ${hash}, ${email && params.email_confirm ? now : null},
          ${phone && params.phone_confirm ? now : null}, ${tx.json(appData)},
          ${tx.json(userData)}, ${banned}, ${now}, ${now})`;
      if (email) await putIdentity(tx, id, "email", "email", email);
      if (phone) await putIdentity(tx, id, "phone", "phone", phone);
    });
  } catch (error) {
    throw databaseError("Database error creating new user", error);
  }
  return Response.json(await userJson(sql, id));
}

async function update(sql, user, params) {
  const email = params.email ? checkEmail(params.email) : null;
  const phone = params.phone ? checkPhone(params.phone) : null;
  await requireFree(sql, { email, phone }, user.id);
  const changes = {};
  if (email) changes.email = email;
  if (phone) changes.phone = phone;
  if (params.role) changes.role = params.role;
  if (params.password || params.password_hash) {
    changes.encrypted_password = await passwordHash(params);
  } else if (params.password === "") {
    changes.encrypted_password = await passwordHash({ password: " " });
  }
  const now = new Date().toISOString();
  const verified = {};
  if (params.email_confirm) [changes.email_confirmed_at, verified.email_verified] = [now, true];
  if (params.phone_confirm) [changes.phone_confirmed_at, verified.phone_verified] = [now, true];
  if (params.ban_duration) changes.banned_until = bannedUntil(params.ban_duration);
  changes.raw_app_meta_data = sql.json(merge(user.app_metadata, params.app_metadata));
  changes.raw_user_meta_data = sql.json(
    merge(user.user_metadata, { ...params.user_metadata, ...verified }),
  );
  changes.updated_at = now;
  try {
    await sql.begin(async (tx) => {
      await tx`update auth.users set ${tx(changes)} where id = ${user.id}`;
      if (email) await putIdentity(tx, user.id, "email", "email", email);
      if (phone) await putIdentity(tx, user.id, "phone", "phone", phone);
    });
  } catch (error) {
    throw databaseError("Error updating user", error);
  }
  return Response.json(await userJson(sql, user.id));
}

async function remove(sql, user, params) {
  try {
    await sql.begin(async (tx) => {
      await tx`delete from auth.refresh_tokens where user_id = ${user.id}`;
      await tx`delete from auth.sessions where user_id = ${user.id}`;
      if (params.should_soft_delete) await softDelete(tx, user);
      else await tx`delete from auth.users where id = ${user.id}`;
    });
  } catch (error) {
    throw databaseError("Database error deleting user", error);
  }
  return Response.json({});
}

/** GoTrue keeps the row and replaces what identifies the user by hashes. */
async function softDelete(tx, user) {
  const hashed = (text) => createHash("sha256").update(user.id + text).digest("base64url");
  await tx`
    update auth.users set deleted_at = now(), updated_at = now(), encrypted_password = '',
      email = ${user.email ? hashed(user.email) : null},
      phone = ${user.phone ? hashed(user.phone).slice(0, 15) : null},
      raw_user_meta_data = '{}', raw_app_meta_data = '{}'
    where id = ${user.id} and deleted_at is null`;
  await tx`
    update auth.identities set identity_data = '{}',
      provider_id = ${hashed(user.id)} || provider where user_id = ${user.id}`;
}

/** A key set to null is removed, as GoTrue does. */
function merge(before, changes) {
  const entries = Object.entries({ ...before, ...changes });
  return Object.fromEntries(entries.filter(([, value]) => value !== null));
}

function databaseError(message, error) {
  console.error(`${message}: ${error.message}`);
  if (error.code === "23505" && error.constraint_name === "users_email_partial_key") {
    const text = "A user with this email address has already been registered";
    return new AuthError(422, "email_exists", text);
  }
  if (error.code === "23505" && error.constraint_name === "users_phone_key") {
    const text = "Phone number already registered by another user";
    return new AuthError(422, "phone_exists", text);
  }
  return new AuthError(500, "unexpected_failure", message);
}
