// The official OpenAI client for Node: plain, streamed, and a stream that ends in an error.
import OpenAI from "openai";

const [base, model, prompt, mode] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${base}/v1`, apiKey: "none", maxRetries: 2 });
const messages = [{ role: "user", content: prompt }];
const said = { chunks: 0, text: "", usage: null, error: null, code: null, job: null };
try {
  if (mode === "plain") {
    const { data, response } = await client.chat.completions.create({ model, messages }).withResponse();
    said.text = data.choices[0].message.content;
    said.usage = data.usage;
    said.job = response.headers.get("x-headrace-job");
  } else {
    const { data, response } = await client.chat.completions
      .create({ model, messages, stream: true, stream_options: { include_usage: true } })
      .withResponse();
    said.job = response.headers.get("x-headrace-job");
    for await (const chunk of data) {
      said.chunks++;
      said.text += chunk.choices[0]?.delta?.content ?? "";
      said.usage = chunk.usage ?? said.usage;
      if (said.chunks === 5) process.stderr.write("five\n");
    }
  }
} catch (error) {
  said.error = error.message;
  said.code = error.code ?? null;
}
console.log(JSON.stringify(said));
