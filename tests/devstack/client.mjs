// What an app does with supabase-js: node client.mjs <url> <publishable key> <server dir>
import { createRequire } from "node:module";

const [url, key, serverDir] = process.argv.slice(2);
const { createClient } = createRequire(`${serverDir}/package.json`)("@supabase/supabase-js");
const options = { auth: { persistSession: false, autoRefreshToken: false } };

async function must(promise) {
  const { data, error } = await promise;
  if (error) throw error;
  return data;
}

const email = `js-${Date.now()}@example.kg`;
const app = createClient(url, key, options);
const up = await must(
  app.auth.signUp({ email, password: "secret12", options: { data: { name: "Aida" } } }),
);
await must(app.from("notes").insert({ body: "mine" }));
await must(app.auth.refreshSession());

const other = createClient(url, key, options);
await must(other.auth.signUp({ email: `2-${email}`, password: "secret12" }));

const again = createClient(url, key, options);
await must(again.auth.signInWithPassword({ email, password: "secret12" }));
const { user } = await must(again.auth.getUser());
const money = await again.from("notes").update({ amount: 1 }).eq("body", "mine");
const service = await again.rpc("measure", { batch: [] });

console.log(
  JSON.stringify({
    same: up.user.id === user.id,
    name: user.user_metadata.name,
    own: await must(again.from("notes").select("body,amount,at")),
    others: await must(other.from("notes").select("*")),
    whoami: (await must(again.rpc("whoami"))) === user.id,
    money: money.error?.code,
    service: service.error?.code,
  }),
);
