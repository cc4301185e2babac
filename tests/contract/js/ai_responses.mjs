// The AI SDK with `openai('model')`, which speaks the Responses API: two turns, with a tool between them.
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, jsonSchema, streamText, tool, stepCountIs } from "ai";

const [base, model] = process.argv.slice(2);
const openai = createOpenAI({ baseURL: `${base}/v1`, apiKey: "none" });
const found = { texts: [], calls: 0, error: null };
const inputSchema = jsonSchema({
  type: "object",
  properties: { name: { type: "string" } },
  required: ["name"],
  additionalProperties: false,
});
const tools = {
  pet: tool({
    description: "Find a pet.",
    inputSchema,
    execute: async () => {
      found.calls++;
      return { legs: 4 };
    },
  }),
};
try {
  const messages = [{ role: "user", content: "A pet?" }];
  const first = await generateText({ model: openai(model), messages });
  found.texts.push(first.text);
  messages.push(...first.response.messages, { role: "user", content: "And?" });
  const second = streamText({ model: openai(model), messages });
  found.texts.push(await second.text);
  found.finish = await second.finishReason;
  const called = await generateText({
    model: openai(model),
    prompt: "A pet?",
    tools,
    toolChoice: "required",
    stopWhen: stepCountIs(2),
  });
  found.steps = called.steps.length;
} catch (error) {
  found.error = `${error.name}: ${error.message} ${error.responseBody ?? ""}`;
}
console.log(JSON.stringify(found));
