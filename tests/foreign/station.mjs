// A charge point made of ocpp-rpc alone, in its strict mode: what breaks a schema ends it.
// Usage: node station.mjs ws://host/ocpp ID. Prints one line of JSON for what happens.
import { RPCClient } from "ocpp-rpc";

const [endpoint, identity] = process.argv.slice(2);
const report = (event, facts = {}) => console.log(JSON.stringify({ event, ...facts }));
const now = () => new Date().toISOString();
const client = new RPCClient({
  endpoint,
  identity,
  protocols: ["ocpp1.6"],
  strictMode: true,
});
let meter = 1000;
let transaction;
let idTag;
let sampler;

const status = (word) =>
  client.call("StatusNotification", {
    connectorId: 1,
    errorCode: "NoError",
    status: word,
    timestamp: now(),
  });

async function sample() {
  meter += 500;
  await client.call("MeterValues", {
    connectorId: 1,
    transactionId: transaction,
    meterValue: [{ timestamp: now(), sampledValue: [{ value: (meter / 1000).toFixed(3), unit: "kWh" }] }],
  });
  report("sampled", { meter });
}

async function start() {
  const reply = await client.call("StartTransaction", {
    connectorId: 1,
    idTag,
    meterStart: meter,
    timestamp: now(),
  });
  transaction = reply.transactionId;
  report("started", { transaction, status: reply.idTagInfo.status });
  await status("Charging");
  await sample();
  sampler = setInterval(() => sample().catch(fail), 1000);
}

async function stop() {
  clearInterval(sampler);
  await client.call("StopTransaction", {
    transactionId: transaction,
    idTag,
    meterStop: meter,
    timestamp: now(),
    reason: "Remote",
  });
  await status("Finishing");
  await status("Available");
  report("stopped", { meter });
}

function fail(error) {
  report("failed", { text: String(error) });
  process.exit(1);
}

client.handle("RemoteStartTransaction", ({ params }) => {
  idTag = params.idTag;
  setImmediate(() => start().catch(fail));
  return { status: "Accepted" };
});
client.handle("RemoteStopTransaction", ({ params }) => {
  const isOurs = params.transactionId === transaction;
  if (isOurs) setImmediate(() => stop().catch(fail));
  return { status: isOurs ? "Accepted" : "Rejected" };
});
client.on("strictValidationFailure", ({ error }) => fail(error));

await client.connect().catch(fail);
const boot = await client.call("BootNotification", {
  chargePointVendor: "ocpp-rpc",
  chargePointModel: "Foreign",
});
report("booted", { status: boot.status });
await status("Available");
await status("Preparing");
report("ready");
