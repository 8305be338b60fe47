// The worker of the pg_net stand-in: reads requests from the queue and sends each at most once.
import { readFile } from "node:fs/promises";

const BATCH = 200;
const POLL_MS = 1000; // for a wake-up lost with the connection
const RESPONSE_RETENTION = "6 hours";
const SCHEMA = new URL("./pg_net.sql", import.meta.url);

/** `mode`: "works", "stuck" (the worker is dead, requests stay in the queue) or "absent". */
export async function startPgNet(sql, mode) {
  if (mode === "absent") {
    await sql.unsafe("drop schema if exists net cascade").simple();
    return () => {};
  }
  const text = await readFile(SCHEMA, "utf8");
  await sql.begin((tx) => tx.unsafe(text).simple());
  if (mode === "stuck") return () => {};
  const wake = worker(() => sendBatch(sql));
  await sql.listen("net", wake);
  const timer = setInterval(wake, POLL_MS);
  return () => clearInterval(timer);
}

/** Runs `batch` until it finds nothing, once for any number of wake-ups that come meanwhile. */
function worker(batch) {
  let running = false;
  let again = false;
  return async () => {
    again = true;
    if (running) return;
    running = true;
    try {
      while (again) {
        again = false;
        while ((await batch()) > 0);
      }
    } catch (error) {
      console.error(`pg_net: ${error.message}`); // PostgreSQL is away; the poll tries again
    } finally {
      running = false;
    }
  };
}

/** As pg_net does: a request that is read is deleted, and the next batch waits for the slowest of this one. */
async function sendBatch(sql) {
  const requests = await sql`
    with picked as (select id from net.http_request_queue order by id limit ${BATCH})
    delete from net.http_request_queue q using picked where q.id = picked.id
    returning q.id, q.method, q.url, q.headers, q.body, q.timeout_milliseconds`;
  if (requests.length === 0) return 0;
  const responses = await Promise.all(requests.map(send));
  await sql`insert into net._http_response ${sql(responses)}`;
  await sql`delete from net._http_response where created < now() - ${RESPONSE_RETENTION}::interval`;
  return requests.length;
}

async function send({ id, method, url, headers, body, timeout_milliseconds: timeoutMs }) {
  const answer = {
    id,
    status_code: null,
    content_type: null,
    content: null,
    timed_out: false,
    error_msg: null,
  };
  try {
    const signal = AbortSignal.timeout(timeoutMs);
    const sent = { "User-Agent": "pg_net/local", ...headers };
    const response = await fetch(url, { method, headers: sent, body, signal });
    answer.status_code = response.status;
    answer.content_type = response.headers.get("content-type");
    answer.content = await response.text();
  } catch (error) {
    answer.timed_out = error.name === "TimeoutError";
    answer.error_msg = String(error.cause?.message ?? error.message);
  }
  return answer;
}
