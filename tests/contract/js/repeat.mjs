// One plain question, with a client's own retries: prints the answer, and how often it asked.
import { createOpenAI } from "@ai-sdk/openai";
import { generateText } from "ai";
import OpenAI from "openai";

const [base, model, prompt, kind, timeout] = process.argv.slice(2);
const said = { tries: 0, text: "", error: null };
const counted = (...asked) => {
  said.tries++;
  if (said.tries > 1) process.stderr.write("again\n");
  return fetch(...asked);
};
try {
  if (kind === "openai") {
    const client = new OpenAI({ baseURL: `${base}/v1`, apiKey: "none", fetch: counted, ...(timeout ? { timeout: Number(timeout) } : {}) });
    const answer = await client.chat.completions.create({ model, messages: [{ role: "user", content: prompt }] });
    said.text = answer.choices[0].message.content;
  } else {
    const openai = createOpenAI({ baseURL: `${base}/v1`, apiKey: "none", fetch: counted });
    said.text = (await generateText({ model: openai.chat(model), prompt })).text;
  }
} catch (error) {
  said.error = String(error);
}
console.log(JSON.stringify(said));
