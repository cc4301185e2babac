// The AI SDK's batch: started, listed, followed to its end, its results read.
import { createOpenAI } from "@ai-sdk/openai";
import { experimental_getBatchResults, experimental_getBatchStatus, experimental_listBatches, experimental_startBatch, tool } from "ai";
import { z } from "zod";

const [base, model] = process.argv.slice(2);
const provider = createOpenAI({ baseURL: `${base}/v1`, apiKey: "none" });
const tools = { look: tool({ description: "Look.", inputSchema: z.object({ a: z.number().int() }) }) };
const requests = [
  { id: "plain", type: "text", model, prompt: "Why?" },
  { id: "talk", type: "text", model, system: "Be short.", messages: [{ role: "user", content: "And then?" }] },
  { id: "tool", type: "text", model, prompt: "Look.", tools, toolChoice: "required" },
  { id: "fails", type: "text", model, prompt: "[[rehearsal fault=400]] Why?" },
];
const started = await experimental_startBatch({ provider, requests });
const listed = await experimental_listBatches({ provider });
let batch = started;
while (batch.status === "pending") {
  await new Promise((go) => setTimeout(go, 100));
  batch = { ...started, ...(await experimental_getBatchStatus({ provider, batch: started })) };
}
const results = {};
const found = await experimental_getBatchResults({ provider, batch: started, tools });
for await (const item of found.results ?? found) results[item.id] = { status: item.status, text: item.text ?? null, content: item.content ?? null, error: item.error ?? null };
console.log(JSON.stringify({ first: started.status, listed: listed.batches.length, status: batch.status, results }));
