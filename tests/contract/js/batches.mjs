// The official OpenAI client for Node: a file and a batch over it, from the upload to its lines, and the lists.
import OpenAI, { toFile } from "openai";

const [base, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${base}/v1`, apiKey: "none", maxRetries: 0 });
const said = { error: null };
const url = "/v1/chat/completions";
const lines = ["a", "b"].map((custom_id) =>
  JSON.stringify({ custom_id, method: "POST", url, body: { model, messages: [{ role: "user", content: "Why?" }] } }),
);
const file = await client.files.create({
  file: await toFile(Buffer.from(lines.join("\n")), "in.jsonl"),
  purpose: "batch",
  expires_after: { anchor: "created_at", seconds: 3600 },
});
said.file = await client.files.retrieve(file.id);
said.content = await (await client.files.content(file.id)).text();
let batch = await client.batches.create({ input_file_id: file.id, endpoint: url, completion_window: "24h", metadata: { k: "v" } });
said.first = batch.status;
for (let at = 0; at < 300 && !["completed", "failed"].includes(batch.status); at++) {
  await new Promise((resolve) => setTimeout(resolve, 100));
  batch = await client.batches.retrieve(batch.id);
}
said.batch = batch;
said.output = await (await client.files.content(batch.output_file_id)).text();
said.files = [];
for await (const each of client.files.list({ limit: 1 })) said.files.push(each.id);
said.batches = [];
for await (const each of client.batches.list({ limit: 1 })) said.batches.push(each.id);
said.deleted = (await client.files.delete(file.id)).deleted;
try {
  await client.batches.create({ input_file_id: file.id, endpoint: url, completion_window: "24h" });
} catch (error) {
  said.error = [error.constructor.name, error.status, error.param];
}
try {
  await client.batches.cancel(batch.id);
} catch (error) {
  said.conflict = [error.constructor.name, error.status];
}
console.log(JSON.stringify(said));
