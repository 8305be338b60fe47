// Makes the database what it is in a Supabase project with our migrations.
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

/** Roles, schemas and default grants. `sql` is the superuser's; the roles that sign in get `password`. */
export async function bootstrap(sql, password) {
  await sql.begin(async (tx) => {
    await tx`select set_config('bootstrap.password', ${password}, true)`;
    await tx.unsafe(await read("bootstrap.sql")).simple();
  });
}

/** Makes Auth's role the owner of Auth's tables, after they are created. */
export async function ownAuth(sql) {
  await sql.begin(async (tx) => tx.unsafe(await read("auth.sql")).simple());
}

const read = (file) => readFile(new URL(file, import.meta.url), "utf8");

/**
 * Applies files that are not recorded yet, in the order of their names, each in one transaction. A recorded file
 * whose text changed is applied again: EvPower's own is edited until a release, and is safe to run again.
 */
export async function migrate(sql, directory) {
  const names = (await readdir(directory).catch(() => [])).filter((name) => name.endsWith(".sql"));
  const rows = await sql`select version, statements from supabase_migrations.schema_migrations`;
  const known = new Map(rows.map((row) => [row.version, row.statements?.join("")]));
  for (const file of names.sort()) {
    const [version, name] = split(file);
    const text = await readFile(join(directory, file), "utf8");
    if (known.get(version) === text) continue;
    try {
      await sql.begin(async (tx) => {
        await tx.unsafe(text).simple();
        await tx`insert into supabase_migrations.schema_migrations (version, name, statements)
                 values (${version}, ${name}, ${[text]})
                 on conflict (version) do update set statements = excluded.statements`;
      });
    } catch (error) {
      throw new Error(`migration ${file}${lineOf(text, error)}: ${error.message}`);
    }
    console.log(`applied migration ${file}`);
  }
}

function split(file) {
  const match = /^(\d+)_(.*)\.sql$/.exec(file);
  return match ? [match[1], match[2]] : [file.replace(/\.sql$/, ""), ""];
}

function lineOf(text, error) {
  const position = Number(error.position);
  return position ? ` line ${text.slice(0, position).split("\n").length}` : "";
}
