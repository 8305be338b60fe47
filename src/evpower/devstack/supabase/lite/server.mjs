// A local stand-in for a Supabase project: @supabase/lite on PostgreSQL, with what it lacks
// of GoTrue in front. One process, loopback only. Usage: node server.mjs <config.json>
import { readFileSync } from "node:fs";
import { serve } from "@hono/node-server";
import { App, InMemoryLruCacheDriver } from "@supabase/lite";
import { createPostgresConnection } from "@supabase/lite/postgres";
import { sql as lite } from "kysely";
import postgres from "postgres";
import { admin } from "./admin.mjs";
import { bootstrap, migrate, ownAuth } from "./migrate.mjs";
import { startPgNet } from "./pg_net.mjs";
import { enrich, requireUnbanned, signIn, verify } from "./sessions.mjs";
import { AuthError, userJson } from "./users.mjs";

const config = JSON.parse(readFileSync(process.argv[2], "utf8"));
const parent = process.ppid;

/** Lite hands jsonb parameters over already serialised; the driver must not do it again. */
function serializeJson(value) {
  if (typeof value !== "string") return JSON.stringify(value);
  if (/^\s*[[{]/.test(value)) {
    try {
      JSON.parse(value);
      return value;
    } catch {} // a text that only looks like JSON
  }
  return JSON.stringify(value);
}

/** ISO 8601 with "T" and a full offset, as PostgREST writes it. */
const isoTime = (text) => text.replace(" ", "T").replace(/([+-]\d\d)$/, "$1:00");

/** A JSON number, as PostgREST sends it: with PostgreSQL's own digits where a double would change it. */
function parseNumber(text) {
  if (!/^-?\d/.test(text)) return text; // NaN, Infinity
  return text.replace(/\D/g, "").length <= 15 ? Number(text) : JSON.rawJSON(text);
}

/** JSON with its numbers as they were: a double would change the long ones. */
function parseJson(text) {
  if (!/\d[\d.]{15}/.test(text)) return JSON.parse(text);
  return JSON.parse(text, (_, value, { source }) =>
    typeof value === "number" && String(value) !== source ? JSON.rawJSON(source) : value,
  );
}

// When PostgreSQL dies under it, the driver writes to a socket that is gone, outside of any promise.
// Its other connections come back; anything else is a bug and ends the process.
process.on("uncaughtException", (error) => {
  console.error(error);
  if (!String(error.stack).includes("/postgres/src/connection.js")) process.exit(1);
});

const json = (oid) => ({ to: oid, from: [oid], serialize: serializeJson, parse: parseJson });
const time = (oid) => ({ to: oid, from: [oid], serialize: String, parse: isoTime });
const number = (oid) => ({ to: oid, from: [oid], serialize: String, parse: parseNumber });

/** The database as `role`, whose password is the superuser's (bootstrap.sql). */
function databaseOf(role) {
  const url = new URL(config.databaseUrl);
  url.username = role;
  return url.href;
}

const connect = (url) =>
  createPostgresConnection({
    url,
    postgresOptions: {
      max: 20,
      backoff: () => 0.3, // seconds; the default grows to 20 after a crash of PostgreSQL
      onnotice: () => {},
      connection: { application_name: "supabase-lite", search_path: "public,extensions" },
      types: {
        json: json(114),
        jsonb: json(3802),
        timestamp: time(1114),
        timestamptz: time(1184),
        bigint: number(20),
        numeric: number(1700),
      },
    },
  });
const connection = connect(databaseOf("supabase_lite"));
// Lite by itself would grant ALL on every RLS table to anon and authenticated at the first
// request and undo the column grants of our migrations. bootstrap.sql makes roles and grants.
connection.rlsState = "active";

// As PostgREST does it: the time-outs of the role that a request acts as, where they are not the login's.
const applyContext = connection.applyJwtSessionContext.bind(connection);
connection.applyJwtSessionContext = async (executor, context, ...rest) => {
  if ((context.auth?.role ?? "anon") === "anon") {
    await lite`set local statement_timeout = '3s'`.execute(executor);
  }
  return applyContext(executor, context, ...rest);
};

const pool = (role, max) =>
  postgres(databaseOf(role), { max, backoff: () => 0.3, onnotice: () => {} });
const sql = pool("supabase_auth_admin", 8);
const appOn = (connection) =>
  new App({
    connection,
    auth: {
      enabled: true,
      jwt_secret: config.jwtSecret,
      publishable_key: config.publishableKey,
      secret_key: config.secretKey,
      site_url: config.url,
      email: { enable_confirmations: false },
    },
    options: {
      drivers: { cache: new InMemoryLruCacheDriver({ maxSizeBytes: 64 * 1024 * 1024 }) },
      server: { admin: false, disableStudio: true, disableFallback: false },
    },
  });
const app = appOn(connection);

function requireSecretKey(request, url) {
  const bearer = /^Bearer\s+(.+)$/i.exec(request.headers.get("authorization") ?? "")?.[1];
  const key = request.headers.get("apikey") ?? url.searchParams.get("apikey");
  if (!key && !bearer) {
    const message = "This endpoint requires a valid Bearer token";
    throw new AuthError(401, "no_authorization", message);
  }
  if (key === config.secretKey || bearer === config.secretKey) return;
  if (bearer && verify(bearer, config.jwtSecret)?.role === "service_role") return;
  throw new AuthError(403, "not_admin", "User not allowed");
}

const requireAnyKey = (request, url) => {
  const key = request.headers.get("apikey") ?? url.searchParams.get("apikey");
  if (key === config.publishableKey || key === config.secretKey) return undefined;
  const message = key ? "Invalid API key" : "No API key found in request";
  return Response.json({ message }, { status: 401 });
};

const adminUsers = admin(sql, requireSecretKey);

/** POST /token: passwords are ours, everything else lite's, minus the banned. */
async function token(request, url) {
  const text = await request.text();
  let body;
  try {
    body = JSON.parse(text) ?? {};
  } catch {
    throw new AuthError(400, "bad_json", "Could not parse request body as JSON");
  }
  const grant = url.searchParams.get("grant_type");
  if (grant === "password") return requireAnyKey(request, url) ?? signIn(sql, config, body);
  if (grant === "refresh_token") await requireUnbanned(sql, body.refresh_token);
  const { method, headers } = request;
  return finish(await app.fetch(new Request(request.url, { method, headers, body: text })));
}

/** Sessions and users that lite answers, completed to what hosted GoTrue says. */
async function finish(response) {
  const type = response.headers.get("content-type") ?? "";
  if (!response.ok || !type.includes("json")) return response;
  const body = await response.json();
  const answer = body?.access_token
    ? await enrich(sql, config, body)
    : ((body?.id && body.aud && (await userJson(sql, body.id))) || body);
  return Response.json(answer, { status: response.status });
}

async function auth(request, url) {
  if (request.method === "OPTIONS") return new Response(null, { status: 204 });
  const answer = await adminUsers(request, url);
  if (answer) return answer;
  const { pathname } = url;
  if (pathname === "/auth/v1/token" && request.method === "POST") return token(request, url);
  const response = await app.fetch(request);
  return ["/auth/v1/user", "/auth/v1/signup", "/auth/v1/verify"].includes(pathname)
    ? finish(response)
    : response;
}

function withCors(response) {
  const headers = new Headers(response.headers);
  headers.set("Access-Control-Allow-Origin", "*");
  headers.set("Access-Control-Allow-Methods", "GET, POST, PUT, PATCH, DELETE, OPTIONS");
  headers.set(
    "Access-Control-Allow-Headers",
    "authorization, apikey, content-type, x-client-info, x-supabase-api-version",
  );
  headers.set("Access-Control-Expose-Headers", "X-Total-Count, Link, X-Sb-Error-Code");
  const { status, statusText } = response;
  return new Response(response.body, { status, statusText, headers });
}

async function handle(request) {
  const url = new URL(request.url);
  if (url.pathname.startsWith("/rest/v1/")) return app.fetch(request);
  if (url.pathname === "/health") return Response.json({ status: "ok" });
  if (!url.pathname.startsWith("/auth/v1/")) {
    return Response.json({ message: "no Route matched with those values" }, { status: 404 });
  }
  try {
    return withCors(await auth(request, url));
  } catch (error) {
    if (error instanceof AuthError) return withCors(error.response());
    console.error(error);
    return withCors(new AuthError(500, "unexpected_failure", "Unexpected failure").response());
  }
}

/** Makes the project: roles, Auth's tables, then what the project's owner applies. */
async function prepare(superuser) {
  await bootstrap(superuser, decodeURIComponent(new URL(config.databaseUrl).password));
  const asSuperuser = connect(config.databaseUrl);
  await appOn(asSuperuser).ensureSystemSchema();
  await asSuperuser.close();
  await ownAuth(superuser);
  const owner = pool("supabase_owner", 1);
  await migrate(owner, config.migrationsDir);
  await owner.end();
}

async function main() {
  const superuser = postgres(config.databaseUrl, { max: 2, backoff: () => 0.3, onnotice: () => {} });
  await prepare(superuser);
  const stopPgNet = await startPgNet(superuser, config.pgNet);
  await connection.introspect({ useCache: true });
  // PostgREST's signal after a change of the schema: notify pgrst, 'reload schema'
  await sql.listen("pgrst", () => connection.clearSchemaCache());
  const server = serve({ fetch: handle, hostname: config.host, port: config.port }, () => {
    console.log(`ready on ${config.url}`);
  });
  server.keepAliveTimeout = 75_000; // longer than any client keeps an idle connection
  server.on("error", fail);
  const stop = () => {
    stopPgNet();
    server.close();
    server.closeAllConnections?.();
    Promise.allSettled([sql.end({ timeout: 1 }), superuser.end({ timeout: 1 }), connection.close()]).then(() => process.exit(0));
    setTimeout(() => process.exit(0), 2000).unref();
  };
  process.on("SIGTERM", stop);
  process.on("SIGINT", stop);
  setInterval(() => process.ppid === parent || stop(), 1000).unref();
}

function fail(error) {
  console.error(`supabase-lite can't start: ${error.message}`);
  process.exit(1);
}

main().catch(fail);
