// The official OpenAI client for Node: its list of models, one of them by each name given, and what an unknown one is answered with.
import OpenAI from "openai";

const [base, ...names] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${base}/v1`, apiKey: "none", maxRetries: 0 });
const listed = [];
for await (const model of client.models.list()) listed.push(model.id);
const retrieved = [];
for (const name of names) retrieved.push((await client.models.retrieve(name)).id);
let refused = null;
try {
  await client.models.retrieve("nobody/x");
} catch (error) {
  refused = { status: error.status, code: error.code, kind: error.constructor.name };
}
console.log(JSON.stringify({ listed, retrieved, refused }));
