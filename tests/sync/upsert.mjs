// What an app does with supabase-js: node upsert.mjs <url> <publishable key> <server dir>
import { createRequire } from "node:module";

const [url, key, serverDir] = process.argv.slice(2);
const { createClient } = createRequire(`${serverDir}/package.json`)("@supabase/supabase-js");
const app = createClient(url, key, { auth: { persistSession: false, autoRefreshToken: false } });
const email = `upsert-${crypto.randomUUID()}@example.kg`;
const { data, error } = await app.auth.signUp({ email, password: "secret12" });
if (error) throw error;
const { id } = data.user;

const upsert = async (row) => (await app.from("clients").upsert(row)).error?.code ?? "done";
console.log(
  JSON.stringify({
    id,
    first: await upsert({ id, name: "Aida" }),
    again: await upsert({ id, name: "Bermet", email }),
    other: await upsert({ id: crypto.randomUUID(), name: "Other" }),
    money: await upsert({ id, balance: 500 }),
    moved: (await app.from("clients").update({ id: crypto.randomUUID() }).eq("id", id)).error?.code,
  }),
);
